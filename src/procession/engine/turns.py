"""Whose turn it is to drive a pool: one thread drives, the others that wait follow it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from procession.engine.clock import clock_ns
from procession.engine.interrupts import Hold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Turns"]

_LOOK_S = 0.1  # a follower looks this often whether it is its turn


class Turns:
    """One pool's.

    Args:
        drive: does a step, which lasts until the deadline it is given at most.
        nudge: ends a step that waits.

    Attributes:
        is_kept: the keeper drives, and not a thread that waits for a result.
        is_wanted: a thread that waits would rather drive itself.
    """

    def __init__(self, drive: Callable[[int], None], nudge: Callable[[], None]) -> None:
        self.is_kept = False
        self.is_wanted = False
        self._drive = drive
        self._nudge = nudge
        self._hold = Hold(nudge)
        self._driving = threading.RLock()  # a callback may wait for another result of the pool that runs it
        self._changed = threading.Condition(threading.Lock())
        self._followers = 0

    def begin(self) -> bool:
        """Become the one that drives; False if another thread does."""
        return self._driving.acquire(blocking=False)

    def end(self) -> None:
        """Drive no more; whoever follows takes over."""
        self._driving.release()
        self.tell()

    def wait(self, ticket: Any, deadline: int) -> None:
        """Drive or follow until `ticket` is done, `deadline` has come, or a signal has."""
        with self._hold:
            if not self.begin():
                if self.is_kept:
                    self.is_wanted = True
                    self._nudge()
                self._follow(ticket, deadline)
                return
            try:
                while not ticket.done and not self._hold.is_due:
                    self._drive(deadline)
                    if clock_ns() >= deadline:
                        return
            finally:
                self.end()

    def look(self) -> None:
        """Do what can be done without waiting."""
        with self._hold:
            if self.begin():
                try:
                    self._drive(0)
                finally:
                    self.end()

    def _follow(self, ticket: Any, deadline: int) -> None:
        """Wait a moment for another thread to complete the ticket, or to stop driving."""
        with self._changed:
            self._followers += 1
            try:
                if not ticket.done:
                    self._changed.wait(max(0.0, min(_LOOK_S, (deadline - clock_ns()) / 1e9)))
            finally:
                self._followers -= 1

    def tell(self) -> None:
        """Something has changed: let those who follow look."""
        if self._followers:
            with self._changed:
                self._changed.notify_all()
