"""The contract of `_os` on Linux, third part: how many cores there are for this process.

What the user has asked for; else the affinity, in which control groups' cpusets show, and no more than the quotas of the
process's control group and of all above it, in either version.  In a pool's worker and all that it starts, no more than that
worker's share.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator

__all__ = ["SHARE", "affinity_count", "cpu_count", "cpu_share"]

SHARE = "PROCESSION_SHARE"  # an environment variable, so that what a worker starts has it whatever way it is started

_QUOTA_LASTS = 1.0  # seconds: a pool asks for each worker that it starts
_quota_read: tuple[float, int | None] = (0.0, None)  # until when it holds, and what it was

_Mounts = list[tuple[bytes, bytes]]  # what part of a hierarchy is seen, and where


def affinity_count() -> int:
    """Cores that the system runs this process on: as many threads as libraries start, unless they are told."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_count() -> int:
    """Cores that this process may use."""
    return cpu_share(1)


def cpu_share(workers: int) -> int:
    """How many of them each of so many workers may use; at least one."""
    asked = _asked()
    cores = asked or affinity_count()
    given = os.environ.get(SHARE, "")
    if given.isdecimal():
        cores = min(cores, int(given))
    if not asked and cores >= 2 * workers and (quota := _quota()) is not None:  # otherwise it makes no difference
        cores = min(cores, quota)
    return max(1, cores // workers)


def _asked() -> int:
    """The number given by ``-X cpu_count`` or PYTHON_CPU_COUNT, as Python 3.13 has them; 0 if there is none."""
    asked = sys._xoptions.get("cpu_count")
    if asked is None and not sys.flags.ignore_environment:
        asked = os.environ.get("PYTHON_CPU_COUNT")
    # "default", and whatever else is no number, asks for none.
    return int(asked) if isinstance(asked, str) and asked.isdecimal() else 0


# ---- control groups ----


def _quota() -> int | None:
    """Cores that the control groups allow, or allowed a moment ago; None if they do not say."""
    global _quota_read
    until, quota = _quota_read
    if time.monotonic() > until:
        quota = _read_quota()
        _quota_read = time.monotonic() + _QUOTA_LASTS, quota
    return quota


def _read_quota() -> int | None:
    try:
        lines = [line.split(b":", 2) for line in _read(b"/proc/self/cgroup").splitlines()]
        memberships = [(controllers, path) for _, controllers, path in lines]
        first, second = _mounts(_read(b"/proc/self/mountinfo").splitlines())
    except (OSError, ValueError):
        return None
    quotas: list[int | None] = []
    for controllers, path in memberships:
        if not controllers:
            quotas += [_cores(folder + b"/cpu.max") for folder in _folders(second, path)]
        elif b"cpu" in controllers.split(b","):
            quotas += [
                _cores(folder + b"/cpu.cfs_quota_us", folder + b"/cpu.cfs_period_us")
                for folder in _folders(first, path)
            ]
    return min((quota for quota in quotas if quota is not None), default=None)


def _mounts(lines: Iterable[bytes]) -> tuple[_Mounts, _Mounts]:
    """Where the hierarchy of the cpu controller is, and where that of the second version."""
    first: _Mounts = []
    second: _Mounts = []
    for line in lines:
        mount, _, system = line.partition(b" - ")
        kind, _, options = system.split(b" ", 2)
        if kind == b"cgroup2" or (kind == b"cgroup" and b"cpu" in options.split(b",")):
            root, point = mount.split(b" ")[3:5]
            (second if kind == b"cgroup2" else first).append((_unescaped(root), _unescaped(point)))
    return first, second


def _unescaped(path: bytes) -> bytes:
    """As it is on disk: a space is written ``\\040``, for example."""
    return path.decode("unicode_escape").encode("latin-1") if b"\\" in path else path


def _folders(mounts: _Mounts, path: bytes) -> Iterator[bytes]:
    """The folders of a group and of all above it, as far as they are seen.

    A path that begins with ``..`` lies outside of this process's namespace.  Where no mount shows the group, a container's own
    is the best guess, and that is what its mounts show.
    """
    group = _parts(path)
    is_seen = False
    for root, point in mounts:
        above = _parts(root)
        below = group[len(above) :]
        if group[: len(above)] == above and b".." not in below:
            is_seen = True
            yield from (b"/".join([point, *below[:depth]]) for depth in range(len(below) + 1))
    if not is_seen:
        yield from (point for _, point in mounts)


def _parts(path: bytes) -> list[bytes]:
    return [part for part in path.split(b"/") if part]


def _cores(*files: bytes) -> int | None:
    """The quota and its period that these files hold, as cores, rounded up; None if there is none, or nothing to be read."""
    try:
        quota, period = map(int, b" ".join(map(_read, files)).split())
        return -(-quota // period) if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _read(path: bytes) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()
