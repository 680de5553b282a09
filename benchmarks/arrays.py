"""Large arrays: 100 MB of float64 to a worker and back, warm.

The receiver reads one element: these rows are about the transfer, not about reading memory.  The element changes from
call to call, so that a copy kept from the last call would be seen.
"""

from __future__ import annotations

from functools import cache
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

from .measure import MS, Measure, Setting, Skipped, expect

if TYPE_CHECKING:
    import numpy

    Floats: TypeAlias = numpy.ndarray[Any, numpy.dtype[numpy.float64]]

BYTES = 100_000_000
FLOAT_BYTES = 8
CALLS = 5


@cache
def ready_array(length: int) -> Floats:
    """An array whose pages exist; made once per process, so that its making is not measured."""
    try:
        import numpy
    except ImportError:
        raise Skipped("needs numpy") from None
    return numpy.arange(length, dtype=numpy.float64)


def read_first(array: Floats) -> float:
    """What a worker does with its argument."""
    return float(array[0])


def give_array(length: int, mark: float) -> Floats:
    """What a worker returns as its result: the array that it has ready, marked."""
    array = ready_array(length)
    array[0] = mark
    return array


def argument(setting: Setting) -> float:
    """The median call; the first ones, which warm both workers and the memory, do not count."""
    length = setting.count(BYTES // FLOAT_BYTES)
    array = ready_array(length)
    durations_s: list[float] = []
    with setting.context.Pool(setting.workers) as pool:
        for number in range(2 * setting.workers + CALLS):
            array[0] = number
            started = perf_counter()
            seen = pool.apply(read_first, (array,))
            durations_s.append(perf_counter() - started)
            expect(seen == number, f"the worker saw {seen} in the array instead of {number}")
    return median(durations_s[-CALLS:])


def result(setting: Setting) -> float:
    """As `argument`, the other way; each result is dropped before the next call."""
    length = setting.count(BYTES // FLOAT_BYTES)
    ready_array(1)  # in this process, which then can say that NumPy is missing
    durations_s: list[float] = []
    with setting.context.Pool(setting.workers, initializer=ready_array, initargs=(length,)) as pool:
        for number in range(2 * setting.workers + CALLS):
            started = perf_counter()
            array = pool.apply(give_array, (length, float(number)))
            seen = float(array[0])
            durations_s.append(perf_counter() - started)
            expect(seen == number, f"the result's first element is {seen} instead of {number}")
            del array
    return median(durations_s[-CALLS:])


MEASURES = [
    Measure("arrays.argument", "100 MB float64 as argument, warm", MS, argument, goal=20),
    Measure("arrays.result", "100 MB float64 as result, warm", MS, result),
]
