"""The scheduler: every event from every state, and every item gets exactly one outcome whatever the order of events."""

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from procession.engine.scheduler import (
    LEAST_NS,
    NOT_RUNNING,
    TARGET_NS,
    Batch,
    Estimate,
    Fail,
    GiveUp,
    Lane,
    Requeue,
    Scheduler,
    StartWorker,
    WorkerExited,
    WorkerLeaving,
    WorkerReady,
)

KILLED = -9


def batch_of(count: int, lane: Lane | None = None, start: int = 0) -> Batch:
    return Batch("ticket", "function", start, list(range(count)), 0, lane or Lane())


@pytest.fixture
def scheduler() -> Scheduler:
    """Two workers, 1 and 2, ready."""
    scheduler = Scheduler(2)
    for worker in (1, 2):
        scheduler.started(worker)
        assert scheduler.handle(WorkerReady(worker)) == []
    scheduler.check()
    return scheduler


def exited(
    worker: int, first: int, to: int, running: int, item: int, head: int, exitcode: int = KILLED
) -> WorkerExited:
    return WorkerExited(worker, exitcode, (first, to, running, item), head)


# ---- batches ----


def test_a_batch_is_in_flight_until_its_last_item_has_a_result(scheduler):
    batch = batch_of(3)
    scheduler.queued(0, batch)
    assert scheduler.finished(0, 2) is batch
    assert 0 in scheduler.in_flight
    assert scheduler.finished(0, 1) is batch
    assert not scheduler.in_flight


def test_results_of_an_unknown_position_belong_to_nobody(scheduler):
    assert scheduler.finished(7, 1) is None


def test_a_lane_counts_its_batches_in_flight(scheduler):
    lane = Lane()
    scheduler.queued(0, batch_of(1, lane))
    scheduler.queued(1, batch_of(1, lane))
    assert lane.batches == 2
    scheduler.finished(0, 1)
    scheduler.forget(1)
    assert lane.batches == 0


def test_forgetting_twice_counts_once(scheduler):
    lane = Lane()
    scheduler.queued(0, batch_of(1, lane))
    assert scheduler.forget(0) is not None
    assert scheduler.forget(0) is None
    assert lane.batches == 0


# ---- deaths ----


def test_a_worker_that_dies_idle_costs_only_its_replacement(scheduler):
    scheduler.queued(0, batch_of(1))
    assert scheduler.handle(exited(1, 0, 0, NOT_RUNNING, 0, head=0)) == [StartWorker()]
    assert 0 in scheduler.in_flight
    scheduler.check()


def test_a_claim_past_the_head_was_never_taken(scheduler):
    scheduler.queued(0, batch_of(1))
    assert scheduler.handle(exited(1, 0, 1, NOT_RUNNING, 0, head=0)) == [StartWorker()]
    assert 0 in scheduler.in_flight


def test_a_claim_that_was_taken_and_not_begun_goes_again(scheduler):
    batch = batch_of(2)
    scheduler.queued(0, batch)
    again, start = scheduler.handle(exited(1, 0, 1, NOT_RUNNING, 0, head=1))
    assert isinstance(again, Requeue) and again.batch.items == [0, 1]
    assert start == StartWorker()
    assert not scheduler.in_flight


def test_the_running_item_fails_and_its_neighbours_go_again(scheduler):
    scheduler.queued(0, batch_of(5, start=10))
    fail, before, after, _ = scheduler.handle(exited(1, 0, 1, 0, 2, head=1))
    assert isinstance(fail, Fail) and fail.batch.items[fail.index] == 2
    assert (fail.worker, fail.exitcode) == (1, KILLED)
    assert (before.batch.start, before.batch.items) == (10, [0, 1])
    assert (after.batch.start, after.batch.items) == (13, [3, 4])


def test_items_with_a_result_do_not_go_again(scheduler):
    scheduler.queued(0, batch_of(5))
    scheduler.finished(0, 2)
    fail, after, _ = scheduler.handle(exited(1, 0, 1, 0, 2, head=1))
    assert fail.index == 2
    assert after.batch.items == [3, 4]


