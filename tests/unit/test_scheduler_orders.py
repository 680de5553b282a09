"""The scheduler in a world of its own: whatever the order of events, every item gets exactly one outcome."""

from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from procession.engine.batches import Batch, Lane, Terms
from procession.engine.scheduler import (
    ANY_ITEM,
    NOT_RUNNING,
    CancelAsked,
    Dismiss,
    End,
    Fail,
    GiveUp,
    Reason,
    Requeue,
    Resized,
    Scheduler,
    Spare,
    StartWorker,
    TaskSeen,
    WorkerExited,
    WorkerLeaving,
    WorkerReady,
)

KILLED, TOLD = -9, -15
LIMIT_NS = 1000


@dataclass
class Worker:
    """A worker as the scheduler's world sees it: what it has claimed, and the results that it has not sent."""

    first: int = 0
    to: int = 0
    running: int = NOT_RUNNING
    item: int = 0
    is_ready: bool = False
    is_dismissed: bool = False
    begun: set[int] = field(default_factory=set)  # positions of the claim
    void: set[int] = field(default_factory=set)  # positions of the claim that were taken back
    done: list[tuple[int, int, int]] = field(default_factory=list)  # position, first item, items: not sent yet
    at: tuple[int, int] = (0, 0)  # position and item to run next

    @property
    def has_work(self) -> bool:
        return self.first < self.to and self.at[0] < self.to


