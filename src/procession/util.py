"""What programs and libraries take from the standard library's ``multiprocessing.util``: the logger, finalizers, forks.

Ends and forks are the engine's (`engine.lifetime`); this is their public side.  `logging` is imported by whoever logs.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence

from procession import _os
from procession.engine import launch, lifetime, program

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from typing import Any

__all__ = [
    "SUBDEBUG",
    "SUBWARNING",
    "Finalize",
    "ForkAwareLocal",
    "ForkAwareThreadLock",
    "close_all_fds_except",
    "debug",
    "get_logger",
    "get_temp_dir",
    "info",
    "is_exiting",
    "log_to_stderr",
    "register_after_fork",
    "sub_debug",
    "sub_warning",
    "warn",
]

# ---- the logger ----

NOTSET = 0
SUBDEBUG = 5
DEBUG = 10
INFO = 20
SUBWARNING = 25
WARNING = 30

LOGGER_NAME = "multiprocessing"
DEFAULT_LOGGING_FORMAT = "[%(levelname)s/%(processName)s] %(message)s"

_logger: logging.Logger | None = None
_logs_to_stderr = False


def get_logger() -> logging.Logger:
    """The package's logger, ``multiprocessing``; it prints nothing unless it is given a handler."""
    global _logger
    if _logger is None:
        import logging

        _take_part()
        logger = logging.getLogger(LOGGER_NAME)
        logger.propagate = False
        _logger = logger
    return _logger


def log_to_stderr(level: int | str | None = None) -> logging.Logger:
    """Have the logger print to stderr, from `level` on if that is given; gives the logger."""
    global _logs_to_stderr
    import logging

    logger = get_logger()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(DEFAULT_LOGGING_FORMAT))
    logger.addHandler(handler)
    if level:
        logger.setLevel(level)
    _logs_to_stderr = True
    return logger


def sub_debug(msg: object, *args: object) -> None:
    """Log below DEBUG."""
    if _logger is not None:
        _logger.log(SUBDEBUG, msg, *args, stacklevel=2)


def debug(msg: object, *args: object) -> None:
    """Log at DEBUG."""
    if _logger is not None:
        _logger.log(DEBUG, msg, *args, stacklevel=2)


def info(msg: object, *args: object) -> None:
    """Log at INFO."""
    if _logger is not None:
        _logger.log(INFO, msg, *args, stacklevel=2)


def sub_warning(msg: object, *args: object) -> None:
    """Log between INFO and WARNING."""
    if _logger is not None:
        _logger.log(SUBWARNING, msg, *args, stacklevel=2)


def warn(msg: object, *args: object) -> None:
    """Log at WARNING."""
    if _logger is not None:
        _logger.log(WARNING, msg, *args, stacklevel=2)


def _give_log() -> tuple[int, bool] | None:
    return None if _logger is None else (_logger.getEffectiveLevel(), _logs_to_stderr)


def _take_log(settings: tuple[int, bool]) -> None:
    level, to_stderr = settings
    get_logger().setLevel(level)
    if to_stderr and not _logs_to_stderr:
        log_to_stderr()


program.carry("log", _give_log, _take_log)

# ---- finalizers ----

_finalizer_registry: dict[tuple[int | None, int], Finalize] = {}
_finalizer_numbers = itertools.count()


class Finalize:
    """Calls `callback` once: when `obj` is collected, when it is called itself, or, with an `exitpriority`, at the end.

    At the end of the process higher priorities come first, and of equal ones the youngest.  Those from 0 on come before
    daemonic children are ended, the others after it.  A forked child has no part in its parent's.
    """

    def __init__(
        self,
        obj: object,
        callback: Callable[..., Any],
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        exitpriority: int | None = None,
    ) -> None:
        if exitpriority is not None and not isinstance(exitpriority, int):
            raise TypeError(f"exitpriority must be None or an int, got {exitpriority!r}")
        if obj is None and exitpriority is None:
            raise ValueError("without an object exitpriority cannot be None: it would never be called")
        self._reference = None if obj is None else weakref.ref(obj, self)
        self._callback = callback
        self._args = tuple(args)
        self._kwargs = dict(kwargs or {})
        self._key = (exitpriority, next(_finalizer_numbers))
        self._pid = os.getpid()
        _take_part()
        _finalizer_registry[self._key] = self

    def __call__(self, wr: object = None) -> Any:
        """Call the callback unless that has been done; what it returns."""
        if _finalizer_registry.pop(self._key, None) is None:
            sub_debug("finalizer no longer registered")
            return None
        callback, args, kwargs = self._callback, self._args, self._kwargs
        self._forget()
        if self._pid != os.getpid():
            sub_debug("finalizer ignored because different process")
            return None
        sub_debug("finalizer calling %s with args %s and kwargs %s", callback, args, kwargs)
        return callback(*args, **kwargs)

    def cancel(self) -> None:
        """Never call it."""
        if _finalizer_registry.pop(self._key, None) is not None:
            self._forget()

    def still_active(self) -> bool:
        """Whether it is still to be called."""
        return self._key in _finalizer_registry

    def _forget(self) -> None:
        self._reference = None
        self._callback = _nothing
        self._args, self._kwargs = (), {}

    def __repr__(self) -> str:
        if not self.still_active():
            return f"<{type(self).__name__} object, dead>"
        name = getattr(self._callback, "__name__", self._callback)
        priority = "" if self._key[0] is None else f", exitpriority={self._key[0]}"
        return f"<{type(self).__name__} object, callback={name}, args={self._args}, kwargs={self._kwargs}{priority}>"


def _nothing() -> None: ...


