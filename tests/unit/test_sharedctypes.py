"""Shared values and arrays within one process: what they are made of, what they say, and how long they last."""

import array
import copy as plain_copy
import ctypes
import gc
import os
import pickle
import threading
from fractions import Fraction

import numpy as np
import pytest

import procession
from procession import Array, Lock, RawArray, RawValue, RLock, Value, _core, sharedctypes
from procession.engine import codec
from procession.errors import OutOfMemory, SharedObjectGone
from procession.heap import BufferWrapper
from procession.sharedctypes import copy, synchronized
from shared_tasks import Line, Point


class Named(Point):
    _anonymous_ = ("tail",)
    _fields_ = [("name", ctypes.c_char * 8), ("tail", Line)]


class Awkward(ctypes.Structure):
    """Fields with the names of what the implementation has."""

    _fields_ = [(name, ctypes.c_int) for name in ("block", "_block", "_obj", "acquire", "add", "value")]


class Number(ctypes.Union):
    _fields_ = [("whole", ctypes.c_uint32), ("bytes", ctypes.c_ubyte * 4)]


class FourInts(ctypes.Array):
    _type_ = ctypes.c_int
    _length_ = 4


def sent(thing):
    """As it arrives."""
    return codec.decode(codec.encode(thing))


def blocks():
    gc.collect()
    return _core.arena_facts()["blocks"]


# ---- making ----


@pytest.mark.parametrize("typecode", "bBhHiIlLqQfd")
def test_a_number_begins_as_zero_and_has_its_typecodes_size(typecode):
    sizes = {code: array.array(code).itemsize for code in "bBhHiIlLqQfd"}
    value = RawValue(typecode)
    assert value.value == 0
    assert ctypes.sizeof(value) == sizes[typecode]


def test_memory_that_was_used_before_is_zero_again():
    for _ in range(3):
        numbers, value = Array("i", 1000), Value(Line)
        assert list(numbers) == [0] * 1000
        assert bytes(value.get_obj()) == bytes(ctypes.sizeof(Line))
        numbers[:] = range(1000)
        ctypes.memset(ctypes.addressof(value.get_obj()), 7, ctypes.sizeof(Line))
        del numbers, value


@pytest.mark.parametrize(
    ("initializer", "expected"),
    [
        ([3, 1, 2], [3, 1, 2]),
        ((3, 1), [3, 1]),
        (range(5), [0, 1, 2, 3, 4]),
        (b"ab", [97, 98]),
        (array.array("i", [1, -2]), [1, -2]),
        (array.array("h", [1, -2]), [1, -2]),
        (array.array("I", [1, 2]), [1, 2]),
        (np.arange(4, dtype="i4"), [0, 1, 2, 3]),
        (np.arange(4, dtype=">i4"), [0, 1, 2, 3]),
        (np.arange(4, dtype="i8"), [0, 1, 2, 3]),
        (np.arange(8, dtype="i4")[::2], [0, 2, 4, 6]),
        ((ctypes.c_int * 2)(5, 6), [5, 6]),
        ({1: "a", 4: "b"}, [1, 4]),
        ([], []),
        (np.int64(3), [0, 0, 0]),
        (0, []),
    ],
    ids=repr,
)
def test_an_array_is_made_from_a_size_or_the_elements_of_anything_with_a_length(initializer, expected):
    assert list(Array("i", initializer)) == expected
    assert list(RawArray(ctypes.c_int, initializer)) == expected


def test_an_array_of_numbers_is_not_taken_for_the_bytes_of_other_numbers():
    assert list(RawArray("d", np.arange(3, dtype="i8"))) == [0.0, 1.0, 2.0]
    assert list(RawArray("f", array.array("f", [0.5]))) == [0.5]
    assert list(RawArray("q", array.array("q", [-(2**40)]))) == [-(2**40)]
    with pytest.raises(TypeError):
        RawArray("i", array.array("f", [1.5]))


