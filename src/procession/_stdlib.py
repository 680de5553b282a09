"""The only file that touches the real multiprocessing: shared identity, no shared mechanism.

Other libraries ask ``isinstance(p, multiprocessing.process.BaseProcess)`` or register reducers with
``multiprocessing.reduction.ForkingPickler``; they agree with procession because the classes are the same.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from multiprocessing import AuthenticationError, BufferTooShort, ProcessError, TimeoutError
from multiprocessing import process as _process
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any

__all__ = [
    "AuthenticationError",
    "BaseProcess",
    "BufferTooShort",
    "ProcessError",
    "TimeoutError",
    "has_extra_reducers",
    "make_pickler",
    "set_current_process",
]

_reducers: dict[type, Callable[..., Any]] = ForkingPickler._extra_reducers  # type: ignore[attr-defined]
# What the standard library registers for itself (methods, partials, sockets once used) plain pickle does as well or
# refuses loudly; only what others add (torch's tensors) must be asked first.
_own_count = len(_reducers)


def has_extra_reducers() -> bool:
    """Whether anybody has registered reducers with ForkingPickler."""
    return len(_reducers) != _own_count


def make_pickler(file: Any, buffer_callback: Callable[[pickle.PickleBuffer], Any]) -> ForkingPickler:
    """A pickler that knows the reducers registered with ForkingPickler, at the protocol that has buffers."""
    return ForkingPickler(file, 5, True, buffer_callback)


def set_current_process(process: BaseProcess) -> None:
    """Tell the standard library which process this is: ``logging`` asks it for ``processName``."""
    _process._current_process = process  # type: ignore[attr-defined]
