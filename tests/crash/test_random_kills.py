"""Holders and waiters, producers and consumers are killed at random moments, again and again: the others go on, whoever held
a lock is told of once, permits come back, and no message is lost or doubled but what a killed consumer had taken.

Two survivors of each kind go on all the while.  Victims come in batches; each is killed at a moment of its own.
"""

import os
import random
import signal
import time
from collections import Counter
from itertools import count

import pytest

import kill_tasks as kt
from conftest import start, wait_until
from procession.errors import ConsumerDied, OwnerDied

pytestmark = pytest.mark.deadline(120)  # a few seconds, where the machine has nothing else to do
BATCH = 8
SURVIVORS = 2


@pytest.fixture
def chance():
    seed = int(os.environ.get("KILLS_SEED", 0)) or random.SystemRandom().randrange(1, 2**32)
    print(f"KILLS_SEED={seed}")  # shown if the test fails
    return random.Random(seed)


@pytest.fixture
def kills(method):
    return {"fork": 200, "spawn": 8, "forkserver": 16}[method]


class Range:
    """Where survivors live and victims die."""

    def __init__(self, ctx, chance, kills):
        self.ctx, self.chance, self.kills = ctx, chance, kills
        self.array = ctx.RawArray("Q", kt.WIDTH * (1 + SURVIVORS + kills))
        self.rows = count(1)
        self.survivors = []
        self.states = {}  # of those that were killed, by pid: what they were about

    def survivor(self, function, before, behind):
        """A process that runs `function` with its place among these arguments."""
        row = next(self.rows)
        self.survivors.append((row, start(self.ctx, function, *before, self.array, row, *behind)))
        wait_until(lambda: self.word(row, kt.STATE), "a survivor")

    def word(self, row, which):
        return self.array[row * kt.WIDTH + which]

    def told(self, row):
        first = row * kt.WIDTH + kt.PIDS
        return self.array[first : first + self.word(row, kt.TOLD)]

    def cull(self, next_victim, after=lambda: None):
        """Start and kill victims; `next_victim` gives what survivor() is given, `after` is called after each batch."""
        while len(self.states) < self.kills:
            victims = []
            for _ in range(min(BATCH, self.kills - len(self.states))):
                row = next(self.rows)
                function, before, behind = next_victim()
                victims.append((row, start(self.ctx, function, *before, self.array, row, *behind)))
            for row, victim in victims:
                wait_until(lambda row=row, victim=victim: self.word(row, kt.STATE) or victim.exitcode, "a victim")
            before = [self.word(row, kt.PROGRESS) for row, _ in self.survivors]
            self.chance.shuffle(victims)
            for _, victim in victims:
                time.sleep(self.chance.uniform(0, 0.01))  # waits for nothing: the moment is to be a random one
                victim.kill()
            for row, victim in victims:
                victim.join(10)
                assert victim.exitcode == -signal.SIGKILL, f"a victim ended by itself: {victim}"
                self.states[victim.pid] = self.word(row, kt.STATE)
            after()
            self.check()
            wait_until(lambda before=before: self.have_gone_on(before), "that every survivor goes on", within_s=10)

    def have_gone_on(self, before):
        self.check()
        return all(self.word(row, kt.PROGRESS) > past for (row, _), past in zip(self.survivors, before, strict=True))

    def check(self):
        assert self.array[kt.BROKEN] == 0, f"rule {self.array[kt.BROKEN]} of kill_tasks is broken"
        assert all(survivor.exitcode in (None, 0) for _, survivor in self.survivors), self.survivors

    def end(self, release=lambda: None):
        """Let the survivors end by themselves."""
        self.array[kt.STOP] = 1
        release()
        for row, survivor in self.survivors:
            survivor.join(10)
            assert survivor.exitcode == 0, f"{survivor} stands still in state {self.word(row, kt.STATE)}"
        self.check()

    def check_told(self, others):
        """Nobody was told of twice, nor if he held nothing; `others` are those of whom the test itself was told."""
        told = Counter(others)
        for row in range(1, next(self.rows)):
            told.update(self.told(row))
        twice = {pid for pid, times in told.items() if times > 1}
        assert not twice, f"told of twice: {twice}"
        innocent = {pid for pid in told if self.states.get(pid) not in (kt.TRYING, kt.HOLDING, kt.LEAVING)}
        assert not innocent, f"told of though they held nothing: {innocent}"
        return told


@pytest.fixture
def field(ctx, chance, kills):
    return Range(ctx, chance, kills)


def count_free(thing, most):
    """How many permits there are, at most `most` + 1, and which deaths one is told of on the way."""
    taken, deaths = 0, []
    while taken <= most:
        try:
            if not thing.acquire(timeout=2 if taken < most else 0):
                break
            taken += 1
        except OwnerDied as error:
            deaths.append(error.pid)
    for _ in range(taken):
        thing.release()
    return taken, deaths


# ---- locks and semaphores ----


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Condition", "Value"])
def test_a_lock_goes_on_and_tells_once_of_each_holder_that_was_killed(field, ctx, kind):
    lock = ctx.Value("i").get_lock() if kind == "Value" else getattr(ctx, kind)()
    depth = 1 if kind == "Lock" else 3
    for _ in range(SURVIVORS):
        field.survivor(kt.hold_again_and_again, (lock,), (depth, True))
    field.cull(lambda: (kt.hold_again_and_again, (lock,), (depth, True)))
    field.end()
    try:
        last = [] if lock.acquire(timeout=2) else None
    except OwnerDied as error:
        last = [error.pid] if lock.acquire(timeout=2) else None
    assert last is not None, "the lock is not free"
    lock.release()
    told = field.check_told(last)
    held = {pid for pid, state in field.states.items() if state == kt.HOLDING}
    # Who is told of a death may be killed before it can note that.
    unnoted = sum(state == kt.TRYING for state in field.states.values())
    assert len(held - told.keys()) <= unnoted
    if len(held) > 10:
        assert told.keys() & held, "many were killed while they held it, and nobody was told"


