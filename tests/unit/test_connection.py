"""Pipe and Connection, within one process."""

import array
import errno
import os
import pickle
import signal
import socket
import threading

import pytest

import procession
from procession import _core, _os
from procession.connection import Connection, Pipe
from procession.engine.packets import INLINE
from procession.errors import BufferTooShort, CannotEncode, SharedObjectGone

SIZES = [0, 1, 4095, 4096, 4097, INLINE - 1, INLINE, INLINE + 1, 1 << 20]


@pytest.fixture
def pipe():
    with_ends = Pipe()
    yield with_ends
    for end in with_ends:
        end.close()


def count_descriptors():
    return len(os.listdir("/proc/self/fd"))


# ---- messages ----


@pytest.mark.parametrize("size", SIZES)
def test_bytes_arrive_as_they_were_sent(pipe, size):
    a, b = pipe
    data = os.urandom(size)
    a.send_bytes(data)
    assert b.poll()
    assert b.recv_bytes() == data


@pytest.mark.parametrize("size", SIZES)
def test_objects_arrive_as_they_were_sent(pipe, size):
    a, b = pipe
    value = [os.urandom(size), {"key": 1.5}, None, ValueError]
    a.send(value)
    assert b.recv() == value


def test_what_cannot_be_pickled_by_name_goes_by_value(pipe):
    a, b = pipe
    a.send(lambda x: x + 1)
    assert b.recv()(1) == 2


def test_large_messages_that_wait_do_not_overwrite_each_other(pipe):
    a, b = pipe
    sent = [bytes([i]) * (INLINE + i + 1) for i in range(8)]
    for data in sent:
        a.send_bytes(data)
    assert [b.recv_bytes() for _ in sent] == sent
    for data in reversed(sent):
        a.send_bytes(data)
        assert b.recv_bytes() == data


def test_a_large_message_after_a_small_one_in_the_same_file_is_whole(pipe):
    a, b = pipe
    for size in (5 << 20, INLINE + 1, 1 << 20, 6 << 20):
        data = os.urandom(size)
        a.send(data)
        assert b.recv() == data


def test_an_object_is_a_pickle_for_who_reads_bytes(pipe):
    a, b = pipe
    for value in ({"a": 1}, b"x" * (INLINE + 1), ValueError("no")):
        a.send(value)
        assert repr(pickle.loads(b.recv_bytes())) == repr(value)
        a.send_bytes(pickle.dumps(value))
        assert repr(b.recv()) == repr(value)


def test_a_part_of_a_buffer_can_be_sent(pipe):
    a, b = pipe
    for arguments, expected in [((2,), b"cdef"), ((2, 3), b"cde"), ((6,), b""), ((6, 0), b"")]:
        a.send_bytes(b"abcdef", *arguments)
        assert b.recv_bytes() == expected
    a.send_bytes(array.array("i", [1, 2]), 4)
    assert b.recv_bytes() == array.array("i", [2]).tobytes()
    a.send_bytes(array.array("i"))
    assert b.recv_bytes() == b""


@pytest.mark.parametrize("arguments", [(-1,), (7,), (4, -1), (4, 3), (6, 1)])
def test_a_part_beyond_the_buffer_is_refused(pipe, arguments):
    with pytest.raises(ValueError, match=r"offset|size"):
        pipe[0].send_bytes(b"abcdef", *arguments)
    assert not pipe[1].poll()


def test_a_hundred_small_messages_need_no_reader(pipe):
    a, b = pipe
    for i in range(100):
        a.send(i)
    assert [b.recv() for _ in range(100)] == list(range(100))


# ---- into a buffer, with a limit ----


@pytest.mark.parametrize("size", [10, INLINE + 10])
def test_a_message_can_be_received_into_a_buffer(pipe, size):
    a, b = pipe
    a.send_bytes(b"x" * size)
    buffer = bytearray(size + 5)
    assert b.recv_bytes_into(buffer, 3) == size
    assert buffer == b"\0" * 3 + b"x" * size + b"\0" * 2


@pytest.mark.parametrize("size", [10, INLINE + 10])
def test_a_message_that_does_not_fit_comes_with_the_error(pipe, size):
    a, b = pipe
    a.send_bytes(b"x" * size)
    a.send_bytes(b"next")
    with pytest.raises(BufferTooShort) as caught:
        b.recv_bytes_into(bytearray(9))
    assert caught.value.args == (b"x" * size,)
    assert b.recv_bytes() == b"next"


@pytest.mark.parametrize(("buffer", "offset", "error"), [(b"123", 0, TypeError), (bytearray(3), 4, ValueError)])
def test_a_wrong_buffer_costs_no_message(pipe, buffer, offset, error):
    a, b = pipe
    a.send_bytes(b"x")
    with pytest.raises(error):
        b.recv_bytes_into(buffer, offset)
    with pytest.raises(ValueError, match="negative"):
        b.recv_bytes_into(bytearray(3), -1)
    with pytest.raises(ValueError, match="negative"):
        b.recv_bytes(-1)
    assert b.recv_bytes(1) == b"x"


