"""A child process as its parent sees it: its end, its exit code, and the clearing up after it."""

from __future__ import annotations

import os
import signal
import threading

from procession import _core, _os
from procession.engine import memory
from procession.engine.clock import FOREVER, seconds_until

__all__ = ["Child"]


class Child:
    """A process that this one has started.

    Attributes:
        pid: as the system knows it.
        identity: of its slot in the arena.
        sentinel: a descriptor that becomes readable when it has ended.
        tasks: of a pool's worker: the channel that it takes from.
        claim, head: of a pool's worker that has ended: what it had claimed, and how far the channel had been taken from
            when it had; see scheduler.WorkerExited.
    """

    def __init__(self, pid: int, identity: int) -> None:
        self.pid = pid
        self.identity = identity
        self.sentinel = -1
        try:
            self.sentinel = _os.open_sentinel(pid)
        except OSError:
            # Too many open files.  Whoever asked for it is told that it did not start: so it must not run.
            _os.end_at_once(pid)
            _core.process_sweep(identity, True)
            raise
        self.tasks: memory.Channel | None = None
        self.claim = (0, 0, 0, 0)
        self.head = 0
        self._exitcode: int | None = None
        self._starter = os.getpid()
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """The exit code if it has ended, negative for a signal; what it held is free by then."""
        with self._lock:
            if self._exitcode is None:
                code = _os.collect(self.pid, self.sentinel)
                if code is None or (code == _os.UNKNOWN and os.getpid() != self._starter):
                    return None  # it runs, or is another process's child: that one says how it ended
                said = _core.process_exitcode(self.identity)
                known = code if isinstance(code, int) else said  # reaped by somebody else: what it said is all there is
                # The head first: what it claimed and did not take, others may be taking at this moment.
                self.head = self.tasks.head if self.tasks is not None else 0
                self.claim = _core.process_claim(self.identity)
                _core.process_sweep(self.identity, said is None, known)
                self._exitcode = 255 if known is None else known
            return self._exitcode

    def wait(self, deadline: int = FOREVER) -> int | None:
        """The exit code, as soon as it has ended; None if it has not by `deadline`."""
        code = self.poll()
        while code is None:
            left = seconds_until(deadline)
            if self.sentinel >= 0:
                _os.wait_readable([self.sentinel], left)
            code = self.poll()
            if left == 0:
                break
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal unless it has ended."""
        with self._lock:
            if self._exitcode is None:
                try:
                    os.kill(self.pid, number)
                except ProcessLookupError:
                    pass

    def kill(self) -> None:
        """Kill it with all its descendants; stopped first, so that it starts no more of them."""
        self.send_signal(signal.SIGSTOP)
        _core.kill_descendants(self.pid)
        self.send_signal(signal.SIGKILL)

    def dismiss(self) -> None:
        """Have it leave in order, if it is a pool's worker."""
        with self._lock:
            if self._exitcode is None:
                _core.process_dismiss(self.identity)

    def end(self) -> None:
        """Kill it unless it has ended, collect it, and give the sentinel back."""
        self.send_signal(signal.SIGKILL)
        self.wait()
        self.close()

    def close(self) -> None:
        """Give the sentinel back."""
        sentinel, self.sentinel = self.sentinel, -1
        if sentinel >= 0:
            try:
                os.close(sentinel)
            except OSError:
                pass  # the program has closed all descriptors that it did not know

    def __del__(self) -> None:
        if os is not None:  # at the interpreter's end it may be gone, and so is the descriptor soon
            self.close()
