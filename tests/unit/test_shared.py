"""Shared objects and arrays, seen from one process: what they are, how they travel, how long their memory lives."""

import copy
import gc
import pickle

import numpy as np
import pytest

import array_tasks
import procession
from procession import _core
from procession.engine import codec
from procession.errors import CannotEncode, OutOfMemory, SharedObjectGone


def travel(value):
    return codec.decode(codec.encode(value))


def blocks():
    return _core.arena_facts()["blocks"]


# ---- share ----


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_what_was_shared_opens_as_it_was_but_read_only(size):
    array = np.arange(size)
    handle = procession.share({"numbers": array, "name": "x", "plain": [1, 2]})
    array[:] = 0
    opened = handle.get()
    assert opened["name"] == "x" and opened["plain"] == [1, 2]
    assert np.array_equal(opened["numbers"], np.arange(size))
    assert not opened["numbers"].flags.writeable


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_nobody_can_make_an_opened_array_writable(size):
    array = procession.share(np.arange(size)).get()
    with pytest.raises(ValueError):
        array.flags.writeable = True


@pytest.mark.parametrize("refs", [0, 1, 2])
def test_small_arrays_are_aligned_whatever_is_beside_them(refs):
    things = (
        [procession.Lock() for _ in range(refs)],
        b"x",
        np.ones(3, np.longdouble),
        np.ones(1, "u1"),
        np.ones(2, complex),
    )
    opened = procession.share(things).get()
    assert all(array.flags.aligned for array in opened[2:])


def test_an_object_is_put_together_once():
    handle = procession.share([1, np.arange(5)])
    assert handle.get() is handle.get()


def test_a_handle_is_the_same_wherever_it_arrives():
    handle = procession.share("x" * 100_000)
    assert travel(handle) is handle
    assert copy.copy(handle) is handle and copy.deepcopy(handle) is handle


def test_a_handle_is_as_short_for_a_large_object_as_for_a_small_one():
    small, large = procession.share(np.zeros(10)), procession.share(np.zeros(10_000_000))
    assert len(pickle.dumps(small)) == len(pickle.dumps(large)) < 150
    _core.take_exported()


@pytest.mark.parametrize("data", [b"abc", bytearray(200_000), memoryview(b"x" * 300_000), memoryview(b"abcdef")[::2]])
def test_bytes_open_as_a_view_of_them(data):
    view = procession.share(data).get()
    assert type(view) is memoryview and view.readonly
    assert bytes(view) == bytes(data)


def test_bytes_within_an_object_stay_bytes():
    assert procession.share([b"x" * 100_000]).get() == [b"x" * 100_000]


def test_memory_of_views_lives_without_the_handle_and_no_longer():
    before = blocks()
    handle = procession.share([np.arange(5), np.arange(100_000)])
    small, large = handle.get()
    small, large = small[2:], large[-3:]
    del handle
    gc.collect()
    assert blocks() > before
    assert small.tolist() == [2, 3, 4] and large.tolist() == [99_997, 99_998, 99_999]
    del small, large
    assert blocks() == before


def test_what_is_shared_holds_the_shared_objects_in_it():
    before = blocks()
    lock, numbers, inner = procession.Lock(), procession.zeros(10), procession.share("inner")
    handle = procession.share({"lock": lock, "numbers": numbers, "inner": inner})
    del lock, numbers, inner
    opened = handle.get()
    opened["numbers"][3] = 1
    assert opened["lock"].acquire(timeout=1) and opened["inner"].get() == "inner"
    assert travel(handle).get()["numbers"][3] == 1
    opened["lock"].release()
    del handle, opened
    assert blocks() == before


def test_what_cannot_be_pickled_cannot_be_shared():
    before = blocks()
    with pytest.raises(CannotEncode):
        procession.share(i for i in range(3))
    assert blocks() == before


def test_what_is_too_large_says_so():
    with pytest.raises(OutOfMemory):
        procession.empty(1 << 60, np.uint8)


def test_objects_of_ones_own_can_be_shared():
    point = procession.share(array_tasks.Point(3, np.arange(100_000))).get()
    assert point.x == 3 and point.weights[-1] == 99_999


