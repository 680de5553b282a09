"""The pool: what one tiny task costs by each way of submitting it, and how near longer tasks come to the ideal.

Every pool is warm: the same call runs once before the clock starts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter, thread_time_ns
from typing import Any

from .measure import (
    AFFORDABLE_S,
    MODULES,
    OURS,
    PERCENT_OF_IDEAL,
    US_PER_TASK,
    Goal,
    Measure,
    Setting,
    Side,
    affordable,
    expect,
    one_busy_process,
    seconds_per_item,
    seconds_per_item_of_one_call,
)
from .peers import Face, open_pool, wake_all

LONG_NS = 50_000
SHORT_NS = 2_000
OUTLIER_NS = 5_000_000
OUTLIER_EVERY = 500


def nop(number: int) -> int:
    """The task that costs nothing."""
    return number


def nop_string(text: str) -> str:
    """The task that costs nothing, of a string."""
    return text


def work(duration_ns: int) -> int:
    """Use that much processor time.

    Not time by the clock on the wall: while the caller has pushed the worker off its core, nothing is worked.
    """
    end_ns = thread_time_ns() + duration_ns
    while thread_time_ns() < end_ns:
        pass
    return duration_ns


def imap_tiny(setting: Setting) -> float:
    """One stream, long enough for the faster side to last."""
    with open_pool(setting) as pool:

        def stream(count: int) -> None:
            deque(pool.imap(nop, range(count)), maxlen=0)

        expect(list(pool.imap(nop, range(100))) == list(range(100)), "imap returned other results than it should")
        count = affordable(stream, setting.count(20_000))
        return seconds_per_item_of_one_call(stream, items=count, least_s=setting.seconds(0.2))


def imap_20_000(setting: Setting) -> float:
    """Streams of 20,000, one after the other."""
    count = setting.count(20_000)
    with open_pool(setting) as pool:
        deque(pool.imap(nop, range(count)), maxlen=0)
        return seconds_per_item(lambda: deque(pool.imap(nop, range(count)), maxlen=0), items=count)


def map_tiny(setting: Setting) -> float:
    """Maps of 20,000, one after the other."""
    count = setting.count(20_000)
    with open_pool(setting) as pool:
        expect(list(pool.map(nop, range(count))) == list(range(count)), "map returned other results than it should")
        return seconds_per_item(lambda: pool.map(nop, range(count)), items=count)


def map_million_ints(setting: Setting) -> float:
    """One map call over a range."""
    return map_million(setting, nop, range(setting.count(1_000_000)))


def map_million_strings(setting: Setting) -> float:
    """One map call over a list of short strings."""
    return map_million(setting, nop_string, [f"item {number}" for number in range(setting.count(1_000_000))])


def map_million(setting: Setting, function: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """All of them, or a tenth of them again and again."""
    with open_pool(setting) as pool:

        def check(count: int) -> None:
            results = list(pool.map(function, items[:count]))
            expect(results == list(items[:count]), "map returned other results than it should")

        count = affordable(check, len(items))
        some = items[:count]
        return seconds_per_item(lambda: pool.map(function, some), items=count, least_s=setting.seconds(0.3))


def apply_one_by_one(pool: Face, calls: int) -> None:
    """Each task once the one before it has come back."""
    for number in range(calls):
        pool.apply(nop, (number,))


def apply_round_trip(setting: Setting) -> float:
    """One task at a time: submit, run, result."""
    calls = setting.count(100, least=100)
    with open_pool(setting) as pool:
        apply_some = partial(apply_one_by_one, pool, calls)
        expect(pool.apply(nop, (7,)) == 7, "apply returned another result than it should")
        wake_all(pool, setting)
        apply_some()
        return seconds_per_item(apply_some, items=calls, least_s=setting.seconds(0.4))


def apply_beside_a_busy_process(setting: Setting) -> float:
    """As `apply_round_trip`; the system's scheduler has more to choose from, so it takes longer to see an average."""
    calls = setting.count(100, least=100)
    with open_pool(setting) as pool:
        apply_some = partial(apply_one_by_one, pool, calls)
        wake_all(pool, setting)
        with one_busy_process():
            apply_some()
            return seconds_per_item(apply_some, items=calls, least_s=setting.seconds(0.8))


def submit_and_gather(setting: Setting) -> float:
    """All submitted first, then all results in order."""
    with open_pool(setting) as pool:
        results = pool.submit_all(nop, range(100))
        expect(results == list(range(100)), "submitted tasks returned other results than they should")
        count = affordable(lambda items: pool.submit_all(nop, range(items)), setting.count(20_000))
        return seconds_per_item(lambda: pool.submit_all(nop, range(count)), items=count)