def test_a_shared_array_can_be_the_initializer_of_another():
    assert list(RawArray("i", Array("i", [1, 2]))) == [1, 2]
    assert list(RawArray("i", RawArray("i", [1, 2]))) == [1, 2]


def test_a_long_initializer_arrives_whole():
    numbers = list(range(200_001))
    assert RawArray("i", numbers)[:] == numbers


def test_elements_may_be_structures_or_arrays():
    points = Array(Point, [(1, 2), Point(3, 4)])
    assert [(point.x, point.y) for point in points] == [(1, 2), (3, 4)]
    table = Array(ctypes.c_int * 3, 2)
    table[1][2] = 5
    assert [list(row) for row in table] == [[0, 0, 0], [0, 0, 5]]


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (
            lambda: Value("x"),
            TypeError,
            r"bad typecode 'x' \(must be one of c, u, b, B, h, H, i, I, l, L, q, Q, f, d\)",
        ),
        (lambda: Array("", 3), TypeError, "bad typecode ''"),
        (lambda: Value(int), TypeError, "<class 'int'> is neither a typecode"),
        (lambda: Value(5), TypeError, "5 is neither a typecode"),
        (lambda: Array("i", -1), ValueError, "-1"),
        (lambda: Array("i", 2.5), TypeError, "size or a sequence.*got 2.5"),
        (lambda: Array("i", iter([1])), TypeError, "make a list"),
        (lambda: Array("i", ["a"]), TypeError, "str"),
        (lambda: Array("i", 3, lock="no lock"), AttributeError, "'no lock' has no method 'acquire'"),
        (lambda: Value(ctypes.py_object, 1), TypeError, "py_object cannot be shared"),
        (lambda: RawArray(ctypes.py_object * 2, 1), TypeError, "py_object cannot be shared"),
        (lambda: RawArray("b", 2**50), OutOfMemory, "no room"),
        (lambda: copy(Value("i")), TypeError, "get_obj"),
        (lambda: synchronized(Value("i")), AssertionError, "has a lock already"),
        (lambda: Value(ctypes.POINTER(ctypes.c_int)), TypeError, "neither a value nor elements nor fields"),
    ],
)
def test_what_cannot_be_made_says_why(make, error, text):
    with pytest.raises(error, match=text):
        make()


# ---- what they say and offer ----


def test_reprs_name_the_wrapper_and_what_it_wraps():
    assert repr(Value("i", 3)) == "<Synchronized wrapper for c_int(3)>"
    assert repr(Value("d", 0.5)) == "<Synchronized wrapper for c_double(0.5)>"
    assert repr(Value("c", b"x")) == "<Synchronized wrapper for c_char(b'x')>"
    assert repr(RawValue("i", 3)) == "c_int(3)"
    assert repr(Array("i", 3)).startswith("<SynchronizedArray wrapper for <")
    assert "c_int_Array_3 object at 0x" in repr(Array("i", 3))
    assert repr(Array("c", 3)).startswith("<SynchronizedString wrapper for <")
    assert repr(Value(Point, 1, 2)).startswith("<SynchronizedPoint wrapper for <shared_tasks.Point object at 0x")


def test_an_array_has_a_length_and_indices_and_slices():
    numbers = Array("i", range(10))
    assert (len(numbers), numbers[3], numbers[-1], numbers[2:5], numbers[::4]) == (10, 3, 9, [2, 3, 4], [0, 4, 8])
    numbers[0] = 7
    numbers[1:3] = array.array("i", [8, 9])
    assert list(numbers)[:4] == [7, 8, 9, 3]
    assert 9 in numbers
    with pytest.raises(IndexError):
        numbers[10]
    with pytest.raises(ValueError):
        numbers[0:2] = [1]


