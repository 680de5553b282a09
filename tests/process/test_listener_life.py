"""How a listener lives and ends: forks, signals, crowds, descriptors, addresses."""

import errno
import os
import resource
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from conftest import wait_until
from listener_tasks import KEY, InThread, ask, in_forked_child, raw, serve_one
from procession import listener
from procession.engine import reception
from procession.errors import AuthenticationError, ClientRefused


@pytest.mark.parametrize("family", ["AF_UNIX", "AF_INET"])
def test_a_forked_child_that_closes_its_copy_leaves_the_parents_open(family):
    with listener.Listener(family=family, authkey=KEY) as listening:
        serving = InThread(serve_one, listening)
        with raw(listening.address) as silent:  # so that accept() has begun, and somebody waits there
            silent.recv(1)
            in_forked_child(listening.close)
            assert silent.recv(1)
            assert ask(listener.Client, listening.address, KEY) == "welcome"
        serving.result()


def test_a_forked_child_may_go_on_where_the_parent_closes():
    listening = listener.Listener(("127.0.0.1", 0), authkey=KEY)
    address = listening.address
    for serve in (lambda: serve_one(listening), lambda: in_forked_child(lambda: serve_one(listening))):
        asking = InThread(ask, listener.Client, address, KEY)
        serve()
        assert asking.result() == "welcome"
    listening.close()
    with pytest.raises(ConnectionRefusedError):
        listener.Client(address, authkey=KEY)


@pytest.mark.parametrize("key", [None, KEY], ids=["no key", "key"])
def test_a_signal_handler_may_close_what_its_thread_waits_at(key):
    def handle(*_):
        began = time.monotonic()
        listening.close()
        took.append(time.monotonic() - began)

    took = []
    previous = signal.signal(signal.SIGUSR1, handle)
    try:
        listening = listener.Listener(authkey=key)
        ringing = InThread(ring_in_accept, listening, signal.SIGUSR1)
        with pytest.raises(OSError, match="closed"):
            listening.accept()
        ringing.result()
        assert took[0] < 0.5
        with pytest.raises(OSError, match="closed"):
            listening.accept()
    finally:
        signal.signal(signal.SIGUSR1, previous)


def ring_in_accept(listening, number):
    """Send the main thread a signal once it is in accept()."""
    main = threading.main_thread()
    wait_until(lambda: listening._listener._reception._thread == main.ident and is_asleep(main), "the wait in accept()")
    signal.pthread_kill(main.ident, number)


def is_asleep(thread):
    return Path(f"/proc/self/task/{thread.native_id}/stat").read_text().rsplit(")", 1)[1].split()[0] == "S"


def test_an_interrupted_accept_can_be_called_again():
    class Ring(Exception):
        pass

    def handle(*_):
        raise Ring

    previous = signal.signal(signal.SIGUSR1, handle)
    try:
        with listener.Listener(authkey=KEY) as listening:
            ringing = InThread(ring_in_accept, listening, signal.SIGUSR1)
            with pytest.raises(Ring):
                listening.accept()
            ringing.result()
            asking = InThread(ask, listener.Client, listening.address, KEY)
            serve_one(listening)
            assert asking.result() == "welcome"
    finally:
        signal.signal(signal.SIGUSR1, previous)


def test_close_may_be_called_again_and_what_is_closed_says_so():
    listening = listener.Listener()
    address = listening.address
    assert stat.S_ISSOCK(os.stat(address).st_mode)
    listening.close()
    listening.close()
    assert not os.path.exists(address)
    for use in (listening.accept, lambda: listening.address, lambda: listening.last_accepted):
        with pytest.raises(OSError, match="closed"):
            use()


def test_several_threads_may_wait_at_one_listener():
    with listener.Listener(authkey=KEY) as listening:
        serving = [InThread(serve_one, listening) for _ in range(3)]
        asking = [InThread(ask, listener.Client, listening.address, KEY) for _ in range(3)]
        assert [one.result() for one in asking] == ["welcome"] * 3
        for one in serving:
            one.result()