@pytest.mark.parametrize("size", [10, INLINE + 10])
def test_after_a_message_over_the_limit_nothing_can_be_received(size):
    for duplex in (True, False):
        reader, writer = Pipe(duplex)
        with reader, writer:
            writer.send_bytes(b"x" * size)
            with pytest.raises(OSError, match="bad message length"):
                reader.recv_bytes(9)
            with pytest.raises(OSError, match="write-only" if duplex else "closed"):
                reader.recv_bytes()
            if duplex:
                reader.send_bytes(b"still")
                assert writer.recv_bytes() == b"still"


# ---- the end ----


def test_the_end_comes_after_what_was_sent(pipe):
    a, b = pipe
    a.send(1)
    a.send(b"x" * (INLINE + 1))
    a.close()
    assert b.recv() == 1
    assert len(b.recv()) == INLINE + 1
    for _ in range(2):
        assert b.poll()
        with pytest.raises(EOFError):
            b.recv()


def test_the_end_comes_also_when_the_other_side_has_not_read_everything(pipe):
    a, b = pipe
    a.send("unread")
    b.send("last")
    b.close()
    assert a.recv() == "last"
    with pytest.raises(EOFError):
        a.recv_bytes()


@pytest.mark.parametrize("size", [1, INLINE, INLINE + 1])
def test_sending_to_nobody_is_a_broken_pipe(pipe, size):
    a, b = pipe
    b.send("unread")
    b.close()
    for _ in range(2):
        with pytest.raises(BrokenPipeError):
            a.send_bytes(b"x" * size)
    with pytest.raises(BrokenPipeError):
        a.send(procession.Queue())


def test_a_one_way_pipe_has_a_reader_and_a_writer():
    reader, writer = Pipe(duplex=False)
    with reader, writer:
        assert (reader.readable, reader.writable, writer.readable, writer.writable) == (True, False, False, True)
        for action in (lambda: reader.send(1), lambda: reader.send_bytes(b"")):
            with pytest.raises(OSError, match="read-only"):
                action()
        for action in (writer.recv, writer.recv_bytes, writer.poll, lambda: writer.recv_bytes_into(bytearray(1))):
            with pytest.raises(OSError, match="write-only"):
                action()


def test_a_closed_connection_says_so(pipe):
    a, _ = pipe
    with a as same:
        assert same is a and not a.closed
    a.close()
    assert a.closed
    for action in (
        a.fileno,
        a.recv,
        a.poll,
        lambda: a.send(1),
        lambda: a.send_bytes(b""),
        lambda: a.recv_bytes_into(b""),
    ):
        with pytest.raises(OSError, match="handle is closed"):
            action()


def test_what_lies_unread_in_a_closed_pipe_is_given_back(pipe):
    before = count_descriptors()
    for _ in range(50):
        a, b = Pipe()
        a.send_bytes(b"x" * (INLINE + 1))
        a.send(pipe[0])
        a.close()
        b.close()
    assert count_descriptors() == before


def test_a_thousand_pipes_leave_no_descriptor():
    before = count_descriptors()
    for _ in range(1000):
        a, b = Pipe()
        a.send(1)
        assert b.recv() == 1
    del a, b
    assert count_descriptors() == before


# ---- errors ----


def test_what_cannot_be_pickled_leaves_the_connection_whole(pipe):
    a, b = pipe
    before = count_descriptors()
    for _ in range(3):
        with pytest.raises(CannotEncode, match="lock"):
            a.send([a, procession.Queue(), threading.Lock()])
    a.send("fine")
    assert b.recv() == "fine"
    assert not b.poll()
    assert count_descriptors() <= before + 1


def test_what_cannot_be_unpickled_costs_only_itself(pipe):
    a, b = pipe
    a.send_bytes(b"\x80\x05nonsense")
    a.send(1)
    with pytest.raises(pickle.UnpicklingError):
        b.recv()
    assert b.recv() == 1


def test_what_others_wrote_into_a_pipe_is_refused(pipe):
    a, b = pipe
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, os.dup(a.fileno())) as end:
        before = count_descriptors()
        for junk in (b"\x01", b"\x01" + b"x" * 24, b"\xff" * 25):
            end.send(junk)
            socket.send_fds(end, [junk[:1]], [a.fileno(), b.fileno()])
            for _ in range(2):
                with pytest.raises(OSError, match="not written by procession"):
                    b.recv()
        assert count_descriptors() == before
    a.send(1)
    assert b.recv() == 1


