"""Listener and Client: between themselves, with the standard library, and with clients that mean no good."""

import ast
import multiprocessing.connection
import os
import random
import resource
import socket
import struct
import subprocess
import sys
from contextlib import ExitStack

import pytest

import stock_peer
from listener_tasks import KEY, InThread, ask, raw, serve_one
from procession import listener
from procession.errors import AuthenticationError

PAIRS = [
    (listener.Listener, listener.Client),
    (multiprocessing.connection.Listener, listener.Client),
    (listener.Listener, multiprocessing.connection.Client),
]


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("family", ["AF_UNIX", "AF_INET"])
@pytest.mark.parametrize("kinds", PAIRS, ids=["ours", "stock listens", "stock connects"])
def test_both_ends_understand_each_other(kinds, family, key):
    listen, connect = kinds
    with listen(family=family, authkey=key) as listening:
        asking = InThread(ask, connect, listening.address, key)
        serve_one(listening)
        assert asking.result() == "welcome"


XML_PAIRS = [
    (listener.XmlListener, listener.XmlClient),
    (multiprocessing.connection.XmlListener, listener.XmlClient),
    (listener.XmlListener, multiprocessing.connection.XmlClient),
]


@pytest.mark.parametrize("kinds", XML_PAIRS, ids=["ours", "stock listens", "stock connects"])
def test_objects_go_as_xml_in_both_directions(kinds):
    listen, connect = kinds
    thing = {"text": "ä", "numbers": [1, 2.5, None, True]}

    def talk():
        connection = connect(listening.address, authkey=KEY)
        connection.send(thing)
        answer = connection.recv()
        connection.close()
        return answer

    with listen(authkey=KEY) as listening:
        talking = InThread(talk)
        connection = listening.accept()
        assert connection.poll(10)
        assert connection.recv() == thing
        connection.send(["heard"])
        assert talking.result() == ["heard"]
        connection.close()


def places():
    """What Listener is given for addresses of every kind: of both families, and a name without a file."""
    return "AF_UNIX", "AF_INET", f"\0procession-test-{os.getpid()}-{os.urandom(4).hex()}"


@pytest.mark.parametrize("key", [None, KEY], ids=["no key", "key"])
def test_a_program_of_the_standard_library_connects_to_our_listener(stock, key):
    with ExitStack() as stack:
        listeners = [stack.enter_context(listener.Listener(**stock_peer.options(p), authkey=key)) for p in places()]
        echoing = [InThread(stock_peer.echo_all, each) for each in listeners]
        assert stock.run("connect", key, *[each.address for each in listeners]) == "done\n"
        assert [each.result() for each in echoing] == [[], [], []]


@pytest.mark.parametrize("key", [None, KEY], ids=["no key", "key"])
def test_our_client_connects_to_a_program_of_the_standard_library(stock, key):
    process = stock.start("listen", key, *places())
    for _ in places():
        with listener.Client(ast.literal_eval(process.stdout.readline()), authkey=key) as connection:
            stock_peer.ask_all(connection)
            stock_peer.end(connection)
        assert process.stdout.readline() == "[]\n"
    assert stock.end_of(process) == ""


def test_a_program_of_the_standard_library_with_another_key_is_refused(stock):
    with listener.Listener(authkey=KEY) as listening:
        echoing = InThread(stock_peer.echo_all, listening)
        process = stock.start("connect", b"wrong", listening.address)
        assert "AuthenticationError: digest sent was rejected" in process.communicate()[1]
        assert stock.run("connect", KEY, listening.address) == "done\n"
        assert echoing.result() == ["AuthenticationError"]


def test_a_program_of_the_standard_library_refuses_our_client_with_another_key(stock):
    process = stock.start("listen", KEY, "AF_UNIX")
    address = ast.literal_eval(process.stdout.readline())
    with pytest.raises(AuthenticationError, match="rejected"):
        listener.Client(address, authkey=b"wrong")
    with listener.Client(address, authkey=KEY) as connection:
        stock_peer.end(connection)
    assert stock.end_of(process) == "['AuthenticationError']\n"


