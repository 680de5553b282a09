"""The scheduler: every event from every state.  Any order of them is in test_scheduler_orders.py."""

import pytest

from procession.engine.batches import LEAST_NS, TARGET_NS, Batch, Estimate, Lane, Terms
from procession.engine.scheduler import (
    ANY_ITEM,
    INITIALIZING,
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


def test_a_death_in_the_first_initializer_ends_the_pool_at_once():
    scheduler = Scheduler(2)
    scheduler.started(1)
    scheduler.started(2)
    assert scheduler.handle(exited(1, 0, 0, INITIALIZING, 0, head=0, exitcode=5)) == [GiveUp(5, in_initializer=True)]


def test_a_death_in_a_later_initializer_costs_a_replacement():
    """Somebody may have killed it: the first workers have shown that the initializer can be done."""
    scheduler = Scheduler(1)
    scheduler.started(1)
    scheduler.handle(WorkerReady(1))
    scheduler.handle(exited(1, 0, 0, NOT_RUNNING, 0, head=0))
    scheduler.started(2)
    assert scheduler.handle(exited(2, 0, 0, INITIALIZING, 0, head=0)) == [StartWorker()]


def test_workers_that_are_killed_at_their_start_do_not_end_a_pool_that_was_up():
    scheduler = Scheduler(1)
    scheduler.started(1)
    scheduler.handle(WorkerReady(1))
    for worker in range(2, 10):
        scheduler.started(worker)
        actions = scheduler.handle(exited(worker, 0, 0, NOT_RUNNING, 0, head=0))
        assert not any(isinstance(action, GiveUp) for action in actions)
    for worker in range(10, 13):
        scheduler.started(worker)
        actions = scheduler.handle(exited(worker, 0, 0, NOT_RUNNING, 0, head=0, exitcode=1))
    assert actions == [GiveUp(1)]


def test_workers_that_die_idle_one_after_the_other_are_not_replaced_at_once_for_ever():
    scheduler = Scheduler(1)
    starts = []
    for worker in range(1, 41):
        scheduler.started(worker)
        scheduler.handle(WorkerReady(worker))
        starts.append(scheduler.handle(exited(worker, 0, 0, NOT_RUNNING, 0, head=0)))
    assert starts[0] == [StartWorker()]
    assert starts[-1] == []
    assert scheduler.missing() == 1  # the next look starts it


def test_workers_that_die_idle_while_work_waits_end_the_pool():
    scheduler = Scheduler(1)
    scheduler.queued(0, batch_of(1))
    for worker in range(1, 100):
        scheduler.started(worker)
        scheduler.handle(WorkerReady(worker))
        if scheduler.handle(exited(worker, 0, 0, NOT_RUNNING, 0, head=0)) == [GiveUp(KILLED)]:
            return
    pytest.fail("the pool goes on for ever")


def test_tasks_that_kill_their_workers_do_not_end_the_pool():
    scheduler = Scheduler(1)
    for worker in range(1, 200):
        scheduler.started(worker)
        scheduler.handle(WorkerReady(worker))
        scheduler.queued(worker, batch_of(1))
        fail, start = scheduler.handle(exited(worker, worker, worker + 1, worker, 0, head=worker + 1))
        assert isinstance(fail, Fail) and start == StartWorker()


# ---- sizes of a pool ----


def test_a_larger_pool_starts_what_is_missing(scheduler):
    assert scheduler.handle(Resized(4)) == [StartWorker(), StartWorker()]


def test_a_smaller_pool_dismisses_workers_and_replaces_none_of_them(scheduler):
    assert scheduler.handle(Resized(1)) == [Dismiss(2)]
    assert scheduler.handle(WorkerLeaving(2)) == []
    assert scheduler.handle(exited(2, 0, 0, NOT_RUNNING, 0, head=0, exitcode=0)) == []
    scheduler.check()


def test_a_dismissed_worker_that_dies_loses_nothing(scheduler):
    scheduler.queued(0, batch_of(2))
    scheduler.handle(Resized(1))
    fail, again = scheduler.handle(exited(2, 0, 1, 0, 0, head=1))
    assert isinstance(fail, Fail) and again.batch.items == [1]
    assert scheduler.missing() == 0


def test_a_worker_that_is_still_starting_is_dismissed_first(scheduler):
    scheduler.handle(Resized(3))
    scheduler.started(3)
    assert scheduler.handle(Resized(2)) == [Dismiss(3)]
    assert scheduler.handle(WorkerReady(3)) == []
    scheduler.check()


# ---- late and cancelled tasks ----

SECOND = 1_000_000_000


def timed(count: int, **terms) -> Batch:
    return Batch("ticket", "function", 0, list(range(count)), 0, Lane(), Terms(timeout_ns=SECOND, **terms))


def test_a_task_within_its_time_goes_on(scheduler):
    scheduler.queued(0, timed(1))
    assert scheduler.handle(TaskSeen(1, 0, 0, SECOND - 1)) == []


def test_a_task_without_a_limit_goes_on(scheduler):
    scheduler.queued(0, batch_of(1))
    assert scheduler.handle(TaskSeen(1, 0, 0, 1000 * SECOND)) == []


def test_a_late_task_ends_its_worker_once_and_fails_alone(scheduler):
    scheduler.queued(0, timed(3))
    assert scheduler.handle(TaskSeen(1, 0, 1, SECOND)) == [End(1, 0, 1)]
    assert scheduler.handle(TaskSeen(1, 0, 1, 2 * SECOND)) == []
    fail, before, after, start = scheduler.handle(exited(1, 0, 1, 0, 1, head=1, exitcode=-15))
    assert (fail.index, fail.reason) == (1, Reason.LATE)
    assert (before.batch.items, after.batch.items, start) == ([0], [2], StartWorker())
    assert scheduler.timed == 0


def test_a_late_task_that_its_worker_has_ended_itself_of_died(scheduler):
    scheduler.queued(0, timed(1))
    scheduler.handle(TaskSeen(1, 0, 0, SECOND))
    fail, _ = scheduler.handle(exited(1, 0, 1, 0, 0, head=1, exitcode=-11))
    assert fail.reason is Reason.DIED


def test_a_worker_that_has_gone_on_to_another_task_is_spared(scheduler):
    scheduler.queued(0, timed(2))
    scheduler.handle(TaskSeen(1, 0, 0, SECOND))
    assert scheduler.handle(TaskSeen(1, 0, 1, 0)) == [Spare(1)]
    assert not scheduler.condemned


@pytest.mark.parametrize("exitcode", [-15, -9])
def test_a_signal_that_reaches_a_spared_worker_after_all_costs_no_task(scheduler, exitcode):
    scheduler.queued(0, timed(2))
    scheduler.queued(1, batch_of(1))
    scheduler.handle(TaskSeen(1, 0, 0, SECOND))
    scheduler.finished(0, 2)
    assert scheduler.handle(TaskSeen(1, 1, 0, 0)) == [Spare(1)]
    again, start = scheduler.handle(exited(1, 1, 2, 1, 0, head=2, exitcode=exitcode))
    assert isinstance(again, Requeue) and start == StartWorker()
    assert not scheduler.spared


def test_a_worker_that_has_gone_on_to_a_task_that_is_late_too_ends_for_that(scheduler):
    scheduler.queued(0, timed(2))
    scheduler.handle(TaskSeen(1, 0, 0, SECOND))
    assert scheduler.handle(TaskSeen(1, 0, 1, SECOND)) == [Spare(1), End(1, 0, 1)]


@pytest.mark.parametrize("exitcode", [-15, -9])
def test_a_task_that_was_hit_in_the_place_of_a_late_one_goes_again(scheduler, exitcode):
    scheduler.queued(0, timed(3))
    scheduler.handle(TaskSeen(1, 0, 0, SECOND))
    scheduler.finished(0, 1)
    actions = scheduler.handle(exited(1, 0, 1, 0, 1, head=1, exitcode=exitcode))
    assert [action.batch.items for action in actions if isinstance(action, Requeue)] == [[1], [2]]
    assert not any(isinstance(action, Fail) for action in actions)


def test_a_late_task_that_has_a_result_is_not_late(scheduler):
    scheduler.queued(0, timed(2))
    scheduler.finished(0, 1)
    assert scheduler.handle(TaskSeen(1, 0, 0, SECOND)) == []


def test_a_cancelled_batch_ends_its_worker_whichever_item_runs(scheduler):
    scheduler.queued(0, batch_of(5))
    assert scheduler.handle(CancelAsked(0)) == []
    assert scheduler.handle(TaskSeen(1, 0, 2, 0)) == [End(1, 0, ANY_ITEM)]
    assert scheduler.handle(TaskSeen(1, 0, 3, 0)) == []
    # Whoever has cancelled it knows its outcome.
    assert scheduler.handle(exited(1, 0, 1, 0, 3, head=1, exitcode=-15)) == [StartWorker()]
    scheduler.check()


def test_a_cancelled_batch_that_ends_by_itself_is_forgotten(scheduler):
    scheduler.queued(0, batch_of(1))
    scheduler.handle(CancelAsked(0))
    scheduler.finished(0, 1)
    assert scheduler.handle(CancelAsked(0)) == []
    assert not scheduler.cancelled


def test_neighbours_of_a_cancelled_batch_go_again(scheduler):
    for position in range(3):
        scheduler.queued(position, batch_of(1, start=position))
    scheduler.handle(CancelAsked(1))
    scheduler.handle(TaskSeen(1, 1, 0, 0))
    actions = scheduler.handle(exited(1, 0, 3, 1, 0, head=3, exitcode=-15))
    assert [action.batch.start for action in actions if isinstance(action, Requeue)] == [0, 2]
    assert not any(isinstance(action, Fail) for action in actions)


# ---- trying again ----


def test_a_task_whose_worker_died_is_run_again_as_often_as_was_asked(scheduler):
    terms = Terms(retries=2)
    outcomes = []
    for turn in range(3):
        scheduler.queued(turn, Batch("ticket", "function", 4, ["item"], 0, Lane(), terms))
        scheduler.started(10 + turn)
        scheduler.handle(WorkerReady(10 + turn))
        outcomes += scheduler.handle(exited(10 + turn, turn, turn + 1, turn, 0, head=turn + 1))[:1]
    assert [type(outcome) for outcome in outcomes] == [Requeue, Requeue, Fail]
    assert terms.tries == {4: 2}


@pytest.mark.parametrize("retry_late", [True, False])
def test_a_late_task_is_run_again_only_if_that_was_asked(scheduler, retry_late):
    scheduler.queued(0, timed(1, retries=1, retry_late=retry_late))
    scheduler.handle(TaskSeen(1, 0, 0, SECOND))
    action, _ = scheduler.handle(exited(1, 0, 1, 0, 0, head=1, exitcode=-15))
    assert isinstance(action, Requeue if retry_late else Fail)


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
