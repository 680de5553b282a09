"""What a manager's server keeps: its objects, and its connections."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from procession.managers.callers import Member

__all__ = ["Entry", "Session", "Sessions"]


class Entry:
    """An object of the server."""

    __slots__ = ("__weakref__", "count", "exposed", "ident", "obj", "typeids")

    def __init__(self, obj: Any, ident: str, exposed: tuple[str, ...], typeids: Mapping[str, str]) -> None:
        self.obj, self.ident, self.exposed, self.typeids = obj, ident, exposed, typeids
        self.count = 0


class Session:
    """One connection."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.member: Member | None = None
        self.is_stock = True
        self.is_served = False  # it goes on after its first request: with calls, or as a lifeline
        self.is_lifeline = False
        self.lent: list[Entry] = []  # mentioned in the last answer: kept until its receiver has said that it has them


class Sessions(threading.local):
    current: Session | None = None
