"""The plan of a copy while it grows: which folders are open, what goes into the next batch, which names share a file.

Pure: nothing here asks the system for anything.  Memory is kept for folders that are not done, and for files with several
names until all of them were seen; not for files.
"""

import os
from collections import deque

from procession.apps.copy.folders import join
from procession.apps.copy.metadata import Attributes
from procession.apps.copy.records import Batch, File, Group, Link, pack
from procession.apps.copy.staging import temporary_name

BATCH_FILES = 64
MOST_BATCH_FILES = 256
BATCH_BYTES = 8 * 1024 * 1024


class Totals:
    """What was listed so far."""

    __slots__ = ("files", "is_listed", "size_bytes")

    def __init__(self) -> None:
        self.files = self.size_bytes = 0
        self.is_listed = False


class Folder:
    """A folder that is being copied, from when it is listed until all in it is done.

    Args:
        source: its path, relative to SRC.
        target_name: its present name in the target; a temporary one until it is whole, if it is the uppermost of those that
            are new.
    """

    __slots__ = (
        "attributes",
        "is_new",
        "is_staged",
        "lock",
        "parent",
        "pending",
        "real_name",
        "source",
        "stat",
        "target_name",
    )

    def __init__(
        self,
        parent: "Folder | None",
        source: str,
        target_name: str,
        *,
        is_new: bool = True,
        is_staged: bool = False,
        pending: int = 1,
    ) -> None:
        self.parent = parent
        self.source = source
        self.target_name = target_name
        self.is_new = is_new
        """It was empty when this run came: nothing in it has to be replaced."""
        self.is_staged = is_staged
        """It, or a folder that it is in, has a temporary name."""
        self.real_name = ""
        """What it is to be called, if it has a temporary name itself."""
        self.pending = pending
        """Listings, batches, folders, links that are not done; 1 is its own listing."""
        self.lock = -1
        self.stat: os.stat_result | None = None
        self.attributes: Attributes = {}

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


class Shared:
    """A file with several names: the first is copied, the others become links to it.

    Args:
        names_left: names that the listing has not met yet; they may be outside of what is copied.
    """

    __slots__ = ("folder", "is_done", "name", "names_left", "waiting")

    def __init__(self, names_left: int, folder: Folder, name: str) -> None:
        self.names_left = names_left
        self.folder = folder
        self.name = name
        self.is_done = False
        self.waiting: list[tuple[Folder, File]] = []


class SharedFiles:
    """Files with several names, by device and inode."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], Shared] = {}

    def __len__(self) -> int:
        return len(self._known)

    def meet(self, folder: Folder, name: str, links: int, key: tuple[int, int]) -> tuple[Shared, bool]:
        """The file with device and inode `key`, and whether this is the first of its names."""
        shared = self._known.get(key)
        if shared is None:
            shared = self._known[key] = Shared(links - 1, folder, name)
            return shared, True
        shared.names_left -= 1
        if shared.names_left <= 0:
            del self._known[key]
        return shared, False


class Pending:
    """A batch that has no answer yet, with what the parent must know of it.

    Args:
        shared: those of its entries, by group and place, to which other names will be linked.
    """

    def __init__(
        self, batch: Batch, folders: list[Folder], shared: dict[tuple[int, int], Shared], size_bytes: int
    ) -> None:
        self.batch = batch
        self.folders = folders
        self.shared = shared
        self.size_bytes = size_bytes
        self.attempts = 1

    @property
    def files(self) -> int:
        return sum(group.length for group in self.batch.groups)


class _Gathered:
    """The entries of one folder in the batch that is being filled."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.count = 0
        self.pieces: list[bytes] = []

    def group(self) -> Group:
        folder = self.folder
        return Group(folder.source, folder.target, folder.is_new, self.count, b"".join(self.pieces))


class Batches:
    """Gathers entries into batches, over as many folders as that takes.

    A batch has 64 files or 8 MB; of many files, up to 256: each batch costs the parent and a worker a message and a change of
    process, and those who are at work in one folder wait for each other at each name that is made.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._next = 1
        self._added = 0
        self.ready: deque[Pending] = deque()
        self._clear()

    def _clear(self) -> None:
        self._groups: list[_Gathered] = []
        self._shared: dict[tuple[int, int], Shared] = {}
        self._count = self._bytes = 0

    @property
    def room(self) -> tuple[int, int]:
        """How many files, and how many bytes of them, the present batch still takes."""
        return self._most_files - self._count, BATCH_BYTES - self._bytes

    @property
    def _most_files(self) -> int:
        return min(max(BATCH_FILES, self._added // 8), MOST_BATCH_FILES)

    def number(self) -> int:
        self._next += 1
        return self._next - 1

    def name(self, number: int) -> str:
        return temporary_name(self._run, number)

    def add(self, folder: Folder, entry: File | Link, shared: Shared | None = None) -> None:
        gathered = self._gather(folder)
        if shared is not None:
            self._shared[len(self._groups) - 1, gathered.count] = shared
        self._add(gathered, pack(entry), 1, entry.size)

    def add_packed(self, folder: Folder, packed: bytes, count: int, size_bytes: int) -> None:
        """`count` entries at once, no more than there is room for."""
        self._add(self._gather(folder), packed, count, size_bytes)

    def _gather(self, folder: Folder) -> "_Gathered":
        if not self._groups or self._groups[-1].folder is not folder:
            folder.pending += 1
            self._groups.append(_Gathered(folder))
        return self._groups[-1]

    def _add(self, gathered: "_Gathered", packed: bytes, count: int, size_bytes: int) -> None:
        gathered.pieces.append(packed)
        gathered.count += count
        self._count += count
        self._bytes += size_bytes
        self._added += count
        if self._count >= self._most_files or self._bytes >= BATCH_BYTES:
            self.flush()

    def end_folder(self) -> None:
        """No more comes from the present folder: a batch that is not small ends with it."""
        if self._count >= BATCH_FILES:
            self.flush()

    def flush(self) -> None:
        """What was gathered is a batch, however little it is."""
        if not self._groups:
            return
        number = self.number()
        groups = [each.group() for each in self._groups]
        batch = Batch(number, self.name(number), groups)
        self.ready.append(Pending(batch, [each.folder for each in self._groups], self._shared, self._bytes))
        self._clear()
