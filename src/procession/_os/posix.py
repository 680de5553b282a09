"""The contract of `_os` on Linux: pidfd, waitid, and programs that are started."""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
from collections.abc import Iterable, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "UNKNOWN",
    "collect",
    "descendants",
    "end_at_once",
    "end_library_threads",
    "interpreter_command",
    "kill",
    "limit_hint",
    "open_sentinel",
    "own_memory",
    "start_program",
    "thread_count",
    "wait_for_end",
    "wait_readable",
    "whole_memory",
]

UNKNOWN = "unknown"  # the process has ended, and its exit code went to somebody else
_LAST_STREAM = 2


def open_sentinel(pid: int) -> int:
    """A descriptor that becomes readable when the process has ended; -1 if it is gone already."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return -1


def end_at_once(pid: int) -> None:
    """Kill a child and collect it."""
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ChildProcessError, ProcessLookupError):
        pass  # somebody else has collected it


def collect(pid: int, sentinel: int) -> int | str | None:
    """The exit code of a child (negative: the signal that killed it), None while it runs, UNKNOWN if it was reaped."""
    try:
        try:
            if sentinel < 0:
                raise OSError(errno.EBADF, "there is none")
            found = os.waitid(os.P_PIDFD, sentinel, os.WEXITED | os.WNOHANG)
        except OSError as error:
            if error.errno not in (errno.EBADF, errno.EINVAL):
                raise
            found = os.waitid(
                os.P_PID, pid, os.WEXITED | os.WNOHANG
            )  # the program may have closed what it did not know
    except ChildProcessError:
        # Not our child any more (SIGCHLD is ignored, or someone waits for every child) or never was; has it ended?
        if sentinel >= 0 and not wait_readable([sentinel], 0):
            return None
        return UNKNOWN
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def wait_for_end(pid: int, timeout: float) -> None:
    """Collect a child that is about to end."""
    try:
        sentinel = open_sentinel(pid)
    except OSError:
        return
    if sentinel >= 0:
        wait_readable([sentinel], timeout)
        collect(pid, sentinel)
        os.close(sentinel)


def limit_hint(number: int | None) -> str | None:
    """What ran out if the system gives this error, and what to do; None if nothing did."""
    if number not in (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM):
        return None
    import resource

    if number == errno.EMFILE:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return f"this process may have {limit} open files (ulimit -n), and has them: close some or raise the limit"
    if number == errno.ENFILE:
        return "the system has as many open files as it can (fs.file-max)"
    if number == errno.EAGAIN:
        limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
        known = f"ulimit -u is {limit}" if limit != resource.RLIM_INFINITY else "ulimit -u is unlimited"
        return f"there are as many processes and threads as are allowed: {known}, and its control group may have a pids.max"
    if number == errno.ENOMEM:
        return "there is too little memory, or address space (ulimit -v)"
    return None


def own_memory() -> int:
    """Bytes of memory that this process shares with no other: not what it has of its parent's since the fork."""
    import psutil

    return int(psutil.Process().memory_full_info().uss)


def whole_memory() -> int:
    """Bytes of memory that this process has, shared or not."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def descendants(pid: int) -> list[Any]:
    """The processes below `pid`, for kill()."""
    if not _may_have_children(pid):
        return []
    try:
        import psutil  # which looks at every process that there is
    except (ImportError, OSError):
        return []  # no descriptor is left to import it with
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except (psutil.Error, OSError):
        return []


def _may_have_children(pid: int) -> bool:
    try:
        with os.scandir(f"/proc/{pid}/task") as entries:
            threads = [entry.name for entry in entries]
    except OSError:
        return False  # it is gone
    try:
        return any(_is_filled(f"/proc/{pid}/task/{thread}/children") for thread in threads)
    except OSError:
        return True  # a thread has ended meanwhile, or the kernel keeps no such lists


def _is_filled(path: str) -> bool:
    with open(path, "rb") as file:
        return bool(file.read(1))


def kill(processes: list[Any]) -> None:
    """End those that still run; a pid that was given to another process is left alone."""
    import psutil

    for process in processes:
        try:
            process.kill()
        except (psutil.Error, OSError):
            pass


def wait_readable(fds: Iterable[int], timeout: float | None) -> list[int]:
    """Those of `fds` that are readable, after at most `timeout` seconds (or 24 days).

    Raises:
        OSError: one of them is not open.
    """
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    found = poll.poll(None if timeout is None else min(max(0, timeout * 1000), 0x7FFFFFFF))
    for fd, event in found:
        if event & select.POLLNVAL:
            raise OSError(errno.EBADF, f"descriptor {fd} is not open")
    return [fd for fd, _ in found]


def interpreter_command(executable: str | bytes, code: str, arguments: Sequence[str]) -> list[str | bytes]:
    """The command that starts a fresh Python that runs `code`, with this one's flags."""
    return [executable, *_interpreter_flags(), "-c", code, *arguments]


def _interpreter_flags() -> list[str]:
    first = sys.orig_argv[1:2]
    if first and (first[0] in ("-c", "-m") or first[0][:1] != "-") and not sys.warnoptions and not sys._xoptions:
        return []  # what the environment says, the other one hears itself
    import subprocess  # which takes as long to import as a third of all that a child needs

    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    if (cores := sys._xoptions.get("cpu_count")) is not None:  # which subprocess forgets
        flags += ["-X", f"cpu_count={cores}"]
    return flags


def start_program(command: Sequence[str | bytes], fds: Sequence[int], *, executable: str | bytes | None = None) -> int:
    """Start a program that inherits the standard streams and the descriptors `fds` only; its pid."""
    ours = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208
    closed = [(os.POSIX_SPAWN_CLOSE, fd) for fd in ours if fd > _LAST_STREAM and fd not in fds]
    passed = [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in fds]  # to itself: it is inherited then
    return os.posix_spawnp(
        executable or command[0],
        list(command),
        os.environ,
        file_actions=[*closed, *passed],
        setsigdef=[signal.SIGPIPE],  # which Python ignores, and programs expect to end by
    )


def thread_count() -> int:
    """Threads of this process, those of libraries included."""
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208


def end_library_threads() -> None:
    """Have libraries end the threads that they can start anew, as they do at a fork of libc's."""
    import ctypes

    libc = ctypes.PyDLL(None)  # not os.fork(): this is no child of the program's, and nobody else is to hear of it
    pid = libc.fork()
    if pid == 0:
        libc._exit(0)
    if pid > 0:
        os.waitpid(pid, 0)
