"""Whether a copy has the time of its source, on file systems that do not keep nanoseconds."""

import os
from functools import cache
from pathlib import Path

TICKS_NS = {
    "cifs": 100,
    "exfat": 10_000_000,
    "fuse.sshfs": 1_000_000_000,
    "fuseblk": 100,
    "hfsplus": 1_000_000_000,
    "msdos": 2_000_000_000,
    "ntfs": 100,
    "ntfs3": 100,
    "smb3": 100,
    "vfat": 2_000_000_000,
}
"""How far apart the times are that a file system can keep.  `fuseblk` is NTFS, most often, and may be exFAT."""


def has_time(copy: os.stat_result, mtime_ns: int) -> bool:
    """Whether the copy's modification time is this, or what its file system makes of it."""
    return copy.st_mtime_ns == mtime_ns or copy.st_mtime_ns == mtime_ns - mtime_ns % tick_of(copy.st_dev)


@cache
def tick_of(device: int) -> int:
    """1 for file systems that keep nanoseconds, or that are not known."""
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return 1
    for line in lines:
        fields, _, kind = line.partition(" - ")
        if fields.split()[2] == number:
            return TICKS_NS.get(kind.split()[0], 1)
    return 1
