"""Connection, Pipe and wait: the standard library's ``multiprocessing.connection``.

The ends of a Pipe carry packets: a message is one call of the system, so any number of processes may write to and read from
one end.  A Connection made on any other descriptor speaks the standard library's own format: a length, then the bytes.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterable

from procession import _os
from procession.engine import codec, descriptors, packets, waiting
from procession.errors import BufferTooShort

TYPE_CHECKING = False
if TYPE_CHECKING:
    import types
    from typing import Any, Self

    from typing_extensions import Buffer

    from procession.listener import Client, Listener

__all__ = ["Client", "Connection", "Listener", "Pipe", "wait"]

_LISTENERS = "procession.listener"  # programs find its names here; it is imported by who uses one

_LENGTH = struct.Struct("!i")
_LONG_LENGTH = struct.Struct("!Q")  # after a length of -1
_LONGEST = 0x7FFFFFFF
_JOINED = 1 << 14  # bytes up to which length and message go in one call
_PIECE = 1 << 20  # bytes that go along with the length of a longer one


class Connection:
    """Like multiprocessing.connection.Connection; `handle` is a descriptor, which is closed with the object."""

    _handle: int | None = None

    def __new__(cls, handle: int, readable: bool = True, writable: bool = True) -> Connection:
        """On an end of a Pipe, or a copy of one, it is a connection like that end."""
        return super().__new__(PacketConnection if cls is Connection and _os.carries_packets(handle) else cls)

    def __init__(self, handle: int, readable: bool = True, writable: bool = True) -> None:
        handle = handle.__index__()
        if handle < 0:
            raise ValueError(f"invalid handle: a descriptor is not negative, got {handle}")
        if not readable and not writable:
            raise ValueError("at least one of `readable` and `writable` must be True")
        self._handle = handle
        self._readable = readable
        self._writable = writable

    def __del__(self) -> None:
        if self._handle is not None and os is not None:  # at the interpreter's end it may be gone
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_tb: types.TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild_connection, (descriptors.DupFd(self.fileno()), self._readable, self._writable)

    # ---- what it is ----

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._handle is None

    @property
    def readable(self) -> bool:
        """Whether messages can be received."""
        return self._readable

    @property
    def writable(self) -> bool:
        """Whether messages can be sent."""
        return self._writable

    def fileno(self) -> int:
        """The descriptor."""
        if self._handle is None:
            raise OSError("handle is closed")
        return self._handle

    def close(self) -> None:
        """Close the descriptor; may be called again."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def _for_reading(self) -> int:
        if self._handle is None or not self._readable:
            raise OSError("handle is closed" if self._handle is None else "connection is write-only")
        return self._handle

    def _for_writing(self) -> int:
        if self._handle is None or not self._writable:
            raise OSError("handle is closed" if self._handle is None else "connection is read-only")
        return self._handle

    # ---- sending ----

    def send(self, obj: Any) -> None:
        """Send an object.

        Raises:
            CannotEncode: it cannot be pickled; nothing was sent.
            BrokenPipeError: the other end is closed.
        """
        self._for_writing()
        data, _ = codec.encode_with_blocks(obj)
        self._send(memoryview(data))

    def send_bytes(self, buf: Buffer, offset: int = 0, size: int | None = None) -> None:
        """Send bytes, or `size` of them from `offset` on, as one message."""
        self._for_writing()
        view = _as_bytes(memoryview(buf))
        if offset == 0 and size is None:
            return self._send(view)
        if offset < 0:
            raise ValueError(f"offset is negative: {offset}")
        if offset > len(view):
            raise ValueError(f"buffer length < offset: {len(view)} < {offset}")
        if size is None:
            size = len(view) - offset
        if size < 0:
            raise ValueError(f"size is negative: {size}")
        if offset + size > len(view):
            raise ValueError(f"buffer length < offset + size: {len(view)} < {offset} + {size}")
        return self._send(view[offset : offset + size])

    def _send(self, data: memoryview) -> None:
        handle = self._for_writing()
        size = len(data)
        head = _LENGTH.pack(size) if size <= _LONGEST else _LENGTH.pack(-1) + _LONG_LENGTH.pack(size)
        if size <= _JOINED:
            _write(handle, memoryview(head + data))
        else:
            written = os.writev(handle, [head, data[:_PIECE]])
            if written < len(head):
                _write(handle, memoryview(head)[written:])
            _write(handle, data[max(0, written - len(head)) :])

    # ---- receiving ----

    def recv(self) -> Any:
        """Receive an object, waiting for it.

        Raises:
            EOFError: the other end is closed and nothing is left.
        """
        self._for_reading()
        return codec.decode_pickle(self._receive(None))

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """Receive a message as bytes, waiting for it.

        Raises:
            OSError: it is longer than `maxlength`; nothing more can be received.
            EOFError: the other end is closed and nothing is left.
        """
        self._for_reading()
        if maxlength is not None and maxlength < 0:
            raise ValueError(f"negative maxlength: {maxlength}")
        return self._receive(maxlength)

    def recv_bytes_into(self, buf: Buffer, offset: int = 0) -> int:
        """Receive a message into a writable buffer, from `offset` on; gives its length.

        Raises:
            BufferTooShort: the message does not fit; it is the error's argument.
            EOFError: the other end is closed and nothing is left.
        """
        self._for_reading()
        with memoryview(buf) as whole, _as_bytes(whole) as view:
            if view.readonly:
                raise TypeError("cannot receive into a buffer that is read-only; give a bytearray, say")
            if offset < 0:
                raise ValueError(f"negative offset: {offset}")
            if offset > len(view):
                raise ValueError(f"offset too large: {offset} > {len(view)}")
            data = self._receive(None)
            if offset + len(data) > len(view):
                raise BufferTooShort(data)
            view[offset : offset + len(data)] = data
            return len(data)

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Whether there is something to receive, or the end, within `timeout` seconds; None waits for ever."""
        self._for_reading()
        return bool(wait([self], timeout))

    def _receive(self, longest: int | None) -> bytes:
        handle = self._for_reading()
        (size,) = _LENGTH.unpack(_read(handle, _LENGTH.size))
        if size == -1:
            (size,) = _LONG_LENGTH.unpack(_read(handle, _LONG_LENGTH.size, is_begun=True))
        self._check_length(size, longest)
        return _read(handle, size, is_begun=True)

    def _check_length(self, size: int, longest: int | None) -> None:
        if size >= 0 and (longest is None or size <= longest):
            return
        if self._writable:
            self._readable = False
        else:
            self.close()
        limit = "" if longest is None else f", at most {longest} were asked for"
        raise OSError(f"bad message length: {size} bytes{limit}")


def _as_bytes(view: memoryview) -> memoryview:
    return view.cast("B") if view.nbytes else memoryview(bytearray())


def _write(handle: int, data: memoryview) -> None:
    while data.nbytes:
        data = data[os.write(handle, data) :]


def _read(handle: int, size: int, *, is_begun: bool = False) -> bytes:
    data = os.read(handle, min(size, 1 << 16)) if size else b""
    if len(data) == size:
        return data
    buffer = io.BytesIO(data)
    buffer.seek(0, os.SEEK_END)
    left = size - len(data)
    while data and left:
        data = os.read(handle, min(left, 1 << 20))
        left -= buffer.write(data)
    if not left:
        return buffer.getvalue()
    if left == size and not is_begun:
        raise EOFError
    raise OSError("got end of file during message")


class PacketConnection(Connection):
    """One end of a Pipe."""

    _packets: packets.End | None = None

    def close(self) -> None:
        """Close the descriptor; may be called again."""
        end, self._packets = self._packets, None
        if end is None:
            super().close()
        else:
            self._handle = None
            end.close()

    def _end(self, handle: int) -> packets.End:
        self._packets = packets.End(handle)
        return self._packets

    def send(self, obj: Any) -> None:
        """Send an object; shared objects, connections and sockets in it go along.

        Raises:
            CannotEncode: it cannot be pickled; nothing was sent.
            BrokenPipeError: the other end is closed.
        """
        handle = self._for_writing()
        (self._packets or self._end(handle)).send_object(obj)

    def send_bytes(self, buf: Buffer, offset: int = 0, size: int | None = None) -> None:
        """Send bytes, or `size` of them from `offset` on, as one message."""
        if type(buf) is not bytes or offset != 0 or size is not None:
            return super().send_bytes(buf, offset, size)
        handle = self._for_writing()
        return (self._packets or self._end(handle)).send(buf)

    def _send(self, data: memoryview) -> None:
        (self._packets or self._end(self._for_writing())).send(data)

    def recv(self) -> Any:
        """Receive an object, waiting for it.

        Raises:
            EOFError: the other end is closed and nothing is left.
        """
        handle = self._for_reading()
        message = (self._packets or self._end(handle)).receive()
        if isinstance(message, bytes):
            return codec.decode(message)
        with message:
            return message.object()

    def _receive(self, longest: int | None) -> bytes:
        message = (self._packets or self._end(self._for_reading())).receive()
        if isinstance(message, bytes):
            if longest is not None:
                self._check_length(len(message), longest)
            return message
        with message:
            self._check_length(message.size, longest)
            return message.bytes()


def reduce_connection(conn: Connection) -> tuple[Any, ...]:
    """How a connection is pickled."""
    return conn.__reduce__()


def rebuild_connection(df: Any, readable: bool, writable: bool) -> Connection:
    """A connection on the descriptor that ``df.detach()`` gives."""
    return Connection(df.detach(), readable, writable)


def Pipe(duplex: bool = True) -> tuple[Connection, Connection]:
    """Two connected ends; if not `duplex`, the first only receives and the second only sends."""
    ours, theirs = _os.packet_pair()
    return PacketConnection(ours, writable=duplex), PacketConnection(theirs, readable=duplex)


def wait(object_list: Iterable[Any], timeout: float | None = None) -> list[Any]:
    """Those of the connections, sockets, sentinels and queues that are ready, in their order, within `timeout` seconds."""
    return waiting.wait_any(object_list, timeout)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # what the import system asks for
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    try:
        return getattr(importlib.import_module(_LISTENERS), name)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
