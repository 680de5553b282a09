"""What a killed run has left of a new folder: before this run goes on in it, all that is not whole is removed.

Otherwise half a file would get a real name with the folder, if its source cannot be copied any more or this run ends early.
"""

import os
import stat

from procession.apps.copy import staging
from procession.apps.copy.filesystems import has_time
from procession.apps.copy.filters import Filters
from procession.apps.copy.folders import Tree, join, remove_tree
from procession.apps.copy.plan import Folder
from procession.apps.copy.target import Target
from procession.apps.copy.worker import Worker


def keep_whole(folder: Folder, source: Tree, target: Target, filters: Filters, device: int | None) -> None:
    """Remove from `folder`, with all that is in it, what is not as in the source by size and time.

    Args:
        device: the file system that is to be copied, if only one is.
    """
    real_name, folder.real_name = folder.real_name, ""  # it does not get its name before this is done
    folders = [(folder.source, folder.target)]
    while folders:
        ours, theirs = folders.pop()
        inner = _clear(ours, theirs, source, target, filters, device)
        folders += [(join(ours, name), join(theirs, name)) for name in inner]
    folder.real_name = real_name


def _clear(
    source_path: str, target_path: str, source: Tree, target: Target, filters: Filters, device: int | None
) -> list[str]:
    """One folder; the names of those in it that stay."""

    def stays(entry: "os.DirEntry[str]") -> bool:
        if staging.is_leftover(entry.name):
            return False
        ours = source.open(source_path)
        if device is not None and os.fstat(ours).st_dev != device:
            return False
        found = Worker.look(ours, entry.name)
        if found is None or not filters.keeps(source_path, entry.name, stat.S_ISDIR(found.st_mode)):
            return False
        there = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            return stat.S_ISDIR(there.st_mode) and _can_open(source, join(source_path, entry.name))
        # The time is set last, and by then all else is done.
        is_alike = (stat.S_IFMT(found.st_mode), found.st_size) == (stat.S_IFMT(there.st_mode), there.st_size)
        return is_alike and has_time(there, found.st_mtime_ns)

    wrong: list[str] = []
    inner: list[str] = []
    with staging.readable(target.tree.open(target_path)) as fd:
        with os.scandir(fd) as entries:
            for entry in entries:
                if not stays(entry):
                    wrong.append(entry.name)
                elif entry.is_dir(follow_symlinks=False):
                    target.open_up(fd, entry.name)
                    inner.append(entry.name)
        for name in wrong:
            remove_tree(name, fd)
    return inner


def _can_open(source: Tree, path: str) -> bool:
    try:
        source.open(path)
    except OSError:
        return False
    return True
