"""Named segments: made so that they are removed when the program has ended and nobody has done so, however it ended.

The names are noted in the arena, and a small process that is no process of the program waits for its end (see
``_os.posix_tracker``).  It is started with the first name; programs without names have none.
"""

from __future__ import annotations

import os
import sys

from procession import _core, _os
from procession.engine import memory, program
from procession.engine.clock import clock_ns, deadline_after

__all__ = ["attach", "create", "ensure_tracker", "forget", "note", "tracker_pid", "unlink"]

_STARTS_WITHIN_S = 2.0
_started_until = 0  # until then the tracker that this process has started need not be there yet


def create(name: str, size: int, mode: int, *, is_tracked: bool) -> _core.Mapping:
    """A new segment; if `is_tracked`, it goes with the program at the latest.

    Raises:
        FileExistsError: there is one of that name.
        OSError: there is too little memory for it.
    """
    file = _os.segment_file(name)
    if is_tracked:
        ensure_tracker()

    def announce(device: int, inode: int) -> None:
        if is_tracked:
            _core.name_add(file, device, inode)

    def withdraw(device: int, inode: int) -> None:
        if is_tracked:
            _core.name_remove(file, device, inode)

    with _os.segment_created(file, size, mode, announce, withdraw) as fd:
        return _core.Mapping(fd, size)


def attach(name: str) -> _core.Mapping:
    """The segment that has this name.

    Raises:
        FileNotFoundError: there is none of that name.
        ValueError: it has no size yet: its maker is just at it.
    """
    fd, size = _os.open_segment(_os.segment_file(name))
    try:
        if size == 0:
            raise ValueError(f"cannot map the shared memory {name!r}: it is empty, its maker has given it no size yet")
        return _core.Mapping(fd, size)
    finally:
        os.close(fd)


def unlink(name: str) -> None:
    """Take a segment's name away.

    Raises:
        FileNotFoundError: there is none of that name.
    """
    file = _os.segment_file(name)
    device, inode = _os.segment_identity(file)
    _os.unlink_segment(file)
    _core.name_remove(file, device, inode)


def note(name: str) -> None:
    """Have what has this name now removed with the program."""
    file = _os.segment_file(name)
    ensure_tracker()
    device, inode = _os.segment_identity(file)
    _core.name_remove(file, device, inode)
    _core.name_add(file, device, inode)


def forget(name: str) -> None:
    """Have a name outlive the program.

    What another process of the program has made, and answers for as long as it lives, stays noted: programs say this of
    what they have merely attached, because of a standard library that takes every user for an owner.
    """
    file = _os.segment_file(name)
    for known, device, inode, maker in _core.name_list():
        if known == file and (maker == _core.process_identity() or not _core.process_is_alive(maker)):
            _core.name_remove(file, device, inode, maker)


def tracker_pid() -> int | None:
    """The process that waits for the end of the program; None if it was not needed yet."""
    return _core.arena_watcher() or None


def ensure_tracker() -> None:
    """Start it unless it runs.

    Raises:
        OSError: it cannot be started.
    """
    global _started_until
    memory.ensure()
    if _core.arena_watcher():
        _started_until = 0  # if it is gone one day, it was killed
        return
    if clock_ns() < _started_until:
        return
    command = [os.fsencode(word) for word in _tracker_command()]
    fd = _core.arena_reopen()
    try:
        environment = [os.fsencode(name) + b"=" + os.fsencode(value) for name, value in os.environ.items()]
        _core.start_orphan(command, environment, fd)  # a second one would see the first, and leave
    except OSError as error:
        hint = _os.limit_hint(error.errno) or f"{os.fsdecode(command[0])} cannot be started"
        text = (
            f"{os.strerror(error.errno or 0)}: no process can be started to remove shared memory that is left; {hint}"
        )
        raise OSError(error.errno, text) from error
    finally:
        os.close(fd)
    _started_until = deadline_after(_STARTS_WITHIN_S)


def _tracker_command() -> list[str | bytes]:
    numbers = [_core.ORPHAN_FD, *_core.names_place()]
    executable, file = program.get_executable(), _os.tracker_file()
    if getattr(sys, "frozen", False) or not executable or not os.path.exists(file):  # noqa: PTH110
        return program.command_line(_os.TRACKER, numbers)
    flags = [f"-W{option}" for option in sys.warnoptions]
    return [executable, "-I", "-S", *flags, file, *map(str, numbers)]
