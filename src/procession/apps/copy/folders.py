"""Open folders of a tree, each reached from its parent's descriptor, so that no symbolic link is ever followed.

Paths are relative to the tree's root, with `/` between names and "" for the root; they may be longer than the system's
PATH_MAX, because only single names reach a system call.
"""

import errno
import os

from procession.apps.copy.reasons import Refused
from procession.apps.copy.records import Root

SEARCH = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""To open what lies in a folder; needs no right to read it."""
READ = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
KEPT = 64


def join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


class Tree:
    """Gives descriptors of folders and keeps the latest few open.

    A descriptor is good until the next `open()`: who needs two of one tree duplicates the first.
    """

    def __init__(self, root: Root, flags: int = SEARCH, kept: int = KEPT) -> None:
        self._flags = flags
        self._kept = kept
        self._root = os.open(root.path, flags & ~os.O_NOFOLLOW)
        found = os.fstat(self._root)
        if (found.st_dev, found.st_ino) != root[1:]:
            os.close(self._root)
            raise Refused(f"{root.path} was replaced by another folder during the copy")
        self._open: dict[str, int] = {}  # least recently used first

    def open(self, path: str) -> int:
        """A descriptor of the folder at `path`.

        Raises:
            OSError: it is not there, or it or a folder on the way is a symbolic link.
        """
        if not path:
            return self._root
        fd = self._open.pop(path, -1)
        if fd >= 0:
            self._open[path] = fd
            return fd
        missing = []
        fd = self._root
        while path:
            if path in self._open:
                fd = self._open[path] = self._open.pop(path)
                break
            folder, _, name = path.rpartition("/")
            missing.append((path, name))
            path = folder
        for path, name in reversed(missing):
            fd = self._open[path] = os.open(name, self._flags, dir_fd=fd)
            if len(self._open) > self._kept:
                os.close(self._open.pop(next(iter(self._open))))
        return fd

    def forget(self, path: str) -> None:
        """The folder has another name now."""
        for known in [known for known in self._open if known == path or known.startswith(path + "/")]:
            os.close(self._open.pop(known))

    def close(self) -> None:
        for fd in (self._root, *self._open.values()):
            os.close(fd)
        self._open.clear()


def remove_tree(name: str, folder: int) -> None:
    """Remove `name` in the open `folder` with all that is in it, following nothing, however deep it is.

    Raises:
        OSError: something cannot be removed, or a file system is mounted in it, whose content is left.
    """
    try:
        os.unlink(name, dir_fd=folder)
        return
    except (IsADirectoryError, PermissionError):
        pass
    # The chain of open folders would be as long as the tree is deep, so deep folders are lifted to the top first.
    lifted = f".lifted-{os.urandom(8).hex()}"
    count = 0
    mount = _mount_of(folder)
    top = os.open(name, READ, dir_fd=folder)
    try:
        while True:
            inner = _clear(top, mount)
            if not inner:
                break
            for inner_name in inner:
                fd = os.open(inner_name, READ, dir_fd=top)
                try:
                    for deep in _clear(fd, mount):
                        count += 1
                        _lift(deep, fd, f"{lifted}-{count}", top)
                finally:
                    os.close(fd)
                os.rmdir(inner_name, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=folder)


def _clear(fd: int, mount: bytes) -> list[str]:
    """Remove all that is no folder; the names of the folders."""
    if _mount_of(fd) != mount:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
    if os.fstat(fd).st_mode & 0o700 != 0o700:
        os.chmod(fd, 0o700)
    inner = []
    with os.scandir(fd) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                inner.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=fd)
    return inner


def _lift(name: str, folder: int, new_name: str, top: int) -> None:
    try:
        os.rename(name, new_name, src_dir_fd=folder, dst_dir_fd=top)
    except PermissionError:  # a folder that gets another parent must be writable itself
        fd = os.open(name, READ, dir_fd=folder)
        try:
            os.fchmod(fd, 0o700)
        finally:
            os.close(fd)
        os.rename(name, new_name, src_dir_fd=folder, dst_dir_fd=top)


def _mount_of(fd: int) -> bytes:
    """What tells mounts apart, also two of one file system."""
    try:
        with open(f"/proc/self/fdinfo/{fd}", "rb") as lines:
            return next(line for line in lines if line.startswith(b"mnt_id:"))
    except (OSError, StopIteration):
        return b"%d" % os.fstat(fd).st_dev
