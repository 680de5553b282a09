"""What goes through a pipe: one packet for each message, so that any number of processes may write to it and read from it.

A packet begins with a byte that says what it holds, because the system tells an empty packet from the end by nothing else:

    0x00 | bytes                                        a message of up to 128 KiB
    kind | size | offset | generation | bytes           any other; kind is the sum of
        1   the `size` bytes are not here but in a memory file, whose descriptor comes first
        2   a message of the arena, which `offset` and `generation` name, keeps alive what the bytes mention
        4   descriptors that the bytes mention come along

    memory file:  0, or 1 when it has been read | 63 bytes unused | bytes

Unread, a memory file and descriptors end with the pipe.  What keeps blocks alive is owned by the program's first process
until it is read.  A memory file that has been read is written anew by its sender: its pages are there already, which halves
the cost of a large message.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Sequence

from procession import _core, _os
from procession.engine import codec, descriptors
from procession.errors import SharedObjectGone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["INLINE", "End", "Parcel"]

INLINE = 1 << 17  # bytes up to which a message lies in its packet
_LARGE, _KEEPS, _DESCRIPTORS = 1, 2, 4
_HEAD = struct.Struct("<BQQQ")
_FIRST_PAUSE, _LAST_PAUSE = 0.001, 0.05
_FRESH, _HAS_BEEN_READ = b"\0", b"\1"
_DATA_AT = 64
_FILES_KEPT = 2
_KEPT_SIZE = 32 << 20

_packet_send = _core.packet_send
_packet_receive = _core.packet_receive


class End:
    """One end of a pipe, on the descriptor `fd`, which is this object's from now on."""

    def __init__(self, fd: int) -> None:
        self._socket = _os.packet_socket(fd)
        self._files: list[int] = []  # that were sent, the oldest first
        self._files_of = os.getpid()

    def close(self) -> None:
        """Close the descriptor, and what was made for it."""
        # Not by number: in a cycle that is collected, the socket may have been closed already.
        self._socket.close()
        self._drop_files()

    # ---- sending ----

    def send(self, data: bytes | memoryview) -> None:
        """Send bytes as a message.

        Raises:
            BrokenPipeError: nobody can receive it.
        """
        self._send(data, (), ())

    def send_object(self, value: Any) -> None:
        """Send a value, with the blocks and descriptors that it mentions.

        Raises:
            CannotEncode: it cannot be pickled; nothing was sent.
            BrokenPipeError: nobody can receive it.
        """
        plain = _core.dump_plain(value)
        if plain is not None:
            return self._send(plain, (), ())
        with descriptors.Bundle() as bundle:
            data, blocks = codec.encode_with_blocks(value)
            if len(bundle.fds) < _os.DESCRIPTORS_LIMIT:
                try:
                    return self._send(data, blocks, bundle.fds)
                except OSError as error:
                    if not bundle.fds or error.errno != errno.ETOOMANYREFS:
                        raise
        # More than the system takes along, or sockets in sockets in sockets: they must be fetched.
        before = descriptors.mark()
        with descriptors.unbundled():
            data, blocks = codec.encode_with_blocks(value)
        try:
            return self._send(data, blocks, ())
        except BaseException:
            descriptors.take_back(before)
            raise

    def _send(self, data: bytes | memoryview, blocks: Sequence[_core.Block], fds: Sequence[int]) -> None:
        size = len(data)
        if size <= INLINE and not blocks and not fds:
            try:
                return _packet_send(self._socket.fileno(), data)
            except ConnectionResetError:
                raise _broken() from None
            except OSError as error:
                if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                    raise
        handle = (0, 0)
        if blocks:
            handle = _core.message_entrust(_core.message_new(blocks, 0))
        try:
            self._deliver(data, handle, fds)
        except BaseException:
            if blocks:
                _core.message_adopt(*handle)  # and let go
            raise

    def _deliver(self, data: bytes | memoryview, handle: tuple[int, int], fds: Sequence[int]) -> None:
        """Send what is more than a few bytes, in its packet or beside it."""
        kind = (_KEEPS if handle[0] else 0) | (_DESCRIPTORS if fds else 0)
        if len(data) <= INLINE:
            try:
                _os.send_packet(self._socket, [_HEAD.pack(kind, 0, *handle), data], fds)
                return
            except ConnectionResetError:
                raise _broken() from None
            except OSError as error:
                if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                    raise
        file = self._new_file()
        try:
            _os.memory_write(file, _FRESH, 0)
            _os.memory_write(file, data, _DATA_AT)
            self._send_until_taken([_HEAD.pack(kind | _LARGE, len(data), *handle)], [file, *fds], may_wait=not fds)
        except BaseException:
            os.close(file)
            raise
        self._keep_file(file, len(data))

    def _send_until_taken(self, parts: list[bytes], fds: list[int], *, may_wait: bool) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                return _os.send_packet(self._socket, parts, fds)
            except ConnectionResetError:
                raise _broken() from None
            except OSError as error:
                # Too little memory, or too many descriptors are on their way in pipes: both pass.
                if error.errno not in (errno.ENOBUFS, errno.ETOOMANYREFS) or not may_wait:
                    raise
            if _os.wait_for_hangup(self._socket.fileno(), pause):
                raise _broken()
            pause = min(_LAST_PAUSE, 2 * pause)

    # ---- memory files ----

    def _new_file(self) -> int:
        """One that was read, or a new one."""
        if self._files_of != os.getpid():
            self._drop_files()  # after a fork they are the parent's to write to
        for _ in range(len(self._files)):
            try:
                file = self._files.pop(0)
            except IndexError:
                break  # another thread sends, too
            if _os.memory_read(file, 1, 0) == _HAS_BEEN_READ:
                return file
            self._files.append(file)
        return _os.memory_file()

    def _keep_file(self, file: int, size: int) -> None:
        if size > _KEPT_SIZE:
            os.close(file)
            return
        self._files.append(file)
        if len(self._files) > _FILES_KEPT:
            os.close(self._files.pop(0))

    def _drop_files(self) -> None:
        files, self._files = self._files, []
        self._files_of = os.getpid()
        for file in files:
            os.close(file)

    # ---- receiving ----

    def receive(self) -> bytes | Parcel:
        """The next message, waiting for it: its bytes if it is nothing else.

        Raises:
            EOFError: all who could send are gone, and nothing is left.
            OSError: it came with descriptors that this process has no room for, and is lost.
        """
        fd = self._socket.fileno()
        try:
            packet = _packet_receive(fd)
        except ConnectionResetError:
            # The other end was closed before it had read everything: said once, and before what it had sent itself.
            packet = _packet_receive(fd)
        if isinstance(packet, bytes):
            return packet
        data, fds, is_cut, has_lost = packet
        if is_cut or has_lost:
            _os.refuse_packet(fds, is_cut=is_cut)
        if not data and not fds:
            raise EOFError
        return Parcel(data, fds)


