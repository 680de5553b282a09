"""Clients and servers of managers that are killed."""

import os
import signal
import stat
import subprocess
import sys

import pytest

import procession
from conftest import is_running, start, wait_until
from procession import managers, util


@pytest.fixture
def manager():
    with procession.get_context("fork").Manager() as manager:
        yield manager


def hold(thing, arrived):
    thing.acquire()
    arrived.set()
    signal.pause()


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition"])
def test_what_a_killed_client_had_taken_is_free(manager, kind):
    ctx = procession.get_context("fork")
    thing, arrived = getattr(manager, kind)(), manager.Event()
    holder = start(ctx, hold, thing, arrived)
    assert arrived.wait(10) and not thing.acquire(False)
    holder.kill()
    holder.join()
    assert thing.acquire(True, 10)


def wait_for_lock(lock, about_to):
    about_to.set()
    lock.acquire()


def test_a_killed_client_does_not_get_the_lock_that_it_waited_for(manager):
    ctx = procession.get_context("fork")
    lock, about_to = manager.Lock(), manager.Event()
    lock.acquire()
    waiter = start(ctx, wait_for_lock, lock, about_to)
    assert about_to.wait(10)
    waiter.kill()
    waiter.join()
    lock.release()
    assert lock.acquire(True, 10)


def get(inbox, about_to):
    about_to.set()
    inbox.get()


def test_a_killed_client_takes_nothing_out_of_a_queue(manager):
    ctx = procession.get_context("fork")
    inbox, about_to = manager.Queue(), manager.Event()
    getter = start(ctx, get, inbox, about_to)
    assert about_to.wait(10)
    getter.kill()
    getter.join()
    for number in range(3):
        inbox.put(number)
    assert [inbox.get(True, 10) for _ in range(3)] == [0, 1, 2]


def keep(manager_address, authkey, arrived):
    other = managers.SyncManager(manager_address, authkey)
    other.connect()
    mine = [other.list(), other.dict()]
    arrived.set()
    signal.pause()
    del mine


def test_what_a_killed_client_referred_to_is_gone(manager):
    ctx = procession.get_context("spawn")
    arrived = manager.Event()
    keeper = start(ctx, keep, manager.address, bytes(manager._authkey), arrived)
    assert arrived.wait(20)
    assert manager._number_of_objects() == 3
    keeper.kill()
    keeper.join()
    wait_until(lambda: manager._number_of_objects() == 1)


def wait_at(barrier):
    barrier.wait()


def test_a_barrier_breaks_with_a_killed_client(manager):
    import threading

    ctx = procession.get_context("fork")
    barrier = manager.Barrier(2)
    waiter = start(ctx, wait_at, barrier)
    wait_until(lambda: barrier.n_waiting == 1)
    waiter.kill()
    waiter.join()
    wait_until(lambda: barrier.broken)
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()


def test_a_killed_server_is_an_error_at_once_and_shutdown_goes_on(manager):
    numbers = manager.list()
    manager._process.kill()
    manager._process.join()
    with pytest.raises((EOFError, OSError), match=r"has ended|refused|No such file"):
        numbers.append(1)
    with pytest.raises(OSError):
        numbers.append(1)


def test_a_killed_server_leaves_no_socket(ctx):
    with ctx.Manager() as manager:
        assert os.path.exists(manager.address)
        manager._process.kill()
        manager._process.join()
    assert not os.path.exists(manager.address)
    assert os.path.dirname(manager.address) in ("", util._temp_dir) or not os.path.exists(
        os.path.dirname(manager.address)
    )


def count_sockets():
    count = 0
    for fd in range(1024):
        try:
            count += stat.S_ISSOCK(os.fstat(fd).st_mode)
        except OSError:
            pass
    return count


def test_the_link_to_a_dead_server_is_closed():
    with managers.SyncManager(("127.0.0.1", 0), b"key") as server:
        before = count_sockets()
        client = managers.SyncManager(server.address, b"key")
        client.connect()
        numbers = client.list()
        server._process.kill()
        server._process.join()
        with pytest.raises((EOFError, OSError)):
            numbers.append(1)
        assert count_sockets() <= before


def test_a_stopped_server_is_ended_all_the_same(manager):
    os.kill(manager._process.pid, signal.SIGSTOP)
    manager._shutdown_timeout = 0.2
    manager._finalize._args = (*manager._finalize._args[:-3], 0.2, *manager._finalize._args[-2:])
    manager.shutdown()
    assert manager._process.exitcode == -signal.SIGKILL


def test_a_server_ends_with_the_process_that_started_it():
    program = (
        "import procession, os, signal\n"
        "m = procession.Manager()\n"
        "print(m._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = os.path.dirname(os.path.dirname(procession.__file__))
    found = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    pid = int(found.stdout)
    wait_until(lambda: not is_running(pid))


def interrupt_self(inbox, arrived):
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(InterruptedError("enough")))
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        inbox.get()
    except InterruptedError:
        pass
    inbox.put("mine")
    arrived.put(inbox.get())


def test_an_answer_that_nobody_waits_for_any_more_is_not_taken_for_another(manager):
    ctx = procession.get_context("fork")
    inbox, arrived = manager.Queue(), manager.Queue()
    process = start(ctx, interrupt_self, inbox, arrived)
    assert arrived.get(True, 10) == "mine"
    process.join()
