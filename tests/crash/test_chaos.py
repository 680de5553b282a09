"""Random work on four workers, while somebody kills, stops and ends random workers ten times a second.

A minute in all; PROCESSION_CHAOS_SECONDS has it go on for longer.  PROCESSION_CHAOS_SEED repeats one that failed.
"""

import os
import random
import signal
import threading
import time
from collections import Counter

import numpy as np
import pytest

import chaos_tasks
from procession.errors import TaskCancelled, TaskTimeout, WorkerDied

SECONDS = float(os.environ.get("PROCESSION_CHAOS_SECONDS", "60")) / 3  # for each start method
SEED = int(os.environ.get("PROCESSION_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
WORKERS = 4
PAUSE_S = 0.1


class Killer(threading.Thread):
    """Ten times a second one worker gets a signal; one that was stopped goes on a moment later."""

    def __init__(self, pool, seed):
        super().__init__(name="killer")
        self.pool, self.random, self.over = pool, random.Random(seed), threading.Event()
        self.sent = Counter()
        self.stopped = []

    def run(self):
        while not self.over.wait(PAUSE_S):
            for child in self.stopped:
                child.send_signal(signal.SIGCONT)
            self.stopped.clear()
            children = [process._child for process in self.pool._pool if process._child is not None]
            if not children:
                continue
            child = self.random.choice(children)
            number = self.random.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
            child.send_signal(number)
            self.sent[number.name] += 1
            if number == signal.SIGSTOP:
                self.stopped.append(child)
        for child in self.stopped:
            child.send_signal(signal.SIGCONT)


def same(got, expected):
    if isinstance(expected, dict):
        return got.keys() == expected.keys() and all(same(got[key], expected[key]) for key in expected)
    return bool(np.array_equal(got, expected)) if isinstance(expected, np.ndarray) else got == expected


class Work:
    """Submits at random, and judges what comes of it."""

    def __init__(self, pool, seed):
        self.pool, self.random = pool, random.Random(seed)
        self.outcomes = Counter()

    def judge(self, get, expected, *, timeout_is_fair=False):
        """One task's outcome: its value, its own exception, or the death that it suffered."""
        try:
            value = get()
        except WorkerDied as error:
            assert error.signal in ("SIGKILL", "SIGTERM"), error
            self.outcomes["died"] += 1
        except TaskTimeout:
            assert timeout_is_fair
            self.outcomes["late"] += 1
        except chaos_tasks.Odd as error:
            assert isinstance(expected, type) and "odd" in str(error)
            self.outcomes["raised"] += 1
        else:
            assert same(value, expected), (value, expected)
            self.outcomes["value"] += 1

    def judge_all(self, values, expected):
        assert len(values) == len(expected)
        for value, right in zip(values, expected, strict=True):
            if isinstance(value, WorkerDied):
                self.outcomes["died"] += 1
            else:
                assert same(value, right), (value, right)
                self.outcomes["value"] += 1

    def calls(self):
        number = self.random.randrange(1000)
        array = np.arange(self.random.choice([10, 1000, 40_000]))
        choices = [
            (chaos_tasks.square, (number,), number * number),
            (chaos_tasks.add, (number, 1), number + 1),
            (chaos_tasks.nap, (number % 20,), number % 20),
            (chaos_tasks.compute, (number * 100,), sum(range(number * 100))),
            (chaos_tasks.raise_odd, (number,), chaos_tasks.Odd),
            (chaos_tasks.plus_one, (array,), array + 1),
            (
                chaos_tasks.counted,
                (number,),
                {"number": number, "list": [number] * 10, "array": np.full(2000, number)},
            ),
        ]
        several = [self.random.choice(choices) for _ in range(self.random.randrange(1, 40))]
        retries = self.random.choice([0, 0, 3])
        results = [self.pool.apply_async(function, arguments, retries=retries) for function, arguments, _ in several]
        for result, (_, _, expected) in zip(results, several, strict=True):
            self.judge(result.get, expected)

    def map(self):
        numbers = range(self.random.randrange(1, 3000))
        values = self.pool.map(chaos_tasks.square, numbers, on_error="return", retries=self.random.choice([0, 2]))
        self.judge_all(values, [number * number for number in numbers])

    def chunks(self):
        pairs = [(number, 2) for number in range(self.random.randrange(1, 200))]
        chunksize = self.random.choice([1, 3, 50])
        values = self.pool.starmap(chaos_tasks.add, pairs, chunksize, on_error="return")
        self.judge_all(values, [number + 2 for number, _ in pairs])

    def stream(self):
        numbers = [self.random.randrange(5) for _ in range(self.random.randrange(1, 60))]
        self.judge_all(list(self.pool.imap(chaos_tasks.nap, numbers, on_error="return")), numbers)

    def unordered(self):
        count = self.random.randrange(1, 2000)
        got = list(self.pool.imap_unordered(chaos_tasks.square, iter(range(count)), on_error="return"))
        died = [value for value in got if isinstance(value, WorkerDied)]
        values = [value for value in got if not isinstance(value, WorkerDied)]
        assert len(got) == count and len(set(values)) == len(values)
        assert set(values) <= {number * number for number in range(count)}
        self.outcomes["value"] += len(values)
        self.outcomes["died"] += len(died)

    def cancelled(self):
        results = [self.pool.apply_async(chaos_tasks.nap, (30,)) for _ in range(8)]
        for result in self.random.sample(results, 4):
            result.cancel()
        for result in results:
            try:
                self.judge(result.get, 30)
            except TaskCancelled:
                assert result.cancelled()
                self.outcomes["cancelled"] += 1

    def late(self):
        result = self.pool.apply_async(chaos_tasks.nap, (5000,), timeout=0.05)
        self.judge(result.get, 5000, timeout_is_fair=True)
        self.judge(self.pool.apply_async(chaos_tasks.nap, (1,), timeout=20).get, 1, timeout_is_fair=True)

    def some(self):
        kinds = [self.calls, self.calls, self.map, self.chunks, self.stream, self.unordered, self.cancelled, self.late]
        self.random.choice(kinds)()


@pytest.mark.deadline(SECONDS + 60)
def test_in_chaos_every_task_has_one_outcome_and_nothing_is_left(ctx, method):
    """What is left behind is counted by the fixtures: processes, descriptors, threads, arena blocks."""
    with ctx.Pool(WORKERS) as pool:
        work, killer = Work(pool, SEED), Killer(pool, SEED + 1)
        assert (
            pool.apply(chaos_tasks.square, (3,)) == 9
        )  # one is up: if the first three are killed before, a pool gives up
        killer.start()
        try:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                work.some()
        except BaseException as error:
            error.add_note(f"PROCESSION_CHAOS_SEED={SEED}; signals {dict(killer.sent)}; {dict(work.outcomes)}")
            raise
        finally:
            killer.over.set()
            killer.join()
        assert pool.map(chaos_tasks.square, range(100), retries=3) == [number * number for number in range(100)]
        pool.close()
        pool.join()
    print(f"{method}: {sum(killer.sent.values())} signals {dict(killer.sent)}, outcomes {dict(work.outcomes)}")
    assert work.outcomes["value"] > 100
    assert work.outcomes["died"] > 0
