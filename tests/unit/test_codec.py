"""The codec: what goes in comes out, however large, and what cannot go in says why."""

import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import procession
from procession import _core
from procession.engine import codec, memory
from procession.errors import CannotEncode

memory.ensure()
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=15,
)


def travel(value, header=b""):
    """Through a channel, as between processes."""
    channel = memory.channel()
    channel.put(codec.encode(value, header))
    payload = channel.get(0)
    assert codec.header_of(payload) == header
    return codec.decode(payload)


@settings(max_examples=40, deadline=None)
@given(PLAIN, st.binary(max_size=300))
def test_values_and_headers_come_out_as_they_went_in(value, header):
    assert travel(value, header) == value


@pytest.mark.parametrize("length", [0, 1, 254, 255, 256, 257, 1000, 100_000])
def test_headers_may_have_any_length(length):
    header = bytes(i % 256 for i in range(length))
    assert travel([1], header) == [1]
    assert np.array_equal(travel(np.arange(5), header), np.arange(5))


@pytest.mark.parametrize("size", [0, 1, 55, 56, 57, 4096, codec.LARGE - 1, codec.LARGE, codec.LARGE + 1, 3 << 20])
@pytest.mark.parametrize("header", [b"", b"head"])
def test_bytes_and_arrays_of_any_size_come_out_whole(size, header):
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
    assert travel(data.tobytes(), header) == data.tobytes()
    back = travel(data, header)
    assert np.array_equal(back, data)
    assert back.flags.writeable


@pytest.mark.parametrize("size", [10, codec.LARGE * 2])
def test_a_received_array_is_private(size):
    sent = np.zeros(size, dtype=np.uint8)
    payload = codec.encode(sent)
    sent[0] = 1
    received = codec.decode(payload)
    received[1] = 1
    assert received[0] == 0 and sent[1] == 0


@pytest.mark.parametrize("size", [10, codec.LARGE * 2])
def test_a_read_only_array_stays_read_only(size):
    array = np.zeros(size, dtype=np.uint8)
    array.flags.writeable = False
    assert not travel(array).flags.writeable


def test_buffers_keep_their_alignment_and_order():
    arrays = [np.arange(n, dtype=np.float64) for n in (1, 3, 100_000, 7, 20_000)]
    raw = np.frombuffer(b"xyz", dtype=np.uint8)
    back = travel([raw, *arrays, raw])
    for sent, received in zip([raw, *arrays, raw], back, strict=True):
        assert np.array_equal(sent, received)
        assert received.ctypes.data % received.itemsize == 0


def test_an_array_that_is_not_contiguous_comes_out_whole():
    array = np.arange(200_000).reshape(400, 500)[::2, ::3]
    assert np.array_equal(travel(array), array)
    assert np.array_equal(travel(np.asfortranarray(array)), array)


def test_a_message_can_be_decoded_after_its_blocks_are_forgotten_by_the_sender():
    before = _core.arena_facts()["blocks"]
    array = travel(np.ones(100_000))
    assert array.sum() == 100_000
    del array
    assert _core.arena_facts()["blocks"] == before


def test_an_unread_message_gives_its_blocks_back():
    before = _core.arena_facts()["blocks"]
    payload = codec.encode([np.ones(100_000), procession.Lock()])
    assert _core.arena_facts()["blocks"] > before
    del payload
    assert _core.arena_facts()["blocks"] == before


def test_handles_travel_in_messages_and_keep_their_objects_alive():
    queue, lock, value = procession.Queue(), procession.Lock(), procession.Value("i", 7)
    queue.put("inside")
    payload = codec.encode({"queue": queue, "lock": lock, "value": value})
    lock.acquire()
    del queue, value
    back = codec.decode(payload)
    assert back["queue"].get() == "inside"
    assert back["value"].value == 7
    assert not back["lock"].acquire(False)
    lock.release()


def test_a_handle_that_outlived_its_object_says_so():
    lock = procession.Lock()
    data = pickle.dumps(lock)
    _core.take_exported()
    del lock
    with pytest.raises(procession.errors.SharedObjectGone):
        pickle.loads(data)


def test_lambdas_and_closures_go_by_value():
    factor = 3
    assert travel(lambda x: factor * x)(4) == 12


@pytest.mark.parametrize("make", [threading.Lock, lambda: (x for x in ()), lambda: [1, {"deep": threading.Lock()}]])
def test_what_cannot_be_pickled_says_so(make):
    with pytest.raises(CannotEncode, match="cannot pickle") as caught:
        codec.encode(make())
    assert caught.value.__cause__ is not None


def test_a_failed_encoding_leaves_nothing_behind():
    before = _core.arena_facts()["blocks"]
    with pytest.raises(CannotEncode):
        codec.encode([np.ones(100_000), procession.Lock(), threading.Lock()])
    assert _core.take_exported() == []
    assert _core.arena_facts()["blocks"] == before


def test_in_band_bytes_can_be_read_by_any_number():
    data = codec.encode_in_band(np.arange(100_000))
    assert type(data) is bytes
    for _ in range(3):
        assert codec.decode(data).sum() == np.arange(100_000).sum()


class Raises:
    def __reduce__(self):
        raise ZeroDivisionError("in reduce")


def test_an_error_of_the_users_own_pickling_is_the_cause():
    with pytest.raises(CannotEncode, match="in reduce"):
        codec.encode(Raises())


def test_an_open_file_is_refused_and_not_sent_as_what_is_in_it(tmp_path):
    path = tmp_path / "text"
    path.write_text("inside")
    with path.open() as file, pytest.raises(CannotEncode, match="open file"):
        codec.encode([file, lambda: None])


def test_what_cannot_be_pickled_is_a_type_error_too():
    with pytest.raises(TypeError, match="pickle"):
        codec.encode(threading.Lock())


LONG = 1 << 17


@pytest.mark.parametrize("header", [b"", b"head", bytes(300)])
@pytest.mark.parametrize("size", [LONG - 1, LONG, 3 * LONG + 5])
def test_long_bytes_and_strings_come_out_whole(size, header):
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
    text = "é" + "x" * size
    values = [data.tobytes(), text, bytearray(data), {"deep": (data.tobytes(), data, [text] * 2)}, b"short"]
    back = travel(values, header)
    assert back[:3] == values[:3] and back[4] == b"short"
    assert back[3]["deep"][0] == data.tobytes()
    assert np.array_equal(back[3]["deep"][1], data)
    assert back[3]["deep"][2] == [text, text]
    assert travel(values[0], header) == values[0]
    assert type(travel(values[2], header)) is bytearray


def test_what_lies_beside_long_bytes_has_every_way_to_travel():
    number = 5
    back = travel([bytes(LONG), lambda: number, procession.Lock()])
    assert back[0] == bytes(LONG) and back[1]() == 5
    assert back[2].acquire()
    with pytest.raises(CannotEncode):
        codec.encode([bytes(LONG), (i for i in "ab")])


def test_long_bytes_share_no_message_with_others():
    assert codec.encode_as_bytes([bytes(LONG)]) is None
    assert codec.encode_as_bytes([bytes(LONG - 1)]) is not None


def test_a_message_takes_no_more_than_it_has_room_for():
    message = _core.message_new([], 100)
    message.fill(90, bytes(10))
    for at in (91, 100, 101, 1 << 40):
        with pytest.raises(ValueError, match="do not fit"):
            message.fill(at, bytes(10))
