"""The plan of a copy while it grows: which folders are open, what goes into the next batch, which names share a file.

Pure: nothing here asks the system for anything.  Memory is kept for folders that are not done, and for files with several
names until all of them were seen; not for files.
"""

import os
from collections import deque
from dataclasses import dataclass, field

from procession.apps.copy.folders import join
from procession.apps.copy.metadata import Attributes
from procession.apps.copy.records import Batch, File, Group, Link
from procession.apps.copy.staging import temporary_name

BATCH_FILES = 64
BATCH_BYTES = 8 * 1024 * 1024


@dataclass(slots=True)
class Totals:
    """What was listed so far."""

    files: int = 0
    size_bytes: int = 0
    is_listed: bool = False


@dataclass(slots=True, eq=False)
class Folder:
    """A folder that is being copied, from when it is listed until all in it is done."""

    parent: "Folder | None"
    source: str
    """Its path, relative to SRC."""
    target_name: str
    """Its present name in the target; a temporary one until it is whole, if it is the uppermost of those that are new."""
    is_new: bool = True
    """It was empty when this run came: nothing in it has to be replaced."""
    is_staged: bool = False
    """It, or a folder that it is in, has a temporary name."""
    real_name: str = ""
    """What it is to be called, if it has a temporary name itself."""
    pending: int = 1
    """Listings, batches, folders, links that are not done; 1 is its own listing."""
    lock: int = -1
    stat: os.stat_result | None = None
    attributes: Attributes = field(default_factory=dict)

    @property
    def target(self) -> str:
        """Its present path, relative to the target's root."""
        names = []
        folder: Folder | None = self
        while folder is not None:
            if folder.target_name:
                names.append(folder.target_name)
            folder = folder.parent
        return "/".join(reversed(names))

    def child(self, name: str) -> "Folder":
        self.pending += 1
        return Folder(self, join(self.source, name), name, is_staged=self.is_staged)


@dataclass(slots=True, eq=False)
class Shared:
    """A file with several names: the first is copied, the others become links to it."""

    names_left: int
    """Names that the listing has not met yet; they may be outside of what is copied."""
    folder: Folder
    name: str
    is_done: bool = False
    waiting: list[tuple[Folder, File]] = field(default_factory=list)


class SharedFiles:
    """Files with several names, by device and inode."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], Shared] = {}

    def __len__(self) -> int:
        return len(self._known)

    def meet(self, folder: Folder, name: str, stat: os.stat_result) -> tuple[Shared, bool]:
        """The file, and whether this is the first of its names."""
        key = stat.st_dev, stat.st_ino
        shared = self._known.get(key)
        if shared is None:
            shared = self._known[key] = Shared(stat.st_nlink - 1, folder, name)
            return shared, True
        shared.names_left -= 1
        if shared.names_left <= 0:
            del self._known[key]
        return shared, False


@dataclass(slots=True)
class Pending:
    """A batch that has no answer yet, with what the parent must know of it."""

    batch: Batch
    folders: list[Folder]
    shared: dict[tuple[int, int], Shared]
    """Those of its entries, by group and place, to which other names will be linked."""
    size_bytes: int
    attempts: int = 1

    @property
    def files(self) -> int:
        return sum(len(group.entries) for group in self.batch.groups)


class Batches:
    """Gathers entries into batches of 64 files or 8 MB, over as many folders as that takes."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._next = 1
        self.ready: deque[Pending] = deque()
        self._clear()

    def _clear(self) -> None:
        self._groups: list[tuple[Folder, list[File | Link]]] = []
        self._shared: dict[tuple[int, int], Shared] = {}
        self._count = self._bytes = 0

    def number(self) -> int:
        self._next += 1
        return self._next - 1

    def name(self, number: int) -> str:
        return temporary_name(self._run, number)

    def add(self, folder: Folder, entry: File | Link, shared: Shared | None = None) -> None:
        if not self._groups or self._groups[-1][0] is not folder:
            folder.pending += 1
            self._groups.append((folder, []))
        entries = self._groups[-1][1]
        if shared is not None:
            self._shared[len(self._groups) - 1, len(entries)] = shared
        entries.append(entry)
        self._count += 1
        self._bytes += entry.size
        if self._count >= BATCH_FILES or self._bytes >= BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """What was gathered is a batch, however little it is."""
        if not self._groups:
            return
        number = self.number()
        groups = [Group(folder.source, folder.target, folder.is_new, entries) for folder, entries in self._groups]
        batch = Batch(number, self.name(number), groups)
        self.ready.append(Pending(batch, [folder for folder, _ in self._groups], self._shared, self._bytes))
        self._clear()
