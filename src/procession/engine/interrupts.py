"""Ctrl-C while a pool is driven comes out between two steps, not within one: nothing that has arrived is lost by it."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the module `signal` turns numbers into enums, which costs more than the call
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Deaf", "Hold", "hear_interrupts"]

_SIGINT, _SIGTERM = 2, 15


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


class Deaf:
    """As a context: this thread hears no SIGINT, and neither does a child that is started meanwhile.

    So the starter knows of the child before it is interrupted.  One that hit a child in its hooks after the fork would be
    lost, and one right after them would let it go on as its parent.

    With `and_ends` SIGTERM is not heard either: a forked child has its parent's handler for it until it sets its own.
    """

    def __init__(self, and_ends: bool = False) -> None:
        self._signals = {_SIGINT, _SIGTERM} if and_ends else {_SIGINT}

    def __enter__(self) -> Deaf:
        self._before = _signal.pthread_sigmask(_signal.SIG_BLOCK, self._signals)
        return self

    def __exit__(self, *error: object) -> None:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._before)

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Meanwhile it does."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()


def hear_interrupts(and_ends: bool = False) -> None:
    """In a child that was started deaf: from now on SIGINT is heard, also one that came before; SIGTERM too with `and_ends`."""
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, {_SIGINT, _SIGTERM} if and_ends else {_SIGINT})
