"""Descriptors that are sent as bytes: the standard library's ``multiprocessing.resource_sharer``."""

from __future__ import annotations

from procession.engine.sharer import DupFd, stop

__all__ = ["DupFd", "stop"]
