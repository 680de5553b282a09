"""Who calls: what a server's thread knows of the client that it works for, and how it waits for one that may be killed."""

from __future__ import annotations

import itertools
import select
import threading
from collections.abc import Callable
from typing import Any

from procession.engine.clock import deadline_after, seconds_until

__all__ = ["LOOK", "Caller", "CallerGone", "Member", "caller", "hangup", "patiently", "serve_as"]

LOOK = 0.5  # seconds between two looks whether the client that waits is still there
_HANGUP = getattr(select, "POLLRDHUP", 0)


class CallerGone(BaseException):
    """The client that this call is for has ended, or does not want it any more."""


class Member:
    """A client process, or what is known of it.

    Attributes:
        counts: how many references it has to each object, by ident.
        held: locks that it has, with how many times.
        lanes: of its threads, by number.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.counts: dict[str, int] = {}
        self.held: dict[int, tuple[Any, int]] = {}
        self.lanes: dict[int, Any] = {}
        self._lock = threading.Lock()

    def hold(self, thing: Any, change: int = 1) -> None:
        """It has taken something `change` times more."""
        with self._lock:
            count = self.held.get(id(thing), (thing, 0))[1] + change
            if count > 0:
                self.held[id(thing)] = thing, count
            else:
                self.held.pop(id(thing), None)

    def forget_results_of(self, entry: Any) -> None:
        """It does not refer to an object any more, so it has the results of its calls."""
        for lane in list(self.lanes.values()):
            if lane.last is not None and lane.last[0] is entry:
                lane.last = None

    def die(self) -> None:
        """It was killed: what it had taken is free."""
        with self._lock:
            held, self.held = list(self.held.values()), {}
        for thing, count in held:
            thing._free_after(self, count)


def hangup(fd: int) -> Callable[[], bool]:
    """A function that tells whether the connection with this descriptor has ended."""
    poll = select.poll()
    poll.register(fd, _HANGUP)
    return lambda: bool(poll.poll(0))


class Caller:
    """One thread of a client.

    Attributes:
        is_gone: whether it waits no more.
        key: the same for all calls of that thread, and no other's.
        member: its process, if that is known.
    """

    def __init__(
        self, is_gone: Callable[[], bool] = lambda: False, member: Member | None = None, key: Any = None
    ) -> None:
        self.is_gone = is_gone
        self.member = member
        self.key = key if key is not None else next(_keys)


_keys = itertools.count()


class _Local(threading.local):
    def __init__(self) -> None:
        self.caller = Caller()


_local = _Local()


def caller() -> Caller:
    """The client that this thread works for."""
    return _local.caller


def serve_as(client: Caller) -> None:
    """This thread works for a client from now on."""
    _local.caller = client


def patiently(condition: threading.Condition, ready: Callable[[], bool], timeout: float | None = None) -> bool:
    """With `condition` held, wait until ``ready()``; whether it is.

    Raises:
        CallerGone: the client has gone meanwhile; another one that waits has been woken in its place.
    """
    if ready():
        return True
    client = _local.caller
    deadline = deadline_after(timeout)
    while True:
        left = seconds_until(deadline)
        if left == 0:
            return False
        condition.wait(LOOK if left is None else min(left, LOOK))
        if client.is_gone():
            condition.notify()
            raise CallerGone
        if ready():
            return True