@pytest.mark.parametrize(("item", "again"), [(0, [[1, 2]]), (2, [[0, 1]])])
def test_no_empty_batch_goes_again(scheduler, item, again):
    scheduler.queued(0, batch_of(3))
    actions = scheduler.handle(exited(1, 0, 1, 0, item, head=1))
    assert [action.batch.items for action in actions if isinstance(action, Requeue)] == again


def test_a_worker_that_dies_between_two_items_fails_none_that_has_a_result(scheduler):
    scheduler.queued(0, batch_of(3))
    scheduler.finished(0, 2)
    # Item 1 is the last that the slot names, and it has a result: the next was never begun.
    again, _ = scheduler.handle(exited(1, 0, 1, 0, 1, head=1))
    assert isinstance(again, Requeue) and again.batch.items == [2]


def test_batches_before_the_running_one_go_again_without_a_result_and_later_ones_too(scheduler):
    for position in range(4):
        scheduler.queued(position, batch_of(1, start=position))
    scheduler.finished(0, 1)
    actions = scheduler.handle(exited(1, 0, 4, 2, 0, head=4))
    assert [action.batch.start for action in actions if isinstance(action, Requeue)] == [1, 3]
    assert [action.batch.start for action in actions if isinstance(action, Fail)] == [2]
    assert not scheduler.in_flight


def test_lanes_are_free_after_a_death(scheduler):
    lane = Lane()
    for position in range(3):
        scheduler.queued(position, batch_of(2, lane))
    scheduler.handle(exited(1, 0, 3, 1, 0, head=3))
    assert lane.batches == 0


def test_a_split_batch_can_be_split_again(scheduler):
    scheduler.queued(0, batch_of(5))
    _, after, _ = scheduler.handle(exited(1, 0, 1, 0, 0, head=1))
    scheduler.queued(1, after.batch)
    scheduler.started(3)
    fail, before, rest, _ = scheduler.handle(exited(2, 1, 2, 1, 1, head=2))
    assert fail.batch.items[fail.index] == 2
    assert before.batch.items == [1]
    assert rest.batch.items == [3, 4]
    assert (fail.batch.start + fail.index, before.batch.start, rest.batch.start) == (2, 1, 3)


# ---- workers ----


def test_a_worker_that_leaves_is_replaced_before_it_has_ended(scheduler):
    assert scheduler.handle(WorkerLeaving(1)) == [StartWorker()]
    scheduler.started(3)
    assert scheduler.handle(exited(1, 5, 5, NOT_RUNNING, 0, head=5, exitcode=0)) == []
    scheduler.check()


def test_a_closing_pool_replaces_nobody(scheduler):
    scheduler.closing = True
    assert scheduler.handle(exited(1, 0, 0, NOT_RUNNING, 0, head=0)) == []
    assert scheduler.handle(WorkerLeaving(2)) == []


def test_a_closing_pool_with_work_left_replaces_a_dead_worker(scheduler):
    """close() lets what was submitted finish: somebody must do it."""
    scheduler.queued(0, batch_of(1))
    scheduler.queued(1, batch_of(1))
    scheduler.closing = True
    actions = scheduler.handle(exited(1, 0, 1, 0, 0, head=1))
    actions += scheduler.handle(exited(2, 1, 1, NOT_RUNNING, 0, head=1))
    assert StartWorker() in actions


def test_three_deaths_at_start_in_a_row_end_the_pool():
    scheduler = Scheduler(1)
    for worker in (1, 2):
        scheduler.started(worker)
        assert scheduler.handle(exited(worker, 0, 0, NOT_RUNNING, 0, head=0)) == [StartWorker()]
    scheduler.started(3)
    assert scheduler.handle(exited(3, 0, 0, NOT_RUNNING, 0, head=0, exitcode=7)) == [GiveUp(7)]


def test_workers_that_end_at_start_with_code_0_end_the_pool_too():
    """An initializer that calls sys.exit() or os._exit(0): else workers are started for ever."""
    scheduler = Scheduler(1)
    for worker in range(1, 20):
        scheduler.started(worker)
        actions = scheduler.handle(exited(worker, 0, 0, NOT_RUNNING, 0, head=0, exitcode=0))
        if any(isinstance(action, GiveUp) for action in actions):
            return
    pytest.fail("the pool goes on for ever")


