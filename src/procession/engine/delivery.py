"""Results, and errors in the place of results, on their way to tickets."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from procession._core import RUN, deliver_run
from procession.engine import wire
from procession.engine.batches import Batch
from procession.engine.codec import Payload
from procession.engine.exceptions import decode_error, describe
from procession.engine.functions import describe_call
from procession.engine.scheduler import Fail, GiveUp, Reason, Scheduler
from procession.engine.tickets import CallTicket
from procession.errors import (
    InitializerFailed,
    ProcessionError,
    StartFailed,
    TaskCancelled,
    TaskTimeout,
    WorkerDied,
    describe_exit,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Delivery", "call_back", "cancelled", "given_up", "initializer_failed", "task_failed"]


class Delivery:
    """Of one pool; its methods are called with the engine's lock held.

    Args:
        again: takes a batch of an item that has raised what its caller wants to be tried again.

    Attributes:
        due: tickets that are done and want to call somebody back.
    """

    def __init__(self, scheduler: Scheduler, again: Callable[[Any], None]) -> None:
        self._scheduler = scheduler
        self._again = again
        self.due: list[Any] = []

    def results(self, payload: Payload) -> None:
        """Hand the results in a message to their tickets."""
        scheduler = self._scheduler
        pieces, values, errors = wire.decode_results(payload)
        in_flight = scheduler.in_flight
        scheduler.idle_deaths = 0
        at = 0
        fields = iter(pieces)
        for position, first, count, elapsed_ns in zip(fields, fields, fields, fields, strict=True):
            end = at + count
            if first != RUN:
                self._piece(position, first, values if len(pieces) == 4 else values[at:end], elapsed_ns, errors, at)
            elif errors or deliver_run(in_flight, position, count, values, at, self.due) < count:
                for i in range(count):
                    self._piece(position + i, 0, values[at + i : at + i + 1], elapsed_ns // count, errors, at + i)
            at = end

    def _piece(
        self,
        position: int,
        first: int,
        values: list[Any],
        elapsed_ns: int,
        errors: dict[int, BaseException],
        at: int,
    ) -> None:
        """Results of the batch at `position`, from its item `first` on; `errors` by index within values of which the first has
        the index `at`."""
        batch = self._scheduler.finished(position, len(values))
        if batch is None:
            return
        batch.function.estimate.learn(len(values), elapsed_ns)
        was_done = batch.ticket.done
        faults = {i - at: errors[i] for i in range(at, at + len(values)) if i in errors} if errors else errors
        if faults and batch.terms is not None and batch.terms.retry_on:
            _deliver_but_for_retries(batch, first, values, faults, self._again)
        else:
            batch.ticket.deliver(batch.start + first, values, faults)
        self._note(batch.ticket, was_done)

    def deliver(self, ticket: Any, start: int, values: list[Any], errors: dict[int, BaseException]) -> None:
        """Hand results to a ticket."""
        was_done = ticket.done
        ticket.deliver(start, values, errors)
        self._note(ticket, was_done)

    def input_ended(self, ticket: Any, total: int, error: BaseException | None) -> None:
        """Tell a ticket how many items it has."""
        was_done = ticket.done
        ticket.input_ended(total, error)
        self._note(ticket, was_done)

    def fail(self, ticket: Any, error: BaseException) -> None:
        """Nothing more will come for a ticket."""
        if not ticket.is_over:
            was_done = ticket.done
            ticket.fail(error)
            self._note(ticket, was_done)

    def _note(self, ticket: Any, was_done: bool) -> None:
        if ticket.done and not was_done and ticket.has_callback:
            self.due.append(ticket)

    def take_due(self) -> list[Any]:
        """Those that are due, for call_back()."""
        due, self.due = self.due, []
        return due


def call_back(tickets: list[Any]) -> None:
    """Call back whoever asked for it; without the engine's lock, because a callback may do what it likes."""
    for ticket in tickets:
        try:
            ticket.finish()
        except BaseException:  # sys.exit() too: it would end the keeper, or a call of somebody else
            # Nobody's result: told where uncaught exceptions of threads are told, and the pool goes on.
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))


def _deliver_but_for_retries(
    batch: Batch, first: int, values: list[Any], errors: dict[int, BaseException], again: Callable[[Any], None]
) -> None:
    terms = batch.terms
    assert terms is not None
    start = 0
    for index, error in sorted(errors.items()):
        if (
            batch.ticket.is_over
            or not isinstance(error, terms.retry_on)
            or not terms.try_again(batch.start + first + index)
        ):
            continue
        _deliver_part(batch, first, values, errors, start, index)
        start = index + 1
        again(batch.part(first + index, first + index + 1))
    _deliver_part(batch, first, values, errors, start, len(values))


def _deliver_part(
    batch: Batch, first: int, values: list[Any], errors: dict[int, BaseException], start: int, end: int
) -> None:
    if start < end:
        faults = {index - start: error for index, error in errors.items() if start <= index < end}
        batch.ticket.deliver(batch.start + first + start, values[start:end], faults)


# ---- in the place of a result ----


def task_failed(fail: Fail, pid: int) -> ProcessionError:
    """What the item gets that ran when its worker ended."""
    function, arguments = describe_call(fail.batch, fail.index)
    call = f"{function}({arguments})"
    evidence: dict[str, Any] = {"pid": pid, "function": function, "arguments": arguments}
    if not isinstance(fail.batch.ticket, CallTicket):
        evidence["index"] = fail.batch.start + fail.index
    match fail.reason:
        case Reason.LATE:
            assert fail.batch.terms is not None
            seconds = fail.batch.terms.timeout_ns / 1e9
            return TaskTimeout(
                f"{call} ran for longer than its timeout of {seconds:g} s; its worker {pid} was ended",
                timeout=seconds,
                **evidence,
            )
        case Reason.CANCELLED:
            return TaskCancelled(f"{call} was cancelled", **evidence)
        case Reason.DIED:
            hint = "; by kill -9, or by the system for want of memory" if fail.exitcode == -9 else ""
            return WorkerDied(
                f"worker {pid} {describe_exit(fail.exitcode)} while it ran {call}{hint}",
                exitcode=fail.exitcode,
                **evidence,
            )


def cancelled(ticket: Any) -> TaskCancelled:
    """What the caller of a cancelled call or map gets."""
    if not isinstance(ticket, CallTicket):
        return TaskCancelled("the map was cancelled")
    function, arguments = describe_call(ticket, 0)
    return TaskCancelled(f"{function}({arguments}) was cancelled", function=function, arguments=arguments)


def initializer_failed(payload: Any) -> InitializerFailed:
    """What all get if the initializer has raised what is in the message."""
    cause = decode_error(payload)
    failure = InitializerFailed(f"the pool's initializer raised {describe(cause)}")
    failure.__cause__ = cause
    return failure


def given_up(action: GiveUp) -> ProcessionError:
    """What all get if no worker comes up."""
    how = describe_exit(action.exitcode)
    if action.in_initializer:
        return InitializerFailed(f"a worker {how} in the pool's initializer")
    return StartFailed(f"workers do not stay up: the last {how} before it had begun a task; see what the first printed")
