"""Semaphores, conditions, events and barriers between threads and processes, under every start method."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest

import procession
import tasks
import waiting_tasks
from conftest import join_all, start, wait_until
from procession.synchronize import SEM_VALUE_MAX


def one_of_each(ctx):
    return {
        "lock": ctx.Lock(),
        "rlock": ctx.RLock(),
        "semaphore": ctx.Semaphore(2),
        "bounded": ctx.BoundedSemaphore(2),
        "condition": ctx.Condition(),
        "event": ctx.Event(),
        "barrier": ctx.Barrier(2),
        "joinable": ctx.JoinableQueue(),
        "simple": ctx.SimpleQueue(),
    }


def check_used(things):
    things["barrier"].wait(20)
    assert things["lock"].locked() and things["semaphore"].get_value() == 1 and things["bounded"].get_value() == 1
    assert things["event"].is_set()
    assert things["joinable"].get(timeout=5) == "joinable" and things["simple"].get() == "simple"


# ---- they travel by any road ----


def test_all_of_them_arrive_as_themselves_as_a_process_argument(ctx):
    things = one_of_each(ctx)
    process = start(ctx, waiting_tasks.use_one_of_each, things)
    check_used(things)
    join_all([process])


def test_all_of_them_arrive_as_themselves_through_a_queue(ctx):
    things, road = one_of_each(ctx), ctx.Queue()
    process = start(ctx, waiting_tasks.use_from, road)
    road.put(things)
    check_used(things)
    join_all([process])


def test_all_of_them_arrive_as_themselves_through_a_pipe(ctx):
    things = one_of_each(ctx)
    ours, theirs = ctx.Pipe()
    with ours, theirs:
        process = start(ctx, waiting_tasks.use_from, theirs)
        ours.send(things)
        check_used(things)
    join_all([process])


def test_all_of_them_arrive_as_themselves_as_a_tasks_argument(ctx):
    things = one_of_each(ctx)
    with ctx.Pool(1) as pool:
        result = pool.apply_async(waiting_tasks.use_one_of_each, (things,))
        check_used(things)
        result.get(20)
    pool.join()


# ---- semaphore ----


def test_a_semaphore_lets_in_as_many_as_it_has_permits(ctx, tmp_path):
    semaphore, release = ctx.Semaphore(2), ctx.Event()
    holders = [start(ctx, waiting_tasks.hold_permit, semaphore, str(tmp_path / str(i)), release) for i in range(2)]
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    assert semaphore.locked() and not semaphore.acquire(False) and not semaphore.acquire(timeout=0.05)
    release.set()
    assert semaphore.acquire(timeout=10)
    semaphore.release()
    join_all(holders)
    assert semaphore.get_value() == 2


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore", "BoundedSemaphore"])
def test_with_works_by_whatever_calls_it(kind):
    guard = getattr(procession, kind)()
    with contextlib.ExitStack() as stack:  # calls what the type has
        assert stack.enter_context(guard) is True
        assert guard.locked()
    assert not guard.locked()
    with pytest.raises(ZeroDivisionError), guard:
        1 / 0  # noqa: B018
    enter, leave = guard.__enter__, guard.__exit__
    assert enter() is True
    assert type(guard).__exit__(guard, None, None, None) is None
    assert isinstance(guard, contextlib.AbstractContextManager)
    is_there = weakref.ref(guard)
    del guard
    assert is_there() is None  # at once: it is in no cycle
    enter()  # and what was kept of it still works
    assert leave(None, None, None) is None


def test_a_semaphore_may_be_released_beyond_its_first_value_and_a_bounded_one_not():
    semaphore, bounded = procession.Semaphore(1), procession.BoundedSemaphore(1)
    semaphore.release()
    assert semaphore.get_value() == 2
    with pytest.raises(ValueError, match="released too many times"):
        bounded.release()


@pytest.mark.parametrize("value", [-1, SEM_VALUE_MAX + 1])
@pytest.mark.parametrize("kind", ["Semaphore", "BoundedSemaphore"])
def test_a_value_that_no_semaphore_can_have_is_named(kind, value):
    with pytest.raises(ValueError, match=str(value)):
        getattr(procession, kind)(value)


# ---- condition ----


def test_notify_lets_as_many_go_on_as_it_is_told(ctx):
    condition, arrived, out = ctx.Condition(), ctx.Semaphore(0), ctx.Queue()
    waiters = [start(ctx, waiting_tasks.wait_notified, condition, arrived, out, who) for who in range(4)]
    for _ in waiters:
        assert arrived.acquire(timeout=20)
    with condition:  # all of them wait by now, because the lock is free
        condition.notify(3)
    assert {out.get(timeout=10)[1] for _ in range(3)} == {True}
    with condition:
        assert out.empty() and "1)" in repr(condition)
        condition.notify_all()
    assert out.get(timeout=10)[1]
    join_all(waiters)


def test_a_wait_that_nobody_ends_ends_at_its_time():
    condition = procession.Condition()
    with condition:
        began = time.monotonic()
        assert condition.wait(0.05) is False and condition.wait(0) is False and condition.wait(-1) is False
        assert 0.05 <= time.monotonic() - began < 5
        assert condition.wait_for(lambda: False, 0.05) is False
        assert condition.wait_for(lambda: "yes") == "yes"
    assert condition._waiting() == 0


def test_a_recursive_lock_is_given_up_whole_while_waiting(ctx):
    condition, arrived, out = ctx.Condition(), ctx.Semaphore(0), ctx.Queue()
    with condition, condition:
        waiter = threading.Timer(0, waiting_tasks.wait_notified, (condition, arrived, out, 1))
        waiter.start()
        assert condition.wait_for(lambda: arrived.acquire(False), 0.05) in (True, False)
        wait_until(lambda: condition.wait(0.01) or condition._waiting() == 1)
        condition.notify()
    waiter.join()
    assert out.get(timeout=5) == (1, True)


def test_a_condition_without_its_lock_says_what_is_missing(ctx):
    out = ctx.Queue()
    process = start(ctx, waiting_tasks.wait_without_a_lock, ctx.Condition(), out)
    assert "must acquire() condition before using wait()" in out.get(timeout=10)
    assert "must acquire() condition before using notify()" in out.get(timeout=10)
    join_all([process])


def test_a_counter_is_waited_for_without_missing_a_step(ctx):
    condition, counter = ctx.Condition(), ctx.Value("i", lock=False)
    producers = [start(ctx, waiting_tasks.produce, counter, condition, 300) for _ in range(2)]
    with condition:
        for step in range(0, 601, 50):
            assert condition.wait_for(lambda step=step: counter.value >= step, 20)
    join_all(producers)


def test_a_condition_is_bound_to_the_lock_that_it_was_given():
    lock = procession.Lock()
    condition = procession.Condition(lock)
    with condition:
        assert not lock.acquire(False)
        assert condition.wait(0.01) is False
        assert lock.locked()
    assert not lock.locked()


# ---- event ----


def test_setting_an_event_lets_everybody_go_on(ctx):
    event, arrived, out = ctx.Event(), ctx.Semaphore(0), ctx.Queue()
    waiters = [start(ctx, waiting_tasks.wait_for_event, event, arrived, out) for _ in range(3)]
    for _ in waiters:
        assert arrived.acquire(timeout=20)
    assert not event.is_set() and not event.wait(0.01)
    event.set()
    assert [out.get(timeout=10) for _ in waiters] == [True] * 3
    assert event.is_set() and event.wait(0) and " set" in repr(event)
    event.clear()
    assert not event.wait(0) and " unset" in repr(event)
    join_all(waiters)


# ---- barrier ----


def test_everybody_goes_through_a_barrier_together_and_has_a_number(ctx):
    barrier, out = ctx.Barrier(3), ctx.Queue()
    parties = [start(ctx, waiting_tasks.meet, barrier, 20, out) for _ in range(3)]
    got = [out.get(timeout=20) for _ in range(60)]
    assert sorted(got) == [(number, index) for number in range(20) for index in range(3)]
    assert [number for number, _ in got] == sorted(number for number, _ in got)
    join_all(parties)
    assert barrier.n_waiting == 0 and not barrier.broken and barrier.parties == 3


def test_a_barrier_that_not_all_reach_breaks_at_its_time_until_it_is_reset():
    barrier = procession.Barrier(2, timeout=0.05)
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()
    assert barrier.broken
    with pytest.raises(threading.BrokenBarrierError, match="reset"):
        barrier.wait(10)
    barrier.reset()
    assert not barrier.broken


@pytest.mark.parametrize("end", ["abort", "reset"])
def test_those_who_wait_at_a_barrier_learn_that_it_was_ended(ctx, end):
    barrier, out = ctx.Barrier(2), ctx.Queue()
    party = start(ctx, waiting_tasks.meet_once, barrier, out)
    wait_until(lambda: barrier.n_waiting == 1)
    getattr(barrier, end)()
    assert "barrier" in out.get(timeout=10)
    assert barrier.broken == (end == "abort")
    join_all([party])


def test_a_barriers_action_runs_once_for_each_round_and_breaks_it_if_it_raises():
    calls = []
    barrier = procession.Barrier(1, lambda: calls.append(1))
    assert [barrier.wait() for _ in range(3)] == [0, 0, 0] and len(calls) == 3
    barrier = procession.Barrier(1, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        barrier.wait()
    assert barrier.broken


# ---- what they look like ----


def test_a_lock_says_who_holds_it(ctx, tmp_path):
    lock, rlock = ctx.Lock(), ctx.RLock()
    assert repr(lock) == "<Lock(owner=None)>" and repr(rlock) == "<RLock(None, 0)>"
    with lock, rlock, rlock:
        assert repr(lock) == "<Lock(owner=MainProcess)>" and repr(rlock) == "<RLock(MainProcess, 2)>"
        seen = []
        thread = threading.Thread(target=lambda: seen.append((repr(lock), repr(rlock))))
        thread.start()
        thread.join()
        assert seen == [("<Lock(owner=SomeOtherThread)>", "<RLock(SomeOtherThread, nonzero)>")]
    holder = start(ctx, tasks.acquire_and_arrive, rlock, str(tmp_path / "here"))
    wait_until((tmp_path / "here").exists)
    assert repr(rlock) == "<RLock(SomeOtherProcess, nonzero)>" and rlock.locked()
    holder.kill()
    holder.join()


# ---- what they cost ----

_MANY = """
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
import procession
locks = [procession.Lock() for _ in range(100_000)]
queues = [procession.Queue() for _ in range(10_000)]
for thing in locks: thing.acquire()
for number, thing in enumerate(queues): thing.put(number)
assert [thing.get() for thing in queues] == list(range(10_000))
print(len(os.listdir("/proc/self/fd")))
"""


@pytest.mark.deadline(60)
def test_a_hundred_thousand_locks_and_ten_thousand_queues_need_no_descriptors():
    done = subprocess.run([sys.executable, "-c", _MANY], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 10


# ---- signals ----


@pytest.mark.parametrize("kind", ["lock", "rlock", "semaphore", "condition", "event", "barrier", "joinable"])
def test_a_signals_handler_runs_while_one_waits_and_may_end_it(kind):
    class Stop(Exception): ...

    def handler(number, frame):
        if len(seen) == 2:
            raise Stop
        seen.append(number)

    ctx, seen = procession.get_context("fork"), []
    things = one_of_each(ctx) | {"semaphore": ctx.Semaphore(0)}
    thing = things[kind]
    things["joinable"].put(1)
    holding = threading.Event()

    def hold():
        thing.acquire()
        holding.set()
        done.wait()
        thing.release()

    done, holder = threading.Event(), threading.Thread(target=hold)
    if "lock" in kind:
        holder.start()
        holding.wait()
    elif kind == "condition":
        thing.acquire()
    previous = signal.signal(signal.SIGUSR1, handler)
    ticker = subprocess.Popen(["bash", "-c", f"while kill -USR1 {os.getpid()} 2>/dev/null; do sleep 0.05; done"])
    try:
        with pytest.raises(Stop):
            getattr(
                thing, {"joinable": "join"}.get(kind, "acquire" if "lock" in kind or kind == "semaphore" else "wait")
            )()
    finally:
        ticker.kill()
        ticker.wait()
        signal.signal(signal.SIGUSR1, previous)
        done.set()
    assert len(seen) == 2
    if "lock" in kind:
        holder.join()
    elif kind == "condition":
        thing.release()
