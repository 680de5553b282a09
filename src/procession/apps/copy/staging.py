"""Temporary names, and what a killed run leaves under them.

    .procession-RUN-BATCH.tmp                a file that will replace another, or stands in a folder that was there before
    .procession-NAME-SOURCE.partial          a new folder; NAME and SOURCE are hashes of its name and of where it comes from

A file is renamed when it is whole, a new folder when all in it is done.  A run that comes after a killed one finds the
folder by its name and goes on in it.  Both are locked by those who write them, and a lock ends with its holder, however
that ends: what has such a name and no lock is left over.
"""

import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import xxhash

from procession.apps.copy.folders import READ, remove_tree

PREFIX = ".procession-"
_LEFTOVER = re.compile(r"\.procession-[0-9a-f]{8}-[0-9]+\.tmp|\.procession-[0-9a-f]{16}-[0-9a-f]{16}\.partial")


def temporary_name(run: str, number: int) -> str:
    """`run` is eight hexadecimal digits; short, so that it fits wherever a file's name does."""
    return f"{PREFIX}{run}-{number}.tmp"


def partial_name(name: str, source: str) -> str:
    return f"{PREFIX}{_digest(name)}-{_digest(source)}.partial"


def is_partial_of(found: str, name: str) -> bool:
    """Whether `found` is the temporary name of a folder `name`, wherever that was copied from."""
    return found.startswith(f"{PREFIX}{_digest(name)}-") and found.endswith(".partial")


def is_leftover(name: str) -> bool:
    """Whether it is a name that copies use for what is not whole."""
    return name.startswith(PREFIX) and _LEFTOVER.fullmatch(name) is not None


def _digest(text: str) -> str:
    return xxhash.xxh3_64_hexdigest(text.encode("utf-8", "surrogateescape"))


def try_lock(fd: int) -> bool:
    """Lock an open file or folder until it is closed; whether nobody else has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True


def is_locked(name: str, folder: int) -> bool:
    """Whether somebody else has locked the folder `name` in an open one."""
    try:
        with opened(name, folder) as fd:
            return not try_lock(fd)
    except OSError:
        return False  # it is gone


@contextmanager
def readable(folder: int) -> Iterator[int]:
    """A descriptor of an open folder with which it can be read, even if `folder` is only for searching."""
    with opened(".", folder) as fd:
        yield fd


@contextmanager
def opened(name: str, folder: int) -> Iterator[int]:
    """A descriptor of the folder `name` in an open one."""
    fd = os.open(name, READ, dir_fd=folder)
    try:
        yield fd
    finally:
        os.close(fd)


def remove_leftovers(folder: int, names: Iterable[str]) -> None:
    """Remove those of `names` in the open `folder` that nobody is writing."""
    for name in names:
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
        except FileNotFoundError:
            continue
        except OSError:
            fd = -1  # a symbolic link, which nobody can lock, takes no time to write
        try:
            if fd < 0 or try_lock(fd):
                remove_tree(name, folder)
        except OSError:
            pass  # not ours to remove
        finally:
            if fd >= 0:
                os.close(fd)
