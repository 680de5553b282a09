"""What workers do in the chaos test; each result can be checked by its argument."""

from __future__ import annotations

import time
from typing import Any

import numpy as np


class Odd(Exception):
    """Raised on purpose; with two arguments, so that it cannot be unpickled as it is."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(f"{text} {number}")
        self.number = number


def square(number: int) -> int:
    return number * number


def add(first: int, second: int) -> int:
    return first + second


def nap(milliseconds: int) -> int:
    time.sleep(milliseconds / 1000)
    return milliseconds


def compute(number: int) -> int:
    return sum(range(number))


def raise_odd(number: int) -> None:
    raise Odd(number, "odd")


def plus_one(array: Any) -> Any:
    return array + 1


def counted(number: int) -> dict[str, Any]:
    return {"number": number, "list": [number] * 10, "array": np.full(2000, number)}
