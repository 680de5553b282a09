"""What happens when something runs out: descriptors, processes, memory.  It works, or says what ran out; nothing leaks."""

from __future__ import annotations

import errno
import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import procession
import tasks
from conftest import start, wait_until
from procession import _core, _os
from procession.engine import launch, memory, overseer
from procession.errors import OwnerDied, StartFailed, TaskTimeout


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Meanwhile this process can open nothing, whatever it closes: the standard streams are all that it may have."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def warm_up(ctx: Any) -> None:
    """Import what is imported when it is first needed: that takes descriptors, too."""
    assert ctx.Pool and ctx.Queue and ctx.Lock
    with ctx.Pool(1) as pool:
        assert pool.apply(abs, (-1,), timeout=20) == 1
    for end in ctx.Pipe():
        end.close()


def kill_all(pool: Any) -> None:
    for worker in pool._pool:
        os.kill(worker.pid, signal.SIGKILL)


# ---- descriptors ----


def test_a_start_without_descriptors_says_how_many_there_may_be(ctx):
    warm_up(ctx)
    process = ctx.Process(target=abs, args=(1,))
    with no_descriptors():
        for attempt in (process.start, lambda: ctx.Pool(2)):
            with pytest.raises(OSError, match=r"Too many open files.*\(ulimit -n\)") as caught:
                attempt()
            assert caught.value.errno == errno.EMFILE
    process.start()
    process.join(20)
    assert process.exitcode == 0
    warm_up(ctx)


def test_a_fork_server_that_cannot_be_started_for_want_of_descriptors_is_started_later():
    ctx = procession.get_context("forkserver")
    warm_up(ctx)
    launch.stop_fork_server()
    with no_descriptors(), pytest.raises(OSError, match="ulimit -n"):
        ctx.Process(target=abs, args=(1,)).start()
    warm_up(ctx)


def test_a_pipe_without_descriptors_says_that_files_are_too_many(ctx):
    warm_up(ctx)
    with no_descriptors(), pytest.raises(OSError, match="Too many open files"):
        ctx.Pipe()
    with no_descriptors(), pytest.raises(OSError, match="Too many open files"):
        ctx.Pipe(duplex=False)


def test_locks_events_and_queues_need_no_descriptors(ctx):
    warm_up(ctx)
    assert ctx.Event() and ctx.Barrier(1) and ctx.Queue() and ctx.Value("i")  # what they import
    with no_descriptors():
        event, queue, lock, condition = ctx.Event(), ctx.Queue(), ctx.Lock(), ctx.Condition()
        event.set()
        assert event.wait(1)
        queue.put(b"x" * 3_000_000)
        assert len(queue.get(timeout=1)) == 3_000_000
        with lock, condition:
            condition.notify_all()
        assert ctx.Value("i", 7).value == 7
        assert ctx.Barrier(1).wait(1) == 0


def test_a_pool_that_is_made_works_without_descriptors(ctx):
    warm_up(ctx)
    with ctx.Pool(2) as pool:
        pool.map(abs, [1])
        with no_descriptors():
            assert pool.map(abs, range(-500, 0)) == list(range(500, 0, -1))
            assert len(pool.apply(bytes, (3_000_000,))) == 3_000_000
            assert list(pool.imap(abs, range(100))) == list(range(100))


def test_a_worker_that_cannot_be_replaced_for_want_of_descriptors_is_replaced_later(ctx):
    warm_up(ctx)
    with ctx.Pool(2) as pool:
        pool.map(abs, range(10))
        with no_descriptors():
            victim = pool._pool[0]
            os.kill(victim.pid, signal.SIGKILL)
            while victim in pool._pool:
                assert pool.apply(abs, (-3,)) == 3
            assert pool.map(abs, range(100)) == list(range(100))
            assert len(pool._pool) == 1
        wait_until(lambda: pool.apply(abs, (-1,)) and len(pool._pool) == 2, "the second worker")


def test_work_of_a_pool_without_workers_goes_on_as_soon_as_there_are_descriptors(ctx):
    warm_up(ctx)
    with ctx.Pool(2) as pool:
        pool.map(abs, range(10))
        with no_descriptors():
            kill_all(pool)
            while pool._workers._overseer._stuck_since_ns == 0:
                pool._workers.look_at_workers()
            result = pool.apply_async(abs, (-5,))
            assert not result.ready()
            result.wait(0.3)
            assert not result.ready()
        assert result.get(20) == 5
        assert sorted(pool.map(abs, range(100))) == list(range(100))


def test_nobody_waits_for_ever_for_a_pool_that_cannot_have_workers(ctx, monkeypatch, tmp_path):
    monkeypatch.setattr(overseer, "_PATIENCE_NS", 200_000_000)
    warm_up(ctx)
    told: list[BaseException] = []
    with ctx.Pool(2) as pool:
        pool.map(abs, range(10))
        with no_descriptors():
            kill_all(pool)
            call = pool.apply_async(tasks.arrive, (str(tmp_path / "ran"),), error_callback=told.append)
            a_map = pool.map_async(abs, range(100))
            stream = pool.imap(abs, range(100))
            for wait in (lambda: call.get(20), lambda: a_map.get(20), lambda: next(stream)):
                with pytest.raises(StartFailed, match="ulimit -n"):
                    wait()
        assert pool.map(abs, range(-100, 0)) == list(range(100, 0, -1)), "the pool does not go on"
        wait_until(lambda: pool.apply(abs, (-1,)) and len(pool._pool) == 2, "the second worker")
        assert len(told) == 1 and isinstance(told[0], StartFailed)
        assert not (tmp_path / "ran").exists(), "what was said to have failed was run later"


def test_a_late_task_is_ended_without_descriptors(ctx):
    warm_up(ctx)
    with ctx.Pool(2) as pool:
        pool.map(abs, range(10))
        with no_descriptors(), pytest.raises(TaskTimeout):
            pool.apply(time.sleep, (60,), timeout=0.1)
        assert pool.apply(abs, (-1,)) == 1


def test_a_killed_holder_of_a_lock_is_noticed_without_descriptors(tmp_path):
    ctx = procession.get_context("fork")
    lock = ctx.Lock()
    holder = start(ctx, tasks.acquire_and_arrive, lock, str(tmp_path / "here"))
    wait_until((tmp_path / "here").exists)
    with no_descriptors():
        os.kill(holder.pid, signal.SIGKILL)
        with pytest.raises(OwnerDied):
            lock.acquire(timeout=10)
    holder.join()


# ---- processes ----


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
def test_a_fork_that_the_system_refuses_says_why_and_leaves_nothing(ctx, method, number, monkeypatch):
    warm_up(ctx)
    launch.stop_fork_server()
    slots = process_slots()

    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    process = ctx.Process(target=abs, args=(1,))
    with monkeypatch.context() as patch:
        if method == "fork":
            patch.setattr(os, "fork", lambda: refusing_fork(refuse))
        else:
            patch.setattr(_os, "start_program", refuse)
        for attempt in (process.start, lambda: ctx.Pool(2)):
            with pytest.raises(OSError, match=r"no process can be started; .*(allowed|ulimit -v)") as caught:
                attempt()
            assert caught.value.errno == number
    assert process_slots() == slots
    process.start()
    process.join(20)
    assert process.exitcode == 0


def refusing_fork(refuse: Any) -> int:
    """What os.fork() does where the system refuses: its hooks have run by then."""
    memory._before_fork()
    return int(refuse())


def process_slots() -> int:
    """Process slots of the arena that are in use."""
    return _core.arena_facts()["processes"]