def test_a_message_with_descriptors_that_find_no_room_says_so(pipe):
    import resource

    a, b = pipe
    a.send_bytes(b"x" * (INLINE + 1))
    a.send("next")
    b.poll()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    try:
        b._end(b.fileno())
        resource.setrlimit(resource.RLIMIT_NOFILE, (count_descriptors() + 20, hard))
        with pytest.raises(OSError, match=r"[Tt]oo many open files"):
            while True:
                taken.append(os.dup(0))
        with pytest.raises(OSError, match="RLIMIT_NOFILE"):
            b.recv_bytes()
        assert b.recv() == "next"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)


def test_a_programs_default_for_timeouts_of_sockets_is_not_for_pipes():
    socket.setdefaulttimeout(0.001)
    try:
        a, b = Pipe()
    finally:
        thread = threading.Timer(0.05, lambda: a.send("late"))
        thread.start()
        assert b.recv() == "late"
        socket.setdefaulttimeout(None)
    thread.join()
    a.close()
    b.close()


def test_a_pipe_with_little_room_takes_every_message(pipe):
    a, b = pipe
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, os.dup(a.fileno())) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    for size in (1, 5000, 100_000, INLINE + 1):
        a.send_bytes(b"x" * size)
        assert b.recv_bytes() == b"x" * size
        a.send([procession.Lock(), b"x" * size])
        assert b.recv()[1] == b"x" * size


@pytest.mark.parametrize("is_open", [True, False])
def test_too_many_large_messages_on_their_way_wait_for_a_reader(pipe, monkeypatch, is_open):
    a, b = pipe
    refused = []
    send = _os.send_packet

    def refuse_thrice(end, parts, fds=()):
        if len(refused) < 3 or not is_open:
            refused.append(fds)
            raise OSError(errno.ETOOMANYREFS, "too many descriptors on their way")
        send(end, parts, fds)

    monkeypatch.setattr(_os, "send_packet", refuse_thrice)
    if not is_open:
        b.close()
        with pytest.raises(BrokenPipeError):
            a.send_bytes(b"x" * (INLINE + 1))
        return
    a.send_bytes(b"x" * (INLINE + 1))
    assert len(refused) == 3 and b.recv_bytes() == b"x" * (INLINE + 1)


# ---- signals ----


def test_a_signal_handler_runs_while_a_message_is_waited_for(pipe):
    a, b = pipe
    previous = signal.signal(signal.SIGUSR1, lambda *_: (a.send("first"), a.send(b.recv() + "!"), a.send("second")))
    thread = threading.Timer(0.02, signal.pthread_kill, (threading.main_thread().ident, signal.SIGUSR1))
    try:
        thread.start()
        assert [b.recv(), b.recv()] == ["first!", "second"]
    finally:
        signal.signal(signal.SIGUSR1, previous)
        thread.join()


def test_a_handler_that_raises_ends_the_wait_and_nothing_is_lost(pipe):
    a, b = pipe

    def interrupt(*_):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGUSR1, interrupt)
    try:
        for wait in (b.recv, b.recv_bytes, lambda: b.poll(None)):
            thread = threading.Timer(0.02, signal.pthread_kill, (threading.main_thread().ident, signal.SIGUSR1))
            thread.start()
            with pytest.raises(KeyboardInterrupt):
                wait()
            thread.join()
    finally:
        signal.signal(signal.SIGUSR1, previous)
    a.send(1)
    assert b.recv() == 1


# ---- shared objects ----


def test_a_shared_object_lives_while_it_is_in_a_pipe(pipe):
    a, b = pipe
    queue = procession.Queue()
    queue.put("kept")
    a.send({"here": [queue]})
    del queue
    _core.process_sweep_dead()
    assert b.recv()["here"][0].get() == "kept"


def test_a_shared_object_beside_much_data(pipe):
    a, b = pipe
    a.send((procession.Lock(), b"x" * (INLINE + 1)))
    lock, data = b.recv()
    assert lock.acquire(False) and len(data) == INLINE + 1
    lock.release()


def test_who_reads_a_shared_object_as_bytes_does_not_keep_it(pipe):
    a, b = pipe
    a.send(procession.Queue())
    data = b.recv_bytes()
    with pytest.raises(SharedObjectGone):
        pickle.loads(data)


def test_a_connection_on_a_copy_of_a_pipes_end_is_like_that_end(pipe):
    a, b = pipe
    with Connection(os.dup(a.fileno())) as copy:
        for sender in (a, copy):
            sender.send(["x" * INLINE, procession.Queue()])
            assert len(b.recv()[0]) == INLINE
        b.send_bytes(b"")
        assert copy.recv_bytes() == b""
    assert all(isinstance(end, Connection) and type(end.fileno()) is int for end in pipe)
