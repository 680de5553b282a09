"""Feeding an input to the workers, no further ahead than the reader's pace allows.

Inputs of the builtin sequence types are read by whoever drives the pool.  Any other iterator may block, or wait for results
that its own consumer reads: it is read by a thread of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Protocol

from procession.engine.clock import clock_ns
from procession.engine.functions import SentFunction
from procession.engine.scheduler import Batch, Lane
from procession.engine.tickets import UnorderedStream

__all__ = ["Feed"]

_NEVER_BLOCK = (list, tuple, range, str, bytes, bytearray, dict, set, frozenset)
_BATCHES_PER_WORKER = 3  # queued or running; fewer leave a worker without work while a reply is on its way
_ITEMS_PER_WORKER = 8  # read ahead of a reader that has read nothing yet
_LINGER_NS = 1_000_000  # items of a slow input wait no longer for company


class _Engine(Protocol):
    size: int

    def queue(self, batch: Batch) -> None: ...
    def deliver(self, ticket: Any, start: int, values: list[Any], errors: dict[int, BaseException]) -> None: ...
    def input_ended(self, ticket: Any, total: int, error: BaseException | None) -> None: ...


class Feed:
    """The part of an input that has not been sent yet.

    Args:
        chunk: items in a batch; None adapts.
        length: items in all, if known.
        buffersize: items that may be sent and not yet read; None adapts to the reader.
    """

    def __init__(
        self,
        engine: _Engine,
        ticket: Any,
        function: SentFunction,
        mode: int,
        items: Iterable[Any],
        *,
        chunk: int | None,
        length: int | None = None,
        buffersize: int | None = None,
    ) -> None:
        self.lane = Lane()
        self.ended = False
        self.sent = 0
        self._engine = engine
        self._ticket = ticket
        self._function = function
        self._mode = mode
        self._chunk = chunk
        self._length = length
        self._buffersize = buffersize
        self._iterator: Iterator[Any] = iter(items)
        self._room = threading.Event()
        self._thread: threading.Thread | None = None
        if type(items) not in _NEVER_BLOCK:
            self._thread = threading.Thread(target=self._read, name="procession-input", daemon=True)

    def begin(self) -> None:
        """Start to feed."""
        if self._thread is None:
            self.advance()
        else:
            self._thread.start()

    def advance(self) -> None:
        """A batch came back or a value was read: send what there is room for.  Never blocks."""
        if self._thread is not None:
            self._room.set()
            return
        while (size := self._size()) > 0:
            items = list(islice(self._iterator, size))
            self._send(items)
            if len(items) < size:
                self._end(None)

    def stop(self) -> None:
        """Send no more."""
        self.ended = True
        self._room.set()

    def _read(self) -> None:
        """The life of the input's own thread."""
        while not self.ended:
            self._room.clear()
            size = self._size()
            if size <= 0:
                self._room.wait(1.0)
                continue
            items: list[Any] = []
            end: BaseException | None = None
            enough = clock_ns() + _LINGER_NS
            try:
                while len(items) < size:
                    items.append(next(self._iterator))
                    if clock_ns() >= enough:
                        break
            except BaseException as error:
                end = error
            self._send(items)
            del items
            if end is not None:
                self._end(None if isinstance(end, StopIteration) else end)

    def _size(self) -> int:
        """Items for the next batch; 0 or less if there is no room."""
        workers = self._engine.size
        stream = self._ticket if isinstance(self._ticket, UnorderedStream) else None
        if stream is None and self._ticket.done:
            self.ended = True  # a map that has failed: nobody wants the rest
        if self.ended or self.lane.batches >= _BATCHES_PER_WORKER * workers:
            return 0
        size = self._chunk
        if size is None:
            remaining = None if self._length is None else self._length - self.sent
            size = self._function.estimate.batch_size(workers, remaining)
        if stream is None:
            return size
        read = stream.consumed()
        ahead = self.sent - read
        if self._buffersize is not None:
            return min(size, self._buffersize - ahead)
        if self._chunk is not None:
            return size if ahead < max(_BATCHES_PER_WORKER * workers * size, _ITEMS_PER_WORKER * workers) else 0
        # The more the reader has read, the further ahead; one that stops early has had little read for it.
        return min(size, max(_ITEMS_PER_WORKER * workers, min(read, _BATCHES_PER_WORKER * workers * size)) - ahead)

    def _send(self, items: list[Any]) -> None:
        if not items:
            return
        start, self.sent = self.sent, self.sent + len(items)
        try:
            self._engine.queue(Batch(self._ticket, self._function, start, items, self._mode, self.lane))
        except Exception as error:
            self._engine.deliver(self._ticket, start, [None] * len(items), dict.fromkeys(range(len(items)), error))

    def _end(self, error: BaseException | None) -> None:
        self.ended = True
        self._engine.input_ended(self._ticket, self.sent, error)
