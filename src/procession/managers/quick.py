"""What of a manager's objects can be done at once: it waits for nobody, and runs no code but theirs and the interpreter's.

A server does this in the thread that takes the requests of all clients.  All else is done by a thread of the client: what may
wait, what calls methods of types that others have registered, and what compares, orders or writes out what clients have put in.
"""

from __future__ import annotations

import array
from collections.abc import Callable, Mapping
from typing import Any

from procession._core import NOT_NOW
from procession.managers import contents, objects

__all__ = ["QuickTable"]

_Function = Callable[..., Any]

# fmt: off
_METHODS: dict[type, frozenset[str]] = {
    dict: frozenset((
        "__contains__", "__delitem__", "__getitem__", "__len__", "__or__", "__setitem__", "clear", "copy", "get", "items",
        "keys", "pop", "popitem", "setdefault", "update", "values",
    )),
    list: frozenset((
        "__add__", "__delitem__", "__getitem__", "__len__", "__mul__", "__setitem__", "append", "clear", "copy", "extend",
        "insert", "pop", "reverse",
    )),
    set: frozenset(("__contains__", "__len__", "add", "clear", "copy", "discard", "pop", "remove", "update")),
    array.array: frozenset(("__getitem__", "__len__", "__setitem__")),
    contents.Namespace: frozenset(("__delattr__", "__getattribute__", "__setattr__")),
    contents.Value: frozenset(("get", "set")),
    objects.Event: frozenset(("clear", "is_set", "set", "wait")),
    objects.Lock: frozenset(("acquire", "locked", "release")),
    objects.RLock: frozenset(("acquire", "locked", "release")),
    objects.Semaphore: frozenset(("acquire", "get_value", "release")),
    objects.BoundedSemaphore: frozenset(("acquire", "get_value", "release")),
    objects.Condition: frozenset(("acquire", "locked", "notify", "notify_all", "release")),
    type(iter({})): frozenset(("__next__",)),
    type(iter(set())): frozenset(("__next__",)),
}
_METHODS[contents.Queue] = _METHODS[contents.JoinableQueue] = frozenset((
    "empty", "full", "get", "get_nowait", "put", "put_nowait", "qsize", "task_done",
))
# fmt: on


class QuickTable(dict[str, _Function | None]):
    """By a method's name: a function that calls it, or gives NOT_NOW if it would have to wait; None if it is not quick."""

    __slots__ = ("_exposed", "_obj")

    def __init__(self, obj: Any, exposed: tuple[str, ...], typeids: Mapping[str, str]) -> None:
        self._obj = obj
        methods = _METHODS.get(type(obj), frozenset())
        self._exposed = methods.intersection(exposed).difference(typeids)

    def __missing__(self, method: str) -> _Function | None:
        if method not in self._exposed:
            return None
        found = self[method] = _soon(self._obj, method)
        return found


def _soon(obj: Any, method: str) -> _Function:
    function: _Function = getattr(obj, method)
    if method == "acquire":
        return lambda *args: obj.acquire_soon()
    if isinstance(obj, objects.Event) and method == "wait":
        return lambda *args: obj.is_set() or NOT_NOW
    if isinstance(obj, contents.Queue):
        if method == "put":
            return lambda item, *args: obj.put_soon(item)
        if method == "get":
            return lambda *args: obj.get_soon()
    return function
