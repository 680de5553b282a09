"""connection.wait over everything that can be waited for."""

import os
import socket
import threading
import time

import pytest

from procession.connection import Connection, Pipe, wait
from procession.engine import memory


class Ringer:
    """As our queues are: ready when its channel holds something."""

    def __init__(self):
        self.channel = memory.channel()
        self.armed = 0

    def _wait_arm(self, bell):
        self.armed += 1
        assert self.channel.listen(bell)
        return len(self.channel) > 0

    def _wait_disarm(self, bell):
        self.channel.unlisten(bell)


@pytest.fixture
def pipes():
    ends = [end for _ in range(3) for end in Pipe()]
    yield ends
    for end in ends:
        end.close()


def test_what_is_ready_comes_in_the_order_of_the_list(pipes):
    a, b, c, d, *_ = pipes
    left, right = socket.socketpair()
    with left, right:
        for end in (a, c):
            end.send(1)
        left.send(b"x")
        assert wait([d, right, a, b, right.fileno(), d], 5) == [d, right, b, right.fileno(), d]


@pytest.mark.parametrize("timeout", [0, -1, -0.5, 0.02])
def test_nothing_is_ready_in_time(pipes, timeout):
    began = time.monotonic()
    assert wait(pipes, timeout) == []
    assert max(0, timeout) <= time.monotonic() - began < 1


def test_nothing_can_be_waited_for_and_never_comes():
    assert wait([], 0.01) == []
    assert wait([]) == []


def test_an_end_is_ready(pipes):
    a, b, *_ = pipes
    b.close()
    assert wait([pipes[2], a]) == [a]


def test_a_thousand_things_can_be_waited_for(pipes):
    a, b, *_ = pipes
    fds = [os.dup(pipes[2].fileno()) for _ in range(500)]
    try:
        a.send(1)
        assert wait([*fds, b, *fds]) == [b]
    finally:
        for fd in fds:
            os.close(fd)


def test_a_generator_will_do(pipes):
    pipes[0].send(1)
    assert wait(end for end in pipes) == [pipes[1]]


def test_what_is_not_open_is_an_error(pipes):
    a, *_ = pipes
    a.close()
    with pytest.raises(OSError, match="closed"):
        wait([a])
    with pytest.raises(OSError, match="44977608"):
        wait([pipes[2], 44977608])
    with pytest.raises(ValueError, match="-1"):
        wait([-1])
    with pytest.raises(ValueError, match="text"):
        wait(["text"])


def test_a_very_long_wait_is_a_wait(pipes):
    a, b, *_ = pipes
    timer = threading.Timer(0.02, a.send, (1,))
    timer.start()
    assert wait([b], 1e12) == [b]
    assert b.poll(1e12)
    timer.join()


def test_what_rings_is_waited_for_beside_descriptors(pipes):
    ringer, other = Ringer(), Ringer()
    timer = threading.Timer(0.02, ringer.channel.put, (b"x",))
    timer.start()
    assert wait([pipes[0], other, ringer, ringer]) == [ringer, ringer]
    timer.join()
    assert wait([ringer], 0) == [ringer]
    pipes[1].send(1)
    assert wait([pipes[0], ringer, other]) == [pipes[0], ringer]
    assert wait([pipes[0], other]) == [pipes[0]]


def test_what_rings_does_not_ring_in_time():
    ringer = Ringer()
    began = time.monotonic()
    assert wait([ringer], 0.03) == []
    assert wait([ringer], -1) == []
    assert time.monotonic() - began < 1


def test_what_would_have_rung_is_looked_at_again(pipes, monkeypatch):
    """As if the one who put had been killed before it rang."""
    ringer = Ringer()
    monkeypatch.setattr(Ringer, "_wait_arm", lambda self, bell: len(self.channel) > 0)
    timer = threading.Timer(0.02, ringer.channel.put, (b"x",))
    timer.start()
    assert wait([ringer], 10) == [ringer]
    timer.join()


def test_a_wait_that_fails_leaves_nothing_armed(pipes):
    ringer = Ringer()
    with pytest.raises(OSError, match="44977608"):
        wait([ringer, 44977608])
    assert wait([ringer], 0) == []


def test_many_threads_wait_for_the_same(pipes):
    a, b, *_ = pipes
    found = []
    threads = [threading.Thread(target=lambda: found.append(wait([b], 10))) for _ in range(8)]
    for thread in threads:
        thread.start()
    a.send(1)
    for thread in threads:
        thread.join()
    assert found == [[b]] * 8


def test_poll_of_a_stream_does_not_begin_to_read():
    reader, writer = os.pipe()
    with Connection(reader, writable=False) as conn:
        os.write(writer, b"\0\0")
        assert conn.poll() and conn.poll(None)
        os.write(writer, b"\0\x01x")
        os.close(writer)
        assert conn.recv_bytes() == b"x"
