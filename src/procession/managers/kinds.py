"""The proxies of SyncManager's types."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from procession.engine import waiting
from procession.managers.proxies import BaseProxy, MakeProxyType

if TYPE_CHECKING:
    from typing import Self

__all__ = [
    "AcquirerProxy",
    "ArrayProxy",
    "BarrierProxy",
    "BaseDictProxy",
    "BaseListProxy",
    "BasePoolProxy",
    "BaseSetProxy",
    "ConditionProxy",
    "DictProxy",
    "EventProxy",
    "IteratorProxy",
    "ListProxy",
    "NamespaceProxy",
    "PoolProxy",
    "SetProxy",
    "ValueProxy",
]


class IteratorProxy(BaseProxy):
    """For an iterator."""

    _exposed_ = ("__next__", "send", "throw", "close")

    def __iter__(self) -> Self:
        return self

    def __next__(self, *args: Any) -> Any:
        return self._callmethod("__next__", args)

    def send(self, *args: Any) -> Any:
        """Of a generator."""
        return self._callmethod("send", args)

    def throw(self, *args: Any) -> Any:
        """Of a generator."""
        return self._callmethod("throw", args)

    def close(self, *args: Any) -> Any:
        """Of a generator."""
        return self._callmethod("close", args)


class AcquirerProxy(BaseProxy):
    """For a lock or a semaphore."""

    _exposed_: Any = ("acquire", "release", "locked")

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> Any:
        """Take it; whether that was done."""
        return self._callmethod("acquire", (blocking,) if timeout is None else (blocking, timeout))

    def release(self) -> Any:
        """Give it back."""
        return self._callmethod("release")

    def locked(self) -> Any:
        """Whether somebody has it."""
        return self._callmethod("locked")

    def __enter__(self) -> Any:
        return self._callmethod("acquire")

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: types.TracebackType | None,
    ) -> None:
        self._callmethod("release")


class ConditionProxy(AcquirerProxy):
    """For a condition."""

    _exposed_ = ("acquire", "release", "locked", "wait", "notify", "notify_all")

    def wait(self, timeout: float | None = None) -> Any:
        """Give the lock back until notified; whether that was so."""
        return self._callmethod("wait", (timeout,))

    def notify(self, n: int = 1) -> Any:
        """Wake `n` that wait."""
        return self._callmethod("notify", (n,))

    def notify_all(self) -> Any:
        """Wake all that wait."""
        return self._callmethod("notify_all")

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until ``predicate()``, which is called here, is true; what it gave last."""
        return waiting.wait_for(self.wait, predicate, timeout)


class EventProxy(BaseProxy):
    """For an event."""

    _exposed_ = ("is_set", "set", "clear", "wait")

    def is_set(self) -> Any:
        """Whether it is set."""
        return self._callmethod("is_set")

    def set(self) -> Any:
        """Let all pass."""
        return self._callmethod("set")

    def clear(self) -> Any:
        """Let nobody pass."""
        return self._callmethod("clear")

    def wait(self, timeout: float | None = None) -> Any:
        """Wait until it is set; whether it is."""
        return self._callmethod("wait", (timeout,))


class BarrierProxy(BaseProxy):
    """For a barrier."""

    _exposed_ = ("__getattribute__", "wait", "abort", "reset")

    def wait(self, timeout: float | None = None) -> Any:
        """Wait until all parties are here."""
        return self._callmethod("wait", (timeout,))

    def abort(self) -> Any:
        """Break it."""
        return self._callmethod("abort")

    def reset(self) -> Any:
        """Make it as new."""
        return self._callmethod("reset")

    @property
    def parties(self) -> Any:
        """How many it waits for."""
        return self._callmethod("__getattribute__", ("parties",))

    @property
    def n_waiting(self) -> Any:
        """How many wait at it."""
        return self._callmethod("__getattribute__", ("n_waiting",))

    @property
    def broken(self) -> Any:
        """Whether it is broken."""
        return self._callmethod("__getattribute__", ("broken",))


class NamespaceProxy(BaseProxy):
    """For a namespace; attributes that begin with an underscore are the proxy's own."""

    _exposed_ = ("__getattribute__", "__setattr__", "__delattr__")

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_"):
            return object.__getattribute__(self, key)
        return self._callmethod("__getattribute__", (key,))

    def __setattr__(self, key: str, value: Any) -> None:
        if key.startswith("_"):
            return object.__setattr__(self, key, value)
        self._callmethod("__setattr__", (key, value))
        return None

    def __delattr__(self, key: str) -> None:
        if key.startswith("_"):
            return object.__delattr__(self, key)
        self._callmethod("__delattr__", (key,))
        return None


