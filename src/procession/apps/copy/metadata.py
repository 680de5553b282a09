"""Mode, times, owner and extended attributes, from what was copied to its copy.

The modification time is always set last: a file that has the time and the size of its source is whole.
"""

import errno
import os
import stat

NO_ATTRIBUTES = "the target cannot keep extended attributes"
NO_MODES = "the target cannot keep some modes"
SPECIAL_BITS = stat.S_ISUID | stat.S_ISGID

_UNSUPPORTED = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_DENIED = frozenset({errno.EPERM, errno.EACCES})

Attributes = dict[str, bytes]
UNKNOWN: Attributes = {}
"""Of what has none because its file system cannot have any, or may not be read."""


def attributes_of(fd: int) -> Attributes:
    """The extended attributes, access lists among them; mostly none."""
    try:
        names = os.listxattr(fd)
    except (OSError, AttributeError):
        return UNKNOWN
    found: Attributes = {}
    for name in names:
        try:
            found[name] = os.getxattr(fd, name)
        except OSError:
            pass  # removed meanwhile, or for the system only
    return found


def attributes_in(folder: int, name: str) -> Attributes:
    """Those of a file in an open folder; none if it may not be read."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return UNKNOWN
    try:
        return attributes_of(fd)
    finally:
        os.close(fd)


def is_own(source: os.stat_result) -> bool:
    """Whether what this process makes has the right owner by itself."""
    return source.st_uid == os.geteuid() and source.st_gid == os.getegid()


def set_attributes(fd: int, attributes: Attributes, notes: set[str]) -> None:
    for name, value in attributes.items():
        try:
            os.setxattr(fd, name, value)
        except OSError as error:
            # What only the system may set (security.*, trusted.*) is left out without a word, as by cp.
            if error.errno in _UNSUPPORTED or (error.errno in _DENIED and not name.startswith(("user.", "system."))):
                if name.startswith(("user.", "system.")):
                    notes.add(NO_ATTRIBUTES)
                continue
            raise


def drop_others(fd: int, attributes: Attributes) -> None:
    """Take off a copy that was there before what its source does not have any more."""
    if attributes is UNKNOWN:
        return
    for name in attributes_of(fd).keys() - attributes.keys():
        if name.startswith(("user.", "system.posix_acl_")):
            try:
                os.removexattr(fd, name)
            except OSError:
                pass


def set_owner(fd: int, source: os.stat_result) -> bool:
    """Whether the copy has its source's owner and group now."""
    try:
        os.chown(fd, source.st_uid, source.st_gid)
        return True
    except OSError as error:
        if error.errno not in _DENIED and error.errno not in (errno.EINVAL, *_UNSUPPORTED):
            raise
    try:  # a group of one's own may be given, an owner may not
        os.chown(fd, -1, source.st_gid)
    except OSError:
        pass
    return False


def set_mode(fd: int, source: os.stat_result, notes: set[str], *, has_owner: bool) -> None:
    # The bits that lend an owner's rights would lend another's.
    mode = stat.S_IMODE(source.st_mode)
    try:
        os.chmod(fd, mode if has_owner else mode & ~SPECIAL_BITS)
    except OSError as error:
        # FAT has no modes, and refuses those that it cannot take for its own.
        if error.errno not in (errno.EPERM, *_UNSUPPORTED):
            raise
        notes.add(NO_MODES)


def set_all(
    fd: int, source: os.stat_result, attributes: Attributes, notes: set[str], *, times: tuple[int, int] | None = None
) -> None:
    """Everything, in the order in which nothing undoes what came before."""
    # A new owner takes capabilities away, which are among the attributes.
    copy = os.fstat(fd)
    has_owner = (copy.st_uid, copy.st_gid) == (source.st_uid, source.st_gid) or set_owner(fd, source)
    set_attributes(fd, attributes, notes)
    set_mode(fd, source, notes, has_owner=has_owner)
    os.utime(fd, ns=times or (source.st_atime_ns, source.st_mtime_ns))


def differs(source: os.stat_result, copy: os.stat_result) -> bool:
    """Whether mode or owner of an unchanged file have to be set again."""
    if source.st_mode != copy.st_mode:
        return True
    return os.geteuid() == 0 and (source.st_uid, source.st_gid) != (copy.st_uid, copy.st_gid)


def drop_inherited(fd: int) -> None:
    """Take off the access lists that a new folder or file got from the folder that it is in."""
    if not hasattr(os, "removexattr"):
        return
    for name in ("system.posix_acl_default", "system.posix_acl_access"):
        try:
            os.removexattr(fd, name)
        except OSError:
            pass
