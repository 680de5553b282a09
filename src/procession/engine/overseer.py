"""A pool's workers, looked after: what the scheduler decides about them is performed here.

    look        who has ended, who is missing, whose task is late or cancelled, what waits behind a long task for nothing

All is called with the engine's lock held.
"""

from __future__ import annotations

from procession.engine import wire
from procession.engine.batches import Batch
from procession.engine.clock import clock_ns
from procession.engine.crew import Crew
from procession.engine.delivery import given_up, task_failed
from procession.engine.scheduler import (
    NOT_RUNNING,
    Action,
    CancelAsked,
    Dismiss,
    End,
    Event,
    Fail,
    GiveUp,
    Requeue,
    Resized,
    Scheduler,
    Spare,
    StartWorker,
    WorkerExited,
)
from procession.engine.tickets import CallTicket
from procession.errors import OutOfMemory, StartFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol
else:
    Protocol = object

__all__ = ["Overseer"]

_LOOK_NS = 100_000_000  # a death is noticed within this
_QUICK_LOOK_NS = 10_000_000  # while a task has a time limit, or is being ended
_PATIENCE_NS = 5_000_000_000  # how long work waits for a worker when none is left and none can be started
_LONG_NS = 20_000_000  # a task that runs for longer keeps nothing behind it that another worker could run


class _Engine(Protocol):
    def queue_again(self, batch: Batch) -> None: ...
    def deliver(self, ticket: Any, start: int, values: list[Any], errors: dict[int, BaseException]) -> None: ...
    def give_up(self, error: BaseException) -> None: ...
    def fail_all(self, error: BaseException) -> None: ...
    def take_all_arrived(self) -> None: ...
    @property
    def is_over(self) -> bool: ...


class Overseer:
    """Of one pool.

    Args:
        tasks: the channel that its workers take from.
        grace: seconds between the soft and the hard signal.
    """

    def __init__(self, engine: _Engine, scheduler: Scheduler, crew: Crew, tasks: Any, grace: float) -> None:
        self._engine = engine
        self._scheduler = scheduler
        self._crew = crew
        self._tasks = tasks
        self._grace = grace
        self._stuck_since_ns = 0  # since when there is no worker and none can be started; 0 if there is one

    @property
    def pause_ns(self) -> int:
        """Until the next look."""
        scheduler = self._scheduler
        hurries = scheduler.timed or scheduler.cancelled or scheduler.condemned
        return _QUICK_LOOK_NS if hurries else _LOOK_NS

    def look(self) -> bool:
        """Whether any worker had ended."""
        scheduler, crew = self._scheduler, self._crew
        ended = crew.ended()
        for identity in ended:
            # What it sent before it died counts: it is read before the claim is looked at.
            self._engine.take_all_arrived()
            end = crew.collect(identity)
            if end is not None and not self._engine.is_over:
                self.handle(WorkerExited(identity, end.exitcode, end.claim, end.head), end.pid)
        if scheduler.missing() > 0 and not scheduler.closing:
            self.perform([StartWorker()])
        if scheduler.timed or scheduler.cancelled or scheduler.condemned:
            for seen in crew.tasks_seen():
                self.handle(seen)
            crew.end_late()
        self._free_claimed()
        return bool(ended)

    def _free_claimed(self) -> None:
        """Where there is nothing else to take: what a worker has claimed and will not begin for long, others may have."""
        if len(self._tasks) or not self._scheduler.in_flight:
            return
        for seen in self._crew.tasks_seen():
            if seen.elapsed_ns < _LONG_NS:
                continue
            _, end, running, _ = self._crew.claim_of(seen.worker)
            if running == NOT_RUNNING:
                continue
            for position in range(running + 1, end):
                if self._tasks.withdraw(position, [seen.worker], wire.TAKEN_BACK):
                    batch = self._scheduler.forget(position)
                    if batch is not None:
                        self._engine.queue_again(batch.part(batch.finished, len(batch.items)))

    def abandon(self, batch: Any) -> bool:
        """Nobody wants the batch's results: take it back, or have whoever runs it ended; whether it was taken back."""
        position = batch.position
        if self._tasks.withdraw(position, self._crew.identities, wire.TAKEN_BACK):
            self._scheduler.forget(position)
            return True
        self.handle(CancelAsked(position))
        return False

    def abandon_ticket(self, ticket: Any, *, must_end: bool) -> bool:
        """Nobody wants a call or a map.  Without `must_end` what runs goes on; then False if it is all that there is."""
        in_flight = self._scheduler.in_flight
        if not isinstance(ticket, CallTicket):
            for batch in [batch for batch in in_flight.values() if batch.ticket is ticket]:
                self.abandon(batch)
        elif in_flight.get(ticket.position) is ticket and not self.abandon(ticket) and not must_end:
            self._scheduler.cancelled.discard(ticket.position)
            return False
        return True

    def resize(self, size: int) -> None:
        """Have `size` workers from now on."""
        self._crew.share_among(size)
        self.handle(Resized(size))

    def handle(self, event: Event, pid: int = 0) -> None:
        """Tell the scheduler, and do what it says."""
        self.perform(self._scheduler.handle(event), pid)

    def perform(self, actions: list[Action], pid: int = 0) -> None:
        """`pid`: of the worker that has ended, if one has."""
        for action in actions:
            match action:
                case StartWorker():
                    self._start_worker()
                case Dismiss(worker):
                    self._crew.dismiss(worker)
                case End(worker, position, item):
                    self._crew.condemn(worker, position, item, self._grace)
                case Spare(worker):
                    self._crew.spare(worker)
                case Requeue(batch):
                    if not batch.ticket.is_over:
                        self._engine.queue_again(batch)
                case Fail(batch, index):
                    if not batch.ticket.is_over:
                        self._engine.deliver(batch.ticket, batch.start + index, [None], {0: task_failed(action, pid)})
                case GiveUp():
                    self._engine.give_up(given_up(action))

    def _start_worker(self) -> None:
        try:
            self._scheduler.started(self._crew.start())
        except Exception as error:
            # Too many processes or descriptors, maybe for a moment: the others go on, and the next look tries again.
            if len(self._crew) == 0:
                self._nobody_left(error)
        else:
            self._stuck_since_ns = 0

    def _nobody_left(self, error: Exception) -> None:
        """All workers have ended, and none can be started: wait for better times, but nobody for ever."""
        if not self._scheduler.has_been_up or not isinstance(error, (OSError, OutOfMemory)):
            self._engine.give_up(error)
            return
        now = clock_ns()
        self._stuck_since_ns = self._stuck_since_ns or now
        if now - self._stuck_since_ns >= _PATIENCE_NS:
            self._stuck_since_ns = 0
            failure = StartFailed(
                f"the workers have ended, and for {_PATIENCE_NS / 1e9:g} s none could be started: {error}"
            )
            failure.__cause__ = error
            self._engine.fail_all(failure)
