"""A manager of shared memory with names: what it has given out is unlinked when it ends, and when its server does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from procession import shared_memory, util
from procession.engine import names
from procession.managers import BaseManager, State
from procession.managers.server import Server

if TYPE_CHECKING:
    from procession.managers.entries import Session

__all__ = ["SharedMemoryManager", "SharedMemoryServer"]


def _unlink_all(segments: set[str]) -> None:
    while segments:
        try:
            names.unlink(segments.pop())
        except FileNotFoundError:
            pass  # somebody has done so


class SharedMemoryServer(Server):
    """Remembers the names of segments, and unlinks them when its process ends in order."""

    public = (*Server.public, "track_segment", "release_segment", "list_segments")

    def __init__(self, registry: Mapping[str, Any], address: Any, authkey: bytes, serializer: str) -> None:
        super().__init__(registry, address, authkey, serializer)
        self._segments: set[str] = set()
        util.Finalize(self, _unlink_all, args=(self._segments,), exitpriority=-1)

    def track_segment(self, session: Session, segment_name: str) -> None:
        """Unlink this one at the end."""
        self._segments.add(segment_name)

    def release_segment(self, session: Session, segment_name: str) -> None:
        """Unlink this one now."""
        self._segments.remove(segment_name)
        _unlink_all({segment_name})

    def list_segments(self, session: Session) -> list[str]:
        """The names of those that there are."""
        return list(self._segments)


class SharedMemoryManager(BaseManager):
    """Like multiprocessing.managers.SharedMemoryManager; what it has made is unlinked also if its server was killed."""

    _Server = SharedMemoryServer

    def __init__(self, *args: Any, **kwds: Any) -> None:
        super().__init__(*args, **kwds)
        self._segments: set[str] = set()
        self._unlink: util.Finalize | None = None

    def start(self, initializer: Callable[..., object] | None = None, initargs: Iterable[Any] = ()) -> None:
        """Start a server process, which calls ``initializer(*initargs)`` first."""
        super().start(initializer, initargs)
        # The server has done it by then, unless it could not.
        self._unlink = util.Finalize(self, _unlink_all, args=(self._segments,), exitpriority=-1)

    def shutdown(self) -> None:
        """End the server process, and unlink what this manager has made."""
        super().shutdown()
        if self._unlink is not None:
            self._unlink()

    def SharedMemory(self, size: int) -> shared_memory.SharedMemory:
        """A new segment of that size, which this manager unlinks when it ends."""
        self._check_usable()
        return self._keep(shared_memory.SharedMemory(create=True, size=size))

    def ShareableList(self, sequence: Iterable[Any] | None) -> shared_memory.ShareableList:
        """A new list of these items, which this manager unlinks when it ends."""
        self._check_usable()
        made = shared_memory.ShareableList(sequence)
        self._keep(made.shm)
        return made

    def _check_usable(self) -> None:
        if self._state.value == State.INITIAL:
            raise ValueError("the manager has no server yet: call start() or connect() first")
        self._check_started()

    def _keep(self, segment: shared_memory.SharedMemory) -> shared_memory.SharedMemory:
        assert segment.name is not None
        try:
            self._link().ask("track_segment", (segment.name,))
        except BaseException:
            segment.close()
            segment.unlink()
            raise
        self._segments.add(segment.name)
        return segment
