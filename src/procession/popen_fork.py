"""A child for a process object, without the object's knowledge: the standard library's ``multiprocessing.popen_fork``."""

from __future__ import annotations

import os
import signal

from procession.engine import launch
from procession.engine.clock import deadline_after

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

    from procession.engine.children import Child

__all__ = ["Popen"]


class Popen:
    """Starts a child that runs ``process_obj._bootstrap()``, and ends with the exit code that this gives.

    Attributes:
        pid: of the child.
        sentinel: a descriptor that becomes readable when it has ended.
        returncode: its exit code, negative for a signal; None before poll() or wait() has seen its end.
    """

    method: ClassVar[str] = "fork"
    _child: Child

    def __init__(self, process_obj: Any) -> None:
        self.returncode: int | None = None
        launch.start(self.method, process_obj._bootstrap, started=self._own)

    def _own(self, child: Child) -> None:
        self._child = child
        self.pid = child.pid
        self.sentinel = child.sentinel

    def duplicate_for_child(self, fd: int) -> int:
        """A forked child has the parent's descriptors."""
        return fd

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """The exit code, None while it runs; with a `flag` of 0 it is waited for."""
        return self.wait(None if flag == 0 else 0)

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit code, as soon as it has ended; None if it has not within `timeout` seconds."""
        if self.returncode is None:
            self.returncode = self._child.wait(deadline_after(timeout))
        return self.returncode

    def interrupt(self) -> None:
        """Send SIGINT unless it has ended."""
        self._child.send_signal(signal.SIGINT)

    def terminate(self) -> None:
        """Send SIGTERM unless it has ended."""
        self._child.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL unless it has ended."""
        self._child.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Give the sentinel back."""
        self._child.close()