class ValueProxy(BaseProxy):
    """For a value."""

    _exposed_ = ("get", "set")

    def get(self) -> Any:
        """What it is."""
        return self._callmethod("get")

    def set(self, value: Any) -> Any:
        """Change it."""
        return self._callmethod("set", (value,))

    value = property(get, set)
    __class_getitem__: Any = classmethod(types.GenericAlias)


# fmt: off
BaseListProxy: Any = MakeProxyType("BaseListProxy", (
    "__add__", "__contains__", "__delitem__", "__getitem__", "__imul__", "__len__", "__mul__", "__reversed__", "__rmul__",
    "__setitem__", "append", "clear", "copy", "count", "extend", "index", "insert", "pop", "remove", "reverse", "sort",
))
BaseDictProxy: Any = MakeProxyType("BaseDictProxy", (
    "__contains__", "__delitem__", "__getitem__", "__ior__", "__iter__", "__len__", "__or__", "__reversed__", "__ror__",
    "__setitem__", "clear", "copy", "fromkeys", "get", "items", "keys", "pop", "popitem", "setdefault", "update", "values",
))
BaseSetProxy: Any = MakeProxyType("BaseSetProxy", (
    "__and__", "__contains__", "__ge__", "__gt__", "__iand__", "__ior__", "__isub__", "__iter__", "__ixor__", "__le__",
    "__len__", "__lt__", "__or__", "__rand__", "__ror__", "__rsub__", "__rxor__", "__sub__", "__xor__", "add", "clear",
    "copy", "difference", "difference_update", "discard", "intersection", "intersection_update", "isdisjoint", "issubset",
    "issuperset", "pop", "remove", "symmetric_difference", "symmetric_difference_update", "union", "update",
))
BasePoolProxy: Any = MakeProxyType("PoolProxy", (
    "apply", "apply_async", "close", "imap", "imap_unordered", "join", "map", "map_async", "starmap", "starmap_async",
    "terminate",
))
# fmt: on


def _change(proxy: Any, method: str, value: Any) -> Any:
    proxy._callmethod(method, (value,))
    return proxy


class ListProxy(BaseListProxy):  # type: ignore[misc]
    """For a list."""

    __class_getitem__: Any = classmethod(types.GenericAlias)

    def __iadd__(self, value: Iterable[Any]) -> Self:
        self._callmethod("extend", (value,))
        return self

    def __imul__(self, value: int) -> Self:
        return _change(self, "__imul__", value)  # type: ignore[no-any-return]


class DictProxy(BaseDictProxy):  # type: ignore[misc]
    """For a dict."""

    _method_to_typeid_ = {"__iter__": "Iterator", "__reversed__": "Iterator"}
    __class_getitem__: Any = classmethod(types.GenericAlias)

    def __ior__(self, value: Any) -> Self:
        return _change(self, "__ior__", value)  # type: ignore[no-any-return]


class ArrayProxy(MakeProxyType("BaseArrayProxy", ("__len__", "__getitem__", "__setitem__"))):  # type: ignore[misc]
    """For an array."""


class SetProxy(BaseSetProxy):  # type: ignore[misc]
    """For a set."""

    _method_to_typeid_ = {"__iter__": "Iterator"}
    __class_getitem__: Any = classmethod(types.GenericAlias)

    def __ior__(self, value: Any) -> Self:
        return _change(self, "__ior__", value)  # type: ignore[no-any-return]

    def __iand__(self, value: Any) -> Self:
        return _change(self, "__iand__", value)  # type: ignore[no-any-return]

    def __isub__(self, value: Any) -> Self:
        return _change(self, "__isub__", value)  # type: ignore[no-any-return]

    def __ixor__(self, value: Any) -> Self:
        return _change(self, "__ixor__", value)  # type: ignore[no-any-return]


class PoolProxy(BasePoolProxy):  # type: ignore[misc]
    """For a pool, whose workers are the server's children."""

    _method_to_typeid_ = {
        "apply_async": "AsyncResult",
        "imap": "Iterator",
        "imap_unordered": "Iterator",
        "map_async": "AsyncResult",
        "starmap_async": "AsyncResult",
    }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: types.TracebackType | None,
    ) -> None:
        self.terminate()
