"""The standard library's resource tracker, for those who register names with it; nothing of procession's own has one."""

from __future__ import annotations

from typing import Any

from procession import _stdlib

__all__ = ["ensure_running", "register", "unregister"]


def ensure_running() -> None:
    """Start the tracker's process unless it runs."""
    _stdlib.module("resource_tracker").ensure_running()


def register(name: str, rtype: str) -> None:
    """Have the name removed when the program ends and has not done so."""
    _stdlib.module("resource_tracker").register(name, rtype)


def unregister(name: str, rtype: str) -> None:
    """The name has been removed."""
    _stdlib.module("resource_tracker").unregister(name, rtype)


def __getattr__(name: str) -> Any:
    if name in ("ResourceTracker", "_CLEANUP_FUNCS", "_resource_tracker"):
        return getattr(_stdlib.module("resource_tracker"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
