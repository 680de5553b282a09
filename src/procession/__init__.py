"""A drop-in multiprocessing: faster, unable to hang, and leaving nothing behind.

    import procession as multiprocessing

Names and signatures are the standard library's; docs/compat.md lists what differs on purpose.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from procession.context import default_context as _context
from procession.errors import AuthenticationError, BufferTooShort, ProcessError, TimeoutError
from procession.process import active_children, current_process, parent_process

if TYPE_CHECKING:
    from procession.context import Process

Lock = _context.Lock
Pool = _context.Pool
Queue = _context.Queue
RLock = _context.RLock
Value = _context.Value
cpu_count = _context.cpu_count
freeze_support = _context.freeze_support
get_all_start_methods = _context.get_all_start_methods
get_context = _context.get_context
get_start_method = _context.get_start_method
set_executable = _context.set_executable
set_forkserver_preload = _context.set_forkserver_preload
set_start_method = _context.set_start_method
Process = _context.Process  # type: ignore[misc]

__all__ = [
    "AuthenticationError",
    "BufferTooShort",
    "Lock",
    "Pool",
    "Process",
    "ProcessError",
    "Queue",
    "RLock",
    "TimeoutError",
    "Value",
    "active_children",
    "cpu_count",
    "current_process",
    "freeze_support",
    "get_all_start_methods",
    "get_context",
    "get_start_method",
    "parent_process",
    "set_executable",
    "set_forkserver_preload",
    "set_start_method",
]

# What a child pickles of its main module must be found in the parent's.
if "__main__" in sys.modules:
    sys.modules["__mp_main__"] = sys.modules["__main__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("procession")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
