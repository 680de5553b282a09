"""The driver accounts for each task, also when the pool loses some.  This process plays the pool."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pytest

import procession
from procession.apps import driver
from procession.apps.driver import Interrupted, Progress
from procession.apps.outcome import Done, Outcome, done_with, failed
from procession.errors import TaskTimeout, TimeoutError, WorkerDied


@dataclass(frozen=True)
class NamedTask:
    name: str
    files: int = 1
    size_bytes: int = 10


class FakePool:
    """Runs tasks in this process.  A death comes out of next(), with the task's place, as from a pool."""

    def __init__(self, processes: int, initializer: object, initargs: tuple[object, ...]) -> None:
        self.processes = processes
        self.is_terminated = self.is_joined = False

    def imap_unordered(
        self,
        function: Callable[[tuple[int, NamedTask]], object],
        tasks: Iterable[tuple[int, NamedTask]],
        buffersize: int,
        timeout: float | None,
    ) -> "FakePool":
        self.function, self.tasks = function, iter(tasks)
        return self

    def next(self, timeout: float | None = None) -> object:
        place, task = next(self.tasks)
        try:
            return self.function((place, task))
        except Death as death:
            error = death.args[0]
            error.index = place
            raise error from None

    def terminate(self) -> None:
        self.is_terminated = True

    def join(self) -> None:
        assert self.is_terminated
        self.is_joined = True


class Death(BaseException):
    """Not seen by the function's own guard, as a real one is not."""


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakePool]]:
    """Every pool that the driver starts; all must have been joined at the end."""
    started: list[FakePool] = []

    def start(*arguments: object) -> FakePool:
        started.append(FakePool(*arguments))  # type: ignore[arg-type]
        return started[-1]

    monkeypatch.setattr(procession, "Pool", start, raising=False)
    yield started
    assert all(pool.is_joined for pool in started)


def tasks(*names: str) -> list[NamedTask | Done]:
    return [NamedTask(name) for name in names]


def done(task: NamedTask) -> Done:
    return done_with(Outcome(task.name, source_bytes=5))


@pytest.fixture
def run(pools: list[FakePool]) -> Callable[..., driver.Result]:
    def run(
        plan: Iterable[NamedTask | Done], function: Callable[[NamedTask], Done] = done, **options: object
    ) -> object:
        return driver.run(plan, function, **{"workers": 2, "lose": driver.lose_files, **options})  # type: ignore[arg-type]

    return run  # type: ignore[return-value]


def test_every_task_and_every_refused_file_has_an_outcome(run: Callable[..., driver.Result]) -> None:
    result = run([done_with(failed("c", "no image")), *tasks("a", "b")])
    assert sorted(outcome.name for outcome in result.outcomes) == ["a", "b", "c"]
    assert (result.done, result.failed, result.total, result.missing, result.source_bytes) == (2, 1, 3, 0, 10)
    assert [outcome.name for outcome in result.failures] == ["c"]


def test_only_failures_are_kept_if_no_more_is_asked_for(run: Callable[..., driver.Result]) -> None:
    result = run([done_with(failed("c", "no image")), *tasks("a", "b")], keep=False)
    assert ([outcome.name for outcome in result.outcomes], result.done) == (["c"], 2)


def test_a_plan_may_list_while_it_is_worked_on(run: Callable[..., driver.Result]) -> None:
    heard: list[Progress] = []
    result = run((NamedTask(name) for name in "abc"), progress=heard.append)
    assert result.done == 3
    assert [(each.total_files, each.is_listed) for each in heard] == [
        (0, False),
        (1, False),
        (2, False),
        (3, False),
        (3, True),
    ]


def test_no_pool_is_started_for_no_tasks(run: Callable[..., driver.Result], pools: list[FakePool]) -> None:
    assert run([done_with(failed("a", "no image"))]).total == 1
    assert not pools


def test_no_more_workers_are_started_than_there_are_tasks(
    run: Callable[..., driver.Result], pools: list[FakePool]
) -> None:
    run(tasks("a", "b"), workers=8)
    assert pools[0].processes == 2


