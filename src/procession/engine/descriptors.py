"""Descriptors inside pickles: how each goes along, and how it is found again on the other side.

    to a child that is being started   the child inherits it, or the fork server passes it on
    through a pipe                     beside the pickle, in the same packet
    anywhere else                      the sender keeps it until it is fetched; see `sharer`

In the first two cases the pickle holds its place among those that go along.  Nothing else is given, and what nobody has
taken out of a pickle is closed.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from procession import _stdlib
from procession.engine import lifetime
from procession.errors import SharedObjectGone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "Bundle",
    "DupFd",
    "Lasting",
    "arriving",
    "lasting",
    "mark",
    "rebuild_socket",
    "reduce_socket",
    "take_back",
    "unbundled",
]


class _Local(threading.local):
    bundle: Bundle | None = None  # of the pickle that this thread writes
    lasting: Lasting | None = None  # the same, if many read it
    arrived: list[int] | None = None  # beside the pickle that it reads; -1: taken


_local = _Local()


class Bundle:
    """Descriptors that go along with one pickle; as a context: what is pickled in this thread meanwhile uses it.

    Attributes:
        fds: copies, which are this object's; closed at the end of the context.
    """

    def __init__(self, *, is_for_child: bool = False) -> None:
        self.fds: list[int] = []
        self._is_for_child = is_for_child
        self._previous: Bundle | None = None
        self._previous_popen: Any = None

    def __enter__(self) -> Bundle:
        self._previous, _local.bundle = _local.bundle, self
        if self._is_for_child:
            # Stock objects ask the standard library whether a child is being started, and give us their descriptors.
            self._previous_popen = _stdlib.get_spawning_popen()
            _stdlib.set_spawning_popen(self)  # type: ignore[arg-type]
        return self

    def __exit__(self, *error: object) -> None:
        if self._is_for_child:
            _stdlib.set_spawning_popen(self._previous_popen)
        _local.bundle = self._previous
        if self.fds:
            self.clear()
            _open_bundles.discard(self)

    def clear(self) -> None:
        """Nothing goes along."""
        fds, self.fds = self.fds, []
        for fd in fds:
            os.close(fd)

    def duplicate_for_child(self, fd: int) -> int:
        """Have a copy of `fd` go along; its place."""
        if not _clears_at_forks:
            _clear_at_forks()
        _open_bundles.add(self)
        self.fds.append(os.dup(fd))
        return len(self.fds) - 1

    def DupFd(self, place: int) -> Placed:
        """What is pickled for the descriptor at this place."""
        return Placed(place)


_open_bundles: weakref.WeakSet[Bundle] = weakref.WeakSet()


class Placed:
    """A descriptor that goes along with the pickle."""

    def __init__(self, place: int) -> None:
        self.place = place

    def detach(self) -> int:
        """The descriptor; the caller's from now on.

        Raises:
            SharedObjectGone: the pickle came without it.
        """
        arrived = _local.arrived
        if arrived is None or self.place >= len(arrived) or arrived[self.place] < 0:
            raise SharedObjectGone(
                "the pickle holds a descriptor that did not come with it: it was copied on its way; "
                "receive it with recv(), and where it must be passed on, pass on the object"
            )
        fd, arrived[self.place] = arrived[self.place], -1
        return fd


class Lasting:
    """Descriptors that are given to any number of receivers, as long as this object lives."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self._pid = os.getpid()

    def __del__(self) -> None:
        sharer: Any = sys and sys.modules.get("procession.engine.sharer")  # None at the interpreter's end
        if self.keys and self._pid == os.getpid() and sharer is not None:
            sharer.release(self.keys)


def _sharer() -> Any:
    from procession.engine import sharer

    return sharer


def DupFd(fd: int) -> Any:
    """What is pickled for the descriptor `fd`; its detach() gives one for the same on the other side."""
    if _local.lasting is not None:
        return _sharer().DupFd(fd, lasting=_local.lasting.keys)
    bundle: Any = _local.bundle or _stdlib.get_spawning_popen()
    if bundle is None:
        return _sharer().DupFd(fd)
    return bundle.DupFd(bundle.duplicate_for_child(fd))


@contextmanager
def unbundled() -> Iterator[None]:
    """What is pickled in this thread meanwhile has its descriptors fetched."""
    bundle, _local.bundle = _local.bundle, None
    popen = _stdlib.get_spawning_popen()
    _stdlib.set_spawning_popen(None)
    try:
        yield
    finally:
        _local.bundle = bundle
        _stdlib.set_spawning_popen(popen)


@contextmanager
def lasting() -> Iterator[Lasting]:
    """What is pickled in this thread meanwhile can be read many times, as long as the object that this gives lives."""
    previous, _local.lasting = _local.lasting, Lasting()
    try:
        yield _local.lasting
    finally:
        _local.lasting = previous


@contextmanager
def arriving(fds: list[int]) -> Iterator[None]:
    """What is unpickled in this thread meanwhile finds these descriptors, which are closed if it does not take them."""
    previous = _local.arrived
    _local.arrived = left = list(fds)
    try:
        yield
    finally:
        _local.arrived = previous
        for fd in left:
            if fd >= 0:
                os.close(fd)


def mark() -> int:
    """For take_back(): this moment."""
    sharer: Any = sys.modules.get("procession.engine.sharer")
    return 0 if sharer is None else sharer.serial()


def take_back(since: int) -> None:
    """The pickle that this thread has begun at that moment is not sent: its descriptors go nowhere."""
    if "procession.engine.sharer" in sys.modules:
        _sharer().take_back(since)
    if _local.bundle is not None:
        _local.bundle.clear()


def reduce_socket(sock: socket.socket) -> tuple[Any, ...]:
    """How sockets are pickled."""
    return rebuild_socket, (DupFd(sock.fileno()), sock.family, sock.type, sock.proto)


def rebuild_socket(df: Any, family: int, kind: int, proto: int) -> socket.socket:
    """The socket that reduce_socket() has taken apart."""
    return socket.socket(family, kind, proto, fileno=df.detach())


_stdlib.add_reducer(socket.socket, reduce_socket)


def _close_copies(bundles: weakref.WeakSet[Bundle]) -> None:
    """In a forked child: what goes along with other threads' pickles is not for it."""
    for bundle in list(bundles):
        bundle.clear()
    bundles.clear()


_clears_at_forks = False


def _clear_at_forks() -> None:
    """From the first copy on there is something to do in a forked child."""
    global _clears_at_forks
    _clears_at_forks = True
    lifetime.on_fork_in_child(_open_bundles, _close_copies)
