"""Promises about locks and channels that are easily lost without anybody noticing."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import traceback

import pytest

import procession
import promise_tasks
import tasks
from conftest import start, wait_until
from procession import _core
from procession.errors import CannotEncode


@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue", "SimpleQueue"])
def test_what_cannot_be_pickled_raises_in_the_stack_of_who_puts_it(kind):
    queue = getattr(procession, kind)()
    with pytest.raises(CannotEncode) as caught:
        queue.put(tasks.return_lock())
    assert traceback.extract_tb(caught.value.__traceback__)[0].filename == __file__
    assert queue.empty()
    queue.put("next")
    assert queue.get() == "next"


def test_a_small_message_takes_no_block():
    queue = procession.Queue()
    before = _core.arena_facts()["blocks"]
    for number in range(20):
        queue.put((number, "small"))
    assert _core.arena_facts()["blocks"] == before
    queue.put("x" * 1000)
    assert _core.arena_facts()["blocks"] == before + 1
    while not queue.empty():
        queue.get()
    assert _core.arena_facts()["blocks"] == before


def test_permits_that_a_process_left_taken_in_order_are_given_back_by_another(ctx):
    semaphore = ctx.Semaphore(3)
    process = start(ctx, promise_tasks.take_twice_and_leave, semaphore)
    process.join(20)
    assert process.exitcode == 0
    assert semaphore.get_value() == 1
    assert semaphore.acquire(False)
    assert not semaphore.acquire(timeout=1)  # longer than it takes to look whether the holder was killed
    for _ in range(3):
        semaphore.release()
    assert semaphore.get_value() == 3


def test_workers_go_on_with_what_is_queued_while_their_parent_stands_still():
    ctx = procession.get_context("fork")
    value, pids, count = ctx.Value("i", 0), ctx.Queue(), 200
    parent = start(ctx, promise_tasks.queue_work_and_stand_still, value, count, pids)
    pid = pids.get(timeout=10)
    try:
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
        wait_until(lambda: value.value == count, "all that was queued")
    finally:
        os.kill(pid, signal.SIGCONT)
    parent.join(10)
    assert parent.exitcode == 0


_ONE_CALL_EACH = """
import os, procession
reader, writer = procession.Pipe(duplex=False)

def use():
    writer.send((1, 'two'))
    writer.send_bytes(b'three')
    reader.recv()
    reader.recv_bytes()

use()
os.write(2, b"begin")
for _ in range(100):
    use()
os.write(2, b"end")
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_pipes_message_costs_one_system_call_at_each_end(tmp_path):
    log = tmp_path / "calls"
    command = ["strace", "-f", "-o", str(log), sys.executable, "-c", _ONE_CALL_EACH]
    done = subprocess.run(command, capture_output=True, text=True, timeout=25)
    assert done.returncode == 0, done.stderr
    lines = log.read_text().splitlines()
    begin, end = (next(i for i, line in enumerate(lines) if f'write(2, "{word}"' in line) for word in ("begin", "end"))
    calls = [line for line in lines[begin + 1 : end] if " brk(" not in line]  # the heap may happen to grow meanwhile
    assert len(calls) == 400, lines[begin : begin + 10]


_STOCK_ECHO = """
import sys
from multiprocessing.connection import Client, Listener
from multiprocessing import AuthenticationError
role, family, address, key = sys.argv[1:]
key = key.encode() or None
if role == "listen":
    listener = Listener(None, family, authkey=key)
    print(repr(listener.address), flush=True)
    end = listener.accept()
else:
    end = Client(eval(address), authkey=key)
while (got := end.recv()) is not None:
    end.send(got)
    end.send_bytes(end.recv_bytes())
"""
_MESSAGES = ["text", {"a": [1, 2.5]}, b"x" * 200_000]


def _talk(end):
    for message in _MESSAGES:
        end.send(message)
        assert end.recv() == message
        end.send_bytes(b"raw" * 10_000)
        assert end.recv_bytes() == b"raw" * 10_000
    end.send(None)
    end.close()


@pytest.mark.parametrize("key", ["", "secret"])
@pytest.mark.parametrize("family", ["AF_UNIX", "AF_INET"])
def test_a_client_talks_with_a_listener_of_the_standard_librarys(script, family, key):
    from procession.connection import Client

    script.write(_STOCK_ECHO)
    peer = script.start("program.py", "listen", family, "", key)
    address = eval(peer.stdout.readline())
    _talk(Client(address, authkey=key.encode() or None))
    assert peer.wait(10) == 0, peer.stderr.read()


@pytest.mark.parametrize("key", ["", "secret"])
@pytest.mark.parametrize("family", ["AF_UNIX", "AF_INET"])
def test_a_listener_talks_with_a_client_of_the_standard_librarys(script, family, key):
    from procession.connection import Listener

    script.write(_STOCK_ECHO)
    with Listener(None, family, authkey=key.encode() or None) as listener:
        peer = script.start("program.py", "connect", family, repr(listener.address), key)
        _talk(listener.accept())
    assert peer.wait(10) == 0, peer.stderr.read()


@pytest.mark.parametrize("role", ["listen", "connect"])
def test_a_stock_peer_with_another_key_is_refused_by_both(script, role):
    from procession.connection import Client, Listener
    from procession.errors import AuthenticationError

    script.write(_STOCK_ECHO)
    if role == "listen":
        peer = script.start("program.py", role, "AF_UNIX", "", "secret")
        address = eval(peer.stdout.readline())
        with pytest.raises(AuthenticationError):
            Client(address, authkey=b"other")
    else:
        with Listener(None, "AF_UNIX", authkey=b"other") as listener:
            peer = script.start("program.py", role, "AF_UNIX", repr(listener.address), "secret")
            with pytest.raises(AuthenticationError):
                listener.accept()
    assert "AuthenticationError" in peer.communicate(timeout=10)[1]


def test_a_client_that_does_not_know_the_key_is_refused_though_it_does_not_ask_for_ours():
    from procession.connection import Client, Listener
    from procession.errors import AuthenticationError

    answers = []

    def intrude(address):
        with Client(address) as end:
            end.recv_bytes()
            end.send_bytes(b"x" * 20)
            answers.append(end.recv_bytes())

    with Listener(None, "AF_UNIX", authkey=b"secret") as listener:
        intruder = threading.Thread(target=intrude, args=(listener.address,))
        intruder.start()
        with pytest.raises(AuthenticationError):
            listener.accept()
        intruder.join(10)
    assert answers == [b"#FAILURE#"]