@pytest.mark.parametrize("make", [procession.share, procession.array])
@pytest.mark.parametrize("size", [100, 100_000])
def test_a_handle_whose_object_is_gone_says_so(make, size):
    thing = make(np.arange(size))
    data = pickle.dumps(thing)
    _core.take_exported()
    del thing
    with pytest.raises(SharedObjectGone):
        pickle.loads(data)


def test_a_handle_from_a_file_of_another_program_names_nothing(script, tmp_path):
    """Though both do the same, and so use the same places."""
    program = (
        "import pathlib, pickle, procession\n"
        "from procession.errors import SharedObjectGone\n"
        "handle, file = procession.share([1]), pathlib.Path('handle')\n"
        "if file.exists():\n"
        "    try: print(pickle.loads(file.read_bytes()))\n"
        "    except SharedObjectGone: print('gone')\n"
        "file.write_bytes(pickle.dumps(handle))\n"
    )
    path = script.write(program)
    runs = [script.run(path) for _ in range(2)]
    assert [(run.stdout, run.stderr) for run in runs] == [("", ""), ("gone\n", "")]


# ---- arrays ----

KINDS = {
    "whole": lambda array: array,
    "slice": lambda array: array[3:7, ::2],
    "row": lambda array: array[5],
    "transposed": lambda array: array.T,
    "backwards": lambda array: array[::-1, ::-3],
    "reshaped": lambda array: array.reshape(5, 4, -1),
    "one element": lambda array: array[3, 4:5],
    "no dimension": lambda array: array[3, 4, ...],
    "nothing": lambda array: array[5:5],
    "other type": lambda array: array.view(np.uint8),
    "a field": lambda array: array.view([("a", "i4"), ("b", "f4")])["b"],
}


@pytest.mark.parametrize("view", KINDS.values(), ids=KINDS)
def test_an_array_travels_as_the_same_memory(view):
    array = procession.array(np.arange(200.0).reshape(10, 20))
    sent = view(array)
    received = travel([sent])[0]
    assert type(received) is procession.SharedArray and received.is_shared
    assert received.dtype == sent.dtype and np.array_equal(received, sent)
    received[...] = 1
    assert np.array_equal(received, sent) and (sent == 1).all()


def test_a_read_only_view_arrives_read_only():
    view = procession.zeros(10)[2:]
    view.flags.writeable = False
    assert not travel(view).flags.writeable


def test_what_is_computed_is_an_ordinary_array():
    array = procession.ones((4, 4))
    for result in (array + array, -array, np.sqrt(array), array == 1, array.sum(axis=0), array @ array, array.copy()):
        assert type(result) is np.ndarray
    for result in (copy.copy(array), copy.deepcopy(array), np.concatenate([array, array])):
        assert type(result) is np.ndarray
    assert isinstance(array.sum(), np.float64) and isinstance(array[0] @ array[0], np.float64)


def test_computing_in_place_stays_in_shared_memory():
    array = same = procession.ones(4)
    array += 1
    assert array is same
    assert np.multiply(array, 3, out=array) is array
    assert same.is_shared and same.tolist() == [6, 6, 6, 6]


def test_what_numpy_copies_is_in_ordinary_memory_and_travels_so():
    array = procession.array([3, 1, 2])
    for copied in (array[array > 1], np.sort(array), array.astype(float)):
        assert not getattr(copied, "is_shared", False)
        received = travel(copied)
        assert type(received) is np.ndarray and np.array_equal(received, copied)
        received[0] = 9
        assert copied[0] != 9


def test_a_received_array_is_not_taken_for_a_shared_one():
    received = travel(np.arange(100_000))
    view = received.view(procession.SharedArray)
    assert not view.is_shared
    again = travel(view)
    again[0] = 5
    assert received[0] == 0


def test_memory_of_an_array_lives_as_long_as_a_view_of_it():
    before = blocks()
    part = procession.full(100_000, 5)[7:9]
    gc.collect()
    assert part.tolist() == [5, 5] and blocks() == before + 1
    message = codec.encode(part)
    del part
    part = codec.decode(message)
    del message
    assert part.tolist() == [5, 5]
    del part
    assert blocks() == before


