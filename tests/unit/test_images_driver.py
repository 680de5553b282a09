"""The driver gives one outcome for each file, also when the pool loses some.  This process plays the pool."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pytest

import procession
from procession.apps import driver
from procession.apps.driver import Interrupted, Plan, Progress
from procession.apps.outcome import Outcome
from procession.errors import TimeoutError, WorkerDied


@dataclass(frozen=True)
class NamedTask:
    name: str


class FakePool:
    """Runs tasks in this process.  What the function raises comes out of next(), as from a pool."""

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self.is_terminated = self.is_joined = False

    def imap_unordered(self, function: Callable[[NamedTask], Outcome], tasks: Iterable[NamedTask]) -> "FakePool":
        self.function, self.tasks = function, iter(tasks)
        return self

    def next(self, timeout: float | None = None) -> Outcome:
        return self.function(next(self.tasks))

    def terminate(self) -> None:
        self.is_terminated = True

    def join(self) -> None:
        assert self.is_terminated
        self.is_joined = True


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakePool]]:
    """Every pool that the driver starts; all must have been joined at the end."""
    started: list[FakePool] = []

    def start(processes: int) -> FakePool:
        started.append(FakePool(processes))
        return started[-1]

    monkeypatch.setattr(procession, "Pool", start, raising=False)
    yield started
    assert all(pool.is_joined for pool in started)


def plan_of(*names: str, refused: tuple[str, ...] = ()) -> Plan[NamedTask]:
    return Plan([NamedTask(name) for name in names], [Outcome(name, "not an image") for name in refused])


def done(task: NamedTask) -> Outcome:
    return Outcome(task.name)


def test_every_task_and_every_refused_file_has_an_outcome(pools: list[FakePool]) -> None:
    result = driver.run(plan_of("a", "b", refused=("c",)), done, workers=2)
    assert sorted(outcome.name for outcome in result.outcomes) == ["a", "b", "c"]
    assert (len(result.made), [outcome.name for outcome in result.failed], result.total) == (2, ["c"], 3)


def test_no_pool_is_started_for_no_tasks(pools: list[FakePool]) -> None:
    assert driver.run(plan_of(refused=("a",)), done, workers=2).total == 1
    assert not pools


def test_no_more_workers_are_started_than_there_are_tasks(pools: list[FakePool]) -> None:
    driver.run(plan_of("a", "b"), done, workers=8)
    assert pools[0].processes == 2


def test_a_dead_worker_costs_one_file_and_names_the_death(pools: list[FakePool]) -> None:
    def die_on_b(task: NamedTask) -> Outcome:
        if task.name == "b":
            raise WorkerDied("worker 7 was killed by SIGKILL")
        return done(task)

    tidied: list[str] = []
    result = driver.run(plan_of("a", "b", "c"), die_on_b, workers=2, tidy=lambda task: tidied.append(task.name))
    assert [outcome.name for outcome in result.made] == ["a", "c"]
    assert [(outcome.name, outcome.reason) for outcome in result.failed] == [("b", "worker 7 was killed by SIGKILL")]
    assert tidied == ["b"]


def test_a_pool_that_only_fails_ends_the_run(pools: list[FakePool], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: FakePool, timeout: float | None = None) -> Outcome:
        raise RuntimeError("no worker\nstarts")

    monkeypatch.setattr(FakePool, "next", fail)
    result = driver.run(plan_of("a", "b"), done, workers=2)
    assert {outcome.reason for outcome in result.failed} == {"no worker starts"}


def test_ctrl_c_tells_what_was_done_and_tidies_the_rest(pools: list[FakePool]) -> None:
    def interrupt_on_b(task: NamedTask) -> Outcome:
        if task.name == "b":
            raise KeyboardInterrupt
        return done(task)

    tidied: list[str] = []
    with pytest.raises(Interrupted) as caught:
        driver.run(plan_of("a", "b", "c"), interrupt_on_b, workers=2, tidy=lambda task: tidied.append(task.name))
    assert [outcome.name for outcome in caught.value.result.outcomes] == ["a"]
    assert caught.value.result.total == 3
    assert tidied == ["b"]


def test_an_error_in_the_callback_ends_the_pool(pools: list[FakePool]) -> None:
    def progress(progress: Progress) -> None:
        if progress.outcome is not None:
            raise LookupError("callback")

    with pytest.raises(LookupError, match="callback"):
        driver.run(plan_of("a"), done, workers=1, progress=progress)
    assert pools[0].is_joined


def test_the_callback_hears_of_outcomes_and_of_time_passing(pools: list[FakePool]) -> None:
    waits = iter([True, False, False])

    def slow_first(task: NamedTask) -> Outcome:
        if next(waits):
            raise TimeoutError
        return done(task)

    heard: list[Progress] = []
    driver.run(plan_of("lost", "b", "c"), slow_first, workers=1, progress=heard.append)
    # The fake pool drops the task that it was slow with, so that is reported as failed at the end.
    assert [(event.done, event.failed, event.outcome and event.outcome.name) for event in heard] == [
        (0, 0, None),
        (0, 0, None),
        (1, 0, "b"),
        (2, 0, "c"),
        (3, 1, "lost"),
    ]
