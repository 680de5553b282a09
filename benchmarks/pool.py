"""The pool: what one tiny task costs by each way of submitting it, and how near 50 us tasks come to the ideal.

Every pool is warm: the same call runs once before the clock starts.
"""

from __future__ import annotations

from collections import deque
from time import thread_time_ns

from .measure import (
    PERCENT_OF_IDEAL,
    US_PER_TASK,
    Measure,
    Setting,
    expect,
    seconds_per_item,
    seconds_per_item_of_one_call,
)

BUSY_NS = 50_000


def nop(number: int) -> int:
    """The task that costs nothing."""
    return number


def work_50_us(number: int) -> int:
    """Use 50 us of processor time.

    Not 50 us by the clock on the wall: time in which the caller has pushed the worker off its core would count as work.
    """
    end_ns = thread_time_ns() + BUSY_NS
    while thread_time_ns() < end_ns:
        pass
    return number


def map_ints(setting: Setting) -> float:
    """One map call over a range, chunksize unset."""
    count = setting.count(1_000_000)
    with setting.context.Pool(setting.workers) as pool:
        expect(pool.map(nop, range(count)) == list(range(count)), "map returned other results than it should")
        return seconds_per_item(lambda: pool.map(nop, range(count)), items=count)


def imap_20_000(setting: Setting) -> float:
    """Streams of 20,000, one after the other, chunksize unset."""
    count = setting.count(20_000)
    with setting.context.Pool(setting.workers) as pool:
        expect(list(pool.imap(nop, range(count))) == list(range(count)), "imap returned other results than it should")
        return seconds_per_item(lambda: deque(pool.imap(nop, range(count)), maxlen=0), items=count)


def imap_long(setting: Setting) -> float:
    """One stream, long enough for the faster side to last."""
    count = setting.count(20_000)
    with setting.context.Pool(setting.workers) as pool:
        deque(pool.imap(nop, range(count)), maxlen=0)
        return seconds_per_item_of_one_call(lambda items: deque(pool.imap(nop, range(items)), maxlen=0), items=count)


def apply_round_trip(setting: Setting) -> float:
    """One task at a time: submit, run, result."""

    def apply_100() -> None:
        for number in range(100):
            pool.apply(nop, (number,))

    with setting.context.Pool(setting.workers) as pool:
        expect(pool.apply(nop, (7,)) == 7, "apply returned another result than it should")
        apply_100()
        return seconds_per_item(apply_100, items=100, least_s=0.2)


def submit_and_gather(setting: Setting) -> float:
    """All submitted first, then all results in order."""
    count = setting.count(20_000)

    def submit_all_then_gather() -> list[int]:
        pending = [pool.apply_async(nop, (number,)) for number in range(count)]
        return [result.get() for result in pending]

    with setting.context.Pool(setting.workers) as pool:
        expect(submit_all_then_gather() == list(range(count)), "apply_async returned other results than it should")
        return seconds_per_item(submit_all_then_gather, items=count)


def imap_50_us(setting: Setting) -> float:
    """The share of the workers' time that goes into the tasks themselves."""
    count = setting.count(4_000)
    with setting.context.Pool(setting.workers) as pool:
        deque(pool.imap(work_50_us, range(count // 4)), maxlen=0)
        task_s = seconds_per_item(lambda: deque(pool.imap(work_50_us, range(count)), maxlen=0), items=count)
    ideal_s = BUSY_NS / 1e9 / setting.workers
    return ideal_s / task_s


MEASURES = [
    Measure("pool.map", "map of 1,000,000 ints, nop", US_PER_TASK, map_ints, goal=1.3),
    Measure("pool.imap", "imap of 20,000 nops, chunksize unset", US_PER_TASK, imap_20_000, goal=30),
    Measure("pool.imap_long", "imap of nops for 50 ms or more", US_PER_TASK, imap_long, goal=30),
    Measure("pool.apply", "apply of a nop, round trip", US_PER_TASK, apply_round_trip, goal=10),
    Measure("pool.submit", "20,000 apply_async, then gather", US_PER_TASK, submit_and_gather, goal=15),
    Measure("pool.imap_50us", "imap of 50 us tasks", PERCENT_OF_IDEAL, imap_50_us),
]
