"""What travels between the parts of a copy: what is asked for, what workers get, what became of each name.

Workers get tuples, not objects: a batch of 64 files is packed and unpacked in the time that one file takes to copy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

COPIED, UNCHANGED, SKIPPED, FAILED, DELETED = "copied", "unchanged", "skipped", "failed", "deleted"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one name."""

    name: str
    """Relative to SRC (to DST if it was deleted)."""
    state: str
    """`copied`, `unchanged`, `skipped`, `failed` or `deleted`."""
    reason: str = ""
    """Why it was skipped or failed, in one line."""
    size_bytes: int = 0

    @property
    def is_failed(self) -> bool:
        return self.state == FAILED


@dataclass(frozen=True, slots=True)
class Wishes:
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
    entries: "list[File | Link]"


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
    state: str
    reason: str


class Answer(NamedTuple):
    """What a worker says of a batch or a part: all entries were copied but those in `troubles`."""

    troubles: list[Trouble]
    notes: list[str]
    """What was left out everywhere, such as attributes that the target cannot keep."""
    full: str = ""
    """Why nothing more can be written, if so; entries from the last trouble on were not tried."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a copy is; totals grow until `is_listed`."""

    files_done: int
    files_total: int
    bytes_done: int
    bytes_total: int
    failed: int
    is_listed: bool
    current: tuple[str, ...] = ()
    """What the workers are at."""


ProgressCallback = Callable[[Progress], None]
OutcomeCallback = Callable[[Outcome], None]


@dataclass(slots=True)
class CopyResult:
    """The end of a copy.  Folders are in `outcomes` only if something went wrong with them."""

    outcomes: list[Outcome] = field(default_factory=list)
    """One for each name; only those that failed or were skipped, if the caller did not want to keep all."""
    copied: int = 0
    unchanged: int = 0
    skipped: int = 0
    failed: int = 0
    deleted: int = 0
    folders: int = 0
    copied_bytes: int = 0
    total: int = 0
    """Names that were listed; more than there are outcomes if the run was ended early."""
    seconds: float = 0.0
    notes: Sequence[str] = ()
    stopped: str = ""
    """Why the run ended early, if it did."""

    @property
    def failures(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.is_failed]


class CopyInterrupted(KeyboardInterrupt):
    """Ctrl-C during a copy.  The workers are gone, no half file is left; `result` has what was done until then."""

    def __init__(self, result: CopyResult) -> None:
        super().__init__(f"interrupted after {result.copied} of {result.total} files")
        self.result = result