class World(RuleBasedStateMachine):
    """One to three workers, a channel, and a scheduler that sees what a parent would see."""

    @initialize(size=st.integers(1, 3))
    def make(self, size):
        self.scheduler = Scheduler(size)
        self.channel: list[Batch | None] = []  # None: taken back while it was queued
        self.head = 0
        self.workers: dict[int, Worker] = {}
        self.condemned: dict[int, tuple[int, int]] = {}
        self.names = iter(range(1, 10_000))
        self.outcomes: dict[int, int] = {}
        self.cancelled: set[int] = set()  # items
        self.submitted = self.failed = 0
        self.lane = Lane()
        self.perform([StartWorker()] * size)

    def perform(self, actions, condemned=None):
        """`condemned`: what the worker was being ended for that has ended."""
        for action in actions:
            match action:
                case StartWorker():
                    name = next(self.names)
                    self.workers[name] = Worker()
                    self.scheduler.started(name)
                    if name % 4:
                        self.come_up(name)
                case Dismiss(name):
                    self.workers[name].is_dismissed = True
                case End(name, position, item):
                    assert name not in self.condemned
                    self.condemned[name] = position, item
                case Spare(name):
                    del self.condemned[name]
                case Requeue(batch):
                    assert batch.items
                    assert not self.cancelled.intersection(batch.items)
                    self.put(batch)
                case Fail(batch, index, reason=reason):
                    self.failed += 1
                    assert reason is Reason.DIED or condemned == batch.start + index
                    self.resolve(batch.start + index)
                case GiveUp():
                    raise AssertionError("gave up")

    def put(self, batch):
        self.scheduler.queued(len(self.channel), batch)
        # What the workers get is a copy: the parent's own batch changes meanwhile.
        self.channel.append(batch.part(0, len(batch.items)))

    def come_up(self, name):
        self.workers[name].is_ready = True
        self.perform(self.scheduler.handle(WorkerReady(name)))

    def resolve(self, item):
        if item not in self.cancelled:
            self.outcomes[item] = self.outcomes.get(item, 0) + 1

    def pick(self, index, which):
        fitting = [name for name, worker in self.workers.items() if which(worker)]
        return fitting[index % len(fitting)] if fitting else None

    # ---- the caller ----

    @rule(count=st.integers(1, 5), retries=st.integers(0, 2), is_timed=st.booleans(), retry_late=st.booleans())
    def submit(self, count, retries, is_timed, retry_late):
        items = list(range(self.submitted, self.submitted + count))
        terms = Terms(LIMIT_NS * is_timed, retries, (), retry_late) if retries or is_timed else None
        self.put(Batch("t", "f", self.submitted, items, 0, self.lane, terms))
        self.submitted += count

    @rule(index=st.integers(0, 50))
    def cancel(self, index):
        """A batch whose results nobody wants: it is taken back if it is not begun, else the scheduler is told."""
        positions = sorted(self.scheduler.in_flight)
        if not positions:
            return
        position = positions[index % len(positions)]
        batch = self.scheduler.in_flight[position]
        for item in batch.items[batch.finished :]:
            self.resolve(item)
            self.cancelled.add(item)
        if self.withdraw(position):
            self.scheduler.forget(position)
        else:
            self.perform(self.scheduler.handle(CancelAsked(position)))

    def withdraw(self, position):
        if position >= self.head:
            self.channel[position] = None
            return True
        for worker in self.workers.values():
            if worker.first <= position < worker.to and position not in worker.begun | worker.void:
                worker.void.add(position)
                return True
        return False

    @rule(index=st.integers(0, 9))
    def take_back_and_queue_again(self, index):
        """What waits behind a long task goes to others."""
        name = self.pick(index, lambda worker: worker.has_work and worker.begun)
        if name:
            worker = self.workers[name]
            for position in range(worker.first, worker.to):
                if position in self.scheduler.in_flight and self.withdraw(position):
                    batch = self.scheduler.forget(position)
                    if batch.items[0] not in self.cancelled:
                        self.put(batch.part(batch.finished, len(batch.items)))

    @rule(size=st.integers(1, 4))
    def resize(self, size):
        self.perform(self.scheduler.handle(Resized(size)))

    @rule()
    def look(self):
        if self.scheduler.missing() > 0:
            self.perform([StartWorker()])

    @rule(index=st.integers(0, 9), elapsed_ns=st.sampled_from([0, LIMIT_NS]))
    def see(self, index, elapsed_ns):
        name = self.pick(index, lambda worker: worker.running != NOT_RUNNING)
        if name:
            worker = self.workers[name]
            self.perform(self.scheduler.handle(TaskSeen(name, worker.running, worker.item, elapsed_ns)))

    # ---- workers ----

    @rule(index=st.integers(0, 9))
    def ready(self, index):
        name = self.pick(index, lambda worker: not worker.is_ready)
        if name:
            self.come_up(name)

    @rule(index=st.integers(0, 9), wanted=st.integers(1, 3), runs=st.integers(0, 3), flushes=st.booleans())
    def take_and_run(self, index, wanted, runs, flushes):
        name = self.take(index, wanted)
        if name and runs:
            self.run_some(self.workers[name], runs)
            if flushes:
                self.send(self.workers[name])

    def take(self, index, wanted):
        name = self.pick(index, lambda worker: worker.is_ready and worker.first == worker.to)
        if name and self.head < len(self.channel):
            worker = self.workers[name]
            worker.first, worker.to = self.head, min(len(self.channel), self.head + wanted)
            worker.running, worker.item, worker.at = NOT_RUNNING, 0, (self.head, 0)
            worker.begun, worker.void = set(), set()
            self.head = worker.to
            self.skip_void(worker)
            return name
        return None

    def skip_void(self, worker):
        while worker.at[0] < worker.to and worker.at[1] == 0:
            position = worker.at[0]
            if self.channel[position] is not None and position not in worker.void:
                return
            worker.at = (position + 1, 0)

    @rule(index=st.integers(0, 9), count=st.integers(1, 4))
    def run_items(self, index, count):
        name = self.pick(index, lambda worker: worker.has_work)
        if name:
            self.run_some(self.workers[name], count)

    def run_some(self, worker, count):
        self.skip_void(worker)
        if worker.has_work:
            position, item = worker.at
            batch = self.channel[position]
            end = min(len(batch.items), item + count)
            worker.begun.add(position)
            worker.running, worker.item = position, end - 1
            worker.done.append((position, item, end - item))
            worker.at = (position + 1, 0) if end == len(batch.items) else (position, end)

    @rule(index=st.integers(0, 9))
    def begin_item(self, index):
        """The next item runs, and is not done."""
        name = self.pick(index, lambda worker: worker.has_work)
        if name:
            worker = self.workers[name]
            self.skip_void(worker)
            if worker.has_work:
                worker.running, worker.item = worker.at
                worker.begun.add(worker.running)

    @rule(index=st.integers(0, 9))
    def flush(self, index):
        name = self.pick(index, lambda worker: bool(worker.done))
        if name:
            self.send(self.workers[name])

    def send(self, worker):
        for position, first, count in worker.done:
            batch = self.scheduler.finished(position, count)
            if batch is not None:
                for item in range(first, first + count):
                    self.resolve(batch.start + item)
        worker.done.clear()
        self.skip_void(worker)
        if not worker.has_work:
            worker.first = worker.to

    # ---- ends ----

    def end(self, name, code, claim=None):
        worker = self.workers.pop(name)
        position, item = self.condemned.pop(name, (-1, 0))
        batch = self.channel[position] if position >= 0 else None
        condemned = batch.start + item if batch is not None else None
        claim = claim or (worker.first, worker.to, worker.running, worker.item)
        queued = len(self.channel)
        self.perform(self.scheduler.handle(WorkerExited(name, code, claim, self.head)), condemned)
        if claim[0] >= self.head:
            assert len(self.channel) == queued  # it had taken nothing: nothing goes again

    @precondition(lambda self: self.scheduler.early_deaths < 2)
    @rule(index=st.integers(0, 9), code=st.sampled_from([KILLED, TOLD, 3, 0]), before_commit=st.booleans())
    def die(self, index, code, before_commit):
        name = self.pick(index, lambda worker: True)
        if not name:
            return
        worker = self.workers[name]
        has_nothing = worker.is_ready and worker.first == worker.to
        self.end(name, code, (self.head, self.head + 2, NOT_RUNNING, 0) if before_commit and has_nothing else None)

    @rule(index=st.integers(0, 9))
    def soft_signal(self, index):
        """It ends nothing if the worker has gone on to another item."""
        names = sorted(self.condemned)
        if names:
            name = names[index % len(names)]
            worker, (position, item) = self.workers[name], self.condemned[name]
            if worker.running == position and item in (worker.item, ANY_ITEM):
                self.end(name, TOLD)

    @rule(index=st.integers(0, 9))
    def late_signal(self, index):
        """One that was on its way when the worker was spared."""
        names = sorted(self.scheduler.spared - self.condemned.keys())
        if names:
            failed = self.failed
            self.end(names[index % len(names)], TOLD)
            assert self.failed == failed

    @rule(index=st.integers(0, 9))
    def leave(self, index):
        name = self.pick(index, lambda worker: worker.is_ready and worker.first == worker.to and not worker.done)
        if name:
            self.perform(self.scheduler.handle(WorkerLeaving(name)))
            self.scheduler.check()
            self.end(name, 0)

    @invariant()
    def nothing_is_broken(self):
        if hasattr(self, "scheduler"):
            self.scheduler.check()
            assert all(count == 1 for count in self.outcomes.values())
            assert self.lane.batches == len(self.scheduler.in_flight)
            assert self.condemned.keys() == self.scheduler.condemned.keys()
            known = self.scheduler.starting | self.scheduler.ready | self.scheduler.leaving
            assert known == self.workers.keys()

    def teardown(self):
        if not hasattr(self, "scheduler"):
            return
        for _ in range(10_000):
            self.look()
            for name in list(self.workers):
                worker = self.workers[name]
                if not worker.is_ready:
                    self.ready(0)
                while worker.has_work:
                    self.run_some(worker, 3)
                self.send(worker)
            if self.head == len(self.channel) and not self.scheduler.in_flight:
                break
            self.take(0, 3)
        assert self.outcomes == dict.fromkeys(range(self.submitted), 1)
        assert self.lane.batches == 0
        assert self.scheduler.timed == 0


World.TestCase.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyOrderOfEvents = World.TestCase
