"""The exceptions of procession.

Each also derives from what code written for the standard library catches.

    ProcessError                    multiprocessing's own
    ├── ProcessionError             whatever procession adds
    │   ├── WorkerDied              a worker ended while it ran a task          concurrent.futures.BrokenExecutor, RuntimeError
    │   ├── TaskTimeout             a task ran longer than it may               TimeoutError, multiprocessing's and Python's own
    │   ├── TaskCancelled           a task was cancelled                        concurrent.futures.CancelledError
    │   ├── PoolClosed              a pool that takes no more work              ValueError
    │   ├── InitializerFailed       a pool's initializer raised or died         concurrent.futures.BrokenExecutor, RuntimeError
    │   ├── OwnerDied               the holder of a lock was killed             RuntimeError
    │   ├── ConsumerDied            one who took from a queue died too early    RuntimeError
    │   ├── NotAllPut               a queue had no room for all of many         queue.Full
    │   ├── ClientRefused               a client that did not come to prove its key AuthenticationError, EOFError
    │   ├── SharedObjectGone        a handle outlived what it names             ReferenceError
    │   ├── CannotEncode            an object cannot be pickled                 pickle.PicklingError, TypeError
    │   ├── CannotDecode            bytes cannot be unpickled on the other side pickle.UnpicklingError
    │   ├── Closed                  the other end of a channel is closed        ValueError
    │   ├── StartFailed             a child process did not come up             concurrent.futures.BrokenExecutor, RuntimeError
    │   └── OutOfMemory             the arena or the process table is full      MemoryError
    ├── TimeoutError                multiprocessing's own
    ├── BufferTooShort              multiprocessing's own
    └── AuthenticationError         multiprocessing's own
    Empty, Full                     queue's own
"""

from __future__ import annotations

import builtins
import pickle
import signal
import sys

from procession._stdlib import AuthenticationError, BufferTooShort, ProcessError, TimeoutError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from queue import Empty, Full
    from typing import Any

__all__ = [
    "AuthenticationError",
    "BufferTooShort",
    "CannotDecode",
    "CannotEncode",
    "ClientRefused",
    "Closed",
    "ConsumerDied",
    "Empty",
    "Full",
    "InitializerFailed",
    "NotAllPut",
    "OutOfMemory",
    "OwnerDied",
    "PoolClosed",
    "ProcessError",
    "ProcessionError",
    "SharedObjectGone",
    "StartFailed",
    "TaskCancelled",
    "TaskTimeout",
    "TimeoutError",
    "WorkerDied",
    "describe_exit",
    "signal_name",
]


def __getattr__(name: str) -> Any:
    if name in ("Empty", "Full"):
        import queue

        return getattr(queue, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class ProcessionError(ProcessError):
    """Root of what procession adds to the standard library's exceptions."""


def describe_exit(exitcode: int | None) -> str:
    """In words how a process ended; a negative exit code is a signal, None is unknown."""
    if exitcode is None:
        return "ended in an unknown way"
    name = signal_name(exitcode)
    return f"exited with code {exitcode}" if name is None else f"was killed by {name}"


def signal_name(exitcode: int | None) -> str | None:
    """The name of the signal that an exit code stands for; None if it stands for none."""
    if exitcode is None or exitcode >= 0:
        return None
    try:
        return signal.Signals(-exitcode).name
    except ValueError:
        return f"signal {-exitcode}"


class _TaskError(ProcessionError):
    """What has become of one task of a pool, which gave no result.

    Attributes:
        task: the call, in short: ``module.function(arguments)``.
        function, arguments: its two parts.
        pid: of the worker that ran it, 0 if none did.
        index: the place of its item in the input of a map or imap; None of a single call.
    """

    def __init__(
        self, message: str, *, pid: int = 0, function: str = "", arguments: str = "", index: int | None = None
    ) -> None:
        super().__init__(message)
        _join_executors_errors()
        self.pid = pid
        self.index = index
        self.function = function
        self.arguments = arguments
        self.task = f"{function}({arguments})" if function else ""

    def __reduce__(self) -> tuple[object, ...]:
        evidence = {name: value for name, value in vars(self).items() if name != "task" and not name.startswith("_")}
        return _rebuild, (type(self), self.args[0], evidence)


class WorkerDied(_TaskError, RuntimeError):
    """The worker that ran this task ended before it gave a result.

    Attributes:
        pid: of the worker.
        exitcode: negative for a signal, None if the system did not tell.
        signal: the name of the signal that killed it, None if none did.
        task, function, arguments: what it ran, in short.
        index: the item's place in the input of a map or imap.
    """

    def __init__(self, message: str, *, exitcode: int | None = None, **evidence: Any) -> None:
        super().__init__(message, **evidence)
        self.exitcode = exitcode

    @property
    def signal(self) -> str | None:
        return signal_name(self.exitcode)


class TaskTimeout(_TaskError, TimeoutError, builtins.TimeoutError):
    """The task ran for longer than its `timeout`; its worker was ended, with all that it had started.

    Attributes:
        timeout: seconds.
        task, function, arguments: what it ran, in short.
        index: the item's place in the input of a map or imap.
        pid: of the worker.
    """

    def __init__(self, message: str, *, timeout: float = 0.0, **evidence: Any) -> None:
        super().__init__(message, **evidence)
        self.timeout = timeout


class TaskCancelled(_TaskError):
    """Somebody has cancelled the task, or ended its pool before it was done."""


class OwnerDied(ProcessionError, RuntimeError):
    """The process that held the lock was killed.  The lock is free again; what it guarded may be half changed.

    Attributes:
        pid: of that process.
        exitcode: negative for a signal; None if it had been collected by somebody who did not tell.
    """

    def __init__(self, message: str, *, pid: int = 0, exitcode: int | None = None) -> None:
        super().__init__(message)
        self.pid = pid
        self.exitcode = exitcode

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.args[0], {"pid": self.pid, "exitcode": self.exitcode})


