"""Lock and RLock: the standard library's ``multiprocessing.synchronize`` on words of the arena."""

from __future__ import annotations

from typing import Any

from procession import _core
from procession.engine import memory

__all__ = ["Lock", "RLock"]


class Lock(_core.Lock):
    """Like multiprocessing.Lock; can be sent anywhere, and raises OwnerDied if the process that held it was killed."""

    _recursive = False

    def __init__(self, *, ctx: Any = None) -> None:
        memory.ensure()
        self._create(self._recursive)

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_lock, (type(self), self.block)


class RLock(Lock):
    """Like multiprocessing.RLock: its owner can take it again."""

    _recursive = True


def _open_lock(kind: type[Lock], block: memory.Block) -> Lock:
    lock = kind.__new__(kind)
    lock._open(block)
    return lock
