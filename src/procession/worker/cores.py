"""A worker's share of the cores: how many threads BLAS and OpenMP start in it.

Each of them takes all the cores there are unless it is told otherwise, so the workers of a pool would have as many threads as
the square of that.  What is loaded later reads the environment, and so do programs that a task starts; what is loaded
already is told through threadpoolctl.

In a process that has just been forked every page that is touched for the first time is copied.  So what to do is found out
before the fork, in the parent, and the worker does it.
"""

from __future__ import annotations

import os
import sys

from procession import _os
from procession.engine.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["prepare", "take_share"]

_OPENMP = b"OMP_NUM_THREADS"
# By the name that threadpoolctl has for the library.  Those that do not find their own take OpenMP's.
_BY_LIBRARY = {"blis": b"BLIS_NUM_THREADS", "mkl": b"MKL_NUM_THREADS", "openblas": b"OPENBLAS_NUM_THREADS"}
_AFTER_OPENMP = (*_BY_LIBRARY.values(), b"NUMEXPR_NUM_THREADS")
_NUMBA = b"NUMBA_NUM_THREADS"
_VARIABLES = (_OPENMP, *_AFTER_OPENMP, _NUMBA, b"VECLIB_MAXIMUM_THREADS")
_SHARE = _os.SHARE.encode()


class _Share(Record):
    """What one of so many workers does: the environment that it sets, and the libraries that it tells a number of threads."""

    workers: int
    threads: int
    settings: dict[bytes, bytes]
    libraries: list[Any]


_prepared: _Share | None = None
_loaded: tuple[int, list[Any]] = (0, [])  # the libraries, found when there were so many modules


def prepare(workers: int) -> None:
    """Before a worker is started: find out what it will have to do.  If it is not forked from here, it does so itself."""
    global _prepared
    _prepared = _share_of(workers)


def look_around() -> bool:
    """Where workers are forked from a process that does not know how many there will be: find the libraries for them.

    Returns:
        whether it was not known yet.
    """
    if not _has_libraries() or _loaded[0] == len(sys.modules) or _os.affinity_count() < 2:
        return False
    _loaded_libraries()
    return True


def take_share(workers: int) -> None:
    """At the start of one of so many workers: use no more threads than are its part of the cores.

    What the user has set in the environment stays, and so does a library that has been told to use fewer.
    """
    share = _prepared
    if share is None or share.workers != workers:
        share = _share_of(workers)
    environment = os.environb
    for name, value in share.settings.items():
        environment[name] = value
    for library in share.libraries:
        _limit(library, share.threads)


def _share_of(workers: int) -> _Share:
    threads = _os.cpu_share(workers)
    value = b"%d" % threads
    environment = os.environb
    # In a worker that starts workers: what is as much as its own share was not set by the user.
    outer = environment.get(_SHARE, b"")
    free = [name for name in _VARIABLES if environment.get(name, b"") in (b"", outer)]
    if _OPENMP not in free:
        free = [name for name in free if name not in _AFTER_OPENMP]
    if "numba" in sys.modules and _NUMBA in free:
        free.remove(_NUMBA)  # it refuses to compile if that changes once it has threads
    libraries = []
    if threads < _os.affinity_count() and _has_libraries():
        libraries = [library for library in _loaded_libraries() if _variable_of(library) in free]
    return _Share(workers, threads, dict.fromkeys([*free, _SHARE], value), libraries)


def _has_libraries() -> bool:
    # No other library of the kind comes without one of these two.
    return "numpy" in sys.modules or "torch" in sys.modules


def _variable_of(library: Any) -> bytes:
    return _BY_LIBRARY.get(library.internal_api, _OPENMP)


def _loaded_libraries() -> list[Any]:
    """What threadpoolctl finds; that takes milliseconds the first time, and less later."""
    global _loaded
    modules = len(sys.modules)
    if modules != _loaded[0]:
        try:
            from threadpoolctl import ThreadpoolController

            found = ThreadpoolController().lib_controllers
            _loaded = len(sys.modules), found  # it has imported some itself
        except Exception:
            return []  # a library that cannot be told has more threads than are good: no reason not to work
    return _loaded[1]


def _limit(library: Any, threads: int) -> None:
    try:
        if (library.num_threads or 0) <= threads or _limit_idle_openblas(library, threads):
            return
        library.set_num_threads(threads)
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread()  # from here on any thread of a task may
    except Exception:
        pass


def _limit_idle_openblas(library: Any, threads: int) -> bool:
    """Whether it is an OpenBLAS without threads, as after a fork, that will start no more than so many when it needs them.

    To be told by its function it would first start as many as it had in the parent, and these spin for a while.
    """
    if library.internal_api != "openblas" or library.threading_layer != "pthreads":
        return False
    from ctypes import c_int

    try:
        has_threads, most, used = (
            c_int.in_dll(library.dynlib, name) for name in ("blas_server_avail", "blas_num_threads", "blas_cpu_number")
        )
    except ValueError:  # the builds that come with NumPy 2.5 keep them to themselves
        return False
    if has_threads.value:
        return False
    most.value = used.value = threads
    return True
