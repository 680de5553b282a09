"""What a measure is, and how it counts time.

A measure is a function written once against the API that both sides share; the side arrives as `setting.context`.  The
processes that a measure starts import this module too, so it stays light: tuples here, not dataclasses, whose import
would be a tenth of a spawned process's start.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from multiprocessing.context import ForkContext, ForkServerContext, SpawnContext

    Context: TypeAlias = ForkContext | ForkServerContext | SpawnContext

LEAST_S = 0.05
"""A stretch of time shorter than this says more about the machine's wake-ups than about the work."""

QUICK_DIVISOR = 10


class Skipped(Exception):
    """This measure cannot run here; the message says what it needs."""


class Unit(NamedTuple):
    """How a figure is shown: `factor` turns what a measure returns into the unit of `label`."""

    label: str
    factor: float
    more_is_better: bool = False


US_PER_TASK = Unit("us/task", 1e6)
US_PER_ITEM = Unit("us/item", 1e6)
US_PER_OPERATION = Unit("us/op", 1e6)
MS = Unit("ms", 1e3)
PERCENT_OF_IDEAL = Unit("% of ideal", 100, more_is_better=True)


class Setting(NamedTuple):
    """What one measurement is given: a side's context, the number of workers, and whether to hurry."""

    context: Context
    workers: int
    is_quick: bool

    def count(self, full: int) -> int:
        """As many as `full`, or a tenth of it in a quick run."""
        return max(1, full // QUICK_DIVISOR) if self.is_quick else full


class Measure(NamedTuple):
    """One row of the table.

    `run` returns seconds for one task, item or operation (or a share of the ideal); it raises Skipped where it cannot
    run.  `goal` is how many times better than the baseline the candidate must be; None: for information.
    `method` is the start method that the row is about; None: the one asked for on the command line.
    """

    name: str
    work: str
    unit: Unit
    run: Callable[[Setting], float]
    goal: float | None = None
    method: str | None = None


def seconds_per_item(call: Callable[[], object], *, items: int, least_s: float = LEAST_S) -> float:
    """Repeat `call`, which does `items` things, until `least_s` have passed; the time of one thing."""
    calls = 0
    started = perf_counter()
    while (elapsed_s := perf_counter() - started) < least_s:
        call()
        calls += 1
    return elapsed_s / (calls * items)


def seconds_per_item_of_one_call(call: Callable[[int], object], *, items: int, least_s: float = LEAST_S) -> float:
    """Call with more and more items until one call lasts `least_s`; the time of one of its items.

    For streams, whose throughput shows only once they flow.  A slow side is measured with `items`.
    """
    while True:
        started = perf_counter()
        call(items)
        elapsed_s = perf_counter() - started
        if elapsed_s >= least_s:
            return elapsed_s / items
        items = int(items * max(2.0, 1.3 * least_s / elapsed_s))


def expect(condition: bool, message: str) -> None:
    """A fast wrong answer is no answer: raise unless `condition`.  (Not `assert`, which -O removes.)"""
    if not condition:
        raise ValueError(message)
