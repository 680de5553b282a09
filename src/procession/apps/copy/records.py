"""What travels between the parts of a copy: what is asked for, what workers get, what became of each name.

Workers get the entries of a batch as bytes, as the listing packed them: most are copied without ever becoming objects.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from procession.apps.copy import _files
from procession.apps.driver import Result
from procession.apps.outcome import Status


class Wishes(NamedTuple):
    """What workers must know of the options."""

    update: bool = True
    checksum: bool = False
    verify: bool = False
    fsync: bool = False


class Root(NamedTuple):
    """A folder that paths are relative to; the numbers show that it is still the same one when a worker opens it."""

    path: str
    device: int
    inode: int


class File(NamedTuple):
    """A regular file, as the listing saw it.  Times are nanoseconds."""

    name: str
    size: int
    mtime_ns: int
    atime_ns: int
    is_sparse: bool


class Link(NamedTuple):
    """A symbolic link, as the listing saw it."""

    name: str
    size: int
    mtime_ns: int
    atime_ns: int


class Group(NamedTuple):
    """Names of one folder that travel together."""

    source: str
    """The folder, relative to SRC."""
    target: str
    """The folder, relative to the target's root."""
    is_new: bool
    """Nobody but this run has put anything into the target folder, and it does not have its real name yet."""
    length: int
    """How many entries there are."""
    packed: bytes
    """The entries, as in `pack()`."""

    @property
    def entries(self) -> "list[File | Link]":
        return unpack(self.packed)


def pack(entry: "File | Link") -> bytes:
    """An entry as bytes (struct psn_entry and a name); those of several are joined."""
    if isinstance(entry, Link):
        return _files.pack(*entry, _files.LINK)
    return _files.pack(*entry[:4], _files.SPARSE if entry.is_sparse else _files.FILE)


def unpack(packed: bytes) -> "list[File | Link]":
    return [
        Link(name, size, mtime_ns, atime_ns)
        if kind == _files.LINK
        else File(name, size, mtime_ns, atime_ns, kind == _files.SPARSE)
        for name, size, mtime_ns, atime_ns, kind in _files.unpack(packed)
    ]


class Batch(NamedTuple):
    """A worker's next work."""

    number: int
    temporary: str
    """The name under which files are written that replace others."""
    groups: list[Group]


class Part(NamedTuple):
    """A piece of a large file; the target is open in nobody's name but the parent's."""

    number: int
    source_folder: str
    file: File
    target_folder: str
    temporary: str
    offset: int
    length: int


class Trouble(NamedTuple):
    """What did not go as most things do, within a batch."""

    group: int
    entry: int
    status: Status
    reason: str


class Answer(NamedTuple):
    """What a worker says of a batch or a part: all entries were copied but those in `troubles`."""

    troubles: list[Trouble]
    notes: list[str]
    """What was left out everywhere, such as attributes that the target cannot keep."""
    full: str = ""
    """Why nothing more can be written, if so."""
    untried: Sequence[tuple[int, int]] = ()
    """Group and place of the entries that have no end because of that."""
    checksums: Mapping[tuple[int, int], str] = {}
    """Of the entries that were copied and verified, by group and place."""


class CopyResult(Result):
    """The end of a copy.  `total` and `done` are of files and symbolic links; folders are counted by themselves."""

    def __init__(
        self,
        *,
        skipped: int = 0,
        deleted: int = 0,
        folders: int = 0,
        notes: Sequence[str] = (),
        stopped: str = "",
        is_dry: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.skipped = skipped
        """Fifos and other things that are not copied, with their reasons among the outcomes."""
        self.deleted = deleted
        self.folders = folders
        self.notes = notes
        """What could not be kept anywhere, such as extended attributes."""
        self.stopped = stopped
        """Why the run ended early, if it did."""
        self.is_dry = is_dry
        """Nothing was done; `planned` says how much would have been."""
