"""What must happen when this process forks or ends, in one list each.

`memory` is imported for its own part in a fork, which must come first: a child must be itself before it lets go of anything.
Callbacks are kept by weak reference to their owner, so that registering keeps nothing alive.
"""

from __future__ import annotations

import atexit
import itertools
import os
import weakref
from collections.abc import Callable

from procession import _core
from procession.engine import bystanders, memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "at_exit",
    "begin_anew",
    "fork_callbacks",
    "is_ending",
    "leave_by_hand",
    "on_fork_in_child",
    "run_exit_callbacks",
]

fork_callbacks: list[tuple[weakref.ref[Any], Callable[[Any], object]]] = []
_exit_callbacks: dict[int, tuple[int, weakref.ref[Any], Callable[[Any], object]]] = {}
_keys = itertools.count()
_is_ending = False


def on_fork_in_child(owner: Any, callback: Callable[[Any], object]) -> None:
    """Call ``callback(owner)`` in every forked child, before it runs anything else; in order of registration."""
    fork_callbacks.append((weakref.ref(owner), callback))
    if len(fork_callbacks) % 64 == 0:
        fork_callbacks[:] = [entry for entry in fork_callbacks if entry[0]() is not None]


def at_exit(owner: Any, callback: Callable[[Any], object], *, priority: int = 0) -> None:
    """Call ``callback(owner)`` when this process ends in order; higher priorities first, then the youngest first.

    One that registers itself anew is called again if the end is run through again: for what others have begun meanwhile.
    """
    key = next(_keys)
    _exit_callbacks[key] = (priority, weakref.ref(owner, lambda _: _exit_callbacks.pop(key, None)), callback)


def run_exit_callbacks() -> None:
    """What an orderly end owes; an interpreter's exit calls it, and so does a child that leaves by ``os._exit``."""
    global _is_ending
    _is_ending = True
    for key, (_, reference, callback) in sorted(_exit_callbacks.items(), key=lambda item: (-item[1][0], -item[0])):
        owner = reference()
        if _exit_callbacks.pop(key, None) is not None and owner is not None:
            callback(owner)


def is_ending() -> bool:
    """Whether this process is on its way out."""
    return _is_ending


def leave_by_hand() -> None:
    """The interpreter's exit is not to say that this process has ended in order: its code is not known by then."""
    atexit.unregister(_leave)


def begin_anew() -> None:
    """In a forked child that will leave by hand: what the parent has registered for its end is none of its affairs."""
    atexit._clear()


def _leave() -> None:
    _core.process_leave(0)


def _forked() -> None:
    global _is_ending
    bystanders.free_held()
    _is_ending = False
    _exit_callbacks.clear()  # the parent's affairs
    callbacks, fork_callbacks[:] = fork_callbacks[:], []
    for reference, callback in callbacks:
        owner = reference()
        if owner is not None:
            fork_callbacks.append((reference, callback))
            callback(owner)


assert memory.__name__  # imported above: its hook is registered before this one
os.register_at_fork(after_in_child=_forked)
atexit.register(_leave)  # before the next one, so after it: the last word
atexit.register(run_exit_callbacks)
