"""Ctrl-C while a pool is driven comes out between two steps, not within one: nothing that has arrived is lost by it."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the module `signal` turns numbers into enums, which costs more than the call
import threading
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Hold"]

_SIGINT = 2


class Hold:
    """As a context, in the main thread: SIGINT is noted, and `wake` called; at the end the program's own handler gets it.

    Anywhere else it does nothing, because signal handlers run in the main thread only.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._previous: Any = None
        self._depth = 0
        self._noted: tuple[int, Any] | None = None

    def __enter__(self) -> None:
        if threading.get_ident() != threading.main_thread().ident:
            return
        previous = _signal.getsignal(_SIGINT)
        if previous == self._note:
            self._depth += 1
        elif callable(previous):
            _signal.signal(_SIGINT, self._note)
            # Not before: if the interrupt came between, nothing would take this back.
            self._previous = previous
            self._depth = 1

    def __exit__(self, *error: object) -> None:
        if self._depth == 0 or threading.get_ident() != threading.main_thread().ident:
            return
        self._depth -= 1
        if self._depth == 0:
            previous, noted = self._previous, self._noted
            self._previous = self._noted = None
            _signal.signal(_SIGINT, previous)
            if noted is not None:
                previous(*noted)

    def abandon(self) -> None:
        """In a child that was forked within the context: leave it, and what was noted was for the parent."""
        if self._depth:
            self._depth, self._noted = 1, None
            self.__exit__()

    def _note(self, number: int, frame: Any) -> None:
        self._noted = number, frame
        self._wake()

    @property
    def is_due(self) -> bool:
        """Whether a signal waits for the end of the context."""
        return self._noted is not None