def _run_finalizers(minpriority: int | None = None) -> None:
    """Call those with an exitpriority of at least `minpriority`; without one, all of them, and forget the rest."""
    keys = [
        (priority, number)
        for priority, number in list(_finalizer_registry)
        if priority is not None and (minpriority is None or priority >= minpriority)
    ]
    for key in sorted(keys, reverse=True):
        finalizer = _finalizer_registry.get(key)
        if finalizer is None:
            continue
        try:
            finalizer()
        except Exception:
            import traceback

            traceback.print_exc()
    if minpriority is None:
        _finalizer_registry.clear()


def is_exiting() -> bool:
    """Whether this process is on its way out."""
    return lifetime.is_ending()


def _exit_function() -> None:
    lifetime.run_exit_callbacks()


class _Ending:
    """Owner of the callbacks for this process's end and forks."""


_ending = _Ending()
_takes_part = False
_EARLY, _LATE = -1, -20  # after what has no priority of its own; after all the rest


def _take_part() -> None:
    """From now on there is something to do at forks and at the end; most processes never have anything."""
    global _takes_part
    if not _takes_part:
        _takes_part = True
        lifetime.on_fork_in_child(_ending, _forked)
        _register_ends()


def _register_ends() -> None:
    lifetime.at_exit(_ending, _end_early, priority=_EARLY)
    lifetime.at_exit(_ending, _end_late, priority=_LATE)


def _end_early(_: _Ending) -> None:
    info("process shutting down")
    debug('running all "atexit" finalizers with priority >= 0')
    _finalize_early(_)


def _finalize_early(_: _Ending) -> None:
    _run_finalizers(0)
    lifetime.at_exit(_ending, _finalize_early, priority=_EARLY)  # for what is registered from now on


def _end_late(_: _Ending) -> None:
    debug('running the remaining "atexit" finalizers')
    _finalize_late(_)


def _finalize_late(_: _Ending) -> None:
    _run_finalizers()
    _remove_temp_dir()
    lifetime.at_exit(_ending, _finalize_late, priority=_LATE)


def _forked(_: object) -> None:
    global _temp_dir
    _temp_dir = None
    _finalizer_registry.clear()
    _register_ends()


# ---- forks ----

_afterfork_registry = lifetime.fork_callbacks


def register_after_fork(obj: Any, func: Callable[[Any], object]) -> None:
    """Call ``func(obj)`` in every forked child, as long as there is `obj`."""

    def call(obj: Any) -> None:
        try:
            func(obj)
        except Exception as error:
            info("after forker raised exception %s", error)

    lifetime.on_fork_in_child(obj, call)


class ForkAwareThreadLock:
    """A lock for threads that is free in a forked child, whoever held it."""

    def __init__(self) -> None:
        self._renew()
        lifetime.on_fork_in_child(self, ForkAwareThreadLock._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self.acquire = self._lock.acquire
        self.release = self._lock.release

    def __enter__(self) -> bool:
        return self._lock.__enter__()

    def __exit__(self, *error: object) -> None:
        self._lock.release()


class ForkAwareLocal(threading.local):
    """A threading.local that is empty in a forked child."""

    def __init__(self) -> None:
        register_after_fork(self, lambda local: local.__dict__.clear())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()


# ---- the temporary folder ----

_temp_dir: str | None = None
SOCKET_PATH_MAX = 107  # bytes
_NAMES_MAX = len("/pymp-xxxxxxxx/listener-xxxxxxxxxxxx")


def get_temp_dir() -> str:
    """A folder of this process, made when first asked for and removed when it ends; short enough for sockets' names."""
    global _temp_dir
    if _temp_dir is None:
        import tempfile

        _take_part()
        _temp_dir = tempfile.mkdtemp(prefix="pymp-", dir=_temp_base(tempfile.gettempdir()))
        info("created temp directory %s", _temp_dir)
    return _temp_dir


def _temp_base(asked: str) -> str:
    if len(os.fsencode(asked)) + _NAMES_MAX <= SOCKET_PATH_MAX:
        return asked
    for folder in ("/tmp", "/var/tmp", "/usr/tmp", "/dev/shm"):
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    return asked


def _remove_temp_dir() -> None:
    global _temp_dir
    if _temp_dir is not None:
        import shutil

        shutil.rmtree(_temp_dir, ignore_errors=True)
        _temp_dir = None


# ---- descriptors, programs, sockets ----

try:
    MAXFD = os.sysconf("SC_OPEN_MAX")
except (OSError, ValueError):
    MAXFD = 256

abstract_sockets_supported = sys.platform == "linux"


def is_abstract_socket_namespace(address: str | bytes | None) -> bool:
    """Whether the name of a Unix socket is one without a file."""
    if not address:
        return False
    if isinstance(address, bytes):
        return address[0] == 0
    if isinstance(address, str):
        return address[0] == "\0"
    raise TypeError(f"address must be str or bytes, got {type(address).__name__}")


def close_all_fds_except(fds: Iterable[int]) -> None:
    """Close every descriptor but these."""
    kept = sorted({-1, *fds, MAXFD})
    for before, after in itertools.pairwise(kept):
        os.closerange(before + 1, after)


def close_fds(*fds: int) -> None:
    """Close these descriptors."""
    for fd in fds:
        os.close(fd)


def spawnv_passfds(path: str | bytes, args: Sequence[str | bytes], passfds: Iterable[int]) -> int:
    """Start a program that inherits the standard streams and the descriptors `passfds` only; its pid."""
    return _os.start_program(args, sorted(passfds), executable=path)


def _cleanup_tests() -> None:
    """What a test run stops at its end, so that nothing is left to be found."""
    import gc

    launch.stop_fork_server()
    _remove_temp_dir()
    gc.collect()
