"""Lock: the standard library's ``multiprocessing.synchronize`` on words of the arena."""

from __future__ import annotations

from typing import Any

from procession import _core
from procession.engine import memory

__all__ = ["Lock"]


class Lock(_core.Lock):
    """Like multiprocessing.Lock; can be sent anywhere, and raises OwnerDied if the process that held it was killed."""

    def __init__(self, *, ctx: Any = None) -> None:
        memory.ensure()
        self._create(False)

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_lock, (self.block,)


def _open_lock(block: memory.Block) -> Lock:
    lock = Lock.__new__(Lock)
    lock._open(block)
    return lock
