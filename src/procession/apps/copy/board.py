"""What each worker is at, in shared memory: written between two files without a message, read whenever somebody looks.

A slot is 4 numbers (batch, files, bytes, length of the name) and a name.  It may be read while it is written: what is
shown may be wrong for a moment, the totals come from the answers.
"""

from typing import Any

from procession.heap import BufferWrapper
from procession.process import current_process

NUMBERS = 4
NAME_BYTES = 160
SLOT_BYTES = 8 * NUMBERS + NAME_BYTES
BATCH, FILES, BYTES, LENGTH = range(NUMBERS)


class Board:
    """Shared by the parent, who makes it, and its workers, who get it when they start."""

    def __init__(self, workers: int) -> None:
        # Those that replace the dead take the place of those that came first.
        self._slots = 2 * workers
        self._memory = BufferWrapper(self._slots * SLOT_BYTES)
        memory = self._memory.create_memoryview()
        memory[:] = bytes(len(memory))

    def take_slot(self) -> "Slot":
        """The place of this process: workers are numbered as they start."""
        number: int = [0, *current_process()._identity][-1]
        return Slot(self, number % self._slots)

    def _place(self, slot: int) -> memoryview:
        return self._memory.create_memoryview()[SLOT_BYTES * slot : SLOT_BYTES * (slot + 1)]

    def numbers(self, slot: int) -> "memoryview[int]":
        return self._place(slot)[: 8 * NUMBERS].cast("Q")

    def names(self, slot: int) -> "memoryview[int]":
        return self._place(slot)[8 * NUMBERS :]

    def read(self, running: Any) -> tuple[int, int, tuple[str, ...]]:
        """Files, bytes and names of the batches in `running`, which have not answered yet."""
        files = copied = 0
        names = []
        for slot in range(self._slots):
            numbers = self.numbers(slot)
            if numbers[BATCH] not in running:
                continue
            files += numbers[FILES]
            copied += numbers[BYTES]
            if numbers[LENGTH]:
                names.append(bytes(self.names(slot)[: numbers[LENGTH]]).decode("utf-8", "surrogateescape"))
        return files, copied, tuple(names)


class Slot:
    """One worker's place on the board."""

    def __init__(self, board: Board, number: int) -> None:
        self._numbers = board.numbers(number)
        self._names = board.names(number)

    def begin(self, batch: int) -> None:
        self._numbers[FILES] = self._numbers[BYTES] = self._numbers[LENGTH] = 0
        self._numbers[BATCH] = batch

    def show(self, name: str) -> None:
        data = name.encode("utf-8", "surrogateescape")
        if len(data) > NAME_BYTES:  # its end says more than its beginning
            data = data[-NAME_BYTES:]
        self._names[: len(data)] = data
        self._numbers[LENGTH] = len(data)

    def advance(self, size_bytes: int) -> None:
        self._numbers[BYTES] += size_bytes

    @property
    def progress(self) -> "memoryview[int]":
        """The numbers of files and bytes, for a loop that counts by itself."""
        return self._numbers[FILES : BYTES + 1]

    def finish_file(self) -> None:
        self._numbers[FILES] += 1
