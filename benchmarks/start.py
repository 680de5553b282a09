"""Starting: one process from start to join, and a pool of two from nothing to its first result, by start method.

Warm: one start before the clock runs is not timed, so the fork server is up, and what a start imports is imported.
Cold: the program's first.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter

from .measure import (
    MODULES,
    MS,
    NUMPY_MAIN,
    OURS,
    START_MAIN,
    Goal,
    Measure,
    Setting,
    Side,
    expect,
    middle,
    seconds_per_item,
)
from .peers import open_pool

GB = 1_000_000_000
PAGE_BYTES = 4096


def nop() -> None:
    """What a started process does."""


def echo(number: int) -> int:
    """The pool's first task."""
    return number


def touched(size: int) -> bytearray:
    """Memory that is really there, by pages."""
    memory = bytearray(size)
    memory[::PAGE_BYTES] = b"\1" * len(memory[::PAGE_BYTES])
    return memory


def start_and_join(setting: Setting, *, held_bytes: int = 0) -> float:
    """The time of one start and join, several in a row."""
    held = touched(setting.count(held_bytes)) if held_bytes else None
    context = setting.context

    def start_then_join() -> None:
        process = context.Process(target=nop)
        process.start()
        process.join()
        expect(process.exitcode == 0, f"the process ended with exit code {process.exitcode}")

    start_then_join()
    seconds = seconds_per_item(start_then_join, items=1, least_s=setting.seconds(0.4))
    del held
    return seconds


def pool_to_first_result(setting: Setting, *, is_cold: bool) -> float:
    """The median time until the first result; closing the pool is not timed."""
    durations_s: list[float] = []
    for number in range(1 if is_cold else 6 if setting.is_full else 3):
        started = perf_counter()
        with open_pool(setting) as pool:
            seen = pool.apply(echo, (number,))
            durations_s.append(perf_counter() - started)
            expect(seen == number, f"the pool's first result is {seen} instead of {number}")
    return durations_s[0] if is_cold else middle(durations_s[1:])


METHODS = ("fork", "forkserver", "spawn")


def by_method(run: Callable[[Setting], float], *, main: str) -> dict[str, Side]:
    """procession's fork server first, then all start methods of both."""
    return {
        OURS: Side(run, MODULES[OURS], "forkserver", main),
        **{f"stdlib {method}": Side(run, MODULES["stdlib"], method, main) for method in METHODS},
        **{f"procession {method}": Side(run, MODULES[OURS], method, main) for method in ("fork", "spawn")},
    }


def pool_sides(run: Callable[[Setting], float], *, main: str, method: str) -> dict[str, Side]:
    """Pools of all that know this start method."""
    names = [OURS, "stdlib", "concurrent.futures"]
    if method != "forkserver":
        names += ["mpire", "pebble"]
    return {name: Side(run, MODULES.get(name), method, main) for name in names}


def pool_row(
    name: str, work: str, figure: float | None, *, method: str, is_cold: bool, main: str = START_MAIN
) -> Measure:
    """A pool of two to its first result."""
    run = partial(pool_to_first_result, is_cold=is_cold)
    goals = [] if figure is None else [Goal(figure, ("stdlib",))]
    named = pool_sides(run, main=main, method=method)
    if is_cold and method == "forkserver":
        named["loky"] = Side(run, main=main)
    return Measure(f"start.{name}", f"pool of 2 to its first result, {work}", MS, named, goals)


MEASURES = [
    Measure(
        "start.process",
        "start and join, forkserver, __main__ imports numpy",
        MS,
        by_method(start_and_join, main=NUMPY_MAIN),
        [Goal(1.2, ("stdlib fork",)), Goal(20, ("stdlib forkserver",)), Goal(25, ("stdlib spawn",))],
    ),
    Measure(
        "start.process_1gb",
        "the same from a parent that holds 1 GB",
        MS,
        by_method(partial(start_and_join, held_bytes=GB), main=NUMPY_MAIN),
        [Goal(10, ("stdlib fork",))],
    ),
    pool_row("pool_warm", "forkserver warm", 10, method="forkserver", is_cold=False),
    pool_row("pool_cold", "forkserver cold", 1, method="forkserver", is_cold=True),
    pool_row(
        "pool_warm_numpy",
        "forkserver warm, __main__ imports numpy",
        10,
        method="forkserver",
        is_cold=False,
        main=NUMPY_MAIN,
    ),
    pool_row(
        "pool_cold_numpy",
        "forkserver cold, __main__ imports numpy",
        1,
        method="forkserver",
        is_cold=True,
        main=NUMPY_MAIN,
    ),
    pool_row("pool_fork", "fork", None, method="fork", is_cold=False),
    pool_row("pool_spawn", "spawn", None, method="spawn", is_cold=False),
]
