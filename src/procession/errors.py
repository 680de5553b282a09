"""The exceptions of procession.

Each also derives from what code written for the standard library catches.

    ProcessError                    multiprocessing's own
    ├── ProcessionError             whatever procession adds
    │   ├── WorkerDied              a worker ended while it ran a task          RuntimeError
    │   ├── InitializerFailed       a pool's initializer raised or died         RuntimeError
    │   ├── OwnerDied               the holder of a lock was killed             RuntimeError
    │   ├── SharedObjectGone        a handle outlived what it names             ReferenceError
    │   ├── CannotEncode            an object cannot be pickled                 pickle.PicklingError, TypeError
    │   ├── CannotDecode            bytes cannot be unpickled on the other side pickle.UnpicklingError
    │   ├── Closed                  the other end of a channel is closed        ValueError
    │   ├── StartFailed             a child process did not come up             RuntimeError
    │   └── OutOfMemory             the arena or the process table is full      MemoryError
    ├── TimeoutError                multiprocessing's own
    ├── BufferTooShort              multiprocessing's own
    └── AuthenticationError         multiprocessing's own
    Empty, Full                     queue's own
"""

from __future__ import annotations

import pickle
import signal
from queue import Empty, Full

from procession._stdlib import AuthenticationError, BufferTooShort, ProcessError, TimeoutError

__all__ = [
    "AuthenticationError",
    "BufferTooShort",
    "CannotDecode",
    "CannotEncode",
    "Closed",
    "Empty",
    "Full",
    "InitializerFailed",
    "OutOfMemory",
    "OwnerDied",
    "ProcessError",
    "ProcessionError",
    "SharedObjectGone",
    "StartFailed",
    "TimeoutError",
    "WorkerDied",
    "describe_exit",
]


class ProcessionError(ProcessError):
    """Root of what procession adds to the standard library's exceptions."""


def describe_exit(exitcode: int | None) -> str:
    """In words how a process ended; a negative exit code is a signal, None is unknown."""
    if exitcode is None:
        return "ended in an unknown way"
    if exitcode >= 0:
        return f"exited with code {exitcode}"
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    return f"was killed by {name}"


class WorkerDied(ProcessionError, RuntimeError):
    """The worker that ran this task ended before it gave a result.

    Attributes:
        pid: of the worker.
        exitcode: negative for a signal, None if the system did not tell.
        task: what it ran, in short.
    """

    def __init__(self, message: str, *, pid: int = 0, exitcode: int | None = None, task: str = "") -> None:
        super().__init__(message)
        self.pid = pid
        self.exitcode = exitcode
        self.task = task

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.args[0], {"pid": self.pid, "exitcode": self.exitcode, "task": self.task})


class OwnerDied(ProcessionError, RuntimeError):
    """The process that held the lock was killed.  The lock is free again; what it guarded may be half changed."""

    def __init__(self, message: str, *, pid: int = 0) -> None:
        super().__init__(message)
        self.pid = pid

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.args[0], {"pid": self.pid})


class InitializerFailed(ProcessionError, RuntimeError):
    """The pool's initializer raised (see ``__cause__``) or its worker died in it; the pool has no workers."""


class SharedObjectGone(ProcessionError, ReferenceError):
    """The handle names a shared object that no process holds any more."""


class CannotEncode(ProcessionError, pickle.PicklingError, TypeError):
    """Neither pickle nor cloudpickle can turn the object into bytes."""


class CannotDecode(ProcessionError, pickle.UnpicklingError):
    """The object was sent, but unpickling it failed on the receiving side."""


class Closed(ProcessionError, ValueError):
    """The channel takes no more messages, or gives none because nothing is left."""


class StartFailed(ProcessionError, RuntimeError):
    """A child process ended before it could begin its work."""


class OutOfMemory(ProcessionError, MemoryError):
    """No room is left in the shared memory, or more processes at once than it has slots for."""


def _rebuild(kind: type[ProcessionError], message: str, evidence: dict[str, object]) -> ProcessionError:
    return kind(message, **evidence)
