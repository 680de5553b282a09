"""Proxies: what stands in a client for an object of a manager's server."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from procession import _stdlib
from procession.engine.clock import deadline_after, seconds_until
from procession.managers.link import Link, link_to
from procession.managers.messages import Token, convert_to_error
from procession.managers.server import Entry, serving
from procession.process import AuthenticationString, current_process

if TYPE_CHECKING:
    from typing import Self

__all__ = [
    "AcquirerProxy",
    "ArrayProxy",
    "AutoProxy",
    "BarrierProxy",
    "BaseListProxy",
    "BasePoolProxy",
    "BaseProxy",
    "BaseSetProxy",
    "ConditionProxy",
    "DictProxy",
    "EventProxy",
    "IteratorProxy",
    "ListProxy",
    "MakeProxyType",
    "NamespaceProxy",
    "PoolProxy",
    "RebuildProxy",
    "SetProxy",
    "ValueProxy",
]


class BaseProxy:
    """Like multiprocessing.managers.BaseProxy: stands for an object of a server, in any process and thread."""

    _isauto = False

    def __init__(
        self,
        token: Token,
        serializer: str,
        manager: Any = None,
        authkey: bytes | None = None,
        exposed: Iterable[str] | None = None,
        incref: bool = True,
        manager_owned: bool = False,
    ) -> None:
        self._token = token
        self._id = token.id
        self._manager = manager
        self._serializer = serializer
        if authkey is None:
            authkey = manager._authkey if manager is not None else current_process().authkey
        self._authkey = AuthenticationString(authkey)
        self._entry: Entry | None = None  # in the server itself: the object, without a connection
        server = serving()
        if server is not None and server.address == token.address:
            self._entry = server.find(token.id)
        elif incref:
            self._link().watch(self, token.id)

    def _link(self) -> Link:
        return link_to(self._token.address, self._authkey, self._serializer)

    def _call(self, methodname: str, args: Sequence[Any], kwds: Mapping[str, Any]) -> tuple[str, Any]:
        if self._entry is not None:
            server = serving()
            if server is not None:
                return server.call_here(self._entry, methodname, args, kwds)
            # A child of the server has a copy of the object, which is not the one that is meant.
            self._entry = None
            self._link().watch(self, self._id)
        return self._link().call(self._id, methodname, args, kwds)

    def _callmethod(self, methodname: str, args: Sequence[Any] = (), kwds: Mapping[str, Any] = {}) -> Any:
        """Call a method of the object, and give a copy of its result or raise its exception."""
        kind, result = self._call(methodname, args, kwds)
        if kind == "#RETURN":
            return result
        if kind == "#PROXY":
            return self._proxy_for(*result)
        try:
            raise convert_to_error(kind, result)
        finally:
            del result  # the exception would refer to itself through this frame

    def _proxy_for(self, exposed: Any, token: Any) -> Any:
        """What a method gives whose result stays in the server."""
        if self._entry is not None:
            typeid, entry = exposed, token
            token = Token(typeid, self._token.address, entry.ident)
            return self._type_of(typeid)(token, self._serializer, authkey=self._authkey, exposed=entry.exposed)
        typeid, _, ident = token if isinstance(token, list) else (token.typeid, None, token.id)
        link = self._link()
        link.granted(ident)
        try:
            token = Token(typeid, self._token.address, ident)
            make = self._type_of(typeid)
            return make(token, self._serializer, manager=self._manager, authkey=self._authkey, exposed=exposed)
        finally:
            link.settle(ident)

    def _type_of(self, typeid: str) -> Any:
        server = serving()
        if self._manager is not None:
            registry = self._manager._registry
        elif server is not None:
            registry = server.registry
        else:
            from procession.managers import SyncManager

            registry = SyncManager._registry
        return registry[typeid][-1] if typeid in registry else AutoProxy

    @property
    def _referent(self) -> Any:
        """In the server: the object."""
        return self if self._entry is None else self._entry.obj

    def _getvalue(self) -> Any:
        """A copy of the object."""
        return self._callmethod("#GETVALUE")

    def __reduce__(self) -> tuple[Any, ...]:
        kwds: dict[str, Any] = {}
        if _stdlib.get_spawning_popen() is not None:
            kwds["authkey"] = self._authkey
        server = serving()
        if self._entry is not None and server is not None:
            server.lend(self._entry)
        elif self._entry is None:
            self._link().travels(self._id)
        if self._isauto:
            kwds["exposed"] = self._exposed_
            return RebuildProxy, (AutoProxy, self._token, self._serializer, kwds)
        return RebuildProxy, (type(self), self._token, self._serializer, kwds)

    _exposed_: Any = None

    def __deepcopy__(self, memo: Any) -> Any:
        return self._getvalue()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object, typeid {self._token.typeid!r} at {id(self):#x}>"

    def __str__(self) -> str:
        try:
            return str(self._callmethod("__repr__"))
        except Exception:
            return repr(self)[:-1] + "; '__str__()' failed>"


def RebuildProxy(func: Any, token: Any, serializer: str, kwds: dict[str, Any]) -> Any:
    """A proxy that has arrived; in the server that has the object, one without a connection."""
    if kwds.get("authkey") is None:
        server = serving()
        if server is not None and server.address == token.address:
            kwds["authkey"] = server.authkey
    return func(token, serializer, **kwds)


def _forwarder(name: str) -> Callable[..., Any]:
    def method(self: Any, /, *args: Any, **kwds: Any) -> Any:
        return self._callmethod(name, args, kwds)

    method.__name__ = name
    return method


def MakeProxyType(name: str, exposed: Iterable[str], _cache: dict[Any, Any] = {}) -> Any:  # noqa: B006
    """A type of proxies that have the methods `exposed`."""
    exposed = tuple(exposed)
    kind = _cache.get((name, exposed))
    if kind is None:
        methods: dict[str, Any] = {method: _forwarder(method) for method in exposed}
        kind = _cache[name, exposed] = type(
            name, (BaseProxy,), {**methods, "_exposed_": exposed, "__module__": __name__}
        )
    return kind


def AutoProxy(
    token: Token,
    serializer: str,
    manager: Any = None,
    authkey: bytes | None = None,
    exposed: Iterable[str] | None = None,
    incref: bool = True,
    manager_owned: bool = False,
) -> Any:
    """A proxy with the methods that the object exposes."""
    if authkey is None:
        authkey = manager._authkey if manager is not None else current_process().authkey
    if exposed is None:
        exposed = link_to(token.address, authkey, serializer).ask("get_methods", (token,))
    kind = MakeProxyType(f"AutoProxy[{token.typeid}]", exposed)
    proxy = kind(token, serializer, manager=manager, authkey=authkey, incref=incref, manager_owned=manager_owned)
    proxy._isauto = True
    return proxy


# ---- the types of SyncManager ----


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
        deadline = deadline_after(timeout)
        while not (result := predicate()):
            left = seconds_until(deadline)
            if left == 0:
                break
            self.wait(left)
        return result


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


ArrayProxy: Any = MakeProxyType("ArrayProxy", ("__len__", "__getitem__", "__setitem__"))

# fmt: off
BaseListProxy: Any = MakeProxyType("BaseListProxy", (
    "__add__", "__contains__", "__delitem__", "__getitem__", "__imul__", "__len__", "__mul__", "__reversed__", "__rmul__",
    "__setitem__", "append", "clear", "copy", "count", "extend", "index", "insert", "pop", "remove", "reverse", "sort",
))
DictProxy: Any = MakeProxyType("DictProxy", (
    "__contains__", "__delitem__", "__getitem__", "__ior__", "__iter__", "__len__", "__or__", "__ror__", "__setitem__",
    "clear", "copy", "fromkeys", "get", "items", "keys", "pop", "popitem", "setdefault", "update", "values",
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


def _ior_dict(self: Any, value: Any) -> Any:
    return _change(self, "__ior__", value)


DictProxy.__ior__ = _ior_dict
DictProxy.__class_getitem__ = classmethod(types.GenericAlias)
DictProxy._method_to_typeid_ = {"__iter__": "Iterator"}


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