@pytest.mark.parametrize("kind", ["Semaphore", "BoundedSemaphore"])
def test_all_permits_of_a_semaphore_are_there_in_the_end(field, ctx, kind):
    permits = 3
    semaphore = getattr(ctx, kind)(permits)
    for _ in range(SURVIVORS):
        field.survivor(kt.hold_again_and_again, (semaphore,), (1, False))
    field.cull(lambda: (kt.hold_again_and_again, (semaphore,), (1, False)))
    field.end()
    free, deaths = count_free(semaphore, permits)
    assert free == permits
    field.check_told(deaths)


# ---- what one waits at ----


def test_a_condition_passes_notifications_on(field, ctx):
    condition, turn = ctx.Condition(), ctx.RawArray("Q", 1)
    for me in range(SURVIVORS):
        field.survivor(kt.pass_the_turn, (condition, turn), (me,))
    field.cull(lambda: (kt.wait_and_notify, (condition,), ()))

    def let_go():
        kt.take(condition)
        condition.notify_all()
        condition.release()

    field.end(let_go)
    kt.take(condition)
    assert condition._waiting() == 0
    condition.notify_all()
    assert not condition.wait(0.01), "a notification was left over"
    condition.release()


def test_an_event_lets_everybody_go_on(field, ctx):
    event = ctx.Event()
    for _ in range(SURVIVORS):
        field.survivor(kt.await_event, (event,), ())
    # The last victim may have cleared it.
    field.cull(lambda: (kt.set_clear_and_wait, (event,), ()), after=event.set)
    field.end()
    event.clear()
    assert not event.is_set()


def test_a_barrier_breaks_for_those_who_are_left_and_can_be_mended(field, ctx):
    victims = min(BATCH, field.kills)
    assert field.kills % victims == 0
    barrier = ctx.Barrier(SURVIVORS + victims)
    for _ in range(SURVIVORS):
        field.survivor(kt.meet_again_and_again, (barrier,), ())

    def mend():
        # If one of the dead is among those who wait at it, it breaks by itself.
        wait_until(lambda: barrier.broken or barrier.n_waiting <= SURVIVORS, within_s=10)
        if not barrier.broken:
            barrier.abort()
        wait_until(lambda: all(field.word(row, kt.STATE) == kt.LEAVING for row, _ in field.survivors), within_s=10)
        barrier.reset()
        assert (barrier.n_waiting, barrier.broken) == (0, False)
        field.array[kt.MENDED] += 1

    field.cull(lambda: (kt.meet_again_and_again, (barrier,), ()), after=mend)
    field.end(barrier.abort)


# ---- queues and pipes ----


class Traffic:
    """Producers and consumers on one road: every other victim is a producer, with a name of its own."""

    def __init__(self, field, put, get, done=None):
        self.field, self.put, self.get, self.done = field, put, get, done
        self.ledger = kt.Ledger(field.ctx, 1 + field.kills)
        self.names = count(1)
        self.consumers = 0  # that were killed

    def flow(self):
        field = self.field
        field.survivor(kt.put_numbers, (self.put, self.ledger), (0, 0.002))
        field.survivor(kt.take_numbers, (self.get, self.ledger), (self.done,))
        field.cull(self.victim)
        field.end(self.end)

    def end(self):
        """Behind all that is put: also what the producer, who may have to wait for room, is just putting."""
        _, producer = self.field.survivors[0]
        producer.join(10)
        self.put(None)

    def victim(self):
        name = next(self.names)
        if name % 2:
            return kt.put_numbers, (self.put, self.ledger), (name,)
        self.consumers += 1
        return kt.take_numbers, (self.get, self.ledger), (self.done,)

    def lost(self):
        """How many messages were put and never came; each came at most once, whole and in its producer's order."""
        ledger, lost = self.ledger, 0
        for name, (begun, put) in enumerate(zip(ledger.begun, ledger.put, strict=True)):
            times = bytes(ledger.received[name * kt.LIMIT : name * kt.LIMIT + kt.LIMIT])
            assert put <= begun <= put + 1
            assert set(times) <= {0, 1}, f"a message of producer {name} came twice"
            assert not any(times[begun:]), f"producer {name} never put what came from it"
            lost += times[:put].count(0)
        assert sum(ledger.put) > self.field.kills
        return lost


@pytest.mark.parametrize(
    ("kind", "limits"), [("Queue", ()), ("Queue", (5,)), ("SimpleQueue", ()), ("JoinableQueue", ())]
)
def test_a_queue_loses_and_doubles_nothing_but_what_killed_consumers_had_taken(field, ctx, kind, limits):
    queue = getattr(ctx, kind)(*limits)
    traffic = Traffic(field, queue.put, queue.get, getattr(queue, "task_done", None))
    traffic.flow()
    assert (lost := traffic.lost()) <= traffic.consumers
    assert queue.empty()
    assert queue._channel.check() is None
    if kind == "JoinableQueue":  # what was received may not have been said to be done
        assert lost <= lost_of(queue) <= traffic.consumers


def lost_of(queue):
    """What join() tells of, until it has told all."""
    lost = 0
    while True:
        try:
            queue.join()
            return lost
        except ConsumerDied as error:
            lost += error.lost


def test_a_pipe_loses_and_doubles_nothing_but_what_killed_receivers_had_taken(field, ctx):
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        traffic = Traffic(field, writer.send, reader.recv)
        traffic.flow()
        assert traffic.lost() <= traffic.consumers
        assert not reader.poll()
