"""What a caller gets for submitted work: a ticket that is delivered to, waited for, and asked.

Deliveries come from whoever drives the pool; a ticket has no lock of its own, because each change is one assignment or one
append.  `done` turns True once, after the result is in place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from procession._core import Call, Outcome
from procession.engine.batches import Lane
from procession.errors import TaskTimeout, WorkerDied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol
else:
    Protocol = object

__all__ = ["CallTicket", "Drained", "Failure", "MapTicket", "OrderedStream", "Ticket", "UnorderedStream"]


class Ticket(Protocol):
    """What the engine needs of a ticket."""

    done: bool

    @property
    def has_callback(self) -> bool:
        """Whether somebody wants to be called back."""

    def deliver(self, start: int, values: list[Any], errors: dict[int, BaseException]) -> None:
        """Results of items from `start` on; `errors` by index within `values`."""

    def fail(self, error: BaseException) -> None:
        """The pool cannot go on, or nobody wants the rest; nothing more will come."""

    @property
    def is_over(self) -> bool:
        """Whether what has not come is not wanted any more."""

    def input_ended(self, total: int, error: BaseException | None) -> None:
        """There are `total` items; then the input raised `error`, if any."""

    def finish(self) -> None:
        """Call back whoever asked for it; once, after `done`, outside of the engine's lock."""


class Failure:
    """An exception in the place of a value."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class CallTicket(Call):
    """One call, and its own batch: what the engine does 100,000 times a second is kept to one object, and to C.

    Args:
        callback, error_callback: what to call with the value, or with what was raised.
        terms: what the caller wants for it.
        workers: the pool's engine.
    """

    __slots__ = ()

    start = 0
    lane = Lane()  # of nothing that is fed

    @property
    def items(self) -> tuple[Any, ...]:
        """As a batch: its one item."""
        return (self.arguments,)  # None if it is done

    @property
    def ticket(self) -> CallTicket:
        """As a batch: whose items they are."""
        return self

    def part(self, first: int, end: int) -> CallTicket:
        """As a batch of one item: itself, to be done."""
        self.finished = 0
        return self

    def deliver(self, start: int, values: list[Any], errors: dict[int, BaseException]) -> None:
        if errors:
            self.fail(errors[0])
        else:
            self.succeed(values[0])


class MapTicket(Outcome):
    """As many calls as there are items, whose values come back as one list.

    A call that raises fails the whole once all calls are done, as in the standard library; a worker that dies or a call that
    is late, at once.  With `keeps_errors` nothing does: exceptions stand in the list in the place of values.
    """

    __slots__ = ("_keeps_errors", "_length", "_missing")

    def __init__(
        self,
        length: int,
        callback: Callable[[Any], object] | None,
        error_callback: Callable[[BaseException], object] | None,
        *,
        keeps_errors: bool = False,
    ) -> None:
        self._keeps_errors = keeps_errors
        self._callback = callback
        self._error_callback = error_callback
        self._length = self._missing = length
        self._value = [None] * length
        if length == 0:
            self.done = True

    def deliver(self, start: int, values: list[Any], errors: dict[int, BaseException]) -> None:
        if self.done:
            return
        if self._keeps_errors:
            for index, error in errors.items():
                values[index] = error
            errors = {}
        if not errors:
            if self._success:
                self._value[start : start + len(values)] = values
        elif fatal := [error for error in errors.values() if isinstance(error, (WorkerDied, TaskTimeout))]:
            self.fail(fatal[0])
            return
        elif self._success:
            self._success = False
            self._value = errors[min(errors)]
        self._missing -= len(values)
        if self._missing == 0:
            self.done = True

    def input_ended(self, total: int, error: BaseException | None) -> None:
        """The input had `total` items, whatever its length said, and then raised `error`, if any."""
        if error is not None:
            self.fail(error)
        elif not self.done and total < self._length:
            self._missing -= self._length - total
            if self._success:
                del self._value[total:]
            self.done = self._missing == 0


class UnorderedStream:
    """Values in the order in which they come; read while they come."""

    def __init__(self) -> None:
        self.ready: deque[Any] = deque()
        self.delivered = 0
        self.total: int | None = None  # known once the input has ended
        self.end: BaseException | None = None  # what the input or the pool ended with
        self.has_callback = False

    @property
    def done(self) -> bool:
        """Whether there is something to read, or nothing will come any more."""
        return bool(self.ready) or self.ended

    @property
    def is_over(self) -> bool:
        return self.ended

    @property
    def ended(self) -> bool:
        return self.total is not None and self.delivered >= self.total

    def consumed(self) -> int:
        """Values that the reader has taken."""
        return self.delivered - len(self.ready)

    def deliver(self, start: int, values: list[Any], errors: dict[int, BaseException]) -> None:
        for index, error in errors.items():
            values[index] = Failure(error)
        self.ready.extend(values)
        self.delivered += len(values)

    def input_ended(self, total: int, error: BaseException | None) -> None:
        """There are `total` items; then the input raised `error`, if any."""
        self.end = error
        self.total = total

    def fail(self, error: BaseException) -> None:
        if not self.ended:
            self.end = error
            self.total = self.delivered

    def finish(self) -> None: ...


class OrderedStream(UnorderedStream):
    """Values in the order of the input; read while they come."""

    def __init__(self) -> None:
        super().__init__()
        self._early: dict[int, Sequence[Any]] = {}  # results behind a gap, by their start
        self._next = 0
        self._early_count = 0

    def waiting(self) -> int:
        """Values that are behind a gap."""
        return self._early_count

    def deliver(self, start: int, values: list[Any], errors: dict[int, BaseException]) -> None:
        for index, error in errors.items():
            values[index] = Failure(error)
        if start != self._next:
            self._early[start] = values
            self._early_count += len(values)
            return
        while True:
            self.ready.extend(values)
            self.delivered += len(values)
            self._next += len(values)
            following = self._early.pop(self._next, None)
            if following is None:
                return
            values = list(following)
            self._early_count -= len(values)

    def fail(self, error: BaseException) -> None:
        super().fail(error)
        self._early.clear()


class Drained:
    """What join() waits for: done when nothing is out."""

    def __init__(self, workers: _Drainable) -> None:
        self._workers = workers

    @property
    def done(self) -> bool:
        return self._workers.is_over or not self._workers.has_work()


class _Drainable(Protocol):
    @property
    def is_over(self) -> bool: ...
    def has_work(self) -> bool: ...
