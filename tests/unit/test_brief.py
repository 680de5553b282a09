"""Values in messages, cut before their repr is made."""

import dataclasses
import functools
import threading
import time
from collections import namedtuple

import pytest

from procession.engine.brief import brief


@dataclasses.dataclass
class Payload:
    name: str
    data: bytes
    hidden: int = dataclasses.field(default=1, repr=False)


Pair = namedtuple("Pair", "left right")
SHORT = [
    *(0, -5, 1.5, None, True, "", "it's", b"x", bytearray(b"ab"), 10**30, 3j, ...),
    *([], (), (1,), (1, 2), {}, set(), {1}, frozenset(), frozenset({2}), {"a": [1, (2,)], 3: {4}}),
    *(Pair(1, "b"), Payload("n", b"d"), functools.partial(max, 1, key=len), int, len, range(3)),
]


@pytest.mark.parametrize("value", SHORT, ids=repr)
def test_a_short_value_has_its_own_repr(value):
    assert brief(value, 200) == repr(value)


def test_a_long_one_begins_as_its_repr_does_and_ends_with_dots():
    for value in ("x" * 1000, b"y" * 1000, list(range(1000)), {i: i for i in range(1000)}, tuple("ab" * 500)):
        text = brief(value, 60)
        assert text[:57] == repr(value)[:57]
        assert len(text) == 60 and text.endswith("...")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda data: data,
        lambda data: [data, data],
        lambda data: {"key": (data,)},
        lambda data: Payload("name", data),
        lambda data: functools.partial(print, data, end=data),
        lambda data: [0] * len(data),
        lambda data: 1 << 8 * len(data),
        lambda data: set(range(1_000_000)),
    ],
)
def test_a_large_value_costs_no_more_than_a_small_one(wrap):
    value = wrap(bytes(50_000_000))
    began = time.thread_time()
    assert len(brief(value, 60)) <= 60
    assert time.thread_time() - began < 0.02


def test_circles_depths_and_reprs_that_raise_do_no_harm():
    circle: list = []
    circle.append(circle)
    deep: list = []
    for _ in range(100_000):
        deep = [deep]

    class Bad:
        def __repr__(self):
            raise OSError("no")

    for value in (circle, deep, {"k": deep}):
        assert len(brief(value, 60)) <= 60
    assert brief(Bad(), 60) == "<Bad, whose repr raised OSError>"
    assert brief([threading.Lock()], 80).startswith("[<unlocked")
