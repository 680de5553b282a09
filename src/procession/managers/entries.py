"""What a manager's server keeps: its objects, and how it answers a thread of a client."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from procession.managers.callers import Member
from procession.managers.contents import loses_results
from procession.managers.quick import QuickTable

__all__ = ["Entry", "Session", "Sessions"]


class Entry:
    """An object of the server.

    Attributes:
        count: references that clients have.
        takes: whether it is as if something was lost if a result does not arrive.
    """

    __slots__ = ("__weakref__", "_quick", "count", "exposed", "ident", "obj", "takes", "typeids")

    def __init__(self, obj: Any, ident: str, exposed: tuple[str, ...], typeids: Mapping[str, str]) -> None:
        self.obj, self.ident, self.exposed, self.typeids = obj, ident, exposed, typeids
        self.count = 0
        self.takes = loses_results(obj)
        self._quick: QuickTable | None = None

    @property
    def quick(self) -> QuickTable:
        """Its methods that can be called at once."""
        if self._quick is None:
            self._quick = QuickTable(self.obj, self.exposed, self.typeids)
        return self._quick


class Session:
    """One connection."""

    def __init__(self, connection: Any = None) -> None:
        self.connection = connection
        self.member: Member | None = None
        self.is_stock = True
        self.is_served = False  # it goes on after its first request: with calls, or as a lifeline
        self.is_lifeline = False
        self.lent: list[Entry] = []  # mentioned in the last answer: kept until its receiver has said that it has them

    def encode(self, words: Any, answer: Any) -> Any:
        """What `transmit` takes."""
        return words.dumps(answer)

    def transmit(self, encoded: Any) -> None:
        """Send an answer.

        Raises:
            OSError: the client is gone.
        """
        data, _keep = encoded
        self.connection.send_bytes(data)


class Sessions(threading.local):
    current: Session | None = None