def test_a_batch_counts_for_all_its_files(run: Callable[..., driver.Result]) -> None:
    def most(task: NamedTask) -> Done:
        return Done(files=62, unchanged=1, source_bytes=600, result_bytes=300, outcomes=(failed("x", "unreadable"),))

    result = run([NamedTask("batch", 64, 640)], most)
    assert (result.total, result.done, result.unchanged, result.failed, result.missing) == (64, 62, 1, 1, 0)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (WorkerDied("worker 7 was killed", exitcode=-9), "its worker was killed by SIGKILL"),
        (TaskTimeout("late", timeout=2.5), "took longer than 2.5 s"),
    ],
)
def test_a_lost_worker_costs_its_own_task_and_the_reason_says_what_happened(
    error: Exception, reason: str, run: Callable[..., driver.Result]
) -> None:
    def die_on_b(task: NamedTask) -> Done:
        if task.name == "b":
            raise Death(error)
        return done(task)

    result = run(tasks("a", "b", "c"), die_on_b)
    assert result.done == 2
    assert result.failures == [failed("b", reason)]


def test_what_the_function_raises_is_its_own_task_s_failure(run: Callable[..., driver.Result]) -> None:
    def fail_on_b(task: NamedTask) -> Done:
        if task.name == "b":
            raise RuntimeError("two\nlines")
        return done(task)

    assert run(tasks("a", "b", "c"), fail_on_b).failures == [failed("b", "RuntimeError: two lines")]


def test_a_pool_that_cannot_start_is_an_error(
    run: Callable[..., driver.Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: FakePool, timeout: float | None = None) -> object:
        raise RuntimeError("no worker starts")

    monkeypatch.setattr(FakePool, "next", fail)
    with pytest.raises(RuntimeError, match="no worker starts"):
        run(tasks("a", "b"))


def test_ctrl_c_tells_what_was_done_and_tidies_the_rest(run: Callable[..., driver.Result]) -> None:
    def interrupt_on_b(task: NamedTask) -> Done:
        if task.name == "b":
            raise KeyboardInterrupt
        return done(task)

    tidied: list[str] = []

    def lose(task: NamedTask, reason: str) -> Done:
        tidied.append(task.name)
        return done_with(failed(task.name, reason))

    with pytest.raises(Interrupted) as caught:
        run(tasks("a", "b", "c"), interrupt_on_b, lose=lose)
    assert [outcome.name for outcome in caught.value.result.outcomes] == ["a"]
    assert (caught.value.result.total, caught.value.result.missing) == (3, 2)
    assert tidied == ["b", "c"]


def test_an_error_in_the_callback_ends_the_pool(run: Callable[..., driver.Result], pools: list[FakePool]) -> None:
    def progress(progress: Progress) -> None:
        if progress.outcomes:
            raise LookupError("callback")

    with pytest.raises(LookupError, match="callback"):
        run(tasks("a"), progress=progress)
    assert pools[0].is_joined


def test_settling_may_change_what_a_worker_said(run: Callable[..., driver.Result]) -> None:
    def settle(task: NamedTask, said: Done) -> Done:
        return done_with(failed(task.name, "could not be renamed")) if task.name == "b" else said

    result = run(tasks("a", "b"), settle=settle)
    assert (result.done, [outcome.name for outcome in result.failures]) == (1, ["b"])


def test_the_callback_hears_of_outcomes_of_time_passing_and_of_what_runs(run: Callable[..., driver.Result]) -> None:
    heard: list[Progress] = []
    waits = iter([True, False, False])

    def slow_first(task: NamedTask) -> Done:
        if next(waits):
            raise Death(TimeoutError())
        return done(task)

    run(tasks("lost", "b", "c"), slow_first, progress=heard.append)
    # The fake pool drops the task that it was slow with, so that is reported as failed at the end.
    told = [
        (each.ended_files, each.failed, each.running, [outcome.name for outcome in each.outcomes]) for each in heard
    ]
    assert told == [
        (0, 0, (), []),
        (0, 0, ("lost", "b"), []),
        (1, 0, ("lost", "c"), ["b"]),
        (2, 0, ("lost",), ["c"]),
        (3, 1, (), ["lost"]),
        (3, 1, (), []),
    ]
    assert (heard[-1].ended_bytes, heard[-1].total_bytes, heard[-1].worked_bytes) == (30, 30, 10)
