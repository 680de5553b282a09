"""What file systems are like: which times and names they cannot tell apart, and whether there is a disk to wait for."""

import os
from functools import cache

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
CASELESS = frozenset({"exfat", "hfsplus", "msdos", "vfat"})
IN_MEMORY = frozenset({"ramfs", "tmpfs"})


def has_time(copy: os.stat_result, mtime_ns: int) -> bool:
    """Whether the copy's modification time is this, or what its file system makes of it."""
    return copy.st_mtime_ns == mtime_ns or copy.st_mtime_ns == mtime_ns - mtime_ns % tick_of(copy.st_dev)


def tick_of(device: int) -> int:
    """1 for file systems that keep nanoseconds, or that are not known."""
    return TICKS_NS.get(kind_of(device), 1)


def is_caseless(device: int) -> bool:
    """Whether upper and lower case are one in names there, as far as is known."""
    return kind_of(device) in CASELESS


def is_in_memory(device: int) -> bool:
    """Whether there is no disk to wait for."""
    return kind_of(device) in IN_MEMORY


@cache
def kind_of(device: int) -> str:
    """`ext4`; empty if it is not known."""
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return ""
    for line in lines:
        fields, _, kind = line.partition(" - ")
        if fields.split()[2] == number:
            return kind.split()[0]
    return ""