def test_close_ends_every_wait():
    listening = listener.Listener(authkey=KEY)
    waiting = [InThread(listening.accept) for _ in range(3)]
    with raw(listening.address) as silent:
        silent.recv(1)
        listening.close()
    for one in waiting:
        with pytest.raises(OSError, match="closed"):
            one.result()


@pytest.mark.parametrize("family", ["AF_UNIX", "AF_INET"])
def test_an_address_can_be_had_again_at_once(family):
    address = None
    for _ in range(3):
        with listener.Listener(address, family, authkey=KEY) as listening:
            address = listening.address
            asking = InThread(ask, listener.Client, address, KEY)
            serve_one(listening)
            assert asking.result() == "welcome"


def test_more_clients_than_the_backlog_are_all_served_in_the_end():
    with listener.Listener(backlog=1) as listening:
        asking = [InThread(ask, listener.Client, listening.address, None) for _ in range(20)]
        for _ in asking:
            serve_one(listening)
        assert [one.result() for one in asking] == ["welcome"] * 20


def test_a_crowd_that_knows_the_key_is_served_to_the_last(monkeypatch):
    monkeypatch.setattr(reception, "CROWD", 4)
    with listener.Listener(authkey=KEY) as listening:
        asking = [InThread(ask, listener.Client, listening.address, KEY) for _ in range(40)]
        for _ in asking:
            serve_one(listening)
        assert [one.result() for one in asking] == ["welcome"] * 40


def test_who_waited_while_nobody_was_in_accept_is_not_late(monkeypatch):
    has_come, go_on = threading.Event(), threading.Event()

    def come_early():
        end = raw(listening.address)
        end.settimeout(None)
        with listener._connection(end) as connection:
            challenge = connection.recv_bytes()
            has_come.set()
            assert go_on.wait(10)
            connection.send_bytes(listener._create_response(KEY, challenge.removeprefix(listener.CHALLENGE)))
            assert connection.recv_bytes() == b"#WELCOME#"
            listener.deliver_challenge(connection, KEY)
            connection.send(("hello", 1))
            return connection.recv()

    with listener.Listener(authkey=KEY) as listening:
        early = InThread(come_early)
        wrong = InThread(ask_in_vain, listening.address, has_come)
        with pytest.raises(AuthenticationError):
            listening.accept()
        wrong.result()
        later = reception.clock_ns() + 100 * reception._PATIENCE_NS
        monkeypatch.setattr(reception, "clock_ns", lambda: later)
        go_on.set()
        serve_one(listening)
        assert early.result() == "welcome"


def ask_in_vain(address, when):
    assert when.wait(10)
    with pytest.raises(AuthenticationError):
        listener.Client(address, authkey=b"wrong")


def test_a_byte_now_and_then_does_not_keep_a_client_there(monkeypatch):
    monkeypatch.setattr(reception, "_PATIENCE_NS", 100_000_000)
    with listener.Listener(("127.0.0.1", 0), authkey=KEY) as listening:
        serving = InThread(serve_one, listening)
        with raw(listening.address, struct.pack("!i", 200)) as slow:
            slow.settimeout(0.01)
            received, ended = b"", False
            for _ in range(1000):
                try:
                    slow.send(b"\0")
                    received = slow.recv(256)
                    ended = not received
                except TimeoutError:
                    continue
                except OSError:
                    ended = True
                if ended:
                    break
            assert ended
        assert ask(listener.Client, listening.address, KEY) == "welcome"
        serving.result()


