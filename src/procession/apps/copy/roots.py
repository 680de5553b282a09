"""SRC and DST before any work: whether they make sense together, and what to do if not."""

import os
import stat
from typing import NamedTuple

from procession.apps.copy.records import Root
from procession.apps.driver import PlanError


class Roots(NamedTuple):
    """Two folders, all symbolic links on the way to them resolved."""

    source: Root
    base: Root
    """The folder that DST is in."""
    name: str
    """DST's name in it; empty if DST is the root of all."""
    is_there: bool
    """DST exists."""
    target: tuple[int, int]
    """Device and inode of DST if it exists."""


def check_roots(source: str, target: str, *, delete: bool = False) -> Roots:
    """Look at both.

    Raises:
        PlanError: they make no sense together; nothing was written.
    """
    found = _look(source) if source else None
    if found is None:
        raise PlanError(f"there is no folder {source}; nothing was copied")
    if not stat.S_ISDIR(found.st_mode):
        raise PlanError(f"{source} is not a folder; give the folder that it is in, and --include to choose from it")
    if not os.access(source, os.R_OK | os.X_OK):
        raise PlanError(f"the folder {source} may not be read by this user")
    if not target:
        raise PlanError("DST is empty; give the folder that is to become the copy")
    source_path, target_path = os.path.realpath(source), os.path.realpath(target)
    there = _look(target)
    if there is None and os.path.islink(target):
        raise PlanError(f"{target} is a symbolic link to nothing; remove it, or make the folder that it leads to")
    if there is not None and not stat.S_ISDIR(there.st_mode):
        raise PlanError(f"{target} exists and is not a folder; choose another DST, or remove it")
    if there is not None and os.path.samestat(found, there):
        raise PlanError(f"{source} and {target} are the same folder; choose another DST")
    base, name = os.path.split(target_path)
    base_found = _look(base)
    if base_found is None:
        raise PlanError(f"there is no folder {base} to make {name} in; make it first: mkdir -p {base}")
    if not stat.S_ISDIR(base_found.st_mode):
        raise PlanError(f"{base} is not a folder, so {name} cannot be made in it")
    if _is_inside(base, base_found, found):
        raise PlanError(f"{target} is inside {source}: the copy would contain itself; choose a DST outside of it")
    if delete and there is not None and _is_inside(source_path, found, there):
        raise PlanError(
            f"{source} is inside {target}: --delete would remove it; leave out --delete, or choose another DST"
        )
    must_write = target_path if there is not None else base
    if not os.access(must_write, os.W_OK | os.X_OK):
        raise PlanError(f"nothing can be written to {must_write}: it is read-only for this user")
    return Roots(
        Root(source_path, found.st_dev, found.st_ino),
        Root(base, base_found.st_dev, base_found.st_ino),
        name,
        there is not None,
        (there.st_dev, there.st_ino) if there is not None else (-1, -1),
    )


def _look(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PlanError(f"{path} cannot be looked at: {error.strerror}") from None


def _is_inside(path: str, found: os.stat_result, outer: os.stat_result) -> bool:
    """Whether the folder `path` is `outer` or lies in it; by what the folders are, for a mount can give one two names."""
    while True:
        if os.path.samestat(found, outer):
            return True
        parent = os.path.split(path)[0]
        if parent == path:
            return False
        path, found = parent, os.stat(parent)