def _broken() -> BrokenPipeError:
    return BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


class Parcel:
    """A message that is more than bytes; as a context: what of it nobody has taken is given back at the end."""

    __slots__ = ("_data", "_fds", "_file", "_handle", "size")

    def __init__(self, packet: bytes, fds: list[int]) -> None:
        self._fds = fds
        self._file = -1
        self._handle: tuple[int, int] | None = None
        if len(packet) < _HEAD.size:
            self._refuse()
        kind, size, offset, generation = _HEAD.unpack_from(packet)
        if kind & ~(_LARGE | _KEEPS | _DESCRIPTORS) or (kind & _LARGE and not fds):
            self._refuse()
        if kind & _LARGE:
            self._file = fds.pop(0)
        if kind & _KEEPS:
            self._handle = offset, generation
        self._data = packet[_HEAD.size :]
        self.size: int = size if kind & _LARGE else len(self._data)

    def _refuse(self) -> None:
        self.__exit__()
        raise OSError(errno.EPROTO, "what came through the pipe was not written by procession, or not by this version")

    def __enter__(self) -> Parcel:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file >= 0:
            _os.memory_write(self._file, _HAS_BEEN_READ, 0)
            os.close(self._file)
            self._file = -1
        fds, self._fds = self._fds, []
        for fd in fds:
            os.close(fd)
        try:
            self._keeper()
        except SharedObjectGone:
            pass

    def bytes(self) -> bytes:
        """The message as bytes.  What it mentions is not kept alive any more, and descriptors do not come."""
        return _os.memory_read(self._file, self.size, _DATA_AT) if self._file >= 0 else self._data

    def object(self) -> Any:
        """The value that was sent.

        Raises:
            SharedObjectGone: all who had what it mentions have ended meanwhile.
        """
        keeper = self._keeper()
        fds, self._fds = self._fds, []
        with descriptors.arriving(fds):
            if self._file < 0:
                value = codec.decode(self._data)
            else:
                view = memoryview(_os.memory_view(self._file, _DATA_AT + self.size))
                value = codec.decode(view[_DATA_AT:])  # a copy; the view ends with this call
        del keeper  # not before the value holds it all itself
        return value

    def _keeper(self) -> _core.Message | None:
        handle, self._handle = self._handle, None
        return None if handle is None else _core.message_adopt(*handle)