def test_a_worker_that_comes_up_forgives_early_deaths():
    scheduler = Scheduler(1)
    for worker in (1, 2):
        scheduler.started(worker)
        scheduler.handle(exited(worker, 0, 0, NOT_RUNNING, 0, head=0))
    scheduler.started(3)
    scheduler.handle(WorkerReady(3))
    scheduler.handle(exited(3, 0, 0, NOT_RUNNING, 0, head=0))
    assert scheduler.early_deaths == 0


def test_a_late_ready_of_a_dead_worker_is_no_worker():
    scheduler = Scheduler(1)
    scheduler.started(1)
    scheduler.handle(exited(1, 0, 0, NOT_RUNNING, 0, head=0))
    scheduler.handle(WorkerReady(1))
    assert scheduler.missing() == 1


# ---- sizes of batches ----


def test_the_first_batch_of_an_unknown_function_is_one_item():
    assert Estimate().batch_size(2, None) == 1


def test_batches_grow_towards_a_targets_worth():
    estimate = Estimate()
    sizes = []
    for _ in range(30):
        size = estimate.batch_size(2, None)
        sizes.append(size)
        estimate.learn(size, size * 1000)
    assert sizes == sorted(sizes)
    assert sizes[-1] == TARGET_NS // 1000


def test_one_quick_item_does_not_make_a_huge_batch():
    estimate = Estimate()
    estimate.learn(1, 10)
    assert estimate.batch_size(2, None) <= 4


def test_long_tasks_travel_alone():
    estimate = Estimate()
    estimate.learn(100, 100 * 5_000_000)
    assert estimate.batch_size(2, None) == 1


