"""The same as `popen_fork` with the fork server: the standard library's ``multiprocessing.popen_forkserver``."""

from __future__ import annotations

from procession import popen_fork

__all__ = ["Popen"]


class Popen(popen_fork.Popen):
    """Starts a child by the fork server that runs ``process_obj._bootstrap()``."""

    method = "forkserver"
