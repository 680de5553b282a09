"""Walking SRC: makes the folders of the target and fills batches, a step at a time and no further ahead than is asked for."""

import os
import stat
from collections.abc import Iterator
from typing import Protocol

from procession.apps.copy import metadata, staging
from procession.apps.copy.filters import Filters
from procession.apps.copy.folders import READ, Tree, join
from procession.apps.copy.large import LARGE_BYTES
from procession.apps.copy.plan import Batches, Folder, Shared, SharedFiles, Totals
from procession.apps.copy.reasons import Refused
from procession.apps.copy.records import File, Link
from procession.apps.copy.roots import Roots
from procession.apps.copy.target import Target

KINDS = {stat.S_IFIFO: "a fifo", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


class Ends(Protocol):
    """Who is told of what never becomes part of a batch."""

    def skip(self, name: str, reason: str) -> None: ...
    def fail(self, name: str, error: Exception) -> None: ...
    def begin_large(self, folder: Folder, file: File, shared: Shared | None) -> None: ...
    def link(self, shared: Shared, folder: Folder, file: File) -> None: ...


class Listing:
    """An iterator over the steps: each lists a few entries, and says nothing."""

    def __init__(
        self,
        roots: Roots,
        target: Target,
        batches: Batches,
        ends: Ends,
        filters: Filters,
        *,
        one_file_system: bool = False,
        split_large: bool = True,
    ) -> None:
        self.tree = Tree(roots.source, READ)
        self.totals = Totals()
        self.shared = SharedFiles()
        self._roots = roots
        self._target = target
        self._batches = batches
        self._ends = ends
        self._filters = filters
        self._device = roots.source.device if one_file_system else None
        self._large_bytes = LARGE_BYTES if split_large else 1 << 62

    def steps(self, root: Folder) -> Iterator[None]:
        """List everything; each step ends where a batch may be ready."""
        # Folders are made when their turn comes, so that few are open at a time.
        waiting: list[tuple[Folder, bool]] = [(root, True)]
        while waiting:
            folder, is_made = waiting.pop()
            inner: list[str] = []
            try:
                yield from self._list(folder, inner, is_made)
            except (OSError, Refused) as error:
                self._ends.fail(folder.source or ".", error)
            waiting += [(folder.child(name), False) for name in reversed(inner)]
            self._target.release(folder)
            yield
        self._batches.flush()
        self.totals.is_listed = True

    def _list(self, folder: Folder, inner: list[str], is_made: bool) -> Iterator[None]:
        source = self.tree.open(folder.source)
        found = os.fstat(source)
        if (found.st_dev, found.st_ino) == self._roots.target:
            raise Refused("it is the target itself")
        if not is_made:
            self._target.make(folder)
        folder.stat, folder.attributes = found, metadata.attributes_of(source)
        if self._device is not None and found.st_dev != self._device:
            self._ends.skip(folder.source, "its content is on another file system")
            return
        kinds: dict[str, bool] | None = {} if folder.is_staged and not folder.is_new else None
        # A descriptor of its own: the tree may close the other while a step is waited for.
        with staging.readable(source) as fd, os.scandir(fd) as entries:
            for number, entry in enumerate(entries):
                name = entry.name
                is_folder = entry.is_dir(follow_symlinks=False)
                if not self._filters.keeps(folder.source, name, is_folder):
                    continue
                if staging.is_leftover(name):
                    self._ends.skip(join(folder.source, name), "it was left by a copy that was killed")
                    continue
                if kinds is not None:
                    kinds[name] = is_folder
                if is_folder:
                    inner.append(name)
                else:
                    self._take(folder, entry)
                if number % 32 == 31:
                    yield
        if kinds is not None:
            self._target.keep_only(folder, kinds)

    def _take(self, folder: Folder, entry: "os.DirEntry[str]") -> None:
        name = entry.name
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError as error:
            self.totals.files += 1
            self._ends.fail(join(folder.source, name), error)
            return
        kind = stat.S_IFMT(found.st_mode)
        size = found.st_size
        if kind == stat.S_IFREG:
            self.totals.files += 1
            self.totals.size_bytes += size
            file = File(name, size, found.st_mtime_ns, found.st_atime_ns, found.st_blocks * 512 < size)
            shared = None
            if found.st_nlink > 1:
                shared, is_first = self.shared.meet(folder, name, found)
                if not is_first:
                    self._ends.link(shared, folder, file)
                    return
            if size >= self._large_bytes:
                self._ends.begin_large(folder, file, shared)
            else:
                self._batches.add(folder, file, shared)
        elif kind == stat.S_IFLNK:
            self.totals.files += 1
            self.totals.size_bytes += size
            self._batches.add(folder, Link(name, size, found.st_mtime_ns, found.st_atime_ns))
        else:
            self._ends.skip(join(folder.source, name), f"it is {KINDS.get(kind, 'of a kind that cannot be copied')}")

    def close(self) -> None:
        self.tree.close()