def test_an_array_of_bytes_has_value_and_raw():
    text = Array("c", 6)
    text.value = b"abc"
    assert (text.value, text.raw, text[0], text[:2]) == (b"abc", b"abc\0\0\0", b"a", b"ab")
    text.raw = b"abcdef"
    assert text.value == b"abcdef"
    with pytest.raises(ValueError):
        text.value = b"too long"
    assert Array("c", b"hello").value == b"hello"
    assert not hasattr(Array("b", 3), "value")


def test_a_structures_wrapper_has_all_fields_inherited_and_anonymous_ones_too():
    named = Value(Named, 1, 2, b"name")
    named.start = Point(3, 4)
    assert (named.x, named.y, named.name, named.start.x, named.tail.start.y) == (1, 2, b"name", 3, 4)
    named.y += 1
    assert named.get_obj().y == 3


def test_fields_may_have_any_name():
    raw = RawValue(Awkward, *range(6))
    assert [getattr(raw, name) for name, _ in Awkward._fields_] == [0, 1, 2, 3, 4, 5]
    wrapped = Value(Awkward, *range(6))
    assert (wrapped.block, wrapped.add, wrapped.value) == (0, 4, 5)
    assert (wrapped.get_obj()._obj, wrapped.get_obj().acquire) == (2, 3)
    with wrapped:
        wrapped.block = 9
    assert sent(wrapped).block == 9


def test_a_union_has_its_fields():
    number = Value(Number, 0x01020304)
    assert sorted(number.bytes) == [1, 2, 3, 4]


def test_a_shared_object_is_one_of_its_type():
    value, numbers = RawValue("i", -3), RawArray("i", [5, 6])
    assert isinstance(value, ctypes.c_int) and isinstance(numbers, ctypes.c_int * 2)
    assert ctypes.cast(ctypes.pointer(value), ctypes.POINTER(ctypes.c_int))[0] == -3
    libc = ctypes.CDLL(None)
    assert libc.abs(value) == 3
    line = Line(start=RawValue(Point, 1, 2))
    assert line.start.y == 2
    assert np.ctypeslib.as_array(numbers).tolist() == [5, 6]


@pytest.mark.parametrize("lock", [None, True])
def test_each_has_a_reentrant_lock_of_its_own_unless_told(lock):
    value, other = Value("i", 5, lock=lock), Array("i", 5, lock=lock)
    assert value.get_lock() is not other.get_lock()
    with value, value.get_lock():
        assert value.acquire(False)
        value.release()
        assert value.value == 5


def test_a_lock_that_is_given_is_used():
    lock = procession.Lock()
    value, numbers = Value("i", 5, lock=lock), Array("i", 5, lock=lock)
    assert value.get_lock() is lock and numbers.get_lock() is lock
    outcome = []
    with lock:
        reader = threading.Thread(target=lambda: outcome.append(value.value))
        reader.start()
        value.get_obj().value = 6
    reader.join()
    assert outcome == [6]


def test_without_a_lock_it_is_the_ctypes_object_itself():
    for thing in (Value("i", lock=False), Array("i", 3, lock=False), RawValue("i"), RawArray("i", 3)):
        assert not hasattr(thing, "get_lock") and not hasattr(thing, "get_obj")


# ---- add ----


def test_add_gives_the_sum():
    number, real = Value("i", 40), Value("d", 0.5)
    assert (number.add(2), number.add(-50), real.add(1), real.add(0.25)) == (42, -8, 1.5, 1.75)
    assert (number.value, real.value) == (-8, 1.75)


def test_add_wraps_around_as_the_type_does():
    assert Value("B", 250).add(10) == 4
    assert Value("i", 2**31 - 1).add(1) == -(2**31)


@pytest.mark.parametrize("code", "bBhHiIlLqQ")
@pytest.mark.parametrize("amount", [1, -1, 127, -128, 2**31, -(2**63), 2**64 + 5, -(2**200) - 3, True])
def test_add_gives_what_ctypes_makes_of_the_sum(code, amount):
    for start in (0, 1, 100):
        number = Value(code, start)
        expected = type(number.get_obj()).__mro__[1](start + amount).value
        assert (number.add(amount), number.value) == (expected, expected)


