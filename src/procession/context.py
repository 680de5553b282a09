"""Contexts: everything the package offers, bound to one start method."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable

from procession import _os, _stdlib
from procession import errors as _errors
from procession.engine import launch, program
from procession.process import BaseProcess, active_children, current_process, parent_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

__all__: list[str] = []

ProcessError = _errors.ProcessError
BufferTooShort = _errors.BufferTooShort
TimeoutError = _errors.TimeoutError
AuthenticationError = _errors.AuthenticationError

# What pickles a process on its way to a child is the standard library's business too: its objects ask the same functions.
get_spawning_popen = _stdlib.get_spawning_popen
set_spawning_popen = _stdlib.set_spawning_popen
assert_spawning = _stdlib.assert_spawning


class Process(BaseProcess):
    """A process started by the program's default method."""

    def _method(self) -> str:
        return default_context.get_start_method() or "fork"


class _BoundProcess(BaseProcess):
    """A process of a certain method, which is its own children's default, too."""

    def _bootstrap(self) -> int:
        default_context.inherit(self._start_method)
        return super()._bootstrap()


class ForkProcess(_BoundProcess):
    """A process started by fork."""

    _start_method = "fork"


class SpawnProcess(_BoundProcess):
    """A process started in a fresh interpreter."""

    _start_method = "spawn"


class ForkServerProcess(_BoundProcess):
    """A process started by the fork server."""

    _start_method = "forkserver"


class BaseContext(_stdlib.BaseContext):  # type: ignore[misc]
    """What contexts share; see the functions of the same names in the package."""

    Process: ClassVar[type[BaseProcess]] = Process
    ProcessError = _errors.ProcessError
    BufferTooShort = _errors.BufferTooShort
    TimeoutError = _errors.TimeoutError
    AuthenticationError = _errors.AuthenticationError

    current_process = staticmethod(current_process)
    parent_process = staticmethod(parent_process)
    active_children = staticmethod(active_children)

    def cpu_count(self) -> int:
        """Cores that this process may use: PYTHON_CPU_COUNT, else affinity and the control group's quota."""
        return _os.cpu_count()

    def Lock(self) -> Any:
        """A lock that any process of the program can be given."""
        from procession.synchronize import Lock

        return Lock(ctx=self.get_context())

    def RLock(self) -> Any:
        """A lock that its owner can take again."""
        from procession.synchronize import RLock

        return RLock(ctx=self.get_context())

    def Semaphore(self, value: int = 1) -> Any:
        """A counter of permits."""
        from procession.synchronize import Semaphore

        return Semaphore(value, ctx=self.get_context())

    def BoundedSemaphore(self, value: int = 1) -> Any:
        """A semaphore that refuses to have more permits than it was made with."""
        from procession.synchronize import BoundedSemaphore

        return BoundedSemaphore(value, ctx=self.get_context())

    def Condition(self, lock: Any = None) -> Any:
        """A place to wait until somebody says that something has changed."""
        from procession.synchronize import Condition

        return Condition(lock, ctx=self.get_context())

    def Event(self) -> Any:
        """A flag that can be waited for."""
        from procession.synchronize import Event

        return Event(ctx=self.get_context())

    def Barrier(self, parties: int, action: Callable[[], object] | None = None, timeout: float | None = None) -> Any:
        """A place where `parties` threads or processes wait until all of them are there."""
        from procession.synchronize import Barrier

        return Barrier(parties, action, timeout, ctx=self.get_context())

    def Queue(self, maxsize: int = 0) -> Any:
        """A queue that any process of the program can be given; what was put is there at once."""
        from procession.queues import Queue

        return Queue(maxsize, ctx=self.get_context())

    def JoinableQueue(self, maxsize: int = 0) -> Any:
        """A queue that can be waited for until all that was put has been dealt with."""
        from procession.queues import JoinableQueue

        return JoinableQueue(maxsize, ctx=self.get_context())

    def SimpleQueue(self) -> Any:
        """A queue without a limit and without timeouts."""
        from procession.queues import SimpleQueue

        return SimpleQueue(ctx=self.get_context())

    def Pipe(self, duplex: bool = True) -> tuple[Any, Any]:
        """Two connected ends; if not `duplex`, the first only receives and the second only sends."""
        from procession.connection import Pipe

        return Pipe(duplex)

    def Value(self, typecode_or_type: Any, *args: Any, lock: Any = True) -> Any:
        """A shared ctypes value, with a lock of its own unless `lock` is another lock or False."""
        from procession.sharedctypes import Value

        return Value(typecode_or_type, *args, lock=lock, ctx=self.get_context())

    def Array(self, typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True) -> Any:
        """A shared ctypes array, with a lock of its own unless `lock` is another lock or False."""
        from procession.sharedctypes import Array

        return Array(typecode_or_type, size_or_initializer, lock=lock, ctx=self.get_context())

    def RawValue(self, typecode_or_type: Any, *args: Any) -> Any:
        """A shared ctypes value without a lock."""
        from procession.sharedctypes import RawValue

        return RawValue(typecode_or_type, *args)

    def RawArray(self, typecode_or_type: Any, size_or_initializer: Any) -> Any:
        """A shared ctypes array without a lock."""
        from procession.sharedctypes import RawArray

        return RawArray(typecode_or_type, size_or_initializer)

    def Manager(self) -> Any:
        """A server process for objects that any process can use; see `managers`."""
        from procession.managers import SyncManager

        manager = SyncManager(ctx=self.get_context())
        manager.start()
        return manager

    def get_logger(self) -> Any:
        """The logger of the package, ``multiprocessing``; it prints nothing unless told to."""
        from procession.util import get_logger

        return get_logger()

    def log_to_stderr(self, level: int | str | None = None) -> Any:
        """Have the logger print to stderr, from `level` on if that is given; gives the logger."""
        from procession.util import log_to_stderr

        return log_to_stderr(level)

    def Pool(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        **options: Any,
    ) -> Any:
        """A pool of worker processes; `options` are those by keyword of ``pool.Pool``."""
        if self.get_start_method() == "forkserver":
            launch.warm_up()  # it imports the main module while this process imports what a pool needs
        from procession.pool import Pool

        return Pool(processes, initializer, initargs, maxtasksperchild, context=self.get_context(), **options)

    def freeze_support(self) -> None:
        """In a child of a frozen program: do the child's work, and do not come back.  Elsewhere nothing."""
        from procession.spawn import freeze_support

        freeze_support()

    def allow_connection_pickling(self) -> None:
        """Nothing to do: connections and sockets can always be sent."""

    @property
    def reducer(self) -> Any:
        """The module that holds the reducers, ``reduction``."""
        from procession import reduction

        return reduction

    def set_executable(self, executable: str | bytes | os.PathLike[str] | None) -> None:
        """The interpreter that children are started with."""
        program.set_executable(executable)

    def set_forkserver_preload(self, module_names: list[str]) -> None:
        """What the fork server imports before its first child; ``__main__`` stands for the main module."""
        launch.preload(module_names)

    def get_context(self, method: str | None = None) -> Any:
        """The context of a start method; without one, this context."""
        if method is None:
            return self
        try:
            return _contexts[method]
        except KeyError:
            raise ValueError(f"cannot find context for {method!r}") from None

    def get_start_method(self, allow_none: bool = False) -> str | None:
        """The name of the start method."""
        return self._name

    def set_start_method(self, method: str | None, force: bool = False) -> None:
        """Only the package itself can change its method."""
        raise ValueError("cannot set start method of concrete context")

    _name: ClassVar[str] = ""


