"""`--delete`: what the target has and the source does not; listed before anything is done, removed when all was copied.

What a filter leaves out is not touched in the target either.
"""

import os
import stat
from collections.abc import Iterator

from procession.apps.copy import staging
from procession.apps.copy.filters import Filters
from procession.apps.copy.folders import READ, Tree, join, remove_tree
from procession.apps.copy.ledger import Ledger
from procession.apps.copy.reasons import reason_of
from procession.apps.copy.records import Root
from procession.apps.copy.roots import Roots
from procession.apps.copy.worker import Worker

NOT_DELETED = "nothing was deleted, because not everything could be copied"


def target_root(roots: Roots) -> Root:
    """The folder DST itself, which exists."""
    return Root(join(roots.base.path.rstrip("/"), roots.name) or "/", *roots.target)


def find_extras(roots: Roots, filters: Filters, *, one_file_system: bool = False) -> list[str]:
    """Paths below DST, in order; a folder that goes as a whole is one of them, without what is in it."""
    if not roots.is_there:
        return []
    source, target = Tree(roots.source, READ), Tree(target_root(roots), READ)
    try:
        return sorted(_walk(source, target, filters, roots.source.device if one_file_system else None))
    finally:
        source.close()
        target.close()


def _walk(source: Tree, target: Tree, filters: Filters, device: int | None) -> list[str]:
    extras: list[str] = []
    folders = [""]
    while folders:
        path = folders.pop()
        here: list[str] = []
        try:
            ours = source.open(path)
            if device is not None and os.fstat(ours).st_dev != device:
                continue  # it is not copied either
            for name, is_folder in _entries(target, path):
                if staging.is_leftover(name) or not filters.keeps(path, name, is_folder):
                    continue
                found = Worker.look(ours, name)
                if found is None:
                    here += _removable(target, path, name, is_folder, filters)
                elif is_folder and stat.S_ISDIR(found.st_mode):
                    folders.append(join(path, name))
        except OSError:
            continue  # the copy will say why; what cannot be compared is not removed
        extras += here
    return extras


def _entries(tree: Tree, path: str) -> Iterator[tuple[str, bool]]:
    """Names, and whether each is a folder; one after the other, for there may be a million."""
    with staging.readable(tree.open(path)) as fd, os.scandir(fd) as entries:
        for entry in entries:
            yield entry.name, entry.is_dir(follow_symlinks=False)


def _removable(target: Tree, path: str, name: str, is_folder: bool, filters: Filters) -> list[str]:
    """The entry itself, unless a filter protects something in it: then those in it that none protects."""
    whole = join(path, name)
    if not is_folder or filters.is_everything:
        return [whole]
    found: list[str] = []
    is_protected = False
    folders = [whole]
    while folders:
        folder = folders.pop()
        for inner, is_inner_folder in _entries(target, folder):
            if not filters.keeps(folder, inner, is_inner_folder):
                is_protected = True
            elif is_inner_folder:
                folders.append(join(folder, inner))
            else:
                found.append(join(folder, inner))
    return found if is_protected else [whole]


def remove_extras(roots: Roots, extras: list[str], ledger: Ledger) -> None:
    """Remove them; the times of the folders that they were in stay what the copy has set."""
    tree = Tree(target_root(roots), READ)
    try:
        for extra in extras:
            folder, _, name = extra.rpartition("/")
            try:
                fd = tree.open(folder)
                found = os.fstat(fd)
                remove_tree(name, fd)
                os.utime(fd, ns=(found.st_atime_ns, found.st_mtime_ns))
            except OSError as error:
                ledger.record(extra, "failed", f"could not be deleted: {reason_of(error)}")
            else:
                ledger.record(extra, "deleted")
    finally:
        tree.close()
