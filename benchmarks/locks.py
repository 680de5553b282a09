"""Locks: what they cost while nobody else wants them."""

from __future__ import annotations

from .measure import US_PER_OPERATION, Measure, Setting, expect, seconds_per_item

ROUNDS = 100_000


def with_lock(setting: Setting) -> float:
    """`with lock: pass`, the loop around it included."""
    lock = setting.context.Lock()
    rounds = setting.count(ROUNDS)

    def enter_and_leave() -> None:
        for _ in range(rounds):
            with lock:
                pass

    enter_and_leave()
    return seconds_per_item(enter_and_leave, items=rounds, least_s=0.2)


def value_under_lock(setting: Setting) -> float:
    """The drop-in way to count: `value.value += 1` under the value's own lock."""
    value = setting.context.Value("q", 0)
    rounds = setting.count(ROUNDS)
    calls = 0

    def add() -> None:
        nonlocal calls
        calls += 1
        for _ in range(rounds):
            with value.get_lock():
                value.value += 1

    add()
    operation_s = seconds_per_item(add, items=rounds, least_s=0.2)
    expect(value.value == calls * rounds, f"the value is {value.value} after {calls * rounds} additions of 1")
    return operation_s


MEASURES = [
    Measure("locks.with", "with lock, uncontended", US_PER_OPERATION, with_lock, goal=1.0),
    Measure("locks.value", "Value += 1 under get_lock()", US_PER_OPERATION, value_under_lock),
]
