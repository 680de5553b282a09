"""Starting: one process from start to join, and a pool of two from nothing to its first result, by start method.

One start before the clock runs is not timed: the fork server is up, and what a start imports is imported.
"""

from __future__ import annotations

from statistics import median
from time import perf_counter

from .measure import MS, Measure, Setting, expect, seconds_per_item


def nop() -> None:
    """What a started process does."""


def echo(number: int) -> int:
    """The pool's first task."""
    return number


def start_and_join(setting: Setting) -> float:
    """The time of one start and join, several in a row."""

    def start_then_join() -> None:
        process = setting.context.Process(target=nop)
        process.start()
        process.join()
        expect(process.exitcode == 0, f"the process ended with exit code {process.exitcode}")

    start_then_join()
    return seconds_per_item(start_then_join, items=1, least_s=0.1 if setting.is_quick else 0.3)


def pool_to_first_result(setting: Setting) -> float:
    """The median time until the first result; closing the pool is not timed."""
    durations_s: list[float] = []
    for number in range(3 if setting.is_quick else 6):
        started = perf_counter()
        with setting.context.Pool(setting.workers) as pool:
            seen = pool.apply(echo, (number,))
            durations_s.append(perf_counter() - started)
            expect(seen == number, f"the pool's first result is {seen} instead of {number}")
    return median(durations_s[1:])


METHODS = {"fork": "fork", "spawn": "spawn", "forkserver": "warm forkserver"}

MEASURES = [
    *(
        Measure(f"start.{method}", f"start and join, {words}", MS, start_and_join, method=method)
        for method, words in METHODS.items()
    ),
    *(
        Measure(f"start.pool_{method}", f"pool of 2 to first result, {words}", MS, pool_to_first_result, method=method)
        for method, words in METHODS.items()
    ),
]
