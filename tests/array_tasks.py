"""What processes do with shared objects and shared arrays in tests."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import numpy as np

import procession
from procession.engine import arrays


def add_one(array: Any) -> str:
    array += 1
    return type(array).__name__


def add_one_to_what_comes(road: Any, done: Any) -> None:
    array = road.get() if hasattr(road, "get") else road.recv()
    array += 1
    done.set()


def add_one_and_say(array: Any, done: Any) -> None:
    array += 1
    done.set()


def build(rows: int, columns: int) -> Any:
    """A result that is built in place, and is not the whole of what was made for it."""
    array = procession.empty((columns, rows + 1))
    array[...] = np.arange(columns)[:, None]
    return array.T[:rows]


def place_of(array: Any) -> list[int]:
    """The block that an array lies in: its generation is never used twice, so that a copy would be known by it."""
    block = arrays._block_of(array)
    return [block.offset, block.generation]


def build_and_sign(rows: int, columns: int) -> Any:
    """The same; its first row begins with the place where it was built."""
    array = build(rows, columns)
    array[0, :2] = place_of(array)
    return array


def facts_of(handle: Any) -> tuple[float, bool, bool]:
    """Its sum, whether it can be written to, whether it is the same object each time."""
    array = handle.get()
    return float(array.sum()), array.flags.writeable, handle.get() is array


def facts_of_what_comes(road: Any, answers: Any) -> None:
    answers.put(facts_of(road.get() if hasattr(road, "get") else road.recv()))


def facts_into(handle: Any, answers: Any) -> None:
    answers.put(facts_of(handle))


def used_after(array: Any) -> tuple[float, bool]:
    return float(array[0]), array.flags.writeable


def used_bytes() -> int:
    """Of this program's shared memory: what exists of it."""
    return os.fstat(procession._core.arena_fd()).st_blocks * 512


def growth_with(array: Any) -> int:
    """How many bytes were added to the shared memory when this process had read all of the array."""
    before = used_bytes()
    float(array.sum())
    return used_bytes() - before


def share_and_end(queue: Any, kill: bool) -> None:
    queue.put((procession.share(np.arange(100_000)), procession.full(100_000, 7)))
    if kill:
        os.kill(os.getpid(), signal.SIGKILL)


def make_and_wait(queue: Any, kept: list[Any], forever: Any) -> None:
    queue.put((procession.share(np.arange(100_000)), procession.full(100_000, 7)))
    forever.wait()


def keep_a_view(road: Any, ready: Any, go_on: Any, answers: Any) -> None:
    """Hold nothing but views when all others have let go."""
    handle, array = road.get()
    frozen, part = handle.get()[5:7], array[10:12]
    del handle, array
    ready.set()
    go_on.wait(20)
    answers.put((frozen.tolist(), part.tolist()))


def use_until_killed(road: Any, started: Any) -> None:
    """Open, read, write and send on, for ever."""
    while True:
        handle, array = road.get()
        array[handle.get()[:10] % 3] += 1
        road.put((handle, array))
        road.put((procession.share(np.arange(20_000)), procession.zeros(20_000)))
        road.get()
        started.set()


class Point:
    def __init__(self, x: int, weights: Any) -> None:
        self.x, self.weights = x, weights


class Costly:
    """Takes long to unpickle, and knows how often this process has done so."""

    opened = 0

    def __init__(self) -> None:
        self.state = list(range(1000))

    def __setstate__(self, state: Any) -> None:
        end = time.perf_counter() + 0.003
        while time.perf_counter() < end:
            pass
        type(self).opened += 1


def times_opened(handle: Any) -> int:
    return handle.get().opened
