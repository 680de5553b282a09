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
from typing import Any

from procession.engine import memory

__all__ = ["at_exit", "on_fork_in_child", "run_exit_callbacks"]

_fork_callbacks: list[tuple[weakref.ref[Any], Callable[[Any], None]]] = []
_exit_callbacks: dict[int, tuple[int, weakref.ref[Any], Callable[[Any], None]]] = {}
_keys = itertools.count()


def on_fork_in_child(owner: Any, callback: Callable[[Any], None]) -> None:
    """Call ``callback(owner)`` in every forked child, before it runs anything else; in order of registration."""
    _fork_callbacks.append((weakref.ref(owner), callback))
    if len(_fork_callbacks) % 64 == 0:
        _fork_callbacks[:] = [entry for entry in _fork_callbacks if entry[0]() is not None]


def at_exit(owner: Any, callback: Callable[[Any], None], *, priority: int = 0) -> None:
    """Call ``callback(owner)`` when this process ends in order; higher priorities first, then the youngest first."""
    key = next(_keys)
    _exit_callbacks[key] = (priority, weakref.ref(owner, lambda _: _exit_callbacks.pop(key, None)), callback)


def run_exit_callbacks() -> None:
    """What an orderly end owes; an interpreter's exit calls it, and so does a child that leaves by ``os._exit``."""
    for key, (_, reference, callback) in sorted(_exit_callbacks.items(), key=lambda item: (-item[1][0], -item[0])):
        owner = reference()
        if _exit_callbacks.pop(key, None) is not None and owner is not None:
            callback(owner)


def _forked() -> None:
    _exit_callbacks.clear()  # the parent's affairs
    callbacks, _fork_callbacks[:] = _fork_callbacks[:], []
    for reference, callback in callbacks:
        owner = reference()
        if owner is not None:
            _fork_callbacks.append((reference, callback))
            callback(owner)


assert memory.__name__  # imported above: its hook is registered before this one
os.register_at_fork(after_in_child=_forked)
atexit.register(run_exit_callbacks)
