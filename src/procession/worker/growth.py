"""How much memory of its own a worker has, looked at after each of its messages, so quickly looked at.

What it shares with no other has to be counted page by page, which takes milliseconds.  How much it has in all is told at once:
it is counted again when that has grown by what was missing, and now and then, because a page that is written to is no longer
its parent's.
"""

from __future__ import annotations

from procession import _os
from procession._core import clock_ns

__all__ = ["Growth"]

_PAUSE_NS = 50_000_000
_COUNTS_PER_PAUSE = 50  # of the time that counting takes, so that it is no more than a fiftieth of a worker's life


class Growth:
    """Of this process.

    Args:
        limit: bytes of its own.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._own = 0
        self._whole = 0  # when that was counted
        self._count_at_ns = 0

    def is_over(self) -> bool:
        """Whether it has more than it may."""
        whole = _os.whole_memory()
        now = clock_ns()
        if now < self._count_at_ns and self._own + whole - self._whole <= self._limit:
            return False
        if whole <= self._limit:
            return False  # what it has of its own is a part of that
        self._own, self._whole = _os.own_memory(), whole
        self._count_at_ns = now + max(_PAUSE_NS, _COUNTS_PER_PAUSE * (clock_ns() - now))
        return self._own > self._limit
