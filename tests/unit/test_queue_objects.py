"""Objects through a queue in one process: packed, pickled or in blocks, they come out as they went in."""

import enum
import math
import sys
from collections import Counter, OrderedDict, namedtuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import procession

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text() | st.binary()
TEXTS = st.text(st.characters(), max_size=12)  # with lone surrogates
VALUES = st.recursive(
    SCALARS | TEXTS | st.integers(-300, 300),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(TEXTS | st.integers(), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)


class Colour(enum.IntEnum):
    RED = 1


class Word(str):
    pass


Point = namedtuple("Point", "x y")


def travel(value):
    queue = procession.SimpleQueue()
    queue.put(value)
    return queue.get()


def in_detail(value):
    """Equal for values that are the same to the last bit and type."""
    if type(value) in (list, tuple):
        return type(value), [in_detail(item) for item in value]
    if type(value) is dict:
        return dict, [(in_detail(name), in_detail(item)) for name, item in value.items()]
    return type(value), repr(value)


@settings(max_examples=400, deadline=None)
@given(VALUES)
@example([127, 128, -128, -129, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1])
@example([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**100])
@example([0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324])
@example(["", "a", "\0", "\xff", "\u0100", "\U0001f600", "\ud800"])
@example(((), [], {}, b"", "", None, True, False, 0, 1))
@example({1: "one", "1": 1.0, (1, (2, "x")): [(), ((),)], None: {}, False: b"\x80"})
def test_plain_values_come_out_to_the_last_bit(value):
    assert in_detail(travel(value)) == in_detail(value)


@pytest.mark.parametrize("size", [*range(100, 120), 255, 256, 257, 70_000])
@pytest.mark.parametrize("make", [str, bytes, list, tuple, "\u0100", "\U00010000"], ids=repr)
def test_values_of_every_size_come_out(make, size):
    if isinstance(make, str):
        value = make * size
    else:
        value = {str: "a" * size, bytes: b"a" * size}.get(make) or make(range(size))
    assert travel(value) == value


@pytest.mark.parametrize(
    "value",
    [
        Colour.RED,
        Word("word"),
        Point(1, 2),
        OrderedDict(a=1),
        Counter("aab"),
        [Colour.RED],
        {"a": Point(1, [])},
        1 + 2j,
    ],
    ids=repr,
)
def test_what_only_looks_plain_keeps_its_type(value):
    assert in_detail(travel(value)) == in_detail(value)
    assert type(travel(value)) is type(value)


def test_one_object_does_not_come_out_as_two():
    inner = [1]
    outer = travel([inner, inner, (inner,), {"inner": inner}])
    assert outer[0] is outer[1] is outer[2][0] is outer[3]["inner"]
    table = {}
    first, second = travel((table, table))
    assert first is second


def test_what_lies_in_one_tuple_does_not_come_out_as_two():
    for make in (list, dict, lambda: ([],), lambda: {"a": [1]}):
        pair = (make(), 1)
        first, second = travel([pair, (pair,)])
        assert first[0] is second[0][0]
        assert travel({"a": [pair], "b": [pair]}) == {"a": [pair], "b": [pair]}


def test_a_value_that_contains_itself_comes_out_so():
    ring = []
    ring.append(ring)
    out = travel(ring)
    assert out[0] is out
    table = {}
    table["self"] = (table,)
    out = travel(table)
    assert out["self"][0] is out


def test_nested_containers_of_any_depth_come_out():
    value = 0
    for _ in range(30):
        value = [value]
    assert travel(value) == value


def test_what_was_put_can_be_changed_afterwards():
    queue, value = procession.Queue(), [1, {"a": [2]}]
    queue.put(value)
    value[1]["a"].append(3)
    assert queue.get() == [1, {"a": [2]}]
    assert value == [1, {"a": [2, 3]}]


def test_references_are_neither_lost_nor_kept():

    queue = procession.Queue()
    for value in (2**40, "text" * 3, (2.5, [b"bytes" * 3]), {"name" * 2: [1.5]}):
        before = sys.getrefcount(value)
        for _ in range(100):
            queue.put(value)
            out = queue.get()
        assert sys.getrefcount(value) == before
        assert sys.getrefcount(out) == 2


def test_a_queue_that_was_never_made_says_so():
    class Half(procession.queues.Queue):
        def __init__(self):
            pass

    for call in (
        lambda queue: queue.put(1),
        lambda queue: queue.get(False),
        lambda queue: queue.put_nowait([object()]),
    ):
        with pytest.raises(AssertionError, match="__init__"):
            call(Half())


def test_a_class_may_deal_with_what_cannot_be_pickled():
    complaints = []

    class Forgiving(procession.queues.Queue):
        @staticmethod
        def _on_queue_feeder_error(e, obj):
            complaints.append((e, obj))

    queue, bad = Forgiving(), [sys._getframe()]
    queue.put(bad)
    queue.put(1)
    assert queue.get(timeout=10) == 1 and queue.empty()
    assert complaints[0][1] is bad
