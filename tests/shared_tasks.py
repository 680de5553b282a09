"""What processes do with shared values and arrays in tests."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Any


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_double), ("y", ctypes.c_double)]


class Line(ctypes.Structure):
    _fields_ = [("start", Point), ("ends", Point * 2), ("name", ctypes.c_char * 8)]


def double(things: dict[str, Any]) -> None:
    """Double whatever it is, in place."""
    for name, thing in things.items():
        if name.endswith("structure"):
            thing.x *= 2
            thing.y *= 2
        elif name.endswith("structures"):
            for point in thing:
                point.x *= 2
        elif name.endswith("nested"):
            thing.start.x *= 2
            thing.ends[1].y *= 2
            thing.name *= 2
        elif name.endswith("table"):
            for row in thing:
                row[:] = [2 * number for number in row]
        elif name.endswith("numbers"):
            for index in range(len(thing)):
                thing[index] *= 2
        elif name.endswith("buffer"):
            view = thing.create_memoryview()
            view[:] = bytes(2 * byte for byte in view)
        else:
            thing.value *= 2


def double_and_say(things: dict[str, Any]) -> bool:
    double(things)
    return True


def double_from(road: Any, done: Any) -> None:
    """Double what comes by a road: a queue, or one end of a pipe."""
    double(road.get() if hasattr(road, "get") else road.recv())
    done.set()


def modify(n: Any, x: Any, s: Any, points: Any) -> None:
    """The example of the standard library's documentation."""
    n.value **= 2
    x.value **= 2
    s.value = s.value.upper()
    for point in points:
        point.x **= 2
        point.y **= 2


def add_many(value: Any, times: int, amount: Any, begin: Any) -> None:
    begin.wait(20)
    for _ in range(times):
        value.add(amount)


def add_by_hand(value: Any, times: int, amount: Any, begin: Any) -> None:
    begin.wait(20)
    for _ in range(times):
        with value.get_lock():
            value.value += amount


def add_and_tell(value: Any, times: int, sums: Any, begin: Any) -> None:
    begin.wait(20)
    sums.put([value.add(1) for _ in range(times)])


def fill_part(array: Any, start: int, stop: int) -> None:
    for index in range(start, stop):
        array[index] = index


def last_byte_plus_one(array: Any) -> int:
    array[len(array) - 1] += 1
    return int(array[len(array) - 1])


def die_with_lock(thing: Any) -> None:
    thing.acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def add_until_killed(value: Any, started: Any) -> None:
    value.add(1)
    started.set()
    while True:
        value.add(1)


def make_and_send(queue: Any) -> None:
    """Values whose maker ends before they are received."""
    from procession import Array, Value

    queue.put((Value("i", 42), Array("d", [0.5] * 1000)))


def keep_part_of_what_comes(road: Any, queue: Any, go_on: Any) -> None:
    """Let go of all but a view, and read by it when nobody else has the array any more."""
    view = memoryview(road.get().get_obj())[5:6]
    queue.put("ready")
    go_on.wait(20)
    queue.put(view.cast("B").cast("i").tolist())
