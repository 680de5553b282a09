"""Proxies: what stands in a client for an object of a manager's server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from procession import _stdlib
from procession.managers.entries import Entry
from procession.managers.link import Link, link_to
from procession.managers.messages import Token, convert_to_error
from procession.managers.server import serving
from procession.process import AuthenticationString, current_process

__all__ = ["AutoProxy", "BaseProxy", "MakeProxyType", "RebuildProxy"]


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
        self._bound: Link | None = None  # elsewhere: this process's link to the server
        server = serving()
        if server is not None and server.address == token.address:
            self._entry = server.find(token.id)
        elif incref:
            self._link().watch(self, token.id)

    def _link(self) -> Link:
        if self._bound is None or self._bound.is_over:
            self._bound = link_to(self._token.address, self._authkey, self._serializer)
        return self._bound

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
        if self._bound is not None:
            kind, result = self._bound.call(self._id, methodname, args, kwds)
        else:
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
