"""The contract of `_os` on Linux, second part: sockets that carry packets and descriptors, and files in memory."""

from __future__ import annotations

import array
import errno
import os
import select
import socket
import stat
import struct
from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from typing import NoReturn

    from typing_extensions import Buffer

__all__ = [
    "DESCRIPTORS_LIMIT",
    "carries_packets",
    "connect_nearby",
    "is_own_user",
    "listen_nearby",
    "memory_file",
    "memory_read",
    "memory_view",
    "memory_write",
    "packet_pair",
    "packet_socket",
    "receive_packet",
    "refuse_packet",
    "send_packet",
    "wait_for_hangup",
]

DESCRIPTORS_LIMIT = 253  # that the kernel takes with one packet
_CONTROL_ROOM = socket.CMSG_SPACE(DESCRIPTORS_LIMIT * 4)
_ITEM = array.array("i").itemsize
# As plain integers: the module's flags are enumerations, which cost more than the call.
_NOT_INHERITED = int(socket.MSG_CMSG_CLOEXEC)
_IS_TRUNCATED = int(socket.MSG_TRUNC)
_IS_INCOMPLETE = int(socket.MSG_CTRUNC | socket.MSG_TRUNC)


def packet_pair() -> tuple[int, int]:
    """Two connected descriptors: what is written to one in one call is read from the other in one call."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        _set_blocking(end)
    return ours.detach(), theirs.detach()


def carries_packets(fd: int) -> bool:
    """Whether a descriptor is an end of such a pair."""
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            return False
    except (OSError, OverflowError, TypeError):
        return False
    end = packet_socket(fd)
    try:
        domain, kind = (end.getsockopt(socket.SOL_SOCKET, what) for what in (socket.SO_DOMAIN, socket.SO_TYPE))
    finally:
        end.detach()
    return (domain, kind) == (socket.AF_UNIX, socket.SOCK_SEQPACKET)


def packet_socket(fd: int) -> socket.socket:
    """A socket object for a descriptor; who does not give it the descriptor must detach() it in the end."""
    found = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fd)
    _set_blocking(found)
    return found


def _set_blocking(end: socket.socket) -> None:
    if end.gettimeout() is not None:  # the program has set a default for its own sockets
        end.settimeout(None)


def send_packet(end: socket.socket, parts: Sequence[Buffer], fds: Sequence[int] = ()) -> None:
    """Send one packet, whole or not at all, with descriptors."""
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    end.sendmsg(parts, control, socket.MSG_NOSIGNAL)


def receive_packet(end: socket.socket, room: bytearray) -> tuple[int, list[int]]:
    """Receive the next packet into `room`: its length, 0 if the other end is closed, and the descriptors that came with it.

    Raises:
        OSError: not all of it could be taken; the packet is lost, and so are its descriptors.
    """
    size, ancillary, flags, _ = end.recvmsg_into([room], _CONTROL_ROOM, _NOT_INHERITED)
    if not ancillary and not flags & _IS_INCOMPLETE:
        return size, []
    fds = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % _ITEM])
    if flags & _IS_INCOMPLETE:
        refuse_packet(list(fds), is_cut=bool(flags & _IS_TRUNCATED))
    return size, list(fds)


def refuse_packet(fds: Sequence[int], *, is_cut: bool) -> NoReturn:
    """Close what came with a packet of which not all could be taken, and say why."""
    for fd in fds:
        os.close(fd)
    if is_cut:
        raise OSError(errno.EMSGSIZE, "a packet came that is longer than any that procession sends")
    raise OSError(
        errno.EMFILE,
        "too many open files: a message came with descriptors that this process has no room for, and is lost; "
        "close some or raise RLIMIT_NOFILE",
    )


def wait_for_hangup(fd: int, timeout: float) -> bool:
    """Whether the other end is closed, within `timeout` seconds."""
    poll = select.poll()
    poll.register(fd, 0)
    return bool(poll.poll(timeout * 1000))


# ---- files in memory ----


def memory_file() -> int:
    """A descriptor of an empty file without a name, gone with its last descriptor."""
    return os.memfd_create("procession-message", os.MFD_CLOEXEC)


def memory_write(fd: int, data: Buffer, at: int) -> None:
    """Write `data` into such a file, from `at` on."""
    view = memoryview(data)
    while view.nbytes:
        try:
            count = os.pwrite(fd, view, at)
        except OSError as error:
            if error.errno != errno.EFBIG:
                raise
            raise OSError(
                errno.EFBIG, "File too large: ulimit -f allows no memory for a message of that size"
            ) from None
        view = view[count:]
        at += count


def memory_read(fd: int, size: int, at: int) -> bytes:
    """The `size` bytes of such a file from `at` on; fewer if it is shorter."""
    data = os.pread(fd, size, at)
    if len(data) == size or size <= 1 << 30:
        return data
    with memory_view(fd, at + size) as view:  # one call reads 2 GiB at most
        return view[at:]


def memory_view(fd: int, size: int) -> mmap.mmap:
    """The first `size` bytes of such a file, to be read where they lie."""
    import mmap

    return mmap.mmap(fd, size, mmap.MAP_SHARED | mmap.MAP_POPULATE, mmap.PROT_READ)


# ---- meeting another process of this machine ----


def listen_nearby() -> tuple[socket.socket, bytes]:
    """A socket that processes of this machine can connect to, and its address; it has no file, and ends with its owner."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        listener.setblocking(False)
        listener.bind("")  # the kernel chooses a name that nobody has
        listener.listen(128)
        return listener, listener.getsockname()
    except BaseException:
        listener.close()
        raise


def connect_nearby(address: bytes) -> socket.socket:
    """A connection to such an address."""
    end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        _set_blocking(end)
        end.connect(address)
    except BaseException:
        end.close()
        raise
    return end


def is_own_user(end: socket.socket) -> bool:
    """Whether a process of this user (or root's) has connected."""
    credentials = struct.Struct("3i")
    _, user, _ = credentials.unpack(end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size))
    return user in (os.geteuid(), 0)
