"""Feeding an input to the workers, no further ahead than the reader's pace allows.

Inputs of the builtin sequence types are read by whoever drives the pool.  Any other iterator may block, or wait for results
that its own consumer reads: it is read by a thread of its own.  What that has read waits for company only while every worker
has a batch (as Nagle's algorithm does it for small packets), so an input that blocks holds nothing back.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from procession.engine import wire
from procession.engine.batches import Batch, Lane, Terms
from procession.engine.functions import LocalFunction
from procession.engine.tickets import UnorderedStream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol
else:
    Protocol = object

__all__ = ["Feed"]

_SLICED = (list, tuple, range)
_NEVER_BLOCK = (list, tuple, range, str, bytes, bytearray, dict, set, frozenset)
_BATCHES_PER_WORKER = 3  # queued or running; fewer leave a worker without work while a reply is on its way
_ITEMS_PER_WORKER = 8  # read ahead of a reader that has read nothing yet


class _Engine(Protocol):
    size: int

    def queue(self, batch: Batch) -> None: ...
    def advance(self, feed: Feed) -> None: ...
    def deliver(self, ticket: Any, start: int, values: list[Any], errors: dict[int, BaseException]) -> None: ...
    def input_ended(self, ticket: Any, total: int, error: BaseException | None) -> None: ...


class Feed:
    """The part of an input that has not been sent yet.

    Args:
        chunk: items in a batch, which are sent together or not at all; None adapts.
        length: items in all, if known; no more are read.
        buffersize: items that may be sent and not yet read; None adapts to the reader.
        terms: what the caller wants for its tasks, if anything.
    """

    def __init__(
        self,
        engine: _Engine,
        ticket: Any,
        function: LocalFunction,
        mode: int,
        items: Iterable[Any],
        *,
        chunk: int | None,
        length: int | None = None,
        buffersize: int | None = None,
        terms: Terms | None = None,
    ) -> None:
        self._terms = terms
        self.lane = Lane()
        self.ended = False
        self.sent = 0
        self._engine = engine
        self.ticket = ticket
        self._function = function
        self._mode = mode | wire.TIMED if terms is not None and terms.timeout_ns else mode
        self._chunk = chunk if chunk is None or buffersize is None else min(chunk, buffersize)
        self._length = length
        self._buffersize = buffersize
        # A part of a range is a range, which costs nothing to send.
        self._sequence: Sequence[Any] | None = items if type(items) in _SLICED and length is not None else None  # type: ignore[assignment]
        self._iterator: Iterator[Any] = iter(items) if length is None else islice(items, length)
        self._read_ahead: deque[Any] = deque()  # by the thread, and not sent yet
        self._has_ended: list[BaseException | None] = []  # filled by the thread when the input has ended
        self._is_bounded = True
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
        """Send what there is room for; with the engine's lock held.  Never blocks."""
        if self._thread is not None:
            self._send_read_ahead()
            self._room.set()
            return
        while (size := self._size()) > 0:
            try:
                items = self._next_items(size)
            except Exception as error:  # it was changed meanwhile
                self._end(error)
                return
            self._send(items)
            if len(items) < size:
                self._end(None)

    def _next_items(self, size: int) -> Sequence[Any]:
        """The next `size` items, or what is left."""
        if self._sequence is None or self._length is None:
            return list(islice(self._iterator, size))
        return self._sequence[self.sent : min(self.sent + size, self._length)]

    def _send_read_ahead(self) -> None:
        waiting = self._read_ahead
        while waiting and not self.ended and self.lane.batches < _BATCHES_PER_WORKER * self._engine.size:
            size = self._batch_size()
            if len(waiting) < size:
                if not self._has_ended:
                    if self._chunk is not None or self.lane.batches >= self._engine.size:
                        return
                elif self._chunk is not None and self._has_ended[0] is not None:
                    waiting.clear()
                    break
            self._send([waiting.popleft() for _ in range(min(size, len(waiting)))])
        if self._has_ended and not waiting and not self.ended:
            self._end(self._has_ended[0])

    def read_all(self) -> None:
        """The pool is being joined: go on to the end, whether anybody reads the results or not."""
        self._is_bounded = False

    def stop(self) -> None:
        """Send no more."""
        self.ended = True
        self._room.set()

    def _read(self) -> None:
        """The life of the input's own thread."""
        waiting, workers, lane = self._read_ahead, self._engine.size, self.lane
        may_split = self._chunk is None
        while not self.ended:
            self._room.clear()
            room = self._window() - len(waiting)
            if room <= 0:
                self._room.wait(1.0)
                continue
            size = self._batch_size()
            try:
                for _ in range(min(room, max(1, size - len(waiting)))):
                    waiting.append(next(self._iterator))
                    if may_split and lane.batches < workers:
                        break
            except BaseException as error:
                self._has_ended.append(None if isinstance(error, StopIteration) else error)
            if self._has_ended or len(waiting) >= size or (may_split and lane.batches < workers):
                self._engine.advance(self)
            if self._has_ended:
                return

    def _batch_size(self) -> int:
        """Items for the next batch, whatever the room."""
        if self._chunk is not None:
            return self._chunk
        remaining = None if self._length is None else self._length - self.sent
        return self._function.estimate.batch_size(self._engine.size, remaining)

    def _window(self) -> int:
        """Items that may be read and sent now; 0 or less if there is no room."""
        workers = self._engine.size
        size = self._batch_size()
        stream = self.ticket
        if not isinstance(stream, UnorderedStream):
            return _BATCHES_PER_WORKER * workers * size
        if not self._is_bounded:
            return _BATCHES_PER_WORKER * workers * size
        read = stream.consumed()
        ahead = self.sent - read
        if self._buffersize is not None:
            return self._buffersize - ahead
        if self._chunk is not None:
            # Whole chunks only.
            return max(_BATCHES_PER_WORKER * workers * size, _ITEMS_PER_WORKER * workers + size) - ahead
        # The more the reader has read, the further ahead; one that stops early has had little read for it.  A sequence is not
        # changed by being read, so there a batch for each worker is little.
        least = _ITEMS_PER_WORKER * workers if self._sequence is None else max(_ITEMS_PER_WORKER, size) * workers
        return max(least, min(read, _BATCHES_PER_WORKER * workers * size)) - ahead

    def _size(self) -> int:
        """Items for the next batch; 0 or less if there is no room."""
        if not isinstance(self.ticket, UnorderedStream) and self.ticket.done:
            self.ended = True  # a map that has failed: nobody wants the rest
        if self.ended or self.lane.batches >= _BATCHES_PER_WORKER * self._engine.size:
            return 0
        size = self._batch_size()
        window = self._window()
        return 0 if self._chunk is not None and self._buffersize is None and window < size else min(size, window)

    def _send(self, items: Sequence[Any]) -> None:
        if not items:
            return
        start, self.sent = self.sent, self.sent + len(items)
        self._queue(Batch(self.ticket, self._function, start, items, self._mode, self.lane, self._terms))

    def _queue(self, batch: Batch) -> None:
        try:
            self._engine.queue(batch)
        except BaseException as error:
            count = len(batch.items)
            # Ctrl-C comes in the main thread only; anywhere else it is of an item's own code, as SystemExit is.
            is_ours = isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()
            if count > 1 and not is_ours:
                for i in range(count):  # one that cannot be sent spoils no other
                    self._queue(batch.part(i, i + 1))
                return
            self._engine.deliver(batch.ticket, batch.start, [None] * count, dict.fromkeys(range(count), error))
            if is_ours:
                raise

    def _end(self, error: BaseException | None) -> None:
        self.ended = True
        self._engine.input_ended(self.ticket, self.sent, error)
