"""Managers: the time of one call of an object that lives in the manager's process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .gate import DONE, WAITED_FOR, Address, pass_gate, seconds_together
from .measure import OURS, US_PER_OPERATION, Goal, Measure, Setting, expect, like_multiprocessing, seconds_per_item

CALLS = 1000
CLIENTS = 4


def calling(prepare: Callable[[Any], tuple[Callable[[], object], int]]) -> Callable[[Setting], float]:
    """A measure of what `prepare`, given a manager, says is to be repeated, and how many calls each time makes."""

    def run(setting: Setting) -> float:
        with setting.context.Manager() as manager:
            call, calls = prepare(manager)
            rounds = setting.count(CALLS, least=100)

            def call_all() -> None:
                for _ in range(rounds):
                    call()

            call_all()
            return seconds_per_item(call_all, items=rounds * calls, least_s=setting.seconds(0.3))

    return run


def dict_get(manager: Any) -> tuple[Callable[[], object], int]:
    """Look up a key."""
    table = manager.dict(key=1)
    expect(table["key"] == 1, "the dict has another value than was put in")
    return lambda: table["key"], 1


def dict_set(manager: Any) -> tuple[Callable[[], object], int]:
    """Give a key its value."""
    table = manager.dict()

    def call() -> None:
        table["key"] = 1

    return call, 1


def queue(manager: Any) -> tuple[Callable[[], object], int]:
    """Put an int in, and take it out."""
    inbox = manager.Queue()

    def call() -> None:
        inbox.put(1)
        inbox.get()

    return call, 2


def value(manager: Any) -> tuple[Callable[[], object], int]:
    """Read a value and change it."""
    number = manager.Value("i", 0)

    def call() -> None:
        number.value = 1
        number.value  # noqa: B018

    return call, 2


def namespace(manager: Any) -> tuple[Callable[[], object], int]:
    """Read an attribute and change it."""
    names = manager.Namespace()

    def call() -> None:
        names.number = 1
        names.number  # noqa: B018

    return call, 2


def look_up(table: Any, rounds: int, address: Address) -> None:
    """Look up a key in a process of its own."""
    table["key"]
    with pass_gate(address, WAITED_FOR) as gate:
        for _ in range(rounds):
            table["key"]
        gate.sendall(DONE)


def four_clients(setting: Setting) -> float:
    """The time of one call of all that four processes make at once, until all are done."""
    rounds = setting.count(2 * CALLS)
    with setting.context.Manager() as manager:
        table = manager.dict(key=1)
        return seconds_together(setting.context, [(look_up, (table, rounds))] * CLIENTS) / (CLIENTS * rounds)


def row(name: str, work: str, run: Callable[[Setting], float]) -> Measure:
    """Against the standard library's managers, of which the others have a copy."""
    sides = like_multiprocessing(run, OURS, "stdlib", "multiprocess")
    return Measure(f"managers.{name}", f"Manager, {work}", US_PER_OPERATION, sides, [Goal(3, ("stdlib",))])


MEASURES = [
    row("dict_get", "dict: look up a key", calling(dict_get)),
    row("dict_set", "dict: set a key", calling(dict_set)),
    row("queue", "Queue: put or get", calling(queue)),
    row("value", "Value: read or set", calling(value)),
    row("namespace", "Namespace: read or set", calling(namespace)),
    row("four_clients", "dict: look up a key, four processes at once", four_clients),
]
