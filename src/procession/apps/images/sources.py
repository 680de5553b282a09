"""Which files there are: in a folder, given one by one, or in a list.

Names starting with a dot and links to folders are left alone.  All else that cannot be an image is given with a reason, so
that nothing that was given goes unmentioned.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from procession.apps.driver import PlanError

SPECIAL = {stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was given."""

    path: str
    name: str
    """As it is told to people."""
    relative: str
    """Its place under OUT."""
    size_bytes: int = 0
    modified_ns: int = 0
    reason: str = ""
    """Why it cannot be an image, if so."""


def list_sources(given: Iterable[str], *, skip: str, keeps_paths: bool = False) -> Iterator[Source]:
    """What was given, in order; folders in order of name, without the folder `skip`.

    A file of a folder keeps its place in it.  A file that was given goes to the top, unless `keeps_paths`: then one with a
    relative path that leads downwards keeps that, and so does a folder.  What was given twice, or with the folder that it is
    in, is there once.

    Raises:
        PlanError: there is nothing of a name that was given.
    """
    places: dict[str, str] = {}
    for source in _list_all(list(given), skip, keeps_paths):
        if source.relative in places:
            if os.path.realpath(places[source.relative]) == os.path.realpath(source.path):
                continue
        else:
            places[source.relative] = source.path
        yield source


def _list_all(paths: list[str], skip: str, keeps_paths: bool) -> Iterator[Source]:
    for path in paths:
        if not os.path.isdir(path):
            if not keeps_paths and not os.path.lexists(path):
                raise PlanError(f"there is no file or folder {path}")
            yield look_at(path, path, relative_place(path) if keeps_paths else os.path.basename(path))
            continue
        root = os.path.realpath(path)
        place = relative_place(path) if keeps_paths and not os.path.isabs(path) else ""
        for found, reason in list_files(root, skip=skip):
            relative = os.path.relpath(found, root)
            name = relative if len(paths) == 1 else os.path.join(path, relative)
            relative = os.path.normpath(os.path.join(place, relative))
            yield Source(found, name, relative, reason=reason) if reason else look_at(found, name, relative)


def relative_place(path: str) -> str:
    """`path` if it is relative and leads downwards, otherwise its last part."""
    normal = os.path.normpath(path)
    if os.path.isabs(normal) or normal.split(os.sep)[0] == os.pardir:
        return os.path.basename(normal)
    return normal


def list_files(root: str, *, skip: str) -> Iterator[tuple[str, str]]:
    """Each visible entry under `root` that is no folder, in order of name; with a reason, a folder that cannot be read."""
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                visible = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            yield folder, f"folder cannot be read: {error.strerror}"
            continue
        inner_folders: list[str] = []
        for entry in sorted(visible, key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                if entry.path != skip:
                    inner_folders.append(entry.path)
            # A link to a folder could lead in a circle or out of the source.
            elif not (entry.is_symlink() and os.path.isdir(entry.path)):
                yield entry.path, ""
        folders.extend(reversed(inner_folders))


def look_at(path: str, name: str, relative: str) -> Source:
    """What `path` leads to."""
    try:
        status = os.stat(path)
    except OSError as error:
        return Source(path, name, relative, reason=f"cannot be opened: {os.strerror(error.errno or errno.EIO)}")
    kind = stat.S_IFMT(status.st_mode)
    reason = f"not a file but a {SPECIAL[kind]}" if kind in SPECIAL else ""
    return Source(path, name, relative, status.st_size, status.st_mtime_ns, reason)


def split_list(data: bytes, separator: bytes) -> list[str]:
    """Names in a list, without empty ones."""
    return [os.fsdecode(name) for name in data.split(separator) if name]
