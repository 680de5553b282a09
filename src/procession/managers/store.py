"""The objects of a manager's server, and who refers to them.

Objects that nobody refers to go.  References are those of clients, and of proxies that lie in other objects here: these hold
their object as any Python object holds another, so that even circles of them are collected.
"""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from procession.managers.callers import Member
from procession.managers.entries import Entry
from procession.managers.messages import public_methods

__all__ = ["GRACE", "Store"]

GRACE = 30.0  # seconds in which a proxy that was sent away may arrive, though its sender has dropped its own


class Store:
    """Makes objects of the types in `registry`, and keeps those that are referred to.

    Attributes:
        held: by ident, those that clients refer to.
    """

    def __init__(self, registry: Mapping[str, Any], stop_event: threading.Event) -> None:
        self._registry = registry
        self._stop_event = stop_event
        self._mutex = threading.RLock()
        self._entries: weakref.WeakValueDictionary[str, Entry] = weakref.WeakValueDictionary()
        self._by_object: weakref.WeakValueDictionary[int, Entry] = weakref.WeakValueDictionary()
        self.held: dict[str, Entry] = {}
        self._limbo: list[tuple[float, Entry]] = []
        self._sweeper: threading.Thread | None = None
        self._numbers = itertools.count(1)

    def make(self, typeid: str, args: Sequence[Any], kwds: Mapping[str, Any]) -> Entry:
        """An object of a registered type."""
        make, exposed, typeids, _ = self._registry[typeid]
        if make is not None:
            obj = make(*args, **kwds)
        elif kwds or len(args) != 1:
            raise ValueError("Without callable, must have one non-keyword argument")
        else:
            obj = args[0]
        with self._mutex:
            entry = self._by_object.get(id(obj))
            if entry is not None:
                return entry
            names = tuple(public_methods(obj) if exposed is None else exposed)
            names += tuple(name for name in typeids or () if name not in names)
            entry = Entry(obj, f"{next(self._numbers):x}", names, typeids or {})
            self._entries[entry.ident] = self._by_object[id(obj)] = entry
            return entry

    def find(self, ident: str) -> Entry:
        """The object of this name.

        Raises:
            KeyError: it is gone.
        """
        return self._entries[ident]

    def refer(self, member: Member, entry: Entry) -> None:
        """A client has one reference more."""
        with self._mutex:
            member.counts[entry.ident] = member.counts.get(entry.ident, 0) + 1
            entry.count += 1
            self.held[entry.ident] = entry

    def unrefer(self, member: Member, ident: str, count: int, grace: float = 0.0) -> None:
        """A client has `count` references less; it may be that others come within `grace` seconds."""
        with self._mutex:
            count = min(count, member.counts.get(ident, 0))
            entry = self.held.get(ident)
            if entry is None or not count:
                return
            member.counts[ident] -= count
            if not member.counts[ident]:
                del member.counts[ident]
            entry.count -= count
            if not entry.count:
                del self.held[ident]
                member.forget_results_of(entry)
                if grace:
                    self.linger(entry, grace)
        # Here, without the mutex, the object may go with `entry`.

    def unrefer_all(self, member: Member, grace: float) -> None:
        """A client refers to nothing any more."""
        for ident, count in list(member.counts.items()):
            self.unrefer(member, ident, count, grace)

    def linger(self, entry: Entry, seconds: float) -> None:
        """Keep an object for a while."""
        with self._mutex:
            self._limbo.append((time.monotonic() + seconds, entry))
            if self._sweeper is None:
                self._sweeper = threading.Thread(target=self._sweep, name="procession-sweeper", daemon=True)
                self._sweeper.start()

    def _sweep(self) -> None:
        while True:
            with self._mutex:
                now = time.monotonic()
                gone = [item for item in self._limbo if item[0] <= now]
                self._limbo = [item for item in self._limbo if item[0] > now]
                if not self._limbo:
                    self._sweeper = None
                    return
            del gone
            if self._stop_event.wait(1.0):
                return

    def facts(self) -> str:
        """A line or two for each object that clients refer to."""
        with self._mutex:
            entries = sorted(self.held.values(), key=lambda entry: int(entry.ident, 16))
        return "\n".join(
            f"  {entry.ident}:       refcount={entry.count}\n    {str(entry.obj)[:75]}" for entry in entries
        )
