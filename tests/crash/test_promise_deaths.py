"""Promises to those who are left, when whoever held a lock or wrote to a queue was killed."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import procession
import promise_tasks
import tasks
from conftest import is_running, start, wait_until
from procession.errors import OwnerDied, WorkerDied


@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue", "SimpleQueue"])
def test_what_was_put_is_there_though_its_writer_was_killed_at_once(ctx, kind):
    queue = getattr(ctx, kind)()
    items = [1, "x" * 1000, "y" * 300_000, np.arange(100_000), "last"]
    writer = start(ctx, promise_tasks.put_and_die, queue, items)
    writer.join(20)
    assert writer.exitcode == -signal.SIGKILL
    for item in items:
        assert not queue.empty()
        assert np.array_equal(queue.get(), item)
    assert queue.empty()


def test_a_recursive_lock_whose_holder_was_killed_is_free_at_its_first_depth(ctx, tmp_path):
    lock = ctx.RLock()
    holder = start(ctx, promise_tasks.take_twice_and_hang, lock, str(tmp_path / "here"))
    wait_until((tmp_path / "here").exists)
    assert not lock.acquire(False)
    holder.kill()
    holder.join()
    with pytest.raises(OwnerDied) as caught:
        lock.acquire(timeout=5)
    assert caught.value.pid == holder.pid
    assert lock.acquire(timeout=5)
    lock.release()
    with pytest.raises(AssertionError):
        lock.release()
    assert not lock.locked()


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition"])
def test_who_waits_learns_of_the_holders_death_in_about_a_second(kind, tmp_path):
    """Though nobody asks for the dead process's exit code."""
    ctx = procession.get_context("fork")
    thing = getattr(ctx, kind)()
    holder = start(ctx, tasks.acquire_and_arrive, thing, str(tmp_path / "here"))
    wait_until((tmp_path / "here").exists)
    outcome, waits = [], threading.Event()

    def wait():
        waits.set()
        try:
            outcome.append(thing.acquire(timeout=10))
        except OwnerDied as error:
            outcome.append((error.pid, time.monotonic()))

    waiter = threading.Thread(target=wait)
    waiter.start()
    waits.wait(5)
    killed = time.monotonic()
    os.kill(holder.pid, signal.SIGKILL)
    waiter.join(15)
    holder.join()
    assert isinstance(outcome[0], tuple), outcome
    assert outcome[0][0] == holder.pid
    assert outcome[0][1] - killed < 1.5
    assert thing.acquire(timeout=5)
    thing.release()


def test_all_permits_of_many_killed_processes_come_back():
    ctx = procession.get_context("fork")
    count = 40
    semaphore, arrived = ctx.BoundedSemaphore(count), ctx.Semaphore(0)
    holders = [start(ctx, promise_tasks.take_and_hang, semaphore, arrived) for _ in range(count)]
    for _ in holders:
        assert arrived.acquire(timeout=10)
    for holder in holders:
        holder.kill()
        holder.join()
    free = 0
    while free < count:
        try:
            if not semaphore.acquire(timeout=2):
                break
            free += 1
        except OwnerDied:
            pass
    assert free == count
    for _ in range(free):
        semaphore.release()


def test_a_wake_up_given_to_a_reader_that_is_killed_on_its_way_is_made_good():
    ctx = procession.get_context("fork")
    queue, arrived = ctx.Queue(), ctx.Semaphore(0)
    for _ in range(10):
        readers = []
        for _ in range(2):
            readers.append(start(ctx, promise_tasks.say_and_take_one, queue, arrived))
            assert arrived.acquire(timeout=10)
            wait_until(lambda pid=readers[-1].pid: is_asleep(pid))
        queue.put("for whom?")
        os.kill(readers[0].pid, signal.SIGKILL)  # the one that has waited for longer is woken first
        wait_until(queue.empty, "the other reader", within_s=1.5)
        readers[0].join(10)
        queue.put("for the other, if the killed one was quick")
        readers[1].join(10)
        assert readers[1].exitcode == 0
        while not queue.empty():
            queue.get()


def is_asleep(pid):
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "S"


def test_what_a_worker_had_sent_before_it_died_is_not_done_again(tmp_path):
    """Nobody has read it when the death is seen."""
    ctx = procession.get_context("fork")
    value, count = ctx.Value("i", 0), 300  # so many that the worker learns that they are short, and takes many at once
    with ctx.Pool(1) as pool:
        worker = pool.apply(tasks.own_pid)
        turns = pool._workers.turns
        wait_until(turns.begin)  # from here on nobody else reads results
        try:
            first = pool.apply_async(tasks.wait_for_file, (tmp_path / "go",))
            results = [pool.apply_async(promise_tasks.add_one, (value,)) for _ in range(count)]
            last = pool.apply_async(promise_tasks.nap, (0.3,))  # by now the pool is due to look at its workers
            fatal = pool.apply_async(tasks.kill_self)
            tasks.arrive(tmp_path / "go")
            wait_until(lambda: not is_running(worker), "the worker's death")
            assert value.value == count
        finally:
            turns.end()
        with pytest.raises(WorkerDied) as caught:
            fatal.get(10)
        assert caught.value.pid == worker
        for result in (first, *results, last):
            result.get(10)
        pool.apply(tasks.nothing)  # whatever went again has been done by now
    pool.join()
    assert value.value == count


def test_each_death_of_a_holder_is_told_to_exactly_one_of_those_who_race_for_the_lock():
    ctx = procession.get_context("fork")
    lock, stop, out, deaths = ctx.Lock(), ctx.Event(), ctx.Queue(), 30
    racers = [start(ctx, promise_tasks.take_again_and_again, lock, stop, out) for _ in range(2)]
    for _ in range(deaths):
        holder = start(ctx, promise_tasks.take_and_die, lock)
        holder.join(10)
        assert holder.exitcode == -signal.SIGKILL
        wait_until(lambda: not lock.locked(), "that somebody was told")
    stop.set()
    assert sum(out.get(timeout=10) for _ in racers) == deaths
    for racer in racers:
        racer.join(10)


@pytest.mark.parametrize("kind", ["Lock", "RLock", "BoundedSemaphore"])
@pytest.mark.parametrize(
    ("end", "exitcode", "words"),
    [
        (signal.SIGKILL, -9, "was killed by SIGKILL"),
        (signal.SIGSEGV, -11, "was killed by SIGSEGV"),
        (3, 3, "with code 3"),
    ],
)
def test_who_is_told_of_a_holders_death_is_told_how_it_ended(ctx, kind, end, exitcode, words):
    thing, out = getattr(ctx, kind)(), ctx.Queue()
    holder = start(ctx, promise_tasks.take_and_end, thing, end)
    holder.join(20)
    assert holder.exitcode == exitcode
    with pytest.raises(OwnerDied, match=f"process {holder.pid} .*{words}") as caught:
        thing.acquire(timeout=5)
    assert (caught.value.pid, caught.value.exitcode) == (holder.pid, exitcode)
    # One who is not its parent, while nobody has collected it.
    waiter = start(ctx, promise_tasks.say_how_the_holder_ended, thing, out)
    assert out.get(timeout=20) == "here"
    holder = start(ctx, promise_tasks.take_and_end, thing, end)
    assert out.get(timeout=20) == (holder.pid, exitcode)
    waiter.join(20)
    holder.join(20)
