"""Results on their way to tickets."""

from __future__ import annotations

from typing import Any

from procession.engine import wire
from procession.engine.codec import Payload
from procession.engine.scheduler import Scheduler
from procession.engine.tickets import CallTicket

__all__ = ["deliver_results"]


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
            batch.succeed(values[at])
            if batch.has_callback:
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
