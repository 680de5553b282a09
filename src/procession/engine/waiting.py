"""Waiting for any of several things: descriptors, what has one, and what can ring a bell."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from procession import _os
from procession._core import Bell
from procession.engine.clock import deadline_after, seconds_until

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["wait_any", "wait_for"]

_LOOK_AGAIN = 0.5  # seconds after which a ring that was lost, with a process that was killed, is made good


def wait_any(things: Iterable[Any], timeout: float | None = None) -> list[Any]:
    """Those of `things` that are ready, in their order, after at most `timeout` seconds.

    A thing is a descriptor or has ``fileno()``, and is ready when it is readable or at its end.  Or it has
    ``_wait_arm(bell)``, which gives whether it is ready now and, if not, has the bell rung when it may be, and
    ``_wait_disarm(bell)``.

    Raises:
        OSError: a descriptor is not open.
    """
    things = list(things)
    deadline = deadline_after(timeout)
    if not things and timeout is None:
        return []  # nothing that could ever be
    descriptors = [-1 if hasattr(thing, "_wait_arm") else _descriptor(thing) for thing in things]
    if -1 not in descriptors:
        while True:
            left = seconds_until(deadline)
            ready = set(_os.wait_readable(descriptors, left))
            if ready or left == 0:
                return [thing for thing, fd in zip(things, descriptors, strict=True) if fd in ready]
    return _wait_with_bell(things, descriptors, deadline)


def _wait_with_bell(things: list[Any], descriptors: list[int], deadline: int) -> list[Any]:
    ringers = {id(thing): thing for thing, fd in zip(things, descriptors, strict=True) if fd < 0}
    bell = Bell()
    watched = [fd for fd in descriptors if fd >= 0] + [bell.fileno()]

    def arm() -> set[int]:
        return {key for key, thing in ringers.items() if thing._wait_arm(bell)}

    try:
        while True:
            rung = arm()
            left = seconds_until(deadline)
            pause = 0.0 if rung else _LOOK_AGAIN if left is None else min(left, _LOOK_AGAIN)
            readable = set(_os.wait_readable(watched, pause))
            if bell.fileno() in readable:
                bell.clear()
                rung = arm()  # who has rung is ready as well as what else became readable meanwhile
            ready = [
                thing
                for thing, fd in zip(things, descriptors, strict=True)
                if (fd in readable if fd >= 0 else id(thing) in rung)
            ]
            if ready or left == 0:
                return ready
    finally:
        for thing in ringers.values():
            thing._wait_disarm(bell)
        bell.close()


def wait_for(wait: Callable[[float | None], object], predicate: Callable[[], Any], timeout: float | None) -> Any:
    """Call ``wait(seconds)`` until `predicate` is true or `timeout` seconds have passed; the predicate's last value."""
    deadline = deadline_after(timeout)
    while not (result := predicate()):
        left = seconds_until(deadline)
        if left == 0:
            break
        wait(left)
    return result


def _descriptor(thing: Any) -> int:
    fd = thing if isinstance(thing, int) or not hasattr(thing, "fileno") else thing.fileno()
    if not isinstance(fd, int) or fd < 0:
        raise ValueError(f"cannot wait for {thing!r}: {fd!r} is not a descriptor")
    return fd
