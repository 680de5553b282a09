"""Whose turn it is to drive a pool: one thread drives, the others that wait follow it."""

from __future__ import annotations

import threading
from typing import Any

from procession.engine.clock import clock_ns

__all__ = ["Turns"]

_LOOK_S = 0.1  # a follower looks this often whether it is its turn


class Turns:
    """One pool's."""

    def __init__(self) -> None:
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

    def follow(self, ticket: Any, deadline: int) -> None:
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
