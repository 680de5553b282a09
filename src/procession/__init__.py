"""A drop-in multiprocessing: faster, unable to hang, and leaving nothing behind.

    import procession as multiprocessing

Names and signatures are the standard library's; docs/compat.md lists what differs on purpose.  Beside them there is what
`shared` offers: share(), and NumPy arrays in shared memory.
"""

from __future__ import annotations

import sys

from procession import _stdlib
from procession.context import default_context as _context
from procession.engine import program as _program
from procession.errors import AuthenticationError, BufferTooShort, ProcessError, TimeoutError
from procession.process import active_children, current_process, parent_process
from procession.util import SUBDEBUG, SUBWARNING  # noqa: F401

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from procession.context import Process
    from procession.installation import install as install
    from procession.shared import Shared as Shared
    from procession.shared import SharedArray as SharedArray
    from procession.shared import array as array
    from procession.shared import asarray as asarray
    from procession.shared import empty as empty
    from procession.shared import empty_like as empty_like
    from procession.shared import full as full
    from procession.shared import full_like as full_like
    from procession.shared import ones as ones
    from procession.shared import ones_like as ones_like
    from procession.shared import share as share
    from procession.shared import zeros as zeros
    from procession.shared import zeros_like as zeros_like
del TYPE_CHECKING  # it would be one of this module's public names

Array = _context.Array
Barrier = _context.Barrier
BoundedSemaphore = _context.BoundedSemaphore
Condition = _context.Condition
Event = _context.Event
JoinableQueue = _context.JoinableQueue
Lock = _context.Lock
Manager = _context.Manager
Pipe = _context.Pipe
Pool = _context.Pool
Queue = _context.Queue
RLock = _context.RLock
RawArray = _context.RawArray
RawValue = _context.RawValue
Semaphore = _context.Semaphore
SimpleQueue = _context.SimpleQueue
Value = _context.Value
allow_connection_pickling = _context.allow_connection_pickling
cpu_count = _context.cpu_count
freeze_support = _context.freeze_support
get_all_start_methods = _context.get_all_start_methods
get_context = _context.get_context
get_logger = _context.get_logger
get_start_method = _context.get_start_method
log_to_stderr = _context.log_to_stderr
set_executable = _context.set_executable
set_forkserver_preload = _context.set_forkserver_preload
set_start_method = _context.set_start_method
Process = _context.Process  # type: ignore[misc]

__all__ = [
    "Array",
    "AuthenticationError",
    "Barrier",
    "BoundedSemaphore",
    "BufferTooShort",
    "Condition",
    "Event",
    "JoinableQueue",
    "Lock",
    "Manager",
    "Pipe",
    "Pool",
    "Process",
    "ProcessError",
    "Queue",
    "RLock",
    "RawArray",
    "RawValue",
    "Semaphore",
    "SimpleQueue",
    "TimeoutError",
    "Value",
    "active_children",
    "allow_connection_pickling",
    "cpu_count",
    "current_process",
    "freeze_support",
    "get_all_start_methods",
    "get_context",
    "get_logger",
    "get_start_method",
    "log_to_stderr",
    "parent_process",
    "reducer",
    "set_executable",
    "set_forkserver_preload",
    "set_start_method",
]

# Beyond the standard library's, so `import *` does not bring them.
_OURS = {
    "Shared",
    "SharedArray",
    "array",
    "asarray",
    "empty",
    "empty_like",
    "full",
    "full_like",
    "install",
    "ones",
    "ones_like",
    "share",
    "zeros",
    "zeros_like",
}

# What a child pickles of its main module must be found in the parent's.
if "__main__" in sys.modules:
    sys.modules["__mp_main__"] = sys.modules["__main__"]


def _install(_: bool) -> None:
    from procession.installation import install

    install()


_program.carry("installed", lambda: _stdlib.is_aside() or None, _install)


def __getattr__(name: str) -> Any:
    if name == "reducer":
        return _context.reducer
    if name == "install":
        from procession.installation import install

        return install
    if name in _OURS:
        from procession import shared

        return getattr(shared, name)
    if name == "__version__":
        from importlib.metadata import version

        return version("procession")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_OURS - {"SharedArray"}, "reducer"})  # that one needs NumPy


if _program.frozen_command() is not None:
    from procession.worker import frozen as _frozen

    _frozen.begin()
