"""What is decided about batches and workers.  Pure: events in, actions out; no I/O, no clock, no pickling.

A batch goes into the tasks channel at a position; positions only grow, so a position names a batch for ever.  A worker
*claims* a range of positions before it takes it, and works through it in order, so after its death its claim says what was
done, what ran, and what was only claimed:

    claim   from ........ running ........ to
    results may be   the item    never begun:
    unsent: again    that fails  again

A task that is late or was cancelled while it ran is *condemned*: its worker is ended, and only that task fails.  A worker that
has gone on to another task before its end reached it is spared, and if that comes too late the other task goes again.

Frequent events are methods of their own; the rare ones go through `handle`.
"""

from __future__ import annotations

import enum

from procession.engine.batches import Batch
from procession.engine.records import Record

__all__ = [
    "ANY_ITEM",
    "INITIALIZING",
    "NOT_RUNNING",
    "Action",
    "CancelAsked",
    "Dismiss",
    "End",
    "Event",
    "Fail",
    "GiveUp",
    "Reason",
    "Requeue",
    "Resized",
    "Scheduler",
    "Spare",
    "StartWorker",
    "TaskSeen",
    "WorkerExited",
    "WorkerLeaving",
    "WorkerReady",
]

# In the place of a position that runs: no message has been begun; the pool's initializer runs.
NOT_RUNNING = (1 << 64) - 1
INITIALIZING = NOT_RUNNING - 1
ANY_ITEM = (1 << 64) - 1  # in the place of an item: the message is condemned, whichever of its items runs
_EARLY_DEATHS = 3  # workers that may die at start, one after the other, before the pool gives up
# Workers that may die one after the other without any of them having done or begun a task: after the first number the next
# is not started at once, but at the next look; after the second the pool gives up if there is work that waits.
_PROMPT_STARTS, _IDLE_DEATHS = 8, 50
# Exit codes of a worker that somebody has ended: we, for a condemned task, or whoever.  The last is what is known of one that
# somebody else has waited for.
_ENDED = (-15, -9, 255)


class Reason(enum.Enum):
    """Why a task's worker has ended."""

    DIED = enum.auto()  # by itself, or killed by whoever
    LATE = enum.auto()
    CANCELLED = enum.auto()


class WorkerReady(Record):
    """A worker's initializer is done."""

    worker: int


class WorkerLeaving(Record):
    """A worker has done as many tasks as it may, and will end in order."""

    worker: int


class WorkerExited(Record):
    """A worker has ended.

    Attributes:
        exitcode: negative for a signal.
        claim: from, to, running, item; see the module.
        head: first position of the channel that nobody had taken, read before the claim was.
    """

    worker: int
    exitcode: int
    claim: tuple[int, int, int, int]
    head: int


class TaskSeen(Record):
    """A worker that lives was found at work on that item of the batch at `position`, which it began `elapsed_ns` ago."""

    worker: int
    position: int
    item: int
    elapsed_ns: int


class CancelAsked(Record):
    """Nobody wants the results of the batch at `position` any more, and it is too late to take it back."""

    position: int


class Resized(Record):
    """There are to be `size` workers from now on."""

    size: int


class StartWorker(Record):
    """A worker is missing."""


class Dismiss(Record):
    """There is a worker too many: it is to leave when it has done what it has claimed."""

    worker: int


class End(Record):
    """End the worker, by a soft signal and then a hard one, unless it goes on to another item meanwhile."""

    worker: int
    position: int
    item: int


class Spare(Record):
    """The worker has gone on: its end is not wanted any more."""

    worker: int


class Fail(Record):
    """The item of the batch that ran when its worker ended."""

    batch: Batch
    index: int
    worker: int
    exitcode: int
    reason: Reason = Reason.DIED


class Requeue(Record):
    """Send what is left of the batch again."""

    batch: Batch


class GiveUp(Record):
    """Workers do not come up; with `in_initializer` they die in the pool's initializer."""

    exitcode: int
    in_initializer: bool = False


Event = WorkerReady | WorkerLeaving | WorkerExited | TaskSeen | CancelAsked | Resized
Action = StartWorker | Dismiss | End | Spare | Fail | Requeue | GiveUp


class Verdict(Record):
    """What a worker is being ended for."""

    position: int
    item: int
    reason: Reason

    def is_for(self, position: int, item: int) -> bool:
        return position == self.position and self.item in (item, ANY_ITEM)