@pytest.mark.parametrize("remaining", [1, 2, 7, 100, 10_000])
def test_batches_shrink_with_what_is_left(remaining):
    estimate = Estimate()
    estimate.learn(1_000_000, 60_000 * 1_000_000)
    size = estimate.batch_size(4, remaining)
    assert 1 <= size <= max(1, remaining // 8)


@pytest.mark.parametrize("remaining", [1, 2, 7, 100, 10_000])
def test_batches_need_not_shrink_below_what_is_not_worth_handing_over(remaining):
    estimate = Estimate()
    estimate.learn(1_000_000, 1_000 * 1_000_000)
    size = estimate.batch_size(4, remaining)
    assert size == max(min(remaining, LEAST_NS // 1000), min(remaining // 8, 1000))


@pytest.mark.parametrize("count", [0, -1])
def test_nothing_is_learned_from_nothing(count):
    estimate = Estimate()
    estimate.learn(count, 100)
    assert estimate.seen == 0


# ---- any order of events ----


@dataclass
class Worker:
    """A worker as the scheduler's world sees it: what it has claimed, and the results that it has not sent."""

    first: int = 0
    to: int = 0
    running: int = NOT_RUNNING
    item: int = 0
    is_ready: bool = False
    done: list[tuple[int, int, int]] = field(default_factory=list)  # position, first item, items: not sent yet
    at: tuple[int, int] = (0, 0)  # position and item to run next


class World(RuleBasedStateMachine):
    """Two or three workers, a channel, and a scheduler that sees what a parent would see."""

    @initialize(size=st.integers(1, 3))
    def make(self, size):
        self.scheduler = Scheduler(size)
        self.channel: list[Batch] = []
        self.head = 0
        self.workers: dict[int, Worker] = {}
        self.names = iter(range(1, 10_000))
        self.outcomes: dict[int, int] = {}
        self.submitted = 0
        self.lane = Lane()
        for _ in range(size):
            self.perform([StartWorker()])

    def perform(self, actions):
        for action in actions:
            match action:
                case StartWorker():
                    name = next(self.names)
                    self.workers[name] = Worker()
                    self.scheduler.started(name)
                case Requeue(batch):
                    assert batch.items
                    self.put(batch)
                case Fail(batch, index):
                    self.resolve(batch.start + index)
                case GiveUp():
                    raise AssertionError("gave up")

    def put(self, batch):
        self.scheduler.queued(len(self.channel), batch)
        # What the workers get is a copy: the parent's own batch changes meanwhile.
        self.channel.append(batch.part(0, len(batch.items)))

    def resolve(self, item):
        self.outcomes[item] = self.outcomes.get(item, 0) + 1

    def pick(self, index, which):
        fitting = [name for name, worker in self.workers.items() if which(worker)]
        return fitting[index % len(fitting)] if fitting else None

    @rule(count=st.integers(1, 5))
    def submit(self, count):
        self.put(Batch("t", "f", self.submitted, list(range(self.submitted, self.submitted + count)), 0, self.lane))
        self.submitted += count

    @rule(index=st.integers(0, 9))
    def ready(self, index):
        name = self.pick(index, lambda worker: not worker.is_ready)
        if name:
            self.workers[name].is_ready = True
            self.perform(self.scheduler.handle(WorkerReady(name)))

    @rule(index=st.integers(0, 9), wanted=st.integers(1, 3))
    def take(self, index, wanted):
        name = self.pick(index, lambda worker: worker.is_ready and worker.first == worker.to)
        if name and self.head < len(self.channel):
            worker = self.workers[name]
            worker.first, worker.to = self.head, min(len(self.channel), self.head + wanted)
            worker.running, worker.item, worker.at = NOT_RUNNING, 0, (self.head, 0)
            self.head = worker.to

    @rule(index=st.integers(0, 9), count=st.integers(1, 4))
    def run_items(self, index, count):
        name = self.pick(index, lambda worker: worker.first < worker.to and worker.at[0] < worker.to)
        if name:
            self.run_some(self.workers[name], count)

    def run_some(self, worker, count):
        position, item = worker.at
        batch = self.channel[position]
        end = min(len(batch.items), item + count)
        worker.running, worker.item = position, end - 1
        worker.done.append((position, item, end - item))
        worker.at = (position + 1, 0) if end == len(batch.items) else (position, end)

    @rule(index=st.integers(0, 9))
    def begin_item(self, index):
        """The next item runs, and is not done."""
        name = self.pick(index, lambda worker: worker.first < worker.to and worker.at[0] < worker.to)
        if name:
            worker = self.workers[name]
            worker.running, worker.item = worker.at

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
        if worker.first < worker.to and worker.at[0] >= worker.to:
            worker.first = worker.to

    @precondition(lambda self: self.scheduler.early_deaths < 2)
    @rule(index=st.integers(0, 9), code=st.sampled_from([KILLED, 3, 0]), before_commit=st.booleans())
    def die(self, index, code, before_commit):
        name = self.pick(index, lambda worker: True)
        if not name:
            return
        worker = self.workers.pop(name)
        if not worker.is_ready and self.scheduler.early_deaths >= 1:
            code = 0 if code == 0 else code
        claim = (worker.first, worker.to, worker.running, worker.item)
        if before_commit and worker.is_ready and worker.first == worker.to:
            claim = (self.head, self.head + 2, NOT_RUNNING, 0)
        self.perform(self.scheduler.handle(WorkerExited(name, code, claim, self.head)))

    @rule(index=st.integers(0, 9))
    def leave(self, index):
        name = self.pick(index, lambda worker: worker.is_ready and worker.first == worker.to and not worker.done)
        if name:
            worker = self.workers.pop(name)
            self.perform(self.scheduler.handle(WorkerLeaving(name)))
            self.scheduler.check()
            self.perform(
                self.scheduler.handle(WorkerExited(name, 0, (worker.first, worker.to, NOT_RUNNING, 0), self.head))
            )

    @invariant()
    def nothing_is_broken(self):
        if hasattr(self, "scheduler"):
            self.scheduler.check()
            assert self.scheduler.missing() == 0
            assert all(count == 1 for count in self.outcomes.values())
            assert self.lane.batches == len(self.scheduler.in_flight)

    def teardown(self):
        if not hasattr(self, "scheduler"):
            return
        for _ in range(10_000):
            for name in list(self.workers):
                worker = self.workers[name]
                if not worker.is_ready:
                    self.ready(0)
                while worker.first < worker.to and worker.at[0] < worker.to:
                    self.run_some(worker, 3)
                self.send(worker)
            if self.head == len(self.channel) and not self.scheduler.in_flight:
                break
            self.take(0, 3)
        assert self.outcomes == dict.fromkeys(range(self.submitted), 1)
        assert self.lane.batches == 0


World.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyOrderOfEvents = World.TestCase
