"""The contract of `_os` on Linux: shared memory with names, which are files where ``shm_open`` of libc has them too."""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = [
    "TRACKER",
    "open_segment",
    "segment_created",
    "segment_file",
    "segment_identity",
    "tracker_file",
    "unlink_segment",
]

TRACKER = "procession._os.posix_tracker"

_FOLDER = b"/dev/shm"
_NAME_LIMIT = 255
_AT_ONCE = 64 << 20  # a signal has the system begin anew with what it was just giving


def segment_file(name: str) -> bytes:
    """What the file of a segment is called; slashes in front of its name count for nothing, as in ``shm_open``.

    Raises:
        ValueError: there is a zero in the name.
        OSError: no segment can have that name.
    """
    file = os.fsencode(name).lstrip(b"/")
    if b"\0" in file:
        raise ValueError(f"embedded null character in the name {name!r}")
    if not file or b"/" in file or file in (b".", b".."):
        raise OSError(errno.EINVAL, "a name of shared memory is not empty and has no slash but in front", name)
    if len(file) > _NAME_LIMIT:
        raise OSError(errno.ENAMETOOLONG, f"a name of shared memory has at most {_NAME_LIMIT} bytes", name)
    return file


@contextmanager
def segment_created(
    file: bytes, size: int, mode: int, announce: Callable[[int, int], object], withdraw: Callable[[int, int], object]
) -> Iterator[int]:
    """A descriptor of a new segment of zeros, all of which is there: no access finds that memory has run out.

    ``announce(device, inode)`` is called before there is anything of that name.  If the body raises there is nothing of it.

    Raises:
        FileExistsError: there is one of that name.
        OSError: there is not enough memory.
    """
    fd, has_name = _open_new(file, mode)
    found = os.fstat(fd)
    try:
        _allocate(fd, file, size)
        announce(found.st_dev, found.st_ino)
        if not has_name:
            _give_name(fd, file)
        yield fd
    except BaseException:
        if segment_identity(file) == (found.st_dev, found.st_ino):
            os.unlink(_path(file))  # noqa: PTH108
        withdraw(found.st_dev, found.st_ino)
        raise
    finally:
        os.close(fd)


def tracker_file() -> str:
    """The file of the tracker's module, which needs no other."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "posix_tracker.py")  # noqa: PTH100, PTH118, PTH120


def _path(file: bytes) -> bytes:
    return _FOLDER + b"/" + file


def _open_new(file: bytes, mode: int) -> tuple[int, bool]:
    """A new file, and whether it has its name already."""
    if os.access(_path(file), os.F_OK):  # a link that leads nowhere is found later; this way costs no exception
        raise _error_of(FileExistsError(errno.EEXIST, ""), file)
    if _can_link():
        try:
            return os.open(_FOLDER, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, mode), False
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
                raise
    # Where a file cannot be without a name it has it before it is announced, and others may find it too short.
    return os.open(_path(file), os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, mode), True


@functools.cache
def _can_link() -> bool:
    """Whether a file without a name can be given one."""
    return os.access(b"/proc/self/fd", os.X_OK)


def _give_name(fd: int, file: bytes) -> None:
    try:
        # Python has the link followed only if it is given a descriptor to start from, which means nothing here.
        os.link(f"/proc/self/fd/{fd}", _path(file), src_dir_fd=fd)
    except FileExistsError as error:
        raise _error_of(error, file) from None


def _allocate(fd: int, file: bytes, size: int) -> None:
    system = os.fstatvfs(fd)
    free, whole = system.f_bavail * system.f_frsize, system.f_blocks * system.f_frsize
    try:
        if whole and size > free:  # where the system sets no limit there are no blocks at all
            raise OSError(errno.ENOSPC, "")
        os.ftruncate(fd, size)
        for begin in range(0, size, _AT_ONCE):
            os.posix_fallocate(fd, begin, min(_AT_ONCE, size - begin))
    except OSError as error:
        if error.errno == errno.EFBIG:
            why = "files may not be that large (ulimit -f)"
        elif error.errno in (errno.ENOSPC, errno.ENOMEM):
            why = f"{os.fsdecode(_FOLDER)} has {free:,} bytes free of {whole:,}"
        else:
            raise
        text = f"{os.strerror(error.errno)}: shared memory of {size:,} bytes was asked for; {why}"
        raise OSError(error.errno, text, "/" + os.fsdecode(file)) from None


def open_segment(file: bytes) -> tuple[int, int]:
    """A descriptor of the segment, and its size.

    Raises:
        FileNotFoundError: there is none of that name.
    """
    try:
        fd = os.open(_path(file), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise _error_of(error, file) from None
    return fd, os.fstat(fd).st_size


def segment_identity(file: bytes) -> tuple[int, int]:
    """Device and inode of what has the name now; zeros if nothing has."""
    try:
        found = os.lstat(_path(file))
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def unlink_segment(file: bytes) -> None:
    """Take the name away; the memory goes with its last user.

    Raises:
        FileNotFoundError: there is none of that name.
    """
    try:
        os.unlink(_path(file))  # noqa: PTH108
    except OSError as error:
        raise _error_of(error, file) from None


def _error_of(error: OSError, file: bytes) -> OSError:
    """The same of the segment, as it is called elsewhere."""
    return OSError(error.errno, os.strerror(error.errno or 0), "/" + os.fsdecode(file))
