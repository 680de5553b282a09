"""The same as `popen_fork` with a fresh interpreter: the standard library's ``multiprocessing.popen_spawn_posix``."""

from __future__ import annotations

from procession import popen_fork

__all__ = ["Popen"]


class Popen(popen_fork.Popen):
    """Starts a child by a fresh interpreter that runs ``process_obj._bootstrap()``."""

    method = "spawn"