_MEANT_FOR_ANOTHER = Verdict(NOT_RUNNING, 0, Reason.CANCELLED)


class Scheduler:
    """The state of one pool: batches in flight and workers.

    Attributes:
        size: workers wanted.
        in_flight: position -> batch, for every batch that is queued or claimed.
        cancelled: positions in flight whose results nobody wants.
        condemned: worker -> what it is being ended for.
        spared: workers that have gone on before their end reached them; a signal may be still on its way to one.
        starting, ready, leaving: workers by what is known of them; a leaving one has been replaced already.
        timed: batches in flight with a time limit.
        idle_deaths: workers that died one after the other while no task was done or begun.
    """

    __slots__ = (
        "cancelled",
        "closing",
        "condemned",
        "early_deaths",
        "has_been_up",
        "idle_deaths",
        "in_flight",
        "leaving",
        "ready",
        "size",
        "spared",
        "starting",
        "timed",
    )

    def __init__(self, size: int) -> None:
        self.size = size
        self.in_flight: dict[int, Batch] = {}
        self.cancelled: set[int] = set()
        self.condemned: dict[int, Verdict] = {}
        self.spared: set[int] = set()
        self.starting: set[int] = set()
        self.ready: set[int] = set()
        self.leaving: set[int] = set()
        self.closing = self.has_been_up = False
        self.early_deaths = self.idle_deaths = self.timed = 0

    def started(self, worker: int) -> None:
        """A worker was started."""
        self.starting.add(worker)

    def queued(self, position: int, batch: Batch) -> None:
        """A batch was put at `position`."""
        self.in_flight[position] = batch
        batch.position = position
        batch.lane.batches += 1
        if batch.terms is not None and batch.terms.timeout_ns:
            self.timed += 1

    def finished(self, position: int, count: int) -> Batch | None:
        """`count` more items of the batch have results; None if nobody waits for them any more."""
        self.idle_deaths = 0
        batch = self.in_flight.get(position)
        if batch is not None:
            batch.finished += count
            if batch.finished >= len(batch.items):
                self.forget(position)
        return batch

    def forget(self, position: int) -> Batch | None:
        """The batch at `position` is not in flight any more."""
        batch = self.in_flight.pop(position, None)
        if batch is not None:
            batch.lane.batches -= 1
            if batch.terms is not None and batch.terms.timeout_ns:
                self.timed -= 1
            self.cancelled.discard(position)
        return batch

    def forget_all(self) -> None:
        """The pool is over."""
        for position in tuple(self.in_flight):
            self.forget(position)

    def missing(self) -> int:
        """Workers that should be there and are not."""
        return self.size - len(self.starting) - len(self.ready)

    def handle(self, event: Event) -> list[Action]:
        """What is to be done about `event`."""
        match event:
            case TaskSeen():
                return self._seen(event)
            case WorkerReady(worker):
                if worker in self.starting:
                    self.starting.remove(worker)
                    self.ready.add(worker)
                    self.early_deaths = 0
                    self.has_been_up = True
                return []
            case WorkerLeaving(worker):
                # One that was dismissed is among them already, and was not expected to do more.
                for group in (self.starting, self.ready):
                    group.discard(worker)
                self.leaving.add(worker)
                return self._replace()
            case WorkerExited():
                return self._exited(event)
            case CancelAsked(position):
                if position in self.in_flight:
                    self.cancelled.add(position)
                return []
            case Resized(size):
                self.size = size
                return self._replace() or [self._dismiss() for _ in range(-self.missing())]

    def _dismiss(self) -> Dismiss:
        group = self.starting or self.ready
        worker = max(group)
        group.remove(worker)
        self.leaving.add(worker)
        return Dismiss(worker)

    def _replace(self, *, again: bool = False) -> list[Action]:
        """Start what is missing; `again`: batches are about to be queued again."""
        if self.closing and not self.in_flight and not again:
            return []
        return [StartWorker() for _ in range(self.missing())]

    def _seen(self, event: TaskSeen) -> list[Action]:
        actions: list[Action] = []
        verdict = self.condemned.get(event.worker)
        if verdict is not None:
            if verdict.is_for(event.position, event.item):
                return []
            del self.condemned[event.worker]
            self.spared.add(event.worker)
            actions.append(Spare(event.worker))
        batch = self.in_flight.get(event.position)
        if batch is None or not batch.finished <= event.item < len(batch.items):
            return actions
        if event.position in self.cancelled:
            verdict = Verdict(event.position, ANY_ITEM, Reason.CANCELLED)
        elif batch.terms is not None and 0 < batch.terms.timeout_ns <= event.elapsed_ns:
            verdict = Verdict(event.position, event.item, Reason.LATE)
        else:
            return actions
        self.condemned[event.worker] = verdict
        return [*actions, End(event.worker, verdict.position, verdict.item)]

    def _exited(self, event: WorkerExited) -> list[Action]:
        early = event.worker in self.starting
        in_order = event.worker in self.leaving
        for group in (self.starting, self.ready, self.leaving):
            group.discard(event.worker)
        verdict = self.condemned.pop(event.worker, None)
        if verdict is None and event.worker in self.spared:
            verdict = _MEANT_FOR_ANOTHER
        self.spared.discard(event.worker)
        actions: list[Action] = []
        first, end, running, item = event.claim
        # A claim past the head was never taken: the worker died before the store that takes.
        for position in range(first, min(end, event.head)):
            is_cancelled = position in self.cancelled
            batch = self.forget(position)
            if batch is None or is_cancelled:
                continue
            if position == running and batch.finished <= item < len(batch.items):
                actions += self._split(batch, item, event, verdict)
            else:
                actions.append(Requeue(batch.part(batch.finished, len(batch.items))))
        return actions + self._after_exit(
            event, early=early, in_order=in_order, has_run=running < INITIALIZING, again=actions
        )

    def _after_exit(
        self, event: WorkerExited, *, early: bool, in_order: bool, has_run: bool, again: list[Action]
    ) -> list[Action]:
        """Replace the worker, unless it seems that the next one would end as it did."""
        in_initializer = event.claim[2] == INITIALIZING
        was_hit = self.has_been_up and event.exitcode in _ENDED  # others have come up: it would have, too
        if early and not self.closing and not was_hit:
            self.early_deaths += 1
            # The initializer is the program's own, and ends them all.
            if self.early_deaths >= _EARLY_DEATHS or (in_initializer and not self.has_been_up):
                return [GiveUp(event.exitcode, in_initializer)]
        elif not in_order and not has_run:
            self.idle_deaths += 1
            if self.idle_deaths >= _IDLE_DEATHS and self.in_flight:
                return [GiveUp(event.exitcode)]
            if self.idle_deaths > _PROMPT_STARTS:
                return []
        else:
            self.idle_deaths = 0
        return self._replace(again=any(isinstance(action, Requeue) for action in again))

    def _split(self, batch: Batch, item: int, event: WorkerExited, verdict: Verdict | None) -> list[Action]:
        """Item number `item` fails; those before it without a result and those after it go again, as two batches."""
        reason, is_innocent, terms = Reason.DIED, False, batch.terms
        if verdict is not None and event.exitcode in _ENDED:
            reason = verdict.reason
            is_innocent = not verdict.is_for(batch.position, item)
        may_retry = terms is not None and (reason is Reason.DIED or (reason is Reason.LATE and terms.retry_late))
        if is_innocent or (may_retry and terms is not None and terms.try_again(batch.start + item)):
            parts: tuple[tuple[int, int], ...] = (
                (batch.finished, item),
                (item, item + 1),
                (item + 1, len(batch.items)),
            )
            outcome: list[Action] = []
        else:
            parts = ((batch.finished, item), (item + 1, len(batch.items)))
            outcome = [Fail(batch, item, event.worker, event.exitcode, reason)]
        return outcome + [Requeue(batch.part(first, end)) for first, end in parts if first < end]

    def check(self) -> None:
        """Raise AssertionError if an invariant is broken; for tests."""
        assert not self.starting & self.ready and not self.ready & self.leaving and not self.starting & self.leaving
        assert self.cancelled <= self.in_flight.keys()
        assert self.condemned.keys() | self.spared <= self.starting | self.ready | self.leaving
        assert self.timed == sum(1 for b in self.in_flight.values() if b.terms is not None and b.terms.timeout_ns)
        for batch in self.in_flight.values():
            assert 0 <= batch.finished < len(batch.items)
            assert batch.lane.batches > 0
