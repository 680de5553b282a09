"""Descriptors on their way through bytes, and the names of ``reduction`` and ``resource_sharer``."""

import io
import os
import pickle
import socket
import threading
from multiprocessing import context as stock_context
from multiprocessing import reduction as stock_reduction

import pytest

import procession
from conftest import wait_until
from procession import _os, _stdlib, reduction, resource_sharer
from procession.connection import Connection, Pipe
from procession.engine import descriptors, sharer
from procession.errors import CannotEncode, SharedObjectGone


@pytest.fixture(autouse=True)
def nothing_kept():
    yield
    resource_sharer.stop()


@pytest.fixture
def pipe():
    ends = Pipe()
    yield ends
    for end in ends:
        end.close()


def is_serving():
    return any(thread.name == "procession-descriptors" for thread in threading.enumerate())


def from_elsewhere(ticket):
    """As another process would fetch it."""
    return sharer._fetch(ticket.address, ticket.key)


# ---- the sharer ----


@pytest.mark.parametrize("fetch", [from_elsewhere, lambda ticket: pickle.loads(pickle.dumps(ticket)).detach()])
def test_a_descriptor_is_given_once(pipe, fetch):
    a, _ = pipe
    ticket = resource_sharer.DupFd(a.fileno())
    with Connection(fetch(ticket)) as copy:
        assert not os.get_inheritable(copy.fileno())
        assert os.fstat(copy.fileno()) == os.fstat(a.fileno())
    with pytest.raises(SharedObjectGone, match=str(os.getpid())):
        ticket.detach()
    assert from_elsewhere(ticket) is None


def test_the_thread_ends_with_the_last_descriptor(pipe):
    first, second = (resource_sharer.DupFd(end.fileno()) for end in pipe)
    os.close(from_elsewhere(first))
    assert is_serving()
    os.close(second.detach())
    wait_until(lambda: not is_serving())


def test_who_is_silent_or_knows_no_key_keeps_nobody_waiting(pipe):
    ticket = resource_sharer.DupFd(pipe[0].fileno())
    silent = [_os.connect_nearby(ticket.address) for _ in range(20)]
    try:
        assert sharer._fetch(ticket.address, b"no such key") is None
        assert sharer._fetch(ticket.address, b"x" * 100) is None
        os.close(from_elsewhere(ticket))
    finally:
        for client in silent:
            client.close()


def test_stop_closes_what_nobody_has_fetched(pipe):
    before = len(os.listdir("/proc/self/fd"))
    tickets = [resource_sharer.DupFd(pipe[0].fileno()) for _ in range(5)]
    resource_sharer.stop(timeout=5)
    assert len(os.listdir("/proc/self/fd")) == before
    for ticket in tickets:
        assert from_elsewhere(ticket) is None
        with pytest.raises(SharedObjectGone):
            ticket.detach()
    os.close(resource_sharer.DupFd(pipe[0].fileno()).detach())
    resource_sharer.stop()


