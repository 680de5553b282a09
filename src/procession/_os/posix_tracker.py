"""A program of its own: it waits for the end of another one, then removes the named segments which that has left.

It is started as a file, by an interpreter that has not imported the package, so it needs no more than this page.  The other
program's processes all have the arena; the lock on its file is free when the last of them is gone, however it ended.  The
table of names lies in it (docs/layout.md).
"""

import fcntl
import mmap
import os
import signal
import struct
import sys

_NAME = struct.Struct("<QQQ256s" if sys.byteorder == "little" else ">QQQ256s")
_TOP = struct.Struct("<Q" if sys.byteorder == "little" else ">Q")
_LIVE = 2  # the upper two bits of a place's state
_FOLDER = b"/dev/shm/"


def main(*numbers: str) -> None:
    """The descriptor of the arena's file, and where in it the table is and how large."""
    fd, offset, size = map(int, numbers)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.closerange(fd + 1, os.sysconf("SC_OPEN_MAX"))
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
    except OSError:
        return  # there is another one
    os.chdir("/")
    fcntl.flock(fd, fcntl.LOCK_EX)
    with mmap.mmap(fd, size, prot=mmap.PROT_READ, offset=offset) as table:
        left = _names_in(table)
    if left:
        _warn(f"There appear to be {len(left)} leaked shared_memory objects to clean up at shutdown: {sorted(left)}")
    for name, (device, inode) in left.items():
        try:
            _remove(name, device, inode)
        except OSError as error:
            _warn(f"{name!r}: {error}")


def _names_in(table: mmap.mmap) -> dict[str, tuple[int, int]]:
    found = {}
    for place in range(_TOP.unpack_from(table)[0]):
        state, device, inode, text = _NAME.unpack_from(table, _TOP.size + place * _NAME.size)
        if state >> 62 == _LIVE:
            found["/" + os.fsdecode(text.rstrip(b"\0"))] = device, inode
    return found


def _remove(name: str, device: int, inode: int) -> None:
    path = _FOLDER + os.fsencode(name[1:])
    found = os.lstat(path)
    if not inode or (found.st_dev, found.st_ino) == (device, inode):
        os.unlink(path)  # noqa: PTH108


def _warn(text: str) -> None:
    import warnings

    warnings.warn(f"resource_tracker: {text}", stacklevel=3)


if __name__ == "__main__":
    main(*sys.argv[1:])