@pytest.mark.parametrize("connect", [listener.Client, multiprocessing.connection.Client], ids=["ours", "stock"])
def test_a_wrong_key_is_an_error_on_both_sides_and_the_listener_goes_on(connect):
    with listener.Listener(authkey=KEY) as listening:
        wrong = InThread(ask, connect, listening.address, b"wrong")
        with pytest.raises(AuthenticationError):
            listening.accept()
        with pytest.raises(AuthenticationError):
            wrong.result()
        right = InThread(ask, connect, listening.address, KEY)
        serve_one(listening)
        assert right.result() == "welcome"


def accept_the_good_one(listening):
    while True:
        try:
            return serve_one(listening)
        except (AuthenticationError, EOFError, OSError):
            continue


@pytest.mark.parametrize(
    "words",
    [b"", b"\0", struct.pack("!i", 200) + b"half", struct.pack("!i", 0x7FFFFFFF), struct.pack("!iQ", -1, 1 << 40)],
    ids=["silent", "a byte", "half a message", "claims 2 GB", "claims 1 TB"],
)
def test_a_bad_client_neither_holds_up_a_good_one_nor_takes_memory(words):
    with listener.Listener(("127.0.0.1", 0), authkey=KEY) as listening:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        bad = [raw(listening.address, words) for _ in range(20)]
        good = InThread(ask, listener.Client, listening.address, KEY)
        accept_the_good_one(listening)
        assert good.result() == "welcome"
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
        for end in bad:
            end.close()


def test_a_claim_of_a_terabyte_after_the_challenge_takes_no_memory():
    with listener.Listener(("127.0.0.1", 0)) as listening:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        end = raw(listening.address, struct.pack("!iQ", -1, 1 << 40) + b"x" * 1000)
        with listening.accept() as connection:
            end.close()
            with pytest.raises((OSError, EOFError)):
                connection.recv()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_rubbish_of_any_kind_is_turned_away():
    chance = random.Random(7)
    with listener.Listener(("127.0.0.1", 0), authkey=KEY) as listening:
        accepting = InThread(accept_the_good_one, listening)
        for i in range(200):
            body = chance.randbytes(chance.randint(0, 300))
            raw(listening.address, body if i % 2 else struct.pack("!i", len(body)) + body).close()
        assert ask(listener.Client, listening.address, KEY) == "welcome"
        accepting.result()


def test_more_silent_clients_than_there_is_room_for_do_not_keep_a_good_one_out():
    with listener.Listener(("127.0.0.1", 0), authkey=KEY) as listening:
        good = InThread(accept_the_good_one, listening)
        bad = [raw(listening.address) for _ in range(200)]
        assert ask(listener.Client, listening.address, KEY) == "welcome"
        good.result()
        for end in bad:
            end.close()


def test_close_ends_an_accept_in_another_thread():
    listening = listener.Listener(authkey=KEY)
    waiting = InThread(listening.accept)
    with socket.socket(socket.AF_UNIX) as silent:  # so that accept() is known to have begun
        silent.connect(listening.address)
        silent.recv(1)
        listening.close()
        with pytest.raises(OSError):
            waiting.result()


def test_an_address_in_use_is_an_error_and_its_owner_keeps_it():
    with listener.Listener() as listening:
        with pytest.raises(OSError):
            listener.Listener(listening.address)
        address = listening.address
        assert os.path.exists(address)
    assert not os.path.exists(address)


def test_a_long_tmpdir_does_not_matter(tmp_path):
    long = tmp_path / ("x" * 120)
    long.mkdir()
    program = (
        "from procession.listener import *; l = Listener(); c = Client(l.address); l.accept().send(1); print(c.recv())"
    )
    path = os.path.dirname(os.path.dirname(listener.__file__))
    found = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "TMPDIR": str(long), "PYTHONPATH": path},
        capture_output=True,
    )
    assert (found.stdout, found.stderr) == (b"1\n", b"")


def test_a_key_must_be_bytes():
    with pytest.raises(TypeError, match="byte string"):
        listener.Listener(authkey="secret")
    with pytest.raises(TypeError, match="byte string"):
        listener.Client(("localhost", 1), authkey="secret")