def test_a_forked_child_has_no_copy_of_what_is_kept(pipe, fresh_fork_server):
    a, b = pipe
    ticket = resource_sharer.DupFd(a.fileno())
    a.close()
    said, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            b.close()
            copies = [fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
            own = resource_sharer.DupFd(said)
            os.close(own.detach())
            os.write(told, str(len([fd for fd in copies if _is_socket(int(fd))])).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    sockets = [
        fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}") and _is_socket(int(fd))
    ]
    # Here there are b, the copy that is kept and the listener more than there.
    assert int(os.read(said, 10)) == len(sockets) - 3
    os.close(said)
    os.close(told)
    with Connection(ticket.detach()):
        pass


def _is_socket(fd):
    try:
        return "socket" in os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return False


@pytest.mark.parametrize("last", [threading.Lock, lambda: socket.socket])
def test_what_is_not_sent_after_all_is_not_kept(pipe, last):
    queue = procession.Queue()
    thing = last()
    if thing is socket.socket:
        with socket.socket() as sock:
            queue.put([pipe[0], sock])  # plain pickle begins and refuses
        assert len(sharer._sharer._kept) == 2
        for got in queue.get():
            got.close()
    else:
        with pytest.raises(CannotEncode):
            queue.put([*pipe, thing])
    assert not sharer._sharer._kept


def test_a_failure_takes_back_only_this_threads(pipe):
    kept = resource_sharer.DupFd(pipe[0].fileno())
    ready, done = threading.Event(), threading.Event()
    others = []

    def keep():
        ready.wait(5)
        others.append(resource_sharer.DupFd(pipe[0].fileno()))
        done.set()

    class Meanwhile:
        def __reduce__(self):
            ready.set()
            done.wait(5)
            raise TypeError("no")

    thread = threading.Thread(target=keep)
    thread.start()
    with pytest.raises(CannotEncode):
        procession.Queue().put([pipe[0], Meanwhile()])
    thread.join()
    for ticket in (kept, *others):
        os.close(ticket.detach())


# ---- which way they go ----


def test_through_a_pipe_they_go_along_and_no_thread_is_needed(pipe):
    a, b = pipe
    inner, other = Pipe()
    left, right = socket.socketpair()
    a.send({"conn": inner, "sock": left, "same": inner})
    got = b.recv()
    assert not is_serving()
    got["conn"].send("through")
    assert other.recv() == "through"
    got["sock"].send(b"through")
    assert right.recv(10) == b"through"
    assert got["same"] is got["conn"]
    assert (got["sock"].family, got["sock"].type) == (left.family, left.type)
    for thing in (inner, other, left, right, got["conn"], got["sock"]):
        thing.close()


def test_more_than_the_system_takes_along_are_fetched(pipe):
    a, b = pipe
    copies = [Connection(os.dup(a.fileno())) for _ in range(300)]
    a.send(copies)
    got = b.recv()
    assert len(got) == 300
    assert len({conn.fileno() for conn in [*copies, *got]}) == 600
    del copies, got


def test_a_connection_deep_in_pipes_arrives(pipe):
    """The system refuses sockets that lie in sockets in sockets ...; those are fetched."""
    outer = [Pipe() for _ in range(8)]
    innermost, far = Pipe()
    thing = innermost
    for writer, reader in outer:
        writer.send(thing)
        thing = reader
    for _ in outer:
        thing = thing.recv()
    thing.send("from the depth")
    assert far.recv() == "from the depth"
    for end in (innermost, far, thing, *(end for ends in outer for end in ends)):
        end.close()


def test_a_pickle_without_its_descriptors_says_so(pipe):
    a, b = pipe
    a.send(pipe[0])
    data = b.recv_bytes()
    with pytest.raises(SharedObjectGone, match="did not come with it"):
        pickle.loads(data)


def test_a_closed_connection_cannot_be_sent(pipe):
    a, _ = pipe
    inner, other = Pipe()
    inner.close()
    other.close()
    with pytest.raises(CannotEncode, match="closed"):
        a.send(inner)


def test_while_a_child_is_started_stock_objects_give_us_their_descriptors():
    left, right = socket.socketpair()
    with left, right:
        with descriptors.Bundle(is_for_child=True) as bundle:
            assert stock_context.get_spawning_popen() is bundle
            stock_context.assert_spawning(left)
            ticket = stock_reduction.DupFd(left.fileno())
            assert len(bundle.fds) == 1 and bundle.fds[0] != left.fileno()
            with descriptors.arriving([os.dup(fd) for fd in bundle.fds]):
                copy = pickle.loads(pickle.dumps(ticket)).detach()
                with pytest.raises(SharedObjectGone):
                    ticket.detach()
        os.write(copy, b"x")
        assert right.recv(1) == b"x"
        os.close(copy)
        assert stock_context.get_spawning_popen() is None
        with pytest.raises(RuntimeError, match="inheritance"):
            _stdlib.assert_spawning(left)


def test_somebody_elses_start_of_a_child_is_honoured(pipe):
    class Popen:
        fds: list[int] = []

        def duplicate_for_child(self, fd):
            self.fds.append(fd)
            return fd

        def DupFd(self, fd):
            return resource_sharer.DupFd(fd)

    popen = Popen()
    _stdlib.set_spawning_popen(popen)
    try:
        conn = pickle.loads(reduction.ForkingPickler.dumps(pipe[0]))
    finally:
        _stdlib.set_spawning_popen(None)
    assert popen.fds == [pipe[0].fileno()]
    conn.send(1)
    assert pipe[1].recv() == 1
    conn.close()


# ---- reduction ----


def test_a_handle_goes_over_any_unix_socket(pipe, tmp_path):
    pairs = [pipe, tuple(Connection(end.detach()) for end in socket.socketpair())]
    for sender, receiver in pairs:
        with open(tmp_path / "file", "w+b") as file:
            reduction.send_handle(sender, file.fileno(), os.getpid())
            fd = reduction.recv_handle(receiver)
            os.write(fd, b"written")
            os.close(fd)
            assert (tmp_path / "file").read_bytes() == b"written"
        os.write(sender.fileno(), b"\0")
        with pytest.raises(RuntimeError, match="received 0"):
            reduction.recv_handle(receiver)
        sender.close()
        with pytest.raises(EOFError):
            reduction.recv_handle(receiver)
        receiver.close()


def test_several_descriptors_go_over_a_socket_or_none_is_kept():
    left, right = socket.socketpair()
    with left, right:
        reduction.sendfds(left, [0, 1])
        got = reduction.recvfds(right, 2)
        assert len(got) == 2
        for fd in got:
            os.close(fd)
        before = len(os.listdir("/proc/self/fd"))
        reduction.sendfds(left, [0, 1])
        with pytest.raises(RuntimeError, match="received 2"):
            reduction.recvfds(right, 1)
        assert len(os.listdir("/proc/self/fd")) == before


def test_dump_knows_what_was_registered():
    class Thing:
        pass

    reduction.register(Thing, lambda thing: (str, ("a thing",)))
    try:
        file = io.BytesIO()
        reduction.dump([Thing()], file)
        assert pickle.loads(file.getvalue()) == ["a thing"]
    finally:
        del reduction.ForkingPickler._extra_reducers[Thing]


def test_the_table_of_reducers_is_the_standard_librarys():
    assert reduction.ForkingPickler is stock_reduction.ForkingPickler
    assert reduction.HAVE_SEND_HANDLE
    assert reduction.AbstractReducer.dump is reduction.dump


def test_what_many_read_is_given_to_each_as_long_as_it_lasts(pipe):
    with descriptors.lasting() as lasting:
        ticket = descriptors.DupFd(pipe[0].fileno())
        other = descriptors.DupFd(pipe[1].fileno())
    once = descriptors.DupFd(pipe[0].fileno())
    for fetch in (from_elsewhere, from_elsewhere, lambda ticket: ticket.detach(), from_elsewhere):
        for given in (ticket, other):
            os.close(fetch(given))
    os.close(once.detach())
    assert is_serving()
    del lasting
    wait_until(lambda: not is_serving())
    assert from_elsewhere(ticket) is None


def test_the_garbage_collector_may_end_what_lasts_at_any_moment(pipe):
    with descriptors.lasting() as lasting:
        ticket = descriptors.DupFd(pipe[0].fileno())
    with sharer._sharer._lock:
        del lasting  # as if the collector ran here
    fetched = resource_sharer.DupFd(pipe[0].fileno())
    assert from_elsewhere(ticket) is None
    os.close(fetched.detach())
    wait_until(lambda: not is_serving())
