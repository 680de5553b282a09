"""The folders of the target: made or taken over before anything goes into them, completed after everything has.

A folder that is new gets its real name when all in it is done; if it lies in another new one, that one's name is the temporary
one.  Mode and times come last, because every file that is put into a folder changes its time.
"""

import errno
import os
import stat
from collections.abc import Callable

from procession.apps.copy import metadata, staging
from procession.apps.copy.filesystems import has_time
from procession.apps.copy.folders import READ, SEARCH, Tree
from procession.apps.copy.plan import Folder
from procession.apps.copy.reasons import Refused, reason_of
from procession.apps.copy.roots import Roots

Fail = Callable[[str, Exception], None]


class Target:
    """What the parent does in the target's tree.

    Args:
        fail: told of each folder that could not be completed.
    """

    def __init__(self, roots: Roots, fail: Fail, notes: set[str], *, fsync: bool = False) -> None:
        self.tree = Tree(roots.base, SEARCH)
        self._roots = roots
        self._fail = fail
        self._notes = notes
        self._fsync = fsync
        self._base = Folder(None, "", "", is_new=False, pending=1 << 62)
        self._open: dict[Folder, None] = {}
        self.folders = 0

    def root(self) -> Folder:
        """SRC's counterpart, ready to be filled.

        Raises:
            Refused: another copy is at work on it.
            OSError: it cannot be made.
        """
        root = Folder(self._base, "", self._roots.name)
        self._make(root, key=self._roots.source.path)
        if root.lock < 0:
            root.lock = os.open(".", READ, dir_fd=self.tree.open(root.target))
            if not staging.try_lock(root.lock):
                self._open.pop(root)
                os.close(root.lock)
                raise Refused("another copy into it is running; wait for its end")
        elif self._is_being_made_from_elsewhere(root):
            self._open.pop(root)
            if root.is_new:
                os.rmdir(root.target_name, dir_fd=self.tree.open(""))
            os.close(root.lock)
            raise Refused("another copy is making it; wait for its end")
        return root

    def _is_being_made_from_elsewhere(self, root: Folder) -> bool:
        """Whether another run, of another SRC, has a temporary name of its own for it."""
        with staging.readable(self.tree.open("")) as fd:
            return any(staging.is_locked(name, fd) for name in self._partials(fd) if name != root.target_name)

    def _partials(self, base: int) -> list[str]:
        """The temporary names of DST in the folder that it is in, wherever it is copied from."""
        with os.scandir(base) as entries:
            return [entry.name for entry in entries if staging.is_partial_of(entry.name, self._roots.name)]

    def make(self, folder: Folder) -> None:
        """Make a folder, or take over one that is there."""
        self._make(folder, key=folder.source)

    def _make(self, folder: Folder, key: str) -> None:
        parent = folder.parent
        assert parent is not None
        fd = self.tree.open(parent.target)
        name = folder.target_name
        if parent.is_new:
            os.mkdir(name, 0o700, dir_fd=fd)
        elif self._is_there(fd, name):
            folder.is_new = False
            self.open_up(fd, name)
        elif parent.is_staged:
            os.mkdir(name, 0o700, dir_fd=fd)
            with staging.opened(name, fd) as made:
                self._take_off_inherited(made)
        else:
            self._stage(folder, fd, key)
        self._open[folder] = None

    def _is_there(self, fd: int, name: str) -> bool:
        if not name:
            return True
        try:
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(found.st_mode):
            return True
        if stat.S_ISLNK(found.st_mode):
            raise Refused("a symbolic link is in its place in the target, and is not followed; remove it")
        raise Refused("something that is no folder is in its place in the target; remove it")

    def open_up(self, parent: int, name: str) -> None:
        """Let a folder be written to that was made read-only by the copy before; its mode comes back at the end."""
        found = os.stat(name or ".", dir_fd=parent, follow_symlinks=False)
        euid = os.geteuid()
        if euid and found.st_uid == euid and found.st_mode & 0o700 != 0o700:
            fd = os.open(name or ".", SEARCH, dir_fd=parent)
            try:
                os.chmod(f"/proc/self/fd/{fd}", stat.S_IMODE(found.st_mode) | 0o700)
            finally:
                os.close(fd)

    def _stage(self, folder: Folder, fd: int, key: str) -> None:
        folder.real_name, folder.target_name = folder.target_name, staging.partial_name(folder.target_name, key)
        folder.is_staged = True
        try:
            os.mkdir(folder.target_name, 0o700, dir_fd=fd)
        except FileExistsError:
            folder.is_new = False
        folder.lock = os.open(folder.target_name, READ, dir_fd=fd)
        if not staging.try_lock(folder.lock):
            os.close(folder.lock)
            folder.lock = -1
            raise Refused("another copy is at work on it; wait for its end")
        self._take_off_inherited(folder.lock)

    @staticmethod
    def _take_off_inherited(fd: int) -> None:
        """What a folder has from the one that it was made in would be in all that is made in it."""
        metadata.drop_inherited(fd)
        os.fchmod(fd, 0o700)

    # ---- the end of a folder ----

    def release(self, folder: Folder | None) -> None:
        """Something in the folder is done; the last one completes it, and perhaps the folders that it is in."""
        while folder is not None:
            folder.pending -= 1
            if folder.pending:
                return
            self._complete(folder)
            folder = folder.parent

    def complete_all(self) -> None:
        """The run ends early: what is there is whole, so all open folders get their names; inner ones first."""
        for folder in reversed(list(self._open)):
            self._complete(folder)

    def _complete(self, folder: Folder) -> None:
        if self._open.pop(folder, self) is self:
            return
        try:
            self._set_metadata(folder)
            if folder.real_name:
                self._give_real_name(folder)
            self.folders += 1
        except (OSError, Refused) as error:
            self._fail(folder.source or ".", error)
        finally:
            if folder.lock >= 0:
                os.close(folder.lock)
                folder.lock = -1

    def _set_metadata(self, folder: Folder) -> None:
        if folder.stat is None:  # it was not even listed
            return
        assert folder.parent is not None
        fd = os.open(folder.target_name or ".", READ, dir_fd=self.tree.open(folder.parent.target))
        try:
            if not folder.is_staged:
                with os.scandir(fd) as entries:
                    left = [entry.name for entry in entries if staging.is_leftover(entry.name)]
                staging.remove_leftovers(fd, left)
            if self._fsync:
                os.fsync(fd)
            if not folder.is_new:
                metadata.drop_others(fd, folder.attributes)
            metadata.set_all(fd, folder.stat, folder.attributes, self._notes)
        finally:
            os.close(fd)

    def _give_real_name(self, folder: Folder) -> None:
        assert folder.parent is not None
        parent = self.tree.open(folder.parent.target)
        staged = folder.target
        try:
            os.rename(folder.target_name, folder.real_name, src_dir_fd=parent, dst_dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise Refused(f"its name was taken during the copy; it is in {folder.target_name}") from None
            raise
        self.tree.forget(staged)
        folder.target_name = folder.real_name
        if self._fsync:
            with staging.readable(self.tree.open(folder.parent.target)) as fd:
                os.fsync(fd)

    def remove_old(self) -> None:
        """Remove what killed runs that copied something else to DST have left beside it."""
        with staging.readable(self.tree.open("")) as fd:
            staging.remove_leftovers(fd, self._partials(fd))

    # ---- single names ----

    def link(self, first: Folder, first_name: str, folder: Folder, name: str, temporary: str) -> bool:
        """Make `name` another name of a file that is done; whether it was not that already.

        Raises:
            OSError: the file system has no more, or no such links.
        """
        # The tree may close the one folder to open the other.
        from_fd = os.dup(self.tree.open(first.target))
        try:
            to_fd = self.tree.open(folder.target)
            if folder.is_new:
                os.link(first_name, name, src_dir_fd=from_fd, dst_dir_fd=to_fd, follow_symlinks=False)
                return True
            wanted = os.stat(first_name, dir_fd=from_fd, follow_symlinks=False)
            try:
                there = os.stat(name, dir_fd=to_fd, follow_symlinks=False)
                if os.path.samestat(wanted, there):
                    return False
                if stat.S_ISDIR(there.st_mode):
                    raise Refused("a folder is in its place in the target")
            except FileNotFoundError:
                pass
            os.link(first_name, temporary, src_dir_fd=from_fd, dst_dir_fd=to_fd, follow_symlinks=False)
            os.rename(temporary, name, src_dir_fd=to_fd, dst_dir_fd=to_fd)
            return True
        finally:
            os.close(from_fd)

    def is_whole(self, folder: Folder, name: str, size: int, mtime_ns: int) -> bool:
        """Whether the target has `name` with this size and time: the time is set when all else is done."""
        try:
            found = os.stat(name, dir_fd=self.tree.open(folder.target), follow_symlinks=False)
        except OSError:
            return False
        return found.st_size == size and has_time(found, mtime_ns)

    def remove_half(self, folder: Folder, name: str) -> None:
        """Remove what an ended worker may have left."""
        try:
            fd = self.tree.open(folder.target)
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                os.unlink(name, dir_fd=fd)
        except OSError as error:
            if error.errno != errno.ENOENT:
                self._fail(folder.source or ".", Refused(f"{name} could not be removed: {reason_of(error)}"))

    def close(self) -> None:
        for folder in self._open:
            if folder.lock >= 0:
                os.close(folder.lock)
        self.tree.close()
