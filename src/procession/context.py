"""Contexts: everything the package offers, bound to one start method."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from procession import _os
from procession import errors as _errors
from procession.engine import launch
from procession.process import BaseProcess, active_children, current_process, parent_process

__all__: list[str] = []


class Process(BaseProcess):
    """A process started by the program's default method."""

    def _method(self) -> str:
        return default_context.get_start_method() or "fork"


class ForkProcess(BaseProcess):
    """A process started by fork."""

    _start_method = "fork"


class SpawnProcess(BaseProcess):
    """A process started in a fresh interpreter."""

    _start_method = "spawn"


class ForkServerProcess(BaseProcess):
    """A process started by the fork server."""

    _start_method = "forkserver"


class BaseContext:
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

    def Queue(self, maxsize: int = 0) -> Any:
        """A queue that any process of the program can be given; what was put is there at once."""
        from procession.queues import Queue

        return Queue(maxsize, ctx=self.get_context())

    def Value(self, typecode_or_type: Any, *args: Any, lock: Any = True) -> Any:
        """A shared ctypes value, with a lock of its own unless `lock` is another lock or False."""
        from procession.sharedctypes import Value

        return Value(typecode_or_type, *args, lock=lock, ctx=self.get_context())

    def Pool(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
    ) -> Any:
        """A pool of worker processes."""
        from procession.pool import Pool

        return Pool(processes, initializer, initargs, maxtasksperchild, context=self.get_context())

    def freeze_support(self) -> None:
        """Nothing to do: a frozen program's children do not run its main part."""

    def set_executable(self, executable: str | bytes | os.PathLike[str]) -> None:
        """The interpreter that children are started with."""
        launch.set_executable(executable)

    def set_forkserver_preload(self, module_names: list[str]) -> None:
        """What the fork server imports before its first child; ``__main__`` stands for the main module."""
        if not all(isinstance(name, str) for name in module_names):
            raise TypeError("module_names must be a list of strings")
        launch.preload(list(module_names))

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
        if self._chosen is not None and not force:
            raise RuntimeError("context has already been set")
        self._chosen = None if method is None else self.get_context(method)

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