def share_of_ideal(setting: Setting, durations_ns: list[int]) -> float:
    """The share of the workers' time that goes into the tasks: 1 if they did nothing else and ended together.

    The work is given as one part, to be done four times over.
    """
    started_ns = thread_time_ns()
    for duration_ns in durations_ns:
        work(duration_ns)
    ideal_s = (thread_time_ns() - started_ns) / 1e9 / setting.workers
    with open_pool(setting) as pool:
        started = perf_counter()
        deque(pool.imap(work, durations_ns), maxlen=0)
        parts = 4 if perf_counter() - started < 4 * AFFORDABLE_S else 1
        started = perf_counter()
        deque(pool.imap(work, durations_ns * parts), maxlen=0)
        return parts * ideal_s / (perf_counter() - started)


def imap_50_us(setting: Setting) -> float:
    """All tasks alike, as long as a small function of Python."""
    return share_of_ideal(setting, [LONG_NS] * setting.count(2_000))


def imap_outliers(setting: Setting) -> float:
    """One task in five hundred takes two and a half thousand times as long, and nobody knows which."""
    from random import Random

    count = setting.count(10_000, least=2_500)
    outliers = count // OUTLIER_EVERY
    durations_ns = [OUTLIER_NS] * outliers + [SHORT_NS] * (count - outliers)
    Random(5).shuffle(durations_ns)
    return share_of_ideal(setting, durations_ns)


STREAMS = ("concurrent.futures", "joblib", "mpire", "pebble")
MAPS = (*STREAMS, "ray")
SINGLE = ("concurrent.futures", "loky", "mpire", "pebble", "ray")


def sides(run: Callable[[Setting], float], *others: str) -> dict[str, Side]:
    """All that mirror multiprocessing, and these."""
    return {**{side: Side(run, module) for side, module in MODULES.items()}, **{side: Side(run) for side in others}}


TINY = [Goal(40, ("stdlib imap",)), Goal(8, ("joblib",))]


def tiny(run: Callable[[Setting], float], *others: str) -> dict[str, Side]:
    """As `sides`; the standard library's imap, which the goal is against, whatever the row calls itself."""
    named = sides(run, *others)
    named["stdlib imap"] = Side(imap_20_000 if run is not imap_tiny else run, MODULES["stdlib"])
    if run is not map_tiny:
        del named["stdlib"]
    return named


MEASURES = [
    Measure(
        "pool.imap", "imap of nops, chunksize unset, one long stream", US_PER_TASK, tiny(imap_tiny, *STREAMS), TINY
    ),
    Measure("pool.imap_20000", "imap of 20,000 nops, chunksize unset", US_PER_TASK, tiny(imap_20_000, "joblib"), TINY),
    Measure("pool.map_20000", "map of 20,000 nops, chunksize unset", US_PER_TASK, tiny(map_tiny, *MAPS), TINY),
    Measure(
        "pool.submit",
        "20,000 tasks submitted one by one, then gathered",
        US_PER_TASK,
        sides(submit_and_gather, *SINGLE),
        [Goal(15, ("stdlib",)), Goal(40, ("concurrent.futures",))],
    ),
    Measure(
        "pool.apply",
        "apply of a nop, round trip",
        US_PER_TASK,
        sides(apply_round_trip, *SINGLE),
        [Goal(10, ("stdlib",))],
    ),
    Measure(
        "pool.apply_busy",
        "apply of a nop, round trip, one busy process",
        US_PER_TASK,
        {side: Side(apply_beside_a_busy_process, MODULES.get(side)) for side in (OURS, "stdlib", "concurrent.futures")},
        [Goal(3, ("stdlib",))],
    ),
    Measure("pool.imap_50us", "imap of 50 us tasks", PERCENT_OF_IDEAL, sides(imap_50_us, *STREAMS), [Goal(90)]),
    Measure(
        "pool.imap_outliers",
        "imap of 2 us tasks, one in 500 takes 5 ms",
        PERCENT_OF_IDEAL,
        sides(imap_outliers, *STREAMS),
        [Goal(70)],
    ),
    Measure(
        "pool.map_ints", "map of 1,000,000 ints", US_PER_TASK, sides(map_million_ints, *MAPS), [Goal(1.5, ("stdlib",))]
    ),
    Measure(
        "pool.map_strings",
        "map of 1,000,000 strings",
        US_PER_TASK,
        sides(map_million_strings, *STREAMS),
        [Goal(1.5, ("stdlib",))],
    ),
]
