"""Results, and errors in the place of results, on their way to tickets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from procession.engine import wire
from procession.engine.batches import Batch
from procession.engine.codec import Payload
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

__all__ = ["cancelled", "deliver_results", "given_up", "task_failed"]


def deliver_results(payload: Payload, scheduler: Scheduler, again: Callable[[Any], None]) -> list[Any]:
    """Hand the results in a message to their tickets; those that are done now and want to call somebody back.

    Calls `again` with a batch of each item that has raised what its caller wants to be tried again.
    """
    pieces, values, errors = wire.decode_results(payload)
    in_flight = scheduler.in_flight
    scheduler.idle_deaths = 0
    done: list[Any] = []
    at = 0
    fields = iter(pieces)
    for position, first, count, elapsed_ns in zip(fields, fields, fields, fields, strict=True):
        end = at + count
        batch = in_flight.get(position)
        if isinstance(batch, CallTicket) and not errors and batch.terms is None:
            del in_flight[position]
            if batch.succeed(values[at]):
                done.append(batch)
        elif batch is not None:
            scheduler.finished(position, count)
            batch.function.estimate.learn(count, elapsed_ns)
            ticket = batch.ticket
            was_done = ticket.done
            faults = {index - at: error for index, error in errors.items() if at <= index < end} if errors else errors
            share = values if len(pieces) == 4 else values[at:end]
            if faults and batch.terms is not None and batch.terms.retry_on:
                _deliver_but_for_retries(batch, first, share, faults, again)
            else:
                ticket.deliver(batch.start + first, share, faults)
            if not was_done and ticket.done and ticket.has_callback:
                done.append(ticket)
        at = end
    return done


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
    match fail.reason:
        case Reason.LATE:
            assert fail.batch.terms is not None
            seconds = fail.batch.terms.timeout_ns / 1e9
            return TaskTimeout(
                f"{call} ran for longer than its timeout of {seconds:g} s; its worker {pid} was ended",
                timeout=seconds,
                pid=pid,
                function=function,
                arguments=arguments,
            )
        case Reason.CANCELLED:
            return cancelled(fail.batch, fail.index)
        case Reason.DIED:
            hint = "; by kill -9, or by the system for want of memory" if fail.exitcode == -9 else ""
            return WorkerDied(
                f"worker {pid} {describe_exit(fail.exitcode)} while it ran {call}{hint}",
                pid=pid,
                exitcode=fail.exitcode,
                function=function,
                arguments=arguments,
            )


def cancelled(batch: Any, index: int) -> TaskCancelled:
    """What the caller of a cancelled task gets."""
    function, arguments = describe_call(batch, index)
    return TaskCancelled(f"{function}({arguments}) was cancelled", function=function, arguments=arguments)


def given_up(action: GiveUp) -> ProcessionError:
    """What all get if no worker comes up."""
    how = describe_exit(action.exitcode)
    if action.in_initializer:
        return InitializerFailed(f"a worker {how} in the pool's initializer")
    return StartFailed(f"workers do not stay up: the last {how} before it had begun a task; see what the first printed")
