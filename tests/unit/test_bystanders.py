"""Who is within a stream, as the memory of the stream says."""

import ctypes
import io
import threading

import pytest

from procession import _core
from procession.engine import bystanders


class Gate(io.RawIOBase):
    """Takes what is written once it is open."""

    def __init__(self):
        self.is_entered, self.is_open = threading.Event(), threading.Event()
        self.holder_seen_within = None

    def writable(self):
        return True

    def write(self, data):
        self.holder_seen_within = _core.stream_holder(self.stream)
        self.is_entered.set()
        self.is_open.wait(10)
        return len(data)


@pytest.fixture
def gate():
    gate = Gate()
    gate.stream = io.TextIOWrapper(io.BufferedWriter(gate), encoding="utf-8")
    yield gate
    gate.is_open.set()
    gate.stream.close()
    gate.stream = None


@pytest.fixture
def writer(gate):
    thread = threading.Thread(target=lambda: print("x", file=gate.stream, flush=True))
    thread.start()
    assert gate.is_entered.wait(10)
    yield thread
    gate.is_open.set()
    thread.join()


def test_it_is_known_on_this_python_where_a_streams_owner_is():
    assert bystanders._owner_offset() > 0


def test_nothing_is_known_where_the_owner_is_not_the_only_such_word(monkeypatch):
    me = threading.get_ident().to_bytes(8, "little")
    shown = iter([bytes(32), me + me + bytes(16), bytes(32)])
    monkeypatch.setattr(_core, "object_memory", lambda _: next(shown))
    assert bystanders._owner_offset() == 0


@pytest.mark.parametrize("layer", ["text", "buffer"])
def test_a_thread_within_a_stream_is_its_holder_until_it_is_out(gate, writer, layer):
    stream = gate.stream if layer == "text" else gate.stream.buffer
    assert _core.stream_holder(stream) == writer.ident
    gate.is_open.set()
    writer.join()
    assert _core.stream_holder(stream) == 0


def test_a_thread_is_no_other_thread_to_itself(gate):
    gate.is_open.set()
    print("x", file=gate.stream, flush=True)
    assert gate.holder_seen_within == 0


class Hostile:
    @property
    def __class__(self):
        raise RuntimeError("not bound to anything")


@pytest.mark.parametrize("make", [lambda: None, io.StringIO, io.BytesIO, Gate, Hostile], ids=lambda make: make.__name__)
def test_what_has_no_lock_is_held_by_nobody(make):
    assert _core.stream_holder(make()) == 0


def test_a_detached_stream_is_held_by_nobody(gate):
    stream = gate.stream
    gate.stream = io.TextIOWrapper(stream.detach(), encoding="utf-8")
    gate.is_open.set()
    assert _core.stream_holder(stream) == 0


def test_a_thread_that_has_the_lock_and_cannot_say_so_yet_is_seen(gate):
    address = id(gate.stream.buffer) + bystanders._owner_offset() - 8
    take = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)(("PyThread_acquire_lock", ctypes.pythonapi))
    assert take(ctypes.c_void_p.from_address(address), 0) == 1
    assert _core.stream_holder(gate.stream) == 1
    _core.stream_release(gate.stream)
    assert _core.stream_holder(gate.stream) == 0


def test_a_released_stream_can_be_written_to_again(gate, writer):
    # In the program's own process this is wrong; a forked child is where it is right, and there it is not seen as well.
    _core.stream_release(gate.stream)
    assert _core.stream_holder(gate.stream) == 0
    assert gate.stream.buffer.raw is gate


def test_a_program_has_only_one_thread_until_it_starts_another(writer):
    assert not _core.is_only_thread()