class ForkContext(BaseContext):
    """Children go on from where the parent is."""

    _name = "fork"
    Process = ForkProcess


class SpawnContext(BaseContext):
    """Children are fresh interpreters."""

    _name = "spawn"
    Process = SpawnProcess


class ForkServerContext(BaseContext):
    """Children are forked from a small server that has imported the main module."""

    _name = "forkserver"
    Process = ForkServerProcess


class DefaultContext(BaseContext):
    """The package's own: its method can be chosen once."""

    Process = Process

    def __init__(self) -> None:
        self._chosen: BaseContext | None = None
        self._is_inherited = False

    def _actual(self) -> BaseContext:
        if self._chosen is None:
            self._chosen = _contexts[_default_method()]
        return self._chosen

    def get_context(self, method: str | None = None) -> Any:
        """The context of a start method; without one, that of the default method."""
        return self._actual() if method is None else super().get_context(method)

    def set_start_method(self, method: str | None, force: bool = False) -> None:
        """Choose the method of children, once unless forced; None goes back to the default.

        Raises:
            RuntimeError: it was chosen already.
        """
        if self._chosen is not None and not force and not self._is_inherited:
            raise RuntimeError("context has already been set")
        self._chosen = None if method is None else self.get_context(method)
        self._is_inherited = False

    def inherit(self, method: str | None) -> None:
        """In a child: the parent's method.  A main module that chooses one without a guard may choose once more."""
        self._chosen = None if method is None else self.get_context(method)
        self._is_inherited = True

    def get_start_method(self, allow_none: bool = False) -> str | None:
        """The name of the method; None if `allow_none` and none was chosen or used yet."""
        if self._chosen is None and allow_none:
            return None
        return self._actual()._name

    def get_all_start_methods(self) -> list[str]:
        """The methods that this system has, the default first."""
        first = _default_method()
        return [first, *(method for method in ("fork", "spawn", "forkserver") if method != first)]


def _default_method() -> str:
    """That of the running Python."""
    if sys.platform == "darwin":
        return "spawn"
    return "forkserver" if sys.version_info >= (3, 14) else "fork"


_contexts: dict[str, BaseContext] = {"fork": ForkContext(), "spawn": SpawnContext(), "forkserver": ForkServerContext()}
default_context = DefaultContext()
program.carry("method", lambda: default_context.get_start_method(allow_none=True), default_context.inherit)