class ConsumerDied(ProcessionError, RuntimeError):
    """A process that had taken objects from a JoinableQueue died before it called task_done() for them.

    It was killed, or ended with an exit code other than 0.  They count as done now: nobody who joins waits for them.

    Attributes:
        pid: of that process; of the last one if there were several.
        exitcode: of the same, negative for a signal; None if it had been collected by somebody who did not tell.
        lost: how many objects.
    """

    def __init__(self, message: str, *, pid: int = 0, exitcode: int | None = None, lost: int = 0) -> None:
        super().__init__(message)
        self.pid = pid
        self.exitcode = exitcode
        self.lost = lost

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.args[0], {"pid": self.pid, "exitcode": self.exitcode, "lost": self.lost})


class InitializerFailed(ProcessionError, RuntimeError):
    """The pool's initializer raised (see ``__cause__``) or its worker died in it; the pool has no workers."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        _join_executors_errors()


class PoolClosed(ProcessionError, ValueError):
    """The pool takes no more work: it was closed or terminated, or belongs to the process that this one was forked from."""


class ClientRefused(ProcessionError, AuthenticationError, EOFError):
    """A client of a Listener went, or broke the rules of messages, before it had proved that it knows the authkey."""


class SharedObjectGone(ProcessionError, ReferenceError):
    """The handle names a shared object that no process holds any more."""


class CannotEncode(ProcessionError, pickle.PicklingError, TypeError):
    """Neither pickle nor cloudpickle can turn the object into bytes."""


class CannotDecode(ProcessionError, pickle.UnpicklingError):
    """The object was sent, but unpickling it failed on the receiving side."""


class NotAllPut(ProcessionError):  # and queue.Full, which is loaded with the first one
    """There was no room in a queue for all that put_many() was to put, within its time.

    Attributes:
        items_put: how many are in; they are the first ones.
    """

    def __init__(self, message: str, *, items_put: int = 0) -> None:
        import queue

        if not issubclass(NotAllPut, queue.Full):
            NotAllPut.__bases__ = (ProcessionError, queue.Full)
        super().__init__(message)
        self.items_put = items_put

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.args[0], {"items_put": self.items_put})


class Closed(ProcessionError, ValueError):
    """The channel takes no more messages, or gives none because nothing is left."""


class StartFailed(ProcessionError, RuntimeError):
    """A child process ended before it could begin its work."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        _join_executors_errors()


class OutOfMemory(ProcessionError, MemoryError):
    """No room is left in the shared memory, or more processes at once than it has slots for."""


def _rebuild(kind: type[ProcessionError], message: str, evidence: dict[str, object]) -> ProcessionError:
    return kind(message, **evidence)


def _join_executors_errors() -> None:
    """Where the program knows ``concurrent.futures``, what it catches of an executor are bases of ours, too.

    Not at import: it brings `logging` and much else, and who catches its errors has imported it before one is raised.
    """
    futures: Any = sys.modules.get("concurrent.futures._base")
    if not hasattr(futures, "BrokenExecutor") or issubclass(WorkerDied, futures.BrokenExecutor):
        return
    WorkerDied.__bases__ = (_TaskError, futures.BrokenExecutor)
    TaskCancelled.__bases__ = (_TaskError, futures.CancelledError)
    for kind in (InitializerFailed, StartFailed):
        kind.__bases__ = (ProcessionError, futures.BrokenExecutor)


_join_executors_errors()
