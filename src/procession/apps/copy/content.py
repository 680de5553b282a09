"""Bytes of one file into another, by the cheapest way that the two file systems allow.

    reflink (FICLONE) > copy_file_range > sendfile > a buffer

A small file is read and written whole; holes stay holes.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator

from procession.apps.copy.reasons import CHANGED, Refused

SMALL_BYTES = 512 * 1024
"""Up to this a file is read whole: one call each way is cheaper than any of the others."""
STEP_BYTES = 16 * 1024 * 1024
BUFFER_BYTES = 256 * 1024
UNSIZED_BYTES = 4096
"""Files of /sys say that they have so many."""
MOST_UNSIZED_BYTES = 64 * 1024 * 1024
FICLONE = 0x40049409

_ELSEWHERE = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EBADF, errno.EPERM, errno.ETXTBSY}
)

Advance = Callable[[int], None]


class Ways:
    """Which ways work between the pairs of devices that were met so far."""

    def __init__(self) -> None:
        self._no_clone: set[tuple[int, int]] = set()
        self._no_range: set[tuple[int, int]] = set()

    def clone(self, source: int, target: int, devices: tuple[int, int]) -> bool:
        """Share the source's blocks with the target, if the file system can."""
        if devices in self._no_clone:
            return False
        try:
            from fcntl import ioctl

            ioctl(target, FICLONE, source)
            return True
        except (OSError, ImportError) as error:
            # EINVAL may be for this file alone.
            if not isinstance(error, OSError) or error.errno != errno.EINVAL:
                self._no_clone.add(devices)
            return False

    def copy(
        self, source: int, target: int, offset: int, length: int, devices: tuple[int, int], advance: Advance
    ) -> int:
        """Copy a range to the same place; the bytes copied, fewer if the source ended."""
        done = 0
        if devices not in self._no_range and hasattr(os, "copy_file_range"):
            try:
                while done < length:
                    step = min(STEP_BYTES, length - done)
                    count = os.copy_file_range(source, target, step, offset + done, offset + done)
                    if not count:
                        break
                    done += count
                    advance(count)
            except OSError as error:
                if error.errno not in _ELSEWHERE:
                    raise
                self._no_range.add(devices)
            else:
                # Some file systems (those in /proc, for one) give nothing by this way and say no error.
                if done:
                    return done
        done += _send(source, target, offset + done, length - done, advance)
        return done


def _send(source: int, target: int, offset: int, length: int, advance: Advance) -> int:
    done = 0
    os.lseek(target, offset, os.SEEK_SET)
    try:
        while done < length:
            count = os.sendfile(target, source, offset + done, min(STEP_BYTES, length - done))
            if not count:
                return done
            done += count
            advance(count)
        return done
    except OSError as error:
        if error.errno not in _ELSEWHERE:
            raise
    while done < length:
        data = os.pread(source, min(BUFFER_BYTES, length - done), offset + done)
        if not data:
            break
        write_all(target, data, offset + done)
        done += len(data)
        advance(len(data))
    return done


def write_all(fd: int, data: bytes, offset: int = 0) -> None:
    """`data` at `offset`, which takes one call unless the target is nearly full."""
    count = os.pwrite(fd, data, offset)
    while count < len(data):
        count += os.pwrite(fd, memoryview(data)[count:], offset + count)


def pieces(fd: int, offset: int, end: int) -> Iterator[tuple[int, int]]:
    """Where in [offset, end) there is data: what lies between is holes."""
    while offset < end:
        try:
            start = os.lseek(fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from here on
                return
            if error.errno not in _ELSEWHERE:
                raise
            yield offset, end - offset
            return
        if start >= end:
            return
        offset = min(os.lseek(fd, start, os.SEEK_HOLE), end)
        yield start, offset - start


def is_same(first: int, second: int, offset: int, length: int) -> bool:
    """Whether both files hold the same bytes there."""
    end = offset + length
    while offset < end:
        step = min(4 * BUFFER_BYTES, end - offset)
        data = os.pread(first, step, offset)
        if not data or data != os.pread(second, len(data), offset):
            return False
        offset += len(data)
    return True


def read_unsized(fd: int, found: os.stat_result) -> bytes | None:
    """All that is in a file whose size says nothing, as the system makes them up in /proc and /sys; None for others."""
    if found.st_blocks or found.st_size > UNSIZED_BYTES or not stat.S_ISREG(found.st_mode):
        return None
    os.lseek(fd, 0, os.SEEK_SET)
    pieces: list[bytes] = []
    while sum(map(len, pieces)) <= MOST_UNSIZED_BYTES:
        pieces.append(os.read(fd, BUFFER_BYTES))
        if not pieces[-1]:
            data = b"".join(pieces)
            return data if len(data) != found.st_size else None
    raise Refused("it has no end")


def checksum_of(data: bytes) -> str:
    """XXH3 of 128 bits, as `xxhsum -H2` prints it."""
    from xxhash import xxh3_128_hexdigest

    return xxh3_128_hexdigest(data)


def checksum_at(fd: int, offset: int, length: int) -> str:
    """The checksum of a range, or of what there is of it."""
    from xxhash import xxh3_128

    checksum, buffer = xxh3_128(), memoryview(bytearray(min(4 * BUFFER_BYTES, length)))
    end = offset + length
    while offset < end:
        count = os.preadv(fd, [buffer[: end - offset]], offset)
        if not count:
            break
        checksum.update(buffer[:count])
        offset += count
    return checksum.hexdigest()


def check_written(target: int, offset: int, length: int, checksum: str, *, is_synced: bool) -> None:
    """Read back what was written: it must have the checksum of what was read.

    What was synced is dropped from the cache first, so that it comes from the disk.
    """
    if is_synced and hasattr(os, "posix_fadvise"):
        os.posix_fadvise(target, offset, length, os.POSIX_FADV_DONTNEED)
    if length <= SMALL_BYTES:
        found = checksum_of(os.pread(target, length, offset))
    else:
        found = checksum_at(target, offset, length)
    if found != checksum:
        raise Refused("what was read back is not what was written")


def check_whole(copied: int, length: int) -> None:
    if copied != length:
        raise Refused(CHANGED)
