"""What a measure is, and how it counts time.

A measure has sides: procession, and the peers that do the same work.  A side is a function `Setting -> value`, called in a
fresh interpreter.  The processes that a measure starts import this module too, so it stays light: tuples here, not
dataclasses, whose import would be a tenth of a spawned process's start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from multiprocessing.context import ForkContext, ForkServerContext, SpawnContext

    Context: TypeAlias = ForkContext | ForkServerContext | SpawnContext

Figure: TypeAlias = float | dict[str, float]
"""One value, or one for each point of a curve."""

OURS = "procession"
MODULES = {OURS: OURS, "stdlib": "multiprocessing", "billiard": "billiard", "multiprocess": "multiprocess"}
"""The sides that have the API of multiprocessing, each by the module that has it."""

LEAST_S = 0.05
"""A stretch of time shorter than this says more about the machine's wake-ups than about the work."""

AFFORDABLE_S = 0.3
"""Peers that take longer for a tenth of the work are not asked for the whole."""

DIVISORS = {"full": 1, "quick": 10, "trial": 1000}
MAIN = "benchmarks.child"
START_MAIN = "benchmarks.start_child"
NUMPY_MAIN = "benchmarks.numpy_child"


class Skipped(Exception):
    """This side cannot do this measure here; the message says what it needs."""


class Unit(NamedTuple):
    """How a figure is shown: `factor` turns what a side returns into the unit of `label`."""

    label: str
    factor: float
    more_is_better: bool = False


US_PER_TASK = Unit("us/task", 1e6)
US_PER_ITEM = Unit("us/item", 1e6)
US_PER_OPERATION = Unit("us/op", 1e6)
US_PER_MESSAGE = Unit("us/message", 1e6)
MS = Unit("ms", 1e3)
MB = Unit("MB", 1e-6)
PERCENT_OF_IDEAL = Unit("% of ideal", 100, more_is_better=True)
TASKS_PER_S = Unit("tasks/s", 1, more_is_better=True)
MB_PER_S = Unit("MB/s", 1e-6, more_is_better=True)


class Setting(NamedTuple):
    """What one measurement is given: its side, the start method, the number of workers, and how much work to do."""

    side: str
    method: str
    workers: int
    size: str
    context: Context
    """Of the side's module; of the standard library's for a side with an API of its own."""

    @property
    def is_full(self) -> bool:
        """Whether figures are to be quoted."""
        return self.size == "full"

    def count(self, full: int, *, least: int = 1) -> int:
        """As many as `full`, or a tenth of it in a quick run, or next to none in a trial."""
        divisor = DIVISORS[self.size]
        return full if divisor == 1 else max(1 if self.size == "trial" else least, full // divisor)

    def seconds(self, full: float) -> float:
        """How long to repeat what is short."""
        return full / DIVISORS[self.size]


class Side(NamedTuple):
    """How one side does the work.  `method` and `main` None: those of the command line, and `benchmarks.child`."""

    run: Callable[[Setting], Figure]
    module: str | None = None
    method: str | None = None
    main: str = MAIN


class Goal(NamedTuple):
    """How many times better than the best of `against`; without those, a limit in the row's own unit."""

    figure: float
    against: tuple[str, ...] = ()


class Measure(NamedTuple):
    """One row of the table.  The first of the sides is procession's; `rounds` caps the rounds of what takes long."""

    name: str
    work: str
    unit: Unit
    sides: Mapping[str, Side]
    goals: Sequence[Goal] = ()
    rounds: int = 99

    @property
    def needed(self) -> set[str]:
        """The sides that the goals are about; the others are for information."""
        return {OURS, *(side for goal in self.goals for side in goal.against)}


class Curve(NamedTuple):
    """As a Measure, over the points of `axis`: each side returns a figure for each of them."""

    name: str
    work: str
    unit: Unit
    sides: Mapping[str, Side]
    axis: str
    points: Mapping[str, float]
    rounds: int = 99

    @property
    def needed(self) -> set[str]:
        """None is needed more than the others."""
        return set(self.sides)


def like_multiprocessing(run: Callable[[Setting], Figure], *sides: str, method: str | None = None) -> dict[str, Side]:
    """The sides of this name, which all have the API that `run` is written against."""
    return {side: Side(run, MODULES[side], method) for side in sides or MODULES}


def seconds_per_item(call: Callable[[], object], *, items: int, least_s: float = LEAST_S) -> float:
    """Repeat `call`, which does `items` things, until `least_s` have passed; the time of one thing."""
    calls = 0
    started = perf_counter()
    while (elapsed_s := perf_counter() - started) < least_s or not calls:
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


def affordable(call: Callable[[int], object], count: int) -> int:
    """Warm up with a tenth of the items; a tenth is also what a side is measured with that takes long for it."""
    tenth = max(1, count // 10)
    started = perf_counter()
    call(tenth)
    return count if perf_counter() - started < AFFORDABLE_S else tenth


@contextmanager
def one_busy_process() -> Iterator[None]:
    """Another process that wants a core all the time, as on a machine that has other work too."""
    import subprocess
    import sys

    source = "print(flush=True)\nwhile True: pass"
    busy = subprocess.Popen([sys.executable, "-S", "-c", source], stdout=subprocess.PIPE)
    try:
        assert busy.stdout is not None
        busy.stdout.readline()
        yield
    finally:
        busy.kill()
        busy.communicate()


def middle(values: Sequence[float]) -> float:
    """The median of a few.  The module of the standard library that has it takes longer to import than a process to start."""
    return sorted(values)[len(values) // 2]


def expect(condition: bool, message: str) -> None:
    """A fast wrong answer is no answer: raise unless `condition`.  (Not `assert`, which -O removes.)"""
    if not condition:
        raise ValueError(message)
