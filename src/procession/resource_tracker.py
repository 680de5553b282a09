"""What removes named things when their program has ended: of shared memory our own, of all else the standard library's.

Nothing else of procession's has names.
"""

from __future__ import annotations

import errno
from typing import Any

from procession import _stdlib
from procession.engine import names

__all__ = ["ensure_running", "register", "unregister"]

_SHARED_MEMORY = "shared_memory"
_CLEANUP_FUNCS = {"noop": lambda: None, _SHARED_MEMORY: names.unlink}


def ensure_running() -> None:
    """Start the tracker's process unless it runs."""
    names.ensure_tracker()


def register(name: str, rtype: str) -> None:
    """Have the name removed when the program ends and has not done so."""
    if rtype == _SHARED_MEMORY:
        try:
            names.note(name)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise ValueError(f"the name is too long: {error}") from None
            raise
    else:
        _stdlib.module("resource_tracker").register(name, rtype)


def unregister(name: str, rtype: str) -> None:
    """Have the name outlive the program, or say that it has been removed.

    Of shared memory that another process of the program has made this means nothing: it is that one's to say.
    """
    if rtype == _SHARED_MEMORY:
        names.forget(name)
    else:
        _stdlib.module("resource_tracker").unregister(name, rtype)


def __getattr__(name: str) -> Any:
    if name in ("ResourceTracker", "_resource_tracker"):
        return getattr(_stdlib.module("resource_tracker"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
