"""What differs by operating system in Python: one contract, one file per system.

    open_sentinel(pid)          -> descriptor that becomes readable when the process has ended; -1 if it is gone
    collect(pid, sentinel)      -> exit code, None while it runs, UNKNOWN if somebody else has reaped it
    wait_readable(fds, timeout) -> those that are readable
    start_interpreter(code, arguments, fds, executable) -> pid
    cpu_count()                 -> cores that this process may use

A sentinel is opened by whoever starts the process, and closed by whoever opened it.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    raise ImportError("procession does not run on Windows yet")

from procession._os.posix import (
    UNKNOWN,
    collect,
    cpu_count,
    open_sentinel,
    start_interpreter,
    wait_readable,
)

__all__ = ["UNKNOWN", "collect", "cpu_count", "open_sentinel", "start_interpreter", "wait_readable"]