@pytest.mark.parametrize("amount", [3, -0.5, 1e300, float("inf"), Fraction(1, 4), np.float64(2.5), True])
@pytest.mark.parametrize("code", "fd")
def test_add_gives_what_ctypes_makes_of_a_sum_of_floats(code, amount):
    number = Value(code, 0.1)
    expected = type(number.get_obj()).__mro__[1](number.value + amount).value
    assert (number.add(amount), number.value) == (expected, expected)


def test_a_float_refuses_what_is_no_number_and_what_is_too_large():
    number = Value("d", 0.5)
    with pytest.raises(TypeError):
        number.add("1")
    with pytest.raises(OverflowError):
        number.add(10**400)
    assert number.value == 0.5
    assert not number.get_lock().locked()


class Odd(ctypes.c_int):
    pass


class OddLock(type(RLock())):
    def acquire(self, *args):
        self.times = getattr(self, "times", 0) + 1
        return super().acquire(*args)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Value(Odd, 40),
        lambda: Value(ctypes.c_int.__ctype_be__, 40),
        lambda: Value(ctypes.c_longdouble, 40),
        lambda: Value("i", 40, lock=threading.RLock()),
        lambda: Value("i", 40, lock=OddLock()),
        lambda: Value("i", 40, lock=Lock()),
        lambda: synchronized(ctypes.c_int(40)),
    ],
)
def test_add_works_on_all_kinds_of_numbers_and_locks(make):
    number = make()
    assert number.add(2) == 42
    assert number.get_obj().value == 42


def test_add_uses_the_lock_that_was_given():
    lock = OddLock()
    number = Value("i", 40, lock=lock)
    number.add(2)
    assert lock.times == 1


def test_add_may_be_called_with_the_lock_held_and_waits_for_other_threads():
    number = Value("i", 0)
    with number.get_lock():
        thread = threading.Thread(target=number.add, args=(1,))
        thread.start()
        for _ in range(1000):
            number.add(1)
        assert number.value == 1000
    thread.join()
    assert number.value == 1001


def test_add_takes_any_integer_and_no_fraction_for_an_integer():
    assert Value("i", 1).add(np.int16(2)) == 3
    number = Value("i", 1)
    with pytest.raises(TypeError, match="float"):
        number.add(1.5)
    assert number.value == 1
    assert number.acquire(False)
    number.release()


@pytest.mark.parametrize(("kind", "value"), [("c", b"a"), ("u", "a"), (ctypes.c_bool, True), (ctypes.c_void_p, 1)])
def test_add_refuses_what_is_no_number(kind, value):
    with pytest.raises(TypeError, match="for integers and floats"):
        Value(kind, value).add(1)


@pytest.mark.parametrize("make", [lambda: RawValue("i"), lambda: Value("i", lock=False), lambda: Array("i", 2)])
def test_add_is_missing_with_an_explanation_where_there_is_no_single_number_with_a_lock(make):
    thing = make()
    assert not hasattr(thing, "add")
    with pytest.raises(AttributeError, match="only a number with a lock"):
        thing.add(1)


# ---- sameness and copies ----


@pytest.mark.parametrize(
    "thing",
    [
        RawValue("i", 3),
        RawArray("i", 3),
        RawValue(Point),
        RawArray(Point, 2),
        RawArray((ctypes.c_int * 3) * 2, 4),
        RawValue(FourInts),
    ],
    ids=repr,
)
def test_what_was_sent_is_the_same_memory_and_the_same_type(thing):
    arrived = sent(thing)
    ctypes.memset(ctypes.addressof(arrived), 1, ctypes.sizeof(arrived))
    assert bytes(thing) == bytes(arrived) == b"\1" * ctypes.sizeof(thing)
    assert type(arrived) is type(thing)
    assert sharedctypes._plain_kind(type(arrived)) is not type(arrived)


