"""Putting a pool's work into its tasks channel, and noting which batch is where."""

from __future__ import annotations

from collections.abc import Callable

from procession._core import submit_call
from procession.engine import wire
from procession.engine.functions import LocalFunction
from procession.engine.scheduler import Scheduler
from procession.engine.tickets import CallTicket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Sender"]


class Sender:
    """Of one pool; its methods are called with the engine's lock held.

    Args:
        tasks: the channel.
        again: puts a batch, and never raises: if it cannot be put, its ticket gets the error.
    """

    def __init__(self, tasks: Any, scheduler: Scheduler, again: Callable[[Any], None]) -> None:
        self._tasks = tasks
        self._scheduler = scheduler
        self._again = again

    def call(self, ticket: CallTicket, function: LocalFunction, arguments: tuple[Any, ...], keywords: Any) -> None:
        """Put one call."""
        # Most are done with here.
        if not keywords and submit_call(ticket, self._tasks, self._scheduler.in_flight, function, arguments):
            return
        ticket.function = function
        if keywords:
            ticket.mode, ticket.arguments = wire.STAR_KEYWORDS, (arguments, keywords)
        if ticket.terms is not None and ticket.terms.timeout_ns:
            ticket.mode |= wire.TIMED
        self.put(ticket)

    def put(self, batch: Any) -> None:
        """Put a Batch, or a CallTicket, which is its own; it can be taken when this returns."""
        payload = batch.function.encode(batch.mode, batch.items)
        if payload is None:
            for i in range(len(batch.items)):
                self._again(batch.part(i, i + 1))
            return
        # Only this process puts, and under the lock: the position is known before the batch can be finished.
        position = self._tasks.tail
        try:
            self._scheduler.queued(position, batch)
            self._tasks.put(payload)
        except BaseException:
            # Whether or not it is on its way: who put it has been told that it is not.
            self._scheduler.forget(position)
            raise
