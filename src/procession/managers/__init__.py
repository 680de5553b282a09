"""Managers: objects that live in a server process, and proxies for them: the standard library's ``multiprocessing.managers``.

Clients and servers of the standard library can take part.  A client that is killed leaves nothing behind: what it referred
to, what locks it had and what it waited for is free again.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from procession import listener, util
from procession.engine.clock import deadline_after, seconds_until
from procession.engine.exceptions import ExceptionWithTraceback
from procession.errors import ProcessError, StartFailed
from procession.managers import contents, link, objects
from procession.managers.contents import Array, Namespace, Value
from procession.managers.kinds import (
    AcquirerProxy,
    ArrayProxy,
    BarrierProxy,
    BaseListProxy,
    BasePoolProxy,
    BaseSetProxy,
    ConditionProxy,
    DictProxy,
    EventProxy,
    IteratorProxy,
    ListProxy,
    NamespaceProxy,
    PoolProxy,
    SetProxy,
    ValueProxy,
)
from procession.managers.lanes import Entrance
from procession.managers.messages import RemoteError, Token, all_methods, convert_to_error, dispatch, public_methods
from procession.managers.proxies import AutoProxy, BaseProxy, MakeProxyType, RebuildProxy
from procession.managers.server import Server
from procession.process import AuthenticationString, BaseProcess, current_process, parent_process

if TYPE_CHECKING:
    import types
    from typing import Self

__all__ = ["BaseManager", "BaseProxy", "Namespace", "SharedMemoryManager", "SyncManager", "Token"]

# Given under their names, as the standard library does.
_ = (
    AcquirerProxy, Array, ArrayProxy, AutoProxy, BarrierProxy, BaseListProxy, BasePoolProxy, BaseSetProxy, ConditionProxy,
    DictProxy, EventProxy, IteratorProxy, ListProxy, MakeProxyType, NamespaceProxy, PoolProxy, RebuildProxy, RemoteError,
    SetProxy, Value, ValueProxy, all_methods, convert_to_error, dispatch, public_methods,
)  # fmt: skip

listener_client = {
    "pickle": (listener.Listener, listener.Client),
    "xmlrpclib": (listener.XmlListener, listener.XmlClient),
}

_Registry = dict[str, tuple[Any, Any, Any, Any]]


class State:
    """How far a manager is."""

    __slots__ = ("value",)
    value: int
    INITIAL = 0
    STARTED = 1
    SHUTDOWN = 2


class BaseManager:
    """Like multiprocessing.managers.BaseManager; its server ends with the process that started it, however that ends."""

    _registry: _Registry = {}
    _Server = Server

    def __init__(
        self,
        address: Any = None,
        authkey: bytes | None = None,
        serializer: str = "pickle",
        ctx: Any = None,
        *,
        shutdown_timeout: float = 1.0,
    ) -> None:
        if serializer not in listener_client:
            raise ValueError(f"serializer must be one of {', '.join(listener_client)}, got {serializer!r}")
        if authkey is None:
            authkey = current_process().authkey
        self._address = address
        self._authkey = AuthenticationString(authkey)
        self._state = State()
        self._state.value = State.INITIAL
        self._serializer = serializer
        self._ctx = ctx
        self._shutdown_timeout = shutdown_timeout
        self._process: BaseProcess | None = None
        self._finalize: util.Finalize | None = None

    # ---- starting ----

    def _check_initial(self) -> None:
        if self._state.value == State.STARTED:
            raise ProcessError("Already started server")
        if self._state.value == State.SHUTDOWN:
            raise ProcessError("Manager has shut down")

    def _check_started(self) -> None:
        if self._state.value == State.INITIAL:
            raise ProcessError("Unable to start server: call start() or connect() first")
        if self._state.value == State.SHUTDOWN:
            raise ProcessError("Manager has shut down")

    def get_server(self) -> Server:
        """The server, to be served in this process by its serve_forever()."""
        self._check_initial()
        return self._Server(self._registry, self._address, self._authkey, self._serializer)

    def connect(self) -> None:
        """Use the server at the manager's address, which somebody else has started."""
        link.link_to(self._address, self._authkey, self._serializer).ask("dummy")
        self._state.value = State.STARTED

    def start(self, initializer: Callable[..., object] | None = None, initargs: Iterable[Any] = ()) -> None:
        """Start a server process, which calls ``initializer(*initargs)`` first.

        Raises:
            Exception: what the initializer, or opening the address, has raised there.
        """
        self._check_initial()
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        ctx = self._ctx if self._ctx is not None else _default_context()
        reader, writer = ctx.Pipe(duplex=False)
        with reader:
            with writer:
                process = self._process = ctx.Process(
                    target=type(self)._run_server,
                    args=(
                        self._registry, self._address, bytes(self._authkey), self._serializer, writer,
                        initializer, tuple(initargs),
                    ),
                )  # fmt: skip
                process.name = f"{type(self).__name__}-{':'.join(map(str, process._identity))}"
                process.start()
            try:
                is_well, found = reader.recv()
            except EOFError:
                process.join()
                raise StartFailed(
                    f"the manager's process has ended with exit code {process.exitcode} before it could serve"
                ) from None
        if not is_well:
            process.join()
            raise found
        address, sign = found
        chosen = address if self._address is None else None
        self._address = address
        self._state.value = State.STARTED
        self._finalize = util.Finalize(
            self,
            type(self)._finalize_manager,
            args=(
                process,
                address,
                bytes(self._authkey),
                self._serializer,
                self._state,
                self._shutdown_timeout,
                Entrance.find(sign),
                chosen,
            ),
            exitpriority=0,
        )

    @classmethod
    def _run_server(
        cls,
        registry: _Registry,
        address: Any,
        authkey: bytes,
        serializer: str,
        writer: Any,
        initializer: Callable[..., object] | None = None,
        initargs: Sequence[Any] = (),
    ) -> None:
        """What the server process does."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with writer:
            try:
                if initializer is not None:
                    initializer(*initargs)
                server = cls._Server(registry, address, authkey, serializer)
            except Exception as error:
                writer.send((False, ExceptionWithTraceback(error, error.__traceback__)))
                sys.exit(1)
            writer.send((True, (server.address, server.open_lanes())))
        del initializer, initargs
        util.info("manager serving at %r", server.address)
        parent = parent_process()
        server.serve_forever(() if parent is None else (parent.sentinel,))

    def __enter__(self) -> Self:
        if self._state.value == State.INITIAL:
            self.start()
        self._check_started()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: types.TracebackType | None,
    ) -> None:
        self.shutdown()

    # ---- ending ----

    def shutdown(self) -> None:
        """End the server process, if this manager has started one; may be called again."""
        if self._finalize is not None:
            self._finalize()

    @staticmethod
    def _finalize_manager(
        process: BaseProcess,
        address: Any,
        authkey: bytes,
        serializer: str,
        state: State,
        shutdown_timeout: float,
        entrance: Entrance | None = None,
        chosen: Any = None,
    ) -> None:
        if process.is_alive():
            util.info("sending shutdown message to manager")
            if entrance is not None:
                entrance.stop()
                process.join(shutdown_timeout)
                has_ended = not process.is_alive()
            else:
                has_ended = _tell_to_stop(process, address, authkey, serializer, shutdown_timeout)
            if not has_ended:
                util.info("manager still alive after request")
                process.terminate()
                process.join(shutdown_timeout)
                if process.is_alive():
                    util.info("manager still alive after terminate")
                    process.kill()
                    process.join()
        state.value = State.SHUTDOWN
        link.forget(address)
        if isinstance(chosen, str) and process.exitcode:
            _clear(chosen)

    def join(self, timeout: float | None = None) -> None:
        """Wait until the server process has ended."""
        if self._process is not None:
            self._process.join(timeout)
            if not self._process.is_alive():
                self._process = None

    # ---- using ----

    @property
    def address(self) -> Any:
        """Where the server is."""
        return self._address

    def _link(self) -> link.Link:
        return link.link_to(self._address, self._authkey, self._serializer)

    def _create(self, typeid: str, /, *args: Any, **kwds: Any) -> tuple[Token, tuple[str, ...]]:
        """Have the server make an object."""
        if self._state.value != State.STARTED:
            raise AssertionError("server not yet started")
        ident, exposed = self._link().create(typeid, args, kwds)
        return Token(typeid, self._address, ident), exposed

    def _debug_info(self) -> Any:
        """A line or two for each object."""
        self._link().flush()
        return self._link().ask("debug_info")

    def _number_of_objects(self) -> Any:
        """How many objects clients refer to."""
        self._link().flush()
        return self._link().ask("number_of_objects")

    @classmethod
    def register(
        cls,
        typeid: str,
        callable: Callable[..., Any] | None = None,
        proxytype: Any = None,
        exposed: Sequence[str] | None = None,
        method_to_typeid: Mapping[str, str] | None = None,
        create_method: bool = True,
    ) -> None:
        """Let managers of this class make objects of a type, by a method of the name `typeid` if `create_method`."""
        if "_registry" not in cls.__dict__:
            cls._registry = cls._registry.copy()
        if proxytype is None:
            proxytype = AutoProxy
        exposed = exposed or getattr(proxytype, "_exposed_", None)
        method_to_typeid = method_to_typeid or getattr(proxytype, "_method_to_typeid_", None)
        for key, value in (method_to_typeid or {}).items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise TypeError(f"method_to_typeid must map strings to strings, got {key!r}: {value!r}")
        cls._registry[typeid] = (
            callable,
            None if exposed is None else tuple(exposed),
            None if method_to_typeid is None else dict(method_to_typeid),
            proxytype,
        )
        if create_method:

            def make(self: BaseManager, /, *args: Any, **kwds: Any) -> Any:
                token, names = self._create(typeid, *args, **kwds)
                try:
                    return proxytype(token, self._serializer, manager=self, authkey=self._authkey, exposed=names)
                finally:
                    self._link().settle(token.id)

            make.__name__ = typeid
            setattr(cls, typeid, make)


def _default_context() -> Any:
    import procession

    return procession


def _clear(address: str) -> None:
    """Remove what a server that was killed has left of an address that it had chosen."""
    if util.is_abstract_socket_namespace(address):
        return
    listener._remove(address)
    folder = os.path.dirname(address)  # noqa: PTH120
    try:
        if folder != util._temp_dir:  # the server's own, and not one that it has from its parent
            os.rmdir(folder)  # noqa: PTH106
    except OSError:
        pass


def _tell_to_stop(process: BaseProcess, address: Any, authkey: bytes, serializer: str, patience: float) -> bool:
    """Ask a server to end, however it is; whether it has."""
    import threading

    def ask() -> None:
        try:
            link.link_to(address, authkey, serializer).ask("shutdown")
        except Exception as error:
            util.info("the manager at %r could not be told: %s", address, error)

    deadline = deadline_after(patience)
    # It may be stopped, and never answer.
    asking = threading.Thread(target=ask, name="procession-asking", daemon=True)
    try:
        asking.start()
    except RuntimeError:
        return False  # the interpreter ends, and starts no more threads
    process.join(seconds_until(deadline))
    return not process.is_alive()


class SyncManager(BaseManager):
    """Like multiprocessing.managers.SyncManager: makes what processes share."""


def _pool(*args: Any, **kwds: Any) -> Any:
    from procession.pool import Pool

    return Pool(*args, **kwds)


SyncManager.register("Queue", contents.Queue)
SyncManager.register("JoinableQueue", contents.JoinableQueue)
SyncManager.register("Event", objects.Event, EventProxy)
SyncManager.register("Lock", objects.Lock, AcquirerProxy)
SyncManager.register("RLock", objects.RLock, AcquirerProxy)
SyncManager.register("Semaphore", objects.Semaphore, AcquirerProxy)
SyncManager.register("BoundedSemaphore", objects.BoundedSemaphore, AcquirerProxy)
SyncManager.register("Condition", objects.Condition, ConditionProxy)
SyncManager.register("Barrier", objects.Barrier, BarrierProxy)
SyncManager.register("Pool", _pool, PoolProxy)
SyncManager.register("list", list, ListProxy)
SyncManager.register("dict", dict, DictProxy)
SyncManager.register("set", set, SetProxy)
SyncManager.register("Value", Value, ValueProxy)
SyncManager.register("Array", Array, ArrayProxy)
SyncManager.register("Namespace", Namespace, NamespaceProxy)
# Made by methods of the others only.
SyncManager.register("Iterator", proxytype=IteratorProxy, create_method=False)
SyncManager.register("AsyncResult", create_method=False)


def __getattr__(name: str) -> Any:
    if name in ("SharedMemoryManager", "SharedMemoryServer"):
        from procession.managers import segments  # which most managers need not import

        return getattr(segments, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
