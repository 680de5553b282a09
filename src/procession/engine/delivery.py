"""Results, and errors in the place of results, on their way to tickets."""

from __future__ import annotations

from typing import Any

from procession.engine import wire
from procession.engine.codec import Payload
from procession.engine.functions import describe_task
from procession.engine.scheduler import Scheduler
from procession.engine.tickets import CallTicket
from procession.errors import StartFailed, WorkerDied, describe_exit

__all__ = ["deliver_results", "start_failed", "worker_died"]


def deliver_results(payload: Payload, scheduler: Scheduler) -> list[Any]:
    """Hand the results in a message to their tickets; those that are done now and want to call somebody back."""
    pieces, values, errors = wire.decode_results(payload)
    in_flight = scheduler.in_flight
    done: list[Any] = []
    at = 0
    fields = iter(pieces)
    for position, first, count, elapsed_ns in zip(fields, fields, fields, fields, strict=True):
        end = at + count
        batch = in_flight.get(position)
        if isinstance(batch, CallTicket) and not errors:
            del in_flight[position]
            if batch.succeed(values[at]):
                done.append(batch)
        elif batch is not None:
            scheduler.finished(position, count)
            batch.function.estimate.learn(count, elapsed_ns)
            ticket = batch.ticket
            was_done = ticket.done
            faults = {index - at: error for index, error in errors.items() if at <= index < end} if errors else errors
            ticket.deliver(batch.start + first, values if len(pieces) == 4 else values[at:end], faults)
            if not was_done and ticket.done and ticket.has_callback:
                done.append(ticket)
        at = end
    return done


def worker_died(batch: Any, index: int, pid: int, exitcode: int) -> WorkerDied:
    """What the item that ran gets."""
    task = describe_task(batch, index)
    return WorkerDied(
        f"worker {pid} {describe_exit(exitcode)} while it ran {task}", pid=pid, exitcode=exitcode, task=task
    )


def start_failed(exitcode: int) -> StartFailed:
    """What all get if no worker comes up."""
    return StartFailed(
        f"workers do not come up: the last {describe_exit(exitcode)} before its first task; see what the first printed"
    )
