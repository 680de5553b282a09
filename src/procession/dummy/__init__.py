"""Threads with the names of processes: the standard library's ``multiprocessing.dummy``.

    from procession.dummy import Pool

Objects are shared as they are; nothing is pickled and no process is started.
"""

from __future__ import annotations

import array
import builtins
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from queue import Queue
from threading import Barrier, BoundedSemaphore, Condition, Event, Lock, RLock, Semaphore, current_thread
from types import ModuleType
from typing import TYPE_CHECKING, Any

from procession.dummy.connection import Pipe

if TYPE_CHECKING:
    from procession.pool import ThreadPool

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "JoinableQueue",
    "Lock",
    "Manager",
    "Pipe",
    "Pool",
    "Process",
    "Queue",
    "RLock",
    "Semaphore",
    "active_children",
    "current_process",
    "freeze_support",
]

JoinableQueue = Queue
dict = builtins.dict
list = builtins.list
current_process = current_thread

_children: weakref.WeakKeyDictionary[threading.Thread, weakref.WeakSet[DummyProcess]] = weakref.WeakKeyDictionary()


class DummyProcess(threading.Thread):
    """A thread that looks like a process."""

    def __init__(
        self,
        group: None = None,
        target: Callable[..., object] | None = None,
        name: str | None = None,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(group, target, name, tuple(args), kwargs)
        self._pid = None
        self._parent = current_thread()

    def start(self) -> None:
        """Start the thread; only the one that made it may.

        Raises:
            RuntimeError: it was started before, or another thread made it.
        """
        if self._parent is not current_thread():
            raise RuntimeError(f"{self.name} was made by {self._parent.name}, and only that thread can start it")
        super().start()
        _children.setdefault(self._parent, weakref.WeakSet()).add(self)

    @property
    def exitcode(self) -> int | None:
        """0 when it has ended; None while it runs or before it starts."""
        return 0 if self.ident is not None and not self.is_alive() else None


Process = DummyProcess


def active_children() -> builtins.list[DummyProcess]:
    """The threads that this one has started as processes and that run."""
    return [child for child in _children.get(current_thread(), ()) if child.is_alive()]


def freeze_support() -> None:
    """Nothing to do."""


class Namespace:
    """A place for attributes."""

    def __init__(self, /, **kwds: Any) -> None:
        self.__dict__.update(kwds)

    def __repr__(self) -> str:
        public = sorted(f"{name}={value!r}" for name, value in self.__dict__.items() if not name.startswith("_"))
        return f"{type(self).__name__}({', '.join(public)})"


def Array(typecode: str, sequence: Iterable[Any], lock: Any = True) -> array.array[Any]:
    """An array of the standard library."""
    return array.array(typecode, sequence)


class Value:
    """A place for one value."""

    __slots__ = ("_typecode", "value")

    def __init__(self, typecode: Any, value: Any, lock: Any = True) -> None:
        self._typecode = typecode
        self.value = value

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({self._typecode!r}, {self.value!r})>"


def Manager() -> ModuleType:
    """This module: it has what a manager has."""
    return sys.modules[__name__]


def shutdown() -> None:
    """Nothing to do: the end of the manager that this module is."""


def Pool(
    processes: int | None = None, initializer: Callable[..., object] | None = None, initargs: Iterable[Any] = ()
) -> ThreadPool:
    """A pool of threads."""
    from procession.pool import ThreadPool

    return ThreadPool(processes, initializer, initargs)
