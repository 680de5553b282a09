"""Locks and queues whose users are killed, and forks at awkward moments."""

import os
import random
import signal
import threading
import time
from queue import Empty

import pytest

import procession
import tasks
from conftest import start, wait_until
from procession.errors import OwnerDied


def test_a_lock_whose_holder_was_killed_says_so_once_and_is_free(ctx, tmp_path):
    lock = ctx.Lock()
    holder = start(ctx, tasks.acquire_and_arrive, lock, str(tmp_path / "here"))
    wait_until((tmp_path / "here").exists)
    assert not lock.acquire(False)
    holder.kill()
    holder.join()
    with pytest.raises(OwnerDied, match=str(holder.pid)) as caught:
        lock.acquire(timeout=5)
    assert caught.value.pid == holder.pid
    assert lock.acquire(timeout=5)
    lock.release()


def test_who_waits_for_a_lock_learns_of_its_holders_death_in_a_second(ctx, tmp_path):
    lock = ctx.Lock()
    holder = start(ctx, tasks.acquire_and_arrive, lock, str(tmp_path / "here"))
    wait_until((tmp_path / "here").exists)
    outcome = []

    def wait():
        began = time.monotonic()
        try:
            lock.acquire()
        except OwnerDied as error:
            outcome.append((error.pid, time.monotonic()))
        else:
            outcome.append(("acquired", began))

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(thread.is_alive)
    killed = time.monotonic()
    os.kill(holder.pid, signal.SIGKILL)
    thread.join(5)
    assert outcome and outcome[0][0] == holder.pid
    assert outcome[0][1] - killed < 1.5
    holder.join()
    with lock:
        pass


def test_a_value_whose_lock_holder_was_killed_goes_on(ctx, tmp_path):
    value = ctx.Value("i", 5)
    holder = start(ctx, tasks.acquire_and_arrive, value, str(tmp_path / "here"))
    wait_until((tmp_path / "here").exists)
    holder.kill()
    holder.join()
    with pytest.raises(OwnerDied):
        value.acquire(timeout=5)
    assert value.value == 5


@pytest.mark.parametrize("size", [10, 3000])
def test_a_queue_survives_fifty_readers_killed_at_random_moments(size, tmp_path):
    """What a killed reader had taken is lost, at most one each; the rest arrives once and in order."""
    chance = random.Random(size)
    queue, acknowledged = procession.Queue(), tmp_path / "log"
    acknowledged.touch()
    sent = 0
    for _ in range(50):
        reader = start(procession.get_context("fork"), tasks.acknowledge, queue, str(acknowledged))
        end = time.monotonic() + chance.uniform(0.002, 0.012)
        while time.monotonic() < end:
            queue.put((sent, b"x" * size))
            sent += 1
        reader.kill()
        reader.join()
    last = start(procession.get_context("fork"), tasks.acknowledge, queue, str(acknowledged))
    queue.put(None)
    last.join(15)
    assert last.exitcode == 0
    seen = [int(line) for line in acknowledged.read_text().split()]
    assert len(set(seen)) == len(seen), "doubled"
    assert seen == sorted(seen), "out of order"
    assert sent - len(seen) <= 50, f"{sent - len(seen)} of {sent} lost by 50 kills"
    assert queue._channel.check() is None


@pytest.mark.parametrize("size", [10, 3000, 200_000])
def test_a_queue_survives_fifty_writers_killed_at_random_moments(size):
    """Each writer's numbers come without a gap, as far as it got, and whole."""
    chance = random.Random(size)
    queue = procession.Queue()
    for who in range(50):
        writer = start(procession.get_context("fork"), tasks.write_for_ever, queue, who, size)
        first = queue.get(timeout=10)
        assert first[:2] == (who, 0)
        expected = 1
        end = time.monotonic() + chance.uniform(0.001, 0.008)
        while time.monotonic() < end:
            pass
        writer.kill()
        writer.join()
        while True:
            try:
                got = queue.get_nowait()
            except Empty:
                break
            assert got[:2] == (who, expected) and len(got[2]) == size
            expected += 1
    assert queue._channel.check() is None


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_a_waiting_reader_that_is_ended_takes_nothing_with_it(ctx, end):
    queue = ctx.Queue()
    for i in range(5):
        reader = start(ctx, tasks.take_until_none, queue, queue)
        getattr(reader, end)()
        reader.join()
        queue.put(i)
        assert queue.get(timeout=5) == i


def test_a_bare_fork_may_use_a_queue():
    queue, back = procession.Queue(), procession.Queue()
    pid = os.fork()
    if pid == 0:
        try:
            back.put(queue.get(timeout=10) * 2)
        finally:
            os._exit(0)
    queue.put(21)
    assert back.get(timeout=10) == 42
    os.waitpid(pid, 0)
    from procession import _core

    wait_until(lambda: _core.process_sweep_dead() or True)


def test_a_bare_fork_may_not_use_the_parents_pool_but_its_own():
    with procession.get_context("fork").Pool(2) as pool:
        pool.map(tasks.double, range(10))
        out = procession.Queue()
        pid = os.fork()
        if pid == 0:
            try:
                try:
                    pool.map(tasks.double, [1])
                except ValueError as error:
                    out.put(str(error))
                with procession.get_context("fork").Pool(1) as own:
                    out.put(own.map(tasks.double, [1, 2]))
            finally:
                os._exit(0)
        assert "parent" in out.get(timeout=10)
        assert out.get(timeout=10) == [2, 4]
        os.waitpid(pid, 0)
        assert pool.map(tasks.double, [1, 2]) == [2, 4]
    pool.join()
    from procession import _core

    _core.process_sweep_dead()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forks_while_threads_use_everything():
    """Other threads hold the library's locks at the moment of a fork; no child may hang on them."""
    stop, failures = threading.Event(), []
    queue, lock = procession.Queue(), procession.Lock()
    ctx = procession.get_context("fork")
    pool = ctx.Pool(2)

    def guarded(use):
        try:
            while not stop.is_set():
                use()
        except BaseException as error:
            failures.append(repr(error))

    def through_queue():
        queue.put([1, procession.Lock()])
        queue.get()

    uses = [through_queue, lambda: pool.map(tasks.double, range(20)), lambda: (lock.acquire(), lock.release())]
    threads = [threading.Thread(target=guarded, args=(use,)) for use in uses]
    for thread in threads:
        thread.start()
    try:
        for _ in range(60):
            child = start(ctx, tasks.use_everything)
            child.join(5)
            assert child.exitcode == 0, f"a child hangs: {child}"
    finally:
        stop.set()
        for thread in threads:
            thread.join(5)
        pool.terminate()
        pool.join()
    assert failures == []
    del child