def test_arrays_are_made_as_numpy_makes_them():
    like = np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3))
    cases = [
        (procession.zeros((2, 3)), np.zeros((2, 3))),
        (procession.zeros(5, "i4"), np.zeros(5, "i4")),
        (procession.ones((2, 2), order="F"), np.ones((2, 2), order="F")),
        (procession.full((2,), 7), np.full((2,), 7)),
        (procession.full((), 1.5), np.full((), 1.5)),
        (procession.full(3, "x", "U2"), np.full(3, "x", "U2")),
        (procession.array([[1, 2], [3, 4]]), np.array([[1, 2], [3, 4]])),
        (procession.array(like), like),
        (procession.array(like[:, ::2]), np.ascontiguousarray(like[:, ::2])),
        (procession.array([], "f4"), np.array([], "f4")),
        (procession.array(np.array(["2024-01-01"], "M8[D]")), np.array(["2024-01-01"], "M8[D]")),
        (procession.zeros_like(like), np.zeros_like(like)),
        (procession.ones_like(like, float), np.ones_like(like, float)),
        (procession.full_like(like, 3), np.full_like(like, 3)),
    ]
    for ours, theirs in cases:
        assert type(ours) is procession.SharedArray and ours.is_shared
        assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs)
        assert ours.strides == theirs.strides or not theirs.size
    empty = procession.empty_like(like)
    assert (empty.shape, empty.dtype, empty.flags.f_contiguous) == (like.shape, like.dtype, True)


def test_asarray_copies_only_what_is_not_shared():
    array = procession.array([1, 2])
    assert procession.asarray(array) is array
    assert procession.asarray(array, array.dtype) is array
    assert procession.asarray(array, float) is not array
    assert procession.asarray(np.array([1, 2])).is_shared


@pytest.mark.parametrize("make", [procession.empty, procession.zeros])
def test_objects_cannot_lie_in_shared_memory(make):
    with pytest.raises(TypeError, match="share"):
        make(3, object)


def test_zeros_are_zero_where_something_was_before():
    array = procession.full(1_000_000, 5)
    del array
    assert not procession.zeros(1_000_000).any()
    small = procession.full(10, 5)
    del small
    assert not procession.zeros(10).any()


def test_zeros_take_no_memory_until_they_are_written_to():
    _core.arena_trim(0)
    before = array_tasks.used_bytes()
    array = procession.zeros(1 << 28, np.uint8)
    assert array_tasks.used_bytes() - before < 1 << 20
    array[1 << 20 : 2 << 20] = 1
    assert int(array[: 4 << 20].sum()) == 1 << 20
    del array
    _core.arena_trim(0)


def test_without_numpy_the_error_names_the_remedy(script):
    program = (
        "import sys, procession\n"
        "sys.modules['numpy'] = None\n"
        "assert procession.share([1]).get() == [1]\n"
        "dir(procession) and [getattr(procession, name) for name in dir(procession)]\n"
        "try: procession.zeros(3)\n"
        "except ImportError as error: print(error)\n"
    )
    run = script.run(script.write(program))
    assert "pip install numpy" in run.stdout and run.stderr == ""


def test_names_beyond_the_standard_library_are_found_but_not_brought_by_a_star():
    namespace: dict[str, object] = {}
    exec("from procession import *", namespace)
    assert "share" not in namespace and "zeros" not in namespace
    assert {"share", "zeros", "Shared"} <= set(dir(procession))


# ---- what is sent on ----


def test_a_read_only_array_is_sent_on_without_a_copy():
    opened = procession.share(np.arange(100_000)).get()
    before = blocks()
    message = codec.encode(opened[10:])
    assert blocks() == before + 1  # the message alone
    received = codec.decode(message)
    assert received[0] == 10 and not received.flags.writeable
    assert received.__array_interface__["data"][0] == opened[10:].__array_interface__["data"][0]
    with pytest.raises(ValueError):
        received.flags.writeable = True


def test_a_read_only_view_of_a_shared_array_is_sent_as_it_is_now():
    """As an ordinary array: it must not change when the shared one does."""
    shared = procession.zeros(100_000)
    view = np.asarray(shared)
    view.flags.writeable = False
    received = travel(view)
    shared[0] = 1
    assert received[0] == 0


def test_a_received_array_is_copied_when_it_is_sent_on():
    received = travel(np.arange(100_000))
    again = travel(received)
    again[0] = 7
    assert received[0] == 0
