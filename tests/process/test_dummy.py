"""procession.dummy: the names of processes, and threads behind them."""

import array
import queue
import threading

import pytest

import procession.dummy as dummy
import tasks
from conftest import wait_until
from procession.dummy import connection
from procession.pool import ThreadPool


def started(target, *arguments):
    process = dummy.Process(target=target, args=arguments)
    process.start()
    return process


def test_a_process_is_a_thread():
    seen = []
    process = dummy.Process(
        target=lambda *a, **k: seen.append((a, k, dummy.current_process())), args=[1], kwargs={"b": 2}
    )
    process.daemon = True
    assert isinstance(process, threading.Thread) and process.exitcode is None and not process.is_alive()
    process.start()
    process.join()
    assert seen == [((1,), {"b": 2}, process)]
    assert process.exitcode == 0 and not process.is_alive()


def test_a_process_runs_what_a_subclass_says():
    class Own(dummy.Process):
        def run(self):
            self.did = self.name

    process = Own(name="mine")
    process.start()
    process.join()
    assert process.did == "mine"


def test_active_children_are_those_of_this_thread_that_run():
    go, inner = threading.Event(), []
    child = started(lambda: (inner.append(dummy.active_children()), go.wait(20)))
    wait_until(lambda: inner)
    assert dummy.active_children() == [child] and inner == [[]] and child.exitcode is None
    go.set()
    child.join()
    assert dummy.active_children() == []


def test_only_the_thread_that_made_a_process_starts_it():
    process, errors = dummy.Process(), []

    def start():
        try:
            process.start()
        except RuntimeError as error:
            errors.append(str(error))

    started(start).join()
    assert errors and "only that thread can start it" in errors[0]


def test_a_pool_is_one_of_threads():
    with dummy.Pool(2, tasks.nothing, (1,)) as pool:
        assert type(pool) is ThreadPool
        assert pool.map(tasks.double, range(10)) == list(range(0, 20, 2))
    pool.join()


def test_everything_a_manager_has_is_here():
    manager = dummy.Manager()
    assert manager.list([1]) == [1] and manager.dict(a=1) == {"a": 1}
    assert manager.Array("i", [1, 2]) == array.array("i", [1, 2])
    value = manager.Value("i", 5)
    value.value += 1
    assert value.value == 6 and repr(value) == "<Value('i', 6)>"
    assert repr(manager.Namespace(name="Bob", _hidden=1)) == "Namespace(name='Bob')"
    assert manager.Queue is manager.JoinableQueue is queue.Queue
    with manager.Lock(), manager.RLock(), manager.Semaphore(), manager.BoundedSemaphore(), manager.Condition():
        pass
    assert not manager.Event().is_set() and manager.Barrier(1).wait() == 0
    assert manager.shutdown() is None and dummy.freeze_support() is None


def test_all_names_are_there():
    assert all(hasattr(dummy, name) for name in dummy.__all__)
    assert all(hasattr(connection, name) for name in connection.__all__)


@pytest.mark.parametrize("duplex", [True, False])
def test_a_pipe_carries_objects_as_they_are(duplex):
    receiver, sender = dummy.Pipe(duplex)
    thing = object()
    with receiver, sender:
        sender.send(thing)
        sender.send_bytes(b"bytes")
        assert receiver.recv() is thing and receiver.recv_bytes() == b"bytes"


def test_poll_says_whether_there_is_something():
    ours, theirs = dummy.Pipe()
    assert not ours.poll() and not ours.poll(-1) and not ours.poll(0.01)
    child = started(theirs.send, 1)
    assert ours.poll(20) and ours.poll(None) and ours.poll()
    child.join()
    assert ours.recv() == 1 and not ours.poll()


def test_a_client_finds_its_listener():
    assert connection.families == [None]
    with connection.Listener() as listener:
        child = started(lambda: connection.Client(listener.address).send("hello"))
        with listener.accept() as accepted:
            assert accepted.recv() == "hello"
        child.join()
    assert listener.address is None
    with pytest.raises(OSError, match="closed"):
        listener.accept()
