"""Shared objects that a pool's worker has opened lately, where that took long: kept for the next task that is given them.

Between two tasks nothing of a worker's holds them, and each would put them together anew.  They are let go when others come
or no task does.
"""

from __future__ import annotations

from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["WORTH_NS", "begin", "keep", "let_go"]

WORTH_NS = 1_000_000  # what takes less is opened again
_KEPT = 4

_lately: deque[Any] = deque(maxlen=0)


def begin() -> None:
    """This process is a worker: keep what is opened from now on."""
    global _lately
    _lately = deque(maxlen=_KEPT)


def keep(thing: Any) -> None:
    """`thing` took long to open."""
    _lately.append(thing)


def let_go() -> None:
    """No task has come for a while."""
    _lately.clear()