@pytest.mark.parametrize(
    "words",
    [
        b"",
        struct.pack("!i", -7),
        struct.pack("!i", 1 << 20),
        struct.pack("!iQ", -1, 1 << 40),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["gone", "negative", "long", "1 TB", "HTTP"],
)
def test_who_is_turned_away_is_told_of_as_one_without_the_key(words):
    """A server that catches only AuthenticationError outlives every scan of its port."""
    with listener.Listener(("127.0.0.1", 0), authkey=KEY) as listening:
        raw(listening.address, words).close()
        with pytest.raises(ClientRefused) as caught:
            listening.accept()
        assert isinstance(caught.value, AuthenticationError) and isinstance(caught.value, EOFError)


class Bomb:
    def __reduce__(self):
        return os._exit, (3,)


def test_nothing_is_unpickled_before_the_key_is_known():
    import pickle

    with listener.Listener(("127.0.0.1", 0), authkey=KEY) as listening:
        bomb = pickle.dumps(Bomb())
        with raw(listening.address, struct.pack("!i", len(bomb)) + bomb), pytest.raises(AuthenticationError):
            listening.accept()


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_no_way_to_fail_keeps_a_descriptor(tmp_path):
    with listener.Listener(("127.0.0.1", 0), authkey=KEY) as listening:
        address = listening.address
        for attempt in range(3):
            if attempt == 1:  # what the first one opened for good is open now
                before = descriptors()
            raw(address).close()
            with pytest.raises(AuthenticationError):
                listening.accept()
            wrong = InThread(listener.Client, address, None, b"wrong")
            with pytest.raises(AuthenticationError):
                listening.accept()
            with pytest.raises(AuthenticationError):
                wrong.result()
            with pytest.raises(OSError, match="in use"):
                listener.Listener(address)
            with pytest.raises(OSError):
                listener.Client(str(tmp_path / "nobody"))
            with pytest.raises(ValueError, match="not recognized"):
                listener.Listener(family="AF_NONE", address=str(tmp_path / "x"))
        assert descriptors() == before


def test_without_descriptors_those_who_wait_have_to_go():
    with listener.Listener(authkey=KEY) as listening:
        silent = [raw(listening.address)]
        serving = InThread(serve_one, listening)
        silent[0].recv(1)
        connected = socket.socket(socket.AF_UNIX)  # before there are none left
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), limits[1]))
        taken = []
        try:
            with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
                while True:
                    taken.append(os.dup(0))
            connected.connect(listening.address)
            assert silent[0].recv(200)  # the rest of the challenge
            assert silent[0].recv(1) == b""  # it had to go, so that the next one can come in
        finally:
            for fd in taken:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        with listener._connection(connected) as connection:
            listener.answer_challenge(connection, KEY)
            listener.deliver_challenge(connection, KEY)
            connection.send(("hello", 1))
            assert connection.recv() == "welcome"
        serving.result()
        silent[0].close()


def test_a_path_that_is_too_long_is_an_error_with_numbers(tmp_path):
    path = str(tmp_path / ("x" * 150))
    with pytest.raises(OSError, match=rf"at most 107 bytes, this one has {len(path)}"):
        listener.Listener(path)
    path = path[: 107 - len("ä") * 2] + "ä" * 10
    with pytest.raises(OSError, match=rf"has {len(os.fsencode(path))}"):
        listener.Listener(path)


NO_FOLDER = """
import os, sys, tempfile
from procession import listener, util
def refuse(*_, **__): raise FileNotFoundError("No usable temporary directory found")
tempfile.mkdtemp = refuse
from procession.managers import SyncManager
with listener.Listener(authkey=b"k") as l: print(l.address[0])
server = SyncManager(authkey=b"k").get_server()
print(server.address[0])
server.listener.close()
"""


def test_without_a_folder_for_sockets_the_address_is_of_the_machines_own_network():
    """And not a name with a null byte, which no program can be given as an argument."""
    path = os.path.dirname(os.path.dirname(listener.__file__))
    run = subprocess.run(
        [sys.executable, "-c", NO_FOLDER], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert (run.stdout, run.stderr) == ("127.0.0.1\n127.0.0.1\n", "")


def test_a_connection_over_the_network_does_not_wait_for_itself():
    """Two small messages in a row, as at the end of the challenge, take 40 ms where the system collects them."""
    with listener.Listener(("127.0.0.1", 0), authkey=KEY) as listening:

        def serve():
            for _ in range(20):
                serve_one(listening)

        serving = InThread(serve)
        times = []
        for _ in range(20):
            began = time.perf_counter()
            ask(listener.Client, listening.address, KEY)
            times.append(time.perf_counter() - began)
        serving.result()
        assert min(times) < 0.02
