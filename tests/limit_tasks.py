"""What workers run in the tests of limits; and things that cannot be pickled, each in its own way."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any


def increase(x: int) -> int:
    return x + 1


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def eat(size: int) -> int:
    """Touch that much memory."""
    food = bytearray(size)
    for at in range(0, size, 4096):
        food[at] = 1
    return len(food)


def filled(size: int) -> bytes:
    return b"x" * size


def ends_of(data: Any) -> tuple[int, Any, Any]:
    return len(data), int(data[0]), int(data[-1])


def ones(size: int) -> Any:
    import numpy as np

    return np.ones(size, np.uint8)


def kill_self_with(data: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def touch_or_die(thing: Any) -> None:
    if isinstance(thing, Deadly):
        os.kill(os.getpid(), signal.SIGKILL)


def lengths(*things: Any) -> list[int]:
    return [len(thing) for thing in things]


# ---- what cannot be pickled ----


class Refusal(BaseException):
    """No Exception."""


class RaisesBase:
    def __reduce__(self) -> Any:
        raise Refusal("no")


class RaisesInterrupt:
    def __reduce__(self) -> Any:
        raise KeyboardInterrupt


class RaisesExit:
    def __reduce__(self) -> Any:
        raise SystemExit(3)


class LongWords:
    """Its repr is a novel."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __repr__(self) -> str:
        return "y" * 5_000_000


class PicklesOnce:
    """Can be sent once."""

    def __init__(self) -> None:
        self.is_sent = False

    def __reduce__(self) -> Any:
        if self.is_sent:
            raise ValueError("sent already")
        self.is_sent = True
        return PicklesOnce, ()


class Deadly:
    """A function that is given it kills its worker."""

    def __init__(self, path: str) -> None:
        self.path = path


class RaisesAtEnd:
    """Its `__del__` raises."""

    def __del__(self) -> None:
        raise ValueError("a __del__ that raises")


def deep(depth: int = 100_000) -> list[Any]:
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested]
    return nested


UNPICKLABLE: dict[str, Any] = {
    "lock": threading.Lock,
    "generator": lambda: (i for i in ()),
    "BaseException": RaisesBase,
    "SystemExit": RaisesExit,
    "too deep": deep,
    "long repr": LongWords,
}


def make(kind: str) -> Any:
    return UNPICKLABLE[kind]()


def raise_with(kind: str) -> None:
    error = ValueError("with baggage")
    error.baggage = make(kind)  # type: ignore[attr-defined]
    raise error
