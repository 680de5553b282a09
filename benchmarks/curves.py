"""Curves: throughput against the duration of a task, and against the size of what a task is given.

A point is measured until it has lasted a while, however few tasks that are; all points of a side in one program, as a
program would meet them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from time import perf_counter, thread_time
from typing import Any

from .arrays import load_numpy, ready_array, send_once
from .measure import MB_PER_S, MODULES, OURS, TASKS_PER_S, Curve, Setting, Side, middle, seconds_per_item_of_one_call
from .peers import open_pool, wake_all
from .pool import work

DURATIONS_S = {
    "1 us": 1e-6,
    "3 us": 3e-6,
    "10 us": 1e-5,
    "30 us": 3e-5,
    "100 us": 1e-4,
    "300 us": 3e-4,
    "1 ms": 1e-3,
    "10 ms": 1e-2,
    "100 ms": 1e-1,
}
SIZES = {
    "1 KB": 1e3,
    "10 KB": 1e4,
    "100 KB": 1e5,
    "1 MB": 1e6,
    "10 MB": 1e7,
    "100 MB": 1e8,
    "1 GB": 1e9,
}
FLOAT_BYTES = 8
POINT_S = 0.25
LONG_S = 1.0
MOST_ITEMS = 2000
IDEAL = "the ideal"
IDEAL_ATTEMPTS = 5


def few(duration_s: float, setting: Setting) -> int:
    """As many tasks as to begin with, a multiple of the workers."""
    rounds = min(MOST_ITEMS, int(POINT_S / duration_s)) // setting.workers
    return setting.workers * max(1 if setting.size == "trial" else 2, setting.count(rounds))


def ideal_by_duration(setting: Setting) -> dict[str, float]:
    """The tasks run here, one after the other, as if every worker did that and nothing else; the best of a few attempts."""
    rates: dict[str, float] = {}
    for point, duration_s in DURATIONS_S.items():
        count, duration_ns = max(1, int(setting.seconds(POINT_S) / 10 / duration_s)), int(duration_s * 1e9)
        taken_s: list[float] = []
        for _ in range(IDEAL_ATTEMPTS):
            started = thread_time()
            for _ in range(count):
                work(duration_ns)
            taken_s.append(thread_time() - started)
        rates[point] = setting.workers * count / min(taken_s)
    return rates


def by_duration(setting: Setting, *, way: str) -> dict[str, float]:
    """Tasks per second of one call over many."""
    rates: dict[str, float] = {}
    with open_pool(setting) as pool:
        call: Callable[..., Iterable[Any]] = getattr(pool, way)
        wake_all(pool, setting)
        for point, duration_s in DURATIONS_S.items():
            count = few(duration_s, setting)
            run = partial(run_all, call, int(duration_s * 1e9))
            run(count)
            task_s = seconds_per_item_of_one_call(run, items=count, least_s=setting.seconds(POINT_S))
            rates[point] = 1 / task_s
    return rates


def run_all(call: Callable[..., Iterable[Any]], duration_ns: int, count: int) -> None:
    """One call over that many tasks, until all results are there."""
    deque(call(work, [duration_ns] * count), maxlen=0)


def by_size(setting: Setting) -> dict[str, float]:
    """Bytes per second of calls with an array, one after the other, its pages warm as far as a second call can make them."""
    rates: dict[str, float] = {}
    ready_array(1)
    with open_pool(setting) as pool:
        wake_all(pool, setting, load_numpy)
        for point, size in SIZES.items():
            array = ready_array(max(1, setting.count(int(size)) // FLOAT_BYTES))
            if (
                send_once(pool, array, 0.0) < LONG_S
            ):  # the first is cold, and the second of so long a call costs too much
                send_once(pool, array, 1.0)
            durations_s: list[float] = []
            started = perf_counter()
            while not durations_s or perf_counter() - started < setting.seconds(POINT_S):
                durations_s.append(send_once(pool, array, float(len(durations_s))))
            rates[point] = array.nbytes / middle(durations_s)
            ready_array.cache_clear()
    return rates


MEASURES = [
    Curve(
        "curves.duration",
        "throughput against the duration of a task, nothing tuned",
        TASKS_PER_S,
        {
            OURS: Side(partial(by_duration, way="imap"), MODULES[OURS]),
            "stdlib imap": Side(partial(by_duration, way="imap"), MODULES["stdlib"]),
            "stdlib map": Side(partial(by_duration, way="map"), MODULES["stdlib"]),
            "concurrent.futures": Side(partial(by_duration, way="imap")),
            "joblib": Side(partial(by_duration, way="imap")),
            "mpire": Side(partial(by_duration, way="imap")),
            "pebble": Side(partial(by_duration, way="imap")),
            IDEAL: Side(ideal_by_duration),
        },
        axis="duration of a task",
        points=DURATIONS_S,
        rounds=3,
    ),
    Curve(
        "curves.size",
        "throughput against the size of an array that is a task's argument",
        MB_PER_S,
        {
            OURS: Side(by_size, MODULES[OURS]),
            **{name: Side(by_size) for name in ("concurrent.futures", "joblib", "mpire", "ray")},
            "stdlib": Side(by_size, MODULES["stdlib"]),
        },
        axis="size of the argument",
        points=SIZES,
        rounds=3,
    ),
]
