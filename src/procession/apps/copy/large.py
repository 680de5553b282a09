"""Large files: in parts, which several workers copy at once; the parent opens them before and completes them after."""

import fcntl
import os
import stat

from procession.apps.copy import metadata
from procession.apps.copy.filesystems import has_time
from procession.apps.copy.folders import Tree
from procession.apps.copy.plan import Batches, Folder, Shared
from procession.apps.copy.reasons import CHANGED, Refused
from procession.apps.copy.records import File, Part, Wishes
from procession.apps.copy.target import Target
from procession.apps.copy.worker import SOURCE_FLAGS, TARGET_FLAGS, Worker, remove

LARGE_BYTES = 128 * 1024 * 1024
PART_BYTES = 64 * 1024 * 1024


class Large:
    """A large file on its way.

    Args:
        temporary: its name until it is whole; the real one in a new folder.
        stat: what the source was when it was begun.
    """

    def __init__(
        self,
        folder: Folder,
        file: File,
        shared: Shared | None,
        temporary: str,
        stat: os.stat_result,
        parts: list[Part],
    ) -> None:
        self.folder = folder
        self.file = file
        self.shared = shared
        self.temporary = temporary
        self.fd = -1
        """The target, while it is open."""
        self.stat = stat
        self.parts = parts
        self.parts_left = len(parts)
        self.trouble = ""
        self.deaths = 0
        """Of workers that copied parts of it."""


def split(size: int) -> list[tuple[int, int]]:
    """Ranges of about PART_BYTES, none much smaller than the others, at multiples of a mebibyte."""
    count = -(-size // PART_BYTES)
    step = -(-size // count)
    step += -step % (1 << 20)
    return [(offset, min(step, size - offset)) for offset in range(0, size, step)]


def is_unchanged(source: Tree, target: Target, folder: Folder, file: File, wishes: Wishes) -> bool:
    """Whether the target has it already, by size and time.

    Raises:
        Refused: a folder is in its place.
    """
    if folder.is_new:
        return False
    fd = target.tree.open(folder.target)
    there = Worker.look(fd, file.name)
    if there is None:
        return False
    if stat.S_ISDIR(there.st_mode):
        raise Refused("a folder is in its place in the target")
    if not wishes.update or not stat.S_ISREG(there.st_mode):
        return False
    if there.st_size != file.size or not has_time(there, file.mtime_ns):
        return False
    original = os.stat(file.name, dir_fd=source.open(folder.source), follow_symlinks=False)
    return not (there.st_nlink > 1 == original.st_nlink or metadata.differs(original, there))


def begin(source: Tree, folder: Folder, file: File, shared: Shared | None, batches: Batches) -> Large:
    """Say which parts there are; nothing is made yet."""
    fd = os.open(file.name, SOURCE_FLAGS, dir_fd=source.open(folder.source))
    try:
        found = os.fstat(fd)
    finally:
        os.close(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_size != file.size:
        raise Refused(CHANGED)
    numbers = [batches.number() for _ in split(file.size)]
    temporary = file.name if folder.is_new else batches.name(numbers[0])
    path = folder.target
    parts = [
        Part(number, folder.source, file, path, temporary, offset, length)
        for number, (offset, length) in zip(numbers, split(file.size), strict=True)
    ]
    return Large(folder, file, shared, temporary, found, parts)


def open_target(large: Large, target: Target) -> None:
    """Make the file, of its size: its parts come in any order and may end in holes."""
    large.fd = os.open(large.temporary, TARGET_FLAGS, 0o600, dir_fd=target.tree.open(large.folder.target))
    if not large.folder.is_new:
        fcntl.flock(large.fd, fcntl.LOCK_EX)
    os.truncate(large.fd, large.file.size)


def complete(large: Large, source: Tree, target: Target, notes: set[str], *, fsync: bool) -> None:
    """All parts are there: the rest, and the name."""
    fd = os.open(large.file.name, SOURCE_FLAGS, dir_fd=source.open(large.folder.source))
    try:
        after = os.fstat(fd)
        if (after.st_size, after.st_mtime_ns) != (large.stat.st_size, large.stat.st_mtime_ns):
            raise Refused(CHANGED)
        attributes = metadata.attributes_of(fd)
    finally:
        os.close(fd)
    if not large.folder.is_new:
        metadata.drop_inherited(large.fd)
    metadata.set_all(large.fd, large.stat, attributes, notes, times=(large.file.atime_ns, large.stat.st_mtime_ns))
    if fsync:
        os.fsync(large.fd)
    if not large.folder.is_new:
        Worker.give_name(target.tree.open(large.folder.target), large.temporary, large.file.name)
    os.close(large.fd)
    large.fd = -1


def abandon(large: Large, target: Target) -> None:
    """Leave nothing of it."""
    if large.fd >= 0:
        os.close(large.fd)
        large.fd = -1
    try:
        remove(large.temporary, target.tree.open(large.folder.target))
    except OSError:
        pass