def test_what_was_sent_has_the_same_lock():
    value = Value("i", 4)
    other = sent(value)
    with value:
        outcome = []
        thread = threading.Thread(target=lambda: outcome.append(other.acquire(False)))
        thread.start()
        thread.join()
    assert outcome == [False]


def test_copy_gives_other_memory_with_the_same_content():
    point = Point(1, 2)
    shared = copy(point)
    again = copy(shared)
    shared.x = 5
    assert (point.x, shared.x, again.x, again.y) == (1, 5, 1, 2)
    assert type(again) is type(shared)
    sent(again).y = 7
    assert again.y == 7
    assert list(copy((ctypes.c_int * 3)(1, 2, 3))) == [1, 2, 3]


def test_the_copy_module_makes_private_copies():
    value = RawValue("i", 3)
    for private in (plain_copy.copy(value), plain_copy.deepcopy(value)):
        private.value = 4
        assert value.value == 3
        assert type(private) is ctypes.c_int


# ---- how long they last ----


@pytest.mark.parametrize(
    "view_of",
    [
        lambda points: memoryview(points),
        lambda points: np.frombuffer(points, dtype="f8"),
        lambda points: np.ctypeslib.as_array(points),
        lambda points: points[2],
        lambda points: ctypes.pointer(points),
        lambda points: (ctypes.c_byte * 8).from_buffer(points),
    ],
    ids=["memoryview", "frombuffer", "as_array", "element", "pointer", "from_buffer"],
)
def test_a_view_or_a_part_keeps_the_memory(view_of):
    before = blocks()
    points = RawArray(Point, 5)
    view = view_of(points)
    del points
    assert blocks() == before + 1
    others = [RawArray(Point, 5) for _ in range(10)]  # none of them gets the memory
    for other in others:
        ctypes.memset(ctypes.addressof(other), 1, ctypes.sizeof(other))
    if isinstance(view, Point):
        assert (view.x, view.y) == (0, 0)
    else:
        assert not any(bytes(view.contents if hasattr(view, "contents") else view))
    del view, others, other
    assert blocks() == before


def test_a_handle_that_comes_after_the_last_holder_says_so():
    data = pickle.dumps(RawValue("i", 3))
    _core.take_exported()
    with pytest.raises(SharedObjectGone):
        pickle.loads(data)


def test_a_thousand_of_each_cost_no_descriptor_and_give_all_blocks_back():
    before, descriptors = blocks(), len(os.listdir("/proc/self/fd"))
    kept = [(Value("i"), Array("d", n), RawValue(Point), BufferWrapper(n)) for n in range(1000)]
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert blocks() == before + 6000
    del kept
    assert blocks() == before


def test_types_that_are_used_no_more_are_forgotten():
    for length in range(50):
        RawArray(Point, length)
    gc.collect()
    assert sum(issubclass(kind, ctypes.Array) and kind._type_ is Point for kind in sharedctypes._shared_kinds) < 10


# ---- heap ----


def test_a_buffer_wrapper_is_that_many_bytes_and_its_view_keeps_them():
    before = blocks()
    wrapper = BufferWrapper(100)
    view = wrapper.create_memoryview()
    view[:] = bytes(range(100))
    assert bytes(sent(wrapper).create_memoryview()) == bytes(range(100))
    del wrapper
    assert bytes(view.cast("B")) == bytes(range(100))
    del view
    assert blocks() == before


def test_a_buffer_wrapper_may_be_empty_and_not_less():
    assert BufferWrapper(0).create_memoryview().nbytes == 0
    with pytest.raises(ValueError, match="-1"):
        BufferWrapper(-1)
    with pytest.raises(OverflowError):
        BufferWrapper(2**63)


def test_buffer_wrappers_in_cycles_are_freed_by_the_collector():
    before = blocks()
    for _ in range(1000):
        one, other = BufferWrapper(1), BufferWrapper(1)
        one.buddy, other.buddy = other, one
    del one, other
    assert blocks() == before
