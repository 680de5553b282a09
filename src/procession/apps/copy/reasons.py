"""What went wrong with a file, in words for people."""

import errno

from procession.errors import WorkerDied, describe_exit

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""After these no other file fares better."""

CHANGED = "it changed while it was being copied"
VANISHED = "it vanished before it was copied"


class Refused(Exception):
    """A file that is not copied, for a reason that no system call gave."""


def reason_of(error: Exception) -> str:
    """One line, without the name of the file, which stands before it."""
    if isinstance(error, WorkerDied):
        return f"its worker {describe_exit(error.exitcode)}"
    if isinstance(error, OSError) and error.strerror:
        if error.errno == errno.ENOENT:
            return VANISHED
        if error.errno == errno.ELOOP:
            return "it became a symbolic link while it was being copied"
        if error.errno == errno.EEXIST:
            return "another file has this name in the target already (perhaps upper and lower case are one there)"
        return error.strerror[0].lower() + error.strerror[1:]
    return " ".join(str(error).split()) or type(error).__name__


def is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in FULL
