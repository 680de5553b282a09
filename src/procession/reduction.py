"""Pickling, and descriptors over sockets: the standard library's ``multiprocessing.reduction``.

ForkingPickler is the standard library's own class, so that its table of reducers is one for all.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from procession import _os, _stdlib
from procession._stdlib import ForkingPickler
from procession.engine.descriptors import DupFd
from procession.engine.descriptors import reduce_socket as _reduce_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "HAVE_SEND_HANDLE",
    "AbstractReducer",
    "DupFd",
    "ForkingPickler",
    "dump",
    "recv_handle",
    "recvfds",
    "register",
    "send_handle",
    "sendfds",
]

HAVE_SEND_HANDLE = True


def register(type: type, reduce: Callable[[Any], Any]) -> None:
    """Have objects of this type pickled by ``reduce(obj)``, here and in the standard library."""
    ForkingPickler.register(type, reduce)


def dump(obj: Any, file: Any, protocol: int | None = None) -> None:
    """Like pickle.dump(), with the reducers that were registered."""
    ForkingPickler(file, protocol).dump(obj)


def sendfds(sock: socket.socket, fds: Sequence[int]) -> None:
    """Send descriptors over a unix socket, with one byte that says how many."""
    _os.send_packet(sock, [bytes([len(fds) % 256])], fds)


def recvfds(sock: socket.socket, size: int) -> list[int]:
    """Receive `size` descriptors from sendfds().

    Raises:
        EOFError: the other end is closed.
        RuntimeError: others came, or none.
    """
    count = bytearray(1)
    length, fds = _os.receive_packet(sock, count)
    if not length and not fds:
        raise EOFError
    if len(fds) == size and count[0] == size % 256:
        return fds
    for fd in fds:
        os.close(fd)
    raise RuntimeError(f"received {len(fds)} descriptors, announced as {count[0]}; expected {size}")


def send_handle(conn: Any, handle: int, destination_pid: int | None) -> None:
    """Send a descriptor over a connection on a unix socket, to be received with recv_handle()."""
    with _borrowed(conn) as end:
        sendfds(end, [handle])


def recv_handle(conn: Any) -> int:
    """Receive a descriptor from send_handle().

    Raises:
        RuntimeError: none came.
    """
    with _borrowed(conn) as end:
        return recvfds(end, 1)[0]


@contextmanager
def _borrowed(conn: Any) -> Iterator[socket.socket]:
    end = _os.packet_socket(conn.fileno())
    try:
        yield end
    finally:
        end.detach()


class AbstractReducer:
    """What a context's ``reducer`` can be replaced by."""

    ForkingPickler = ForkingPickler
    register = staticmethod(register)
    dump = staticmethod(dump)
    send_handle = staticmethod(send_handle)
    recv_handle = staticmethod(recv_handle)
    sendfds = staticmethod(sendfds)
    recvfds = staticmethod(recvfds)
    DupFd = staticmethod(DupFd)
    _reduce_socket = staticmethod(_reduce_socket)


def __getattr__(name: str) -> Any:
    # What other programs have pickled with the standard library's reducers asks for these.
    if name.startswith("_rebuild"):
        return getattr(_stdlib.module("reduction"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
