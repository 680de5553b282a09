"""Shared memory by the piece: the standard library's ``multiprocessing.heap``, of which the arena does the work."""

from __future__ import annotations

import sys

from procession.engine import memory

__all__ = ["BufferWrapper"]


class Heap:
    """Where pieces come from: the arena, whichever Heap one asks.  They need not be given back."""

    def malloc(self, size: int) -> memory.Block:
        """A block of `size` bytes of any content; free again when no process holds it any more."""
        if size < 0:
            raise ValueError(f"a block's size must not be negative, got {size}")
        if size >= sys.maxsize:
            raise OverflowError(f"a block of {size} bytes is more than can be addressed")
        return memory.new_block(size)


class BufferWrapper:
    """`size` bytes of any content that all processes see which are given this object, at any time and by any road."""

    _heap = Heap()

    def __init__(self, size: int) -> None:
        self._size = size
        self._block = self._heap.malloc(size)

    def create_memoryview(self) -> memoryview:
        """The bytes, writable; the view keeps them, even without this object."""
        return memoryview(self._block)[: self._size]
