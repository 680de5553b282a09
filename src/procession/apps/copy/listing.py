"""Walking SRC: makes the folders of the target and fills batches, a step at a time and no further ahead than is asked for."""

import os
import stat
from collections.abc import Iterator
from contextlib import closing
from typing import Protocol

from procession.apps.copy import _files, filesystems, metadata, staging
from procession.apps.copy.filters import Filters
from procession.apps.copy.folders import READ, Tree, join
from procession.apps.copy.large import LARGE_BYTES
from procession.apps.copy.plan import Batches, Folder, Shared, SharedFiles, Totals
from procession.apps.copy.reasons import Refused
from procession.apps.copy.records import File
from procession.apps.copy.roots import Roots
from procession.apps.copy.takeover import keep_whole
from procession.apps.copy.target import Target

KINDS = {stat.S_IFIFO: "a fifo", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


ONE_CASE = "another name in its folder differs only in upper and lower case, which the target takes for one"


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
        # Otherwise the second of two such names would take the place of the first.
        self._is_caseless = filesystems.is_caseless(roots.target[0] if roots.is_there else roots.base.device)
        self._large_bytes = LARGE_BYTES if split_large else 1 << 62

    def steps(self, root: Folder) -> Iterator[None]:
        """List everything; each step ends where a batch may be ready."""
        # Folders are made when their turn comes: few are open at a time, and of the others there are only the names.
        waiting: list[tuple[Folder, list[str]]] = []
        yield from self._step(root, waiting, is_made=True)
        while waiting:
            parent, names = waiting[-1]
            folder = parent.child(names.pop())
            if not names:
                waiting.pop()
                self._target.release(parent)
            yield from self._step(folder, waiting)
        self._batches.flush()
        self.totals.is_listed = True

    def _step(
        self, folder: Folder, waiting: list[tuple[Folder, list[str]]], *, is_made: bool = False
    ) -> Iterator[None]:
        """List a folder; it waits, not released, if there are others in it."""
        inner: list[str] = []
        try:
            yield from self._list(folder, inner, is_made)
        except (OSError, Refused) as error:
            self._ends.fail(folder.source or ".", error)
        if inner:
            inner.reverse()
            waiting.append((folder, inner))
        else:
            self._target.release(folder)
        yield

    def _list(self, folder: Folder, inner: list[str], is_made: bool) -> Iterator[None]:
        found = os.fstat(self.tree.open(folder.source))
        if (found.st_dev, found.st_ino) == self._roots.target:
            raise Refused("it is the target itself")
        if not is_made:
            self._target.make(folder)
        if folder.real_name and not folder.is_new:
            keep_whole(folder, self.tree, self._target, self._filters, self._device)
        source = self.tree.open(folder.source)
        folder.stat, folder.attributes = found, metadata.attributes_of(source)
        if self._device is not None and found.st_dev != self._device:
            self._ends.skip(folder.source, "its content is on another file system")
            return

        def judge(name: str, is_folder: bool) -> bool:
            if not self._filters.keeps(folder.source, name, is_folder):
                return False
            if staging.is_leftover(name):
                self._ends.skip(join(folder.source, name), "it was left by a copy that was killed")
                return False
            if self._is_caseless:
                folded = name.casefold()
                if folded in names:
                    self._ends.fail(join(folder.source, name), Refused(ONE_CASE))
                    return False
                names.add(folded)
            return True

        names: set[str] = set()
        doubtful = staging.PREFIX if self._filters.is_everything and not self._is_caseless else ""
        # A descriptor of its own: the tree may close the other while a step is waited for.
        with closing(_files.Lister(source, judge, doubtful.encode(), self._large_bytes)) as lister:
            is_end = False
            while not is_end:
                packed, count, size_bytes, others, is_end = lister.read(*self._batches.room)
                if count:
                    self.totals.files += count
                    self.totals.size_bytes += size_bytes
                    self._batches.add_packed(folder, packed, count, size_bytes)
                for name, mode, *rest in others:
                    if not rest and not isinstance(mode, OSError):
                        inner.append(name)
                    else:
                        self._take(folder, name, mode, *rest)
                if not is_end:
                    yield
        self._batches.end_folder()

    def _take(
        self,
        folder: Folder,
        name: str,
        mode: int | OSError,
        size: int = 0,
        mtime_ns: int = 0,
        atime_ns: int = 0,
        is_sparse: bool = False,
        links: int = 1,
        *key: int,
    ) -> None:
        """What is not as most files are."""
        if isinstance(mode, OSError):
            self.totals.files += 1
            self._ends.fail(join(folder.source, name), mode)
            return
        kind = stat.S_IFMT(mode)
        if kind == stat.S_IFREG:
            self.totals.files += 1
            self.totals.size_bytes += size
            file = File(name, size, mtime_ns, atime_ns, is_sparse)
            shared = None
            if links > 1:
                device, inode = key
                shared, is_first = self.shared.meet(folder, name, links, (device, inode))
                if not is_first:
                    self._ends.link(shared, folder, file)
                    return
            if size >= self._large_bytes:
                self._ends.begin_large(folder, file, shared)
            else:
                self._batches.add(folder, file, shared)
        else:
            self._ends.skip(join(folder.source, name), f"it is {KINDS.get(kind, 'of a kind that cannot be copied')}")

    def close(self) -> None:
        self.tree.close()
