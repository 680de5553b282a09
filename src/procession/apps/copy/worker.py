"""What runs in the workers: a batch of files and symbolic links, or a part of a large file.

A file goes under its real name at once only if its folder is new: then the folder, or one that it is in, has a temporary
name until all is whole.  Everywhere else it is written under a temporary name, which is locked meanwhile, and renamed.
"""

import fcntl
import os
import stat
from collections.abc import Sequence
from typing import Any

from procession.apps.copy import _files, content, metadata
from procession.apps.copy.board import Board, Slot
from procession.apps.copy.filesystems import has_time
from procession.apps.copy.folders import Tree, join
from procession.apps.copy.reasons import CHANGED, Refused, is_full, reason_of
from procession.apps.copy.records import (
    Answer,
    Batch,
    File,
    Group,
    Link,
    Part,
    Root,
    Trouble,
    Wishes,
)

SOURCE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""Not to wait for a writer if a fifo has taken the file's place."""
TARGET_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
SHOWN_BYTES = 4 * 1024 * 1024
"""Files from this size on are shown by name while they are copied."""
IN_THE_WAY = "a folder is in its place in the target"


class Worker:
    """Two trees and the way between them."""

    def __init__(self, source: Root, target: Root, wishes: Wishes, slot: Slot) -> None:
        self.source = Tree(source)
        self.target = Tree(target)
        self.wishes = wishes
        self.slot = slot
        self.ways = content.Ways()
        self.notes: set[str] = set()
        self.checksum = ""
        """Of the file that is verified."""
        self.checksums: dict[tuple[int, int], str] = {}
        self._small = _files.SmallFiles(content.SMALL_BYTES + 1, slot.progress)

    def close(self) -> None:
        self.source.close()
        self.target.close()

    # ---- a batch ----

    def run(self, batch: Batch) -> Answer:
        self.slot.begin(batch.number)
        self.notes.clear()
        self.checksums = {}
        troubles: list[Trouble] = []
        untried: list[tuple[int, int]] = []
        full = ""
        for number, group in enumerate(batch.groups):
            if full:
                untried += [(number, position) for position in range(group.length)]
                continue
            full, left = self._copy_group(number, group, batch.temporary, troubles)
            untried += [(number, position) for position in left]
        return Answer(troubles, list(self.notes), full, untried, self.checksums)

    def _copy_group(
        self, number: int, group: Group, temporary: str, troubles: list[Trouble]
    ) -> tuple[str, Sequence[int]]:
        """Why nothing more can be written, if so, and which entries were not tried because of that."""
        try:
            source, target = self.source.open(group.source), self.target.open(group.target)
        except Exception as error:
            troubles += [Trouble(number, position, "failed", reason_of(error)) for position in range(group.length)]
            return "", ()
        left = self._copy_plain(number, group, source, target, troubles)
        if not left:
            return "", ()
        entries = group.entries
        self.slot.show(join(group.source, entries[left[0]].name))
        for place, position in enumerate(left):
            self.checksum = ""
            try:
                is_copied = self._copy_entry(entries[position], group, source, target, temporary)
            except Exception as error:
                troubles.append(Trouble(number, position, "failed", reason_of(error)))
                if is_full(error):
                    return reason_of(error), left[place + 1 :]
            else:
                if not is_copied:
                    troubles.append(Trouble(number, position, "unchanged", ""))
                elif self.checksum:
                    self.checksums[number, position] = self.checksum
            self.slot.finish_file()
        return "", ()

    def _copy_plain(
        self, number: int, group: Group, source: int, target: int, troubles: list[Trouble]
    ) -> Sequence[int]:
        """Do what can be done without a look at each entry; the places of the others."""
        wishes = self.wishes
        if group.is_new:
            if wishes.verify or wishes.fsync:
                return range(group.length)
            ends = self._small.copy(source, target, group.packed)
        elif wishes.update and not wishes.checksum:
            ends = self._small.compare(source, target, group.packed)
            troubles += [
                Trouble(number, position, "unchanged", "")
                for position, end in enumerate(ends)
                if end == _files.UNCHANGED
            ]
        else:
            return range(group.length)
        if _files.LEFT not in ends:
            return ()
        return [position for position, end in enumerate(ends) if end == _files.LEFT]

    def _copy_entry(self, entry: File | Link, group: Group, source: int, target: int, temporary: str) -> bool:
        """Whether it had to be copied."""
        if type(entry) is Link:
            return self._copy_link(entry, group, source, target, temporary)
        assert isinstance(entry, File)
        if entry.size >= SHOWN_BYTES:
            self.slot.show(join(group.source, entry.name))
        if group.is_new:
            self._copy_file(entry, source, target, entry.name, is_new=True)
            return True
        there = self.look(target, entry.name)
        if there is not None:
            if stat.S_ISDIR(there.st_mode):
                raise Refused(IN_THE_WAY)
            original = self.is_unchanged(entry, there, source, target)
            if original is not None:
                self._keep(entry, original, there, source, target)
                return False
        self._copy_file(entry, source, target, temporary, is_new=False)
        self.give_name(target, temporary, entry.name)
        return True

    @staticmethod
    def look(folder: int, name: str) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    @staticmethod
    def give_name(folder: int, temporary: str, name: str) -> None:
        try:
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            remove(temporary, folder)
            raise

    def is_unchanged(self, file: File, there: os.stat_result, source: int, target: int) -> os.stat_result | None:
        """What the source is if the target's file is the same, by what was wished for; None if it has to be copied."""
        if not self.wishes.update or not stat.S_ISREG(there.st_mode) or there.st_size != file.size:
            return None
        if not self.wishes.checksum and not has_time(there, file.mtime_ns):
            return None
        original = os.stat(file.name, dir_fd=source, follow_symlinks=False)
        if not stat.S_ISREG(original.st_mode) or there.st_nlink > 1 == original.st_nlink:
            # What shares its file with others there, and does not here, is made anew.
            return None
        if self.wishes.checksum and not self._has_same_content(file, source, target):
            return None
        return original

    def _keep(self, file: File, original: os.stat_result, there: os.stat_result, source: int, target: int) -> None:
        """Set what differs of a file whose content does not."""
        self.slot.advance(file.size)
        if has_time(there, file.mtime_ns) and not metadata.differs(original, there):
            return
        fd = os.open(file.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=target)
        try:
            attributes = metadata.attributes_in(source, file.name)
            metadata.drop_others(fd, attributes)
            metadata.set_all(fd, original, attributes, self.notes, times=(file.atime_ns, file.mtime_ns))
        finally:
            os.close(fd)

    def _has_same_content(self, file: File, source: int, target: int) -> bool:
        first = os.open(file.name, SOURCE_FLAGS, dir_fd=source)
        try:
            try:
                second = os.open(file.name, SOURCE_FLAGS, dir_fd=target)
            except OSError:
                return False
            try:
                return content.is_same(first, second, 0, file.size)
            finally:
                os.close(second)
        finally:
            os.close(first)

    # ---- a file ----

    def _copy_file(self, file: File, source: int, target: int, name: str, *, is_new: bool) -> None:
        fd = os.open(file.name, SOURCE_FLAGS, dir_fd=source)
        try:
            if file.size <= content.SMALL_BYTES and not file.is_sparse:
                data = os.read(fd, file.size + 1)
                found = os.fstat(fd)
                if len(data) == file.size == found.st_size and found.st_mtime_ns == file.mtime_ns:
                    self._write(fd, data, found, file, target, name, is_new)
                    return
            self._copy_with_care(fd, file, target, name, is_new)
        finally:
            os.close(fd)

    def _write(
        self, source: int, data: bytes, found: os.stat_result, file: File, target: int, name: str, is_new: bool
    ) -> None:
        """A small file, whole."""
        if not stat.S_ISREG(found.st_mode):
            raise Refused(CHANGED)
        attributes = metadata.attributes_of(source)
        # Nobody may read or change what is not whole, and does not have its owner yet.
        # Writing takes the bits off that lend an owner's rights.
        is_plain = is_new and not attributes and metadata.is_own(found) and not found.st_mode & metadata.SPECIAL_BITS
        fd = os.open(name, TARGET_FLAGS, stat.S_IMODE(found.st_mode) if is_plain else 0o600, dir_fd=target)
        try:
            if not is_new:
                fcntl.flock(fd, fcntl.LOCK_EX)
            if data:
                count = os.write(fd, data)
                if count != len(data):
                    content.write_all(fd, data[count:], count)
            if self.wishes.verify:
                self.checksum = content.checksum_of(data)
            self._complete(fd, found, attributes, file, is_plain, is_new)
        except BaseException:
            remove(name, target)
            raise
        finally:
            os.close(fd)
        self.slot.advance(len(data))

    def _complete(
        self,
        fd: int,
        found: os.stat_result,
        attributes: metadata.Attributes,
        file: File,
        is_plain: bool,
        is_new: bool,
    ) -> None:
        """Content is there, and it is known what it should be; now everything else, the time last."""
        if self.wishes.verify and not self.wishes.fsync:
            content.check_written(fd, 0, os.fstat(fd).st_size, self.checksum, is_synced=False)
        times = (file.atime_ns, found.st_mtime_ns)
        if is_plain:
            os.utime(fd, ns=times)
        else:
            if not is_new:
                metadata.drop_inherited(fd)
            metadata.set_all(fd, found, attributes, self.notes, times=times)
        if self.wishes.fsync:
            os.fsync(fd)
            if self.wishes.verify:
                content.check_written(fd, 0, os.fstat(fd).st_size, self.checksum, is_synced=True)

    def _copy_with_care(self, source: int, file: File, target: int, name: str, is_new: bool) -> None:
        """A file that is long, has holes, or is not what the listing saw."""
        found = os.fstat(source)
        data = content.read_unsized(source, found)
        if data is not None:
            self._write(source, data, found, file, target, name, is_new)
            return
        for attempt in (1, 2):
            before = os.fstat(source)
            if not stat.S_ISREG(before.st_mode):
                raise Refused(CHANGED)
            attributes = metadata.attributes_of(source)
            fd = os.open(name, TARGET_FLAGS, 0o600, dir_fd=target)
            try:
                if not is_new:
                    fcntl.flock(fd, fcntl.LOCK_EX)
                copied = self.copy_range(source, fd, before, 0, before.st_size)
                if self.wishes.verify:
                    self.checksum = content.checksum_at(source, 0, before.st_size)
                after = os.fstat(source)
                is_steady = (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
                if copied and is_steady:
                    self._complete(fd, before, attributes, file, False, is_new)
                    return
            except BaseException:
                remove(name, target)
                raise
            finally:
                os.close(fd)
            remove(name, target)
            if attempt == 2:
                raise Refused(CHANGED)

    def copy_range(self, source: int, target: int, found: os.stat_result, offset: int, length: int) -> bool:
        """Copy a range with its holes; whether all of it was there."""
        devices = (found.st_dev, os.fstat(target).st_dev)
        advance = self.slot.advance
        if length == found.st_size and self.ways.clone(source, target, devices):
            advance(length)
            return True
        end = offset + length
        if found.st_blocks * 512 >= found.st_size:
            return self.ways.copy(source, target, offset, length, devices, advance) == length
        done = offset
        for start, size in content.pieces(source, offset, end):
            advance(start - done)
            if self.ways.copy(source, target, start, size, devices, advance) != size:
                return False
            done = start + size
        advance(end - done)
        if end == found.st_size and os.fstat(target).st_size < end:
            os.truncate(target, end)
        return True

    # ---- a symbolic link ----

    def _copy_link(self, link: Link, group: Group, source: int, target: int, temporary: str) -> bool:
        text = os.readlink(link.name, dir_fd=source)
        name = link.name if group.is_new else temporary
        if not group.is_new:
            there = self.look(target, link.name)
            if there is not None:
                if stat.S_ISDIR(there.st_mode):
                    raise Refused(IN_THE_WAY)
                if self.is_same_link(link, there, text, target):
                    return False
        found = os.stat(link.name, dir_fd=source, follow_symlinks=False)
        os.symlink(text, name, dir_fd=target)
        try:
            made = os.stat(name, dir_fd=target, follow_symlinks=False)
            if (made.st_uid, made.st_gid) != (found.st_uid, found.st_gid):
                try:
                    os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
                except PermissionError:
                    pass
            os.utime(name, ns=(link.atime_ns, found.st_mtime_ns), dir_fd=target, follow_symlinks=False)
        except BaseException:
            remove(name, target)
            raise
        if not group.is_new:
            self.give_name(target, temporary, link.name)
        return True

    def is_same_link(self, link: Link, there: os.stat_result, text: str, target: int) -> bool:
        """Whether the target has this link already."""
        return (
            self.wishes.update
            and stat.S_ISLNK(there.st_mode)
            and has_time(there, link.mtime_ns)
            and os.readlink(link.name, dir_fd=target) == text
        )

    # ---- a part of a large file ----

    def run_part(self, part: Part) -> Answer:
        self.slot.begin(part.number)
        self.slot.show(join(part.source_folder, part.file.name))
        try:
            self._copy_part(part)
        except Exception as error:
            full = reason_of(error) if is_full(error) else ""
            return Answer([Trouble(0, 0, "failed", reason_of(error))], [], full)
        return Answer([], [])

    def _copy_part(self, part: Part) -> None:
        source = os.open(part.file.name, SOURCE_FLAGS, dir_fd=self.source.open(part.source_folder))
        try:
            found = os.fstat(source)
            if not stat.S_ISREG(found.st_mode) or found.st_size != part.file.size:
                raise Refused(CHANGED)
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
            target = os.open(part.temporary, flags, dir_fd=self.target.open(part.target_folder))
            try:
                if not self.copy_range(source, target, found, part.offset, part.length):
                    raise Refused(CHANGED)
                if self.wishes.fsync:
                    os.fsync(target)
                if self.wishes.verify:
                    checksum = content.checksum_at(source, part.offset, part.length)
                    content.check_written(target, part.offset, part.length, checksum, is_synced=self.wishes.fsync)
            finally:
                os.close(target)
        finally:
            os.close(source)


def remove(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except OSError:
        pass


_worker: Worker | None = None


def start_worker(source: Root, target: Root, wishes: Wishes, board: Board) -> None:
    """The pool's initializer."""
    global _worker
    os.umask(0)
    _worker = Worker(source, target, wishes, board.take_slot())


def run_task(task: Any) -> Answer:
    """The function that the pool calls with each batch and each part."""
    assert _worker is not None
    return _worker.run_part(task) if type(task) is Part else _worker.run(task)
