"""Locks: what they cost while nobody else wants them, and while somebody does; and numbers that are counted under them."""

from __future__ import annotations

from typing import Any

from .gate import DONE, WAITED_FOR, Address, pass_gate, seconds_together
from .measure import (
    MODULES,
    OURS,
    US_PER_OPERATION,
    Goal,
    Measure,
    Setting,
    Side,
    Skipped,
    expect,
    like_multiprocessing,
    seconds_per_item,
)

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
    return seconds_per_item(enter_and_leave, items=rounds, least_s=setting.seconds(0.2))


def contend(lock: Any, rounds: int, address: Address) -> None:
    """Enter and leave in a process of its own, beside another that does the same."""
    with pass_gate(address, WAITED_FOR) as gate:
        for _ in range(rounds):
            with lock:
                pass
        gate.sendall(DONE)


def contended_lock(setting: Setting) -> float:
    """The time of one `with lock: pass` of all that two processes do, until both are done."""
    lock = setting.context.Lock()
    rounds = setting.count(3 * ROUNDS)
    return seconds_together(setting.context, [(contend, (lock, rounds))] * 2) / (2 * rounds)


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
    operation_s = seconds_per_item(add, items=rounds, least_s=setting.seconds(0.2))
    expect(value.value == calls * rounds, f"the value is {value.value} after {calls * rounds} additions of 1")
    return operation_s


def value_add(setting: Setting) -> float:
    """procession's own way to count: `value.add(1)`."""
    value: Any = setting.context.Value("q", 0)
    if not hasattr(value, "add"):
        raise Skipped("its Value has no add")
    rounds = setting.count(ROUNDS)
    add = value.add

    def add_all() -> None:
        for _ in range(rounds):
            add(1)

    add_all()
    return seconds_per_item(add_all, items=rounds, least_s=setting.seconds(0.2))


MEASURES = [
    Measure(
        "locks.with",
        "with lock",
        US_PER_OPERATION,
        like_multiprocessing(with_lock),
        [Goal(2, ("stdlib",))],
    ),
    Measure(
        "locks.contended",
        "with lock, contended by 2",
        US_PER_OPERATION,
        like_multiprocessing(contended_lock),
        [Goal(3, ("stdlib",))],
    ),
    Measure(
        "locks.value",
        "Value += 1 under get_lock()",
        US_PER_OPERATION,
        like_multiprocessing(value_under_lock, OURS, "stdlib", "multiprocess"),
    ),
    Measure(
        "locks.add",
        "Value.add(1) against += 1 under get_lock()",
        US_PER_OPERATION,
        {OURS: Side(value_add, MODULES[OURS]), "stdlib": Side(value_under_lock, MODULES["stdlib"])},
    ),
]
