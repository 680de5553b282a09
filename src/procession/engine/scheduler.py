"""What is decided about batches and workers.  Pure: events in, actions out; no I/O, no clock, no pickling.

A batch goes into the tasks channel at a position; positions only grow, so a position names a batch for ever.  A worker
*claims* a range of positions before it takes it, and works through it in order, so after its death its claim says what was
done, what ran, and what was only claimed:

    claim   from ........ running ........ to
            results may be   the item    never begun:
            unsent: again    that fails  again

Frequent events are methods of their own; the rare ones go through `handle`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Action",
    "Batch",
    "Estimate",
    "Event",
    "Fail",
    "GiveUp",
    "Lane",
    "Requeue",
    "Scheduler",
    "StartWorker",
    "WorkerExited",
    "WorkerLeaving",
    "WorkerReady",
]

TARGET_NS = 1_000_000  # of work in one batch: a thousand times what handing it over costs
LEAST_NS = 50_000  # of work in a batch that need not be smaller, as far as there is so much
NOT_RUNNING = (1 << 64) - 1  # in a claim: no message has been begun
_EARLY_DEATHS = 3  # workers that may die at start, one after the other, before the pool gives up


@dataclass(slots=True)
class Lane:
    """One input's share of what is in flight."""

    batches: int = 0


@dataclass(slots=True)
class Batch:
    """Consecutive items of one ticket that travel together.

    Attributes:
        ticket: whose items they are.
        function: what to call on them.
        start: index of the first within the ticket.
        items: kept until the batch is done, because a death may send them again.
        lane: which input it counts for.
        finished: how many have a result; workers finish them in order.
    """

    ticket: Any
    function: Any
    start: int
    items: Sequence[Any]
    mode: int
    lane: Lane
    finished: int = 0

    def part(self, first: int, end: int) -> Batch:
        """Items first to end, as a batch."""
        return Batch(self.ticket, self.function, self.start + first, self.items[first:end], self.mode, self.lane)


@dataclass(slots=True)
class Estimate:
    """How long one call takes, from what was seen so far."""

    item_ns: float = 0.0
    seen: int = 0

    def learn(self, count: int, elapsed_ns: int) -> None:
        """`count` calls took `elapsed_ns`."""
        if count <= 0:
            return
        mean = elapsed_ns / count
        # The first calls pay for imports and cold caches: they count for little.
        weight = 1.0 if self.seen == 0 else min(0.5, count / (count + 8.0))
        self.item_ns += weight * (mean - self.item_ns)
        self.seen += count

    def batch_size(self, workers: int, remaining: int | None) -> int:
        """Items for the next batch: a target's worth, no more than experience and what is left allow.

        The size may reach only a few times what has been seen done, so that one wrong guess is small; near the end it
        shrinks with what is left (guided self-scheduling, Polychronopoulos and Kuck 1987), so that workers end together
        but for so little that handing it over would cost as much.
        """
        if self.seen == 0:
            return 1
        item_ns = max(self.item_ns, 1.0)
        size = min(TARGET_NS / item_ns, 4.0 * self.seen / workers)
        if remaining is not None:
            size = min(size, max(remaining / (2.0 * workers), min(remaining, LEAST_NS / item_ns)))
        return max(1, int(size))


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """A worker's initializer is done."""

    worker: int


@dataclass(frozen=True, slots=True)
class WorkerLeaving:
    """A worker has done as many tasks as it may, and will end in order."""

    worker: int


@dataclass(frozen=True, slots=True)
class WorkerExited:
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


@dataclass(frozen=True, slots=True)
class StartWorker:
    """A worker is missing."""


@dataclass(frozen=True, slots=True)
class Fail:
    """The item of the batch that ran when its worker died."""

    batch: Batch
    index: int
    worker: int
    exitcode: int


@dataclass(frozen=True, slots=True)
class Requeue:
    """Send what is left of the batch again."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Workers do not come up."""

    exitcode: int


Event = WorkerReady | WorkerLeaving | WorkerExited
Action = StartWorker | Fail | Requeue | GiveUp


@dataclass(slots=True)
class Scheduler:
    """The state of one pool: batches in flight and workers.

    Attributes:
        size: workers wanted.
        in_flight: position -> batch, for every batch that is queued or claimed.
        starting, ready, leaving: workers by what is known of them; a leaving one has been replaced already.
    """

    size: int
    in_flight: dict[int, Batch] = field(default_factory=dict)
    starting: set[int] = field(default_factory=set)
    ready: set[int] = field(default_factory=set)
    leaving: set[int] = field(default_factory=set)
    closing: bool = False
    early_deaths: int = 0

    def started(self, worker: int) -> None:
        """A worker was started."""
        self.starting.add(worker)

    def queued(self, position: int, batch: Batch) -> None:
        """A batch was put at `position`."""
        self.in_flight[position] = batch
        batch.lane.batches += 1

    def finished(self, position: int, count: int) -> Batch | None:
        """`count` more items of the batch have results; None if nobody waits for them any more."""
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
        return batch

    def missing(self) -> int:
        """Workers that should be there and are not."""
        return self.size - len(self.starting) - len(self.ready)

    def handle(self, event: Event) -> list[Action]:
        """What is to be done about `event`."""
        match event:
            case WorkerReady(worker):
                if worker in self.starting:
                    self.starting.remove(worker)
                    self.ready.add(worker)
                    self.early_deaths = 0
                return []
            case WorkerLeaving(worker):
                self.ready.discard(worker)
                self.leaving.add(worker)
                return self._replace()
            case WorkerExited():
                return self._exited(event)

    def _replace(self, *, again: bool = False) -> list[Action]:
        """Start what is missing; `again`: batches are about to be queued again."""
        if self.closing and not self.in_flight and not again:
            return []
        return [StartWorker() for _ in range(self.missing())]

    def _exited(self, event: WorkerExited) -> list[Action]:
        early = event.worker in self.starting
        for group in (self.starting, self.ready, self.leaving):
            group.discard(event.worker)
        actions: list[Action] = []
        first, end, running, item = event.claim
        # A claim past the head was never taken: the worker died before the store that takes.
        for position in range(first, min(end, event.head)):
            batch = self.forget(position)
            if batch is None:
                continue
            if position == running and batch.finished <= item < len(batch.items):
                actions += self._split(batch, item, event)
            else:
                actions.append(Requeue(batch.part(batch.finished, len(batch.items))))
        if early and not self.closing:
            self.early_deaths += 1
            if self.early_deaths >= _EARLY_DEATHS:
                return [*actions, GiveUp(event.exitcode)]
        return actions + self._replace(again=any(isinstance(action, Requeue) for action in actions))

    def _split(self, batch: Batch, item: int, event: WorkerExited) -> list[Action]:
        """Item number `item` fails; those before it without a result and those after it go again, as two batches."""
        parts = ((batch.finished, item), (item + 1, len(batch.items)))
        again = [Requeue(batch.part(first, end)) for first, end in parts if first < end]
        return [Fail(batch, item, event.worker, event.exitcode), *again]

    def check(self) -> None:
        """Raise AssertionError if an invariant is broken; for tests."""
        assert not self.starting & self.ready and not self.ready & self.leaving and not self.starting & self.leaving
        for batch in self.in_flight.values():
            assert 0 <= batch.finished < len(batch.items)
            assert batch.lane.batches > 0
