"""Run a program's plan on a pool: one outcome for each file, whatever happens to it or to its worker.

    plan ── tasks ──> Pool.imap_unordered(function) ── Outcome ──> progress callback ──> Result

The driver knows nothing of images: a new program brings a plan and a function.  It starts no thread, so that workers
are forked from a process that has none of ours.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from procession.apps.outcome import Outcome, one_line
from procession.errors import TimeoutError

TICK_S = 0.25
"""How long to wait for an outcome before the progress callback is called without one."""


class Task(Protocol):
    """What a plan's task must have."""

    @property
    def name(self) -> str:
        """Names the task's outcome."""


TaskT = TypeVar("TaskT", bound=Task)


@dataclass(frozen=True, slots=True)
class Plan(Generic[TaskT]):
    """What to do, and what the listing already knows to be impossible."""

    tasks: Sequence[TaskT]
    refused: Sequence[Outcome] = ()

    @property
    def total(self) -> int:
        return len(self.tasks) + len(self.refused)


class PlanError(ValueError):
    """The arguments make no sense together.  Raised before anything is written."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is.  `outcome` is the newest one, or None when only time has passed."""

    total: int
    done: int
    failed: int
    outcome: Outcome | None = None


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Result:
    """The end of a run; `total` is larger than the number of outcomes if it was interrupted."""

    outcomes: Sequence[Outcome]
    total: int
    seconds: float

    @property
    def made(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if not outcome.is_failed]

    @property
    def failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.is_failed]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run.  The workers are gone and temporary files removed; `result` has what was done until then."""

    def __init__(self, result: Result) -> None:
        super().__init__(f"interrupted after {len(result.outcomes)} of {result.total} files")
        self.result = result


@dataclass(slots=True)
class _Ledger(Generic[TaskT]):
    """Which tasks were handed to the pool, what came back, and what was lost on the way."""

    plan: Plan[TaskT]
    report: ProgressCallback
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    # A task is here from when the pool takes it until its outcome arrives: only these can have left something behind.
    open_tasks: dict[str, TaskT] = field(default_factory=dict)
    losses: list[str] = field(default_factory=list)
    failed: int = 0

    def hand_out(self) -> Iterator[TaskT]:
        for task in self.plan.tasks:
            self.open_tasks[task.name] = task
            yield task

    def record(self, outcome: Outcome) -> None:
        self.open_tasks.pop(outcome.name, None)
        self.outcomes[outcome.name] = outcome
        self.failed += outcome.is_failed
        self.tell(outcome)

    def lose(self, error: Exception) -> None:
        self.losses.append(one_line(str(error)) or type(error).__name__)

    def tell(self, outcome: Outcome | None = None) -> None:
        self.report(Progress(self.plan.total, len(self.outcomes), self.failed, outcome))

    def record_lost(self) -> None:
        # The error of a dead worker does not say which file it had; the files without an outcome are those.
        lost = [task for task in self.plan.tasks if task.name not in self.outcomes]
        for position, task in enumerate(lost):
            reason = self.losses[min(position, len(self.losses) - 1)] if self.losses else "its worker never answered"
            self.record(Outcome(task.name, reason=reason))


def run(
    plan: Plan[TaskT],
    function: Callable[[TaskT], Outcome],
    *,
    workers: int,
    progress: ProgressCallback | None = None,
    tidy: Callable[[TaskT], None] | None = None,
) -> Result:
    """Call `function` for each task of `plan` on `workers` processes.

    `function` and the tasks are sent to workers, so they must be picklable.  `tidy` is called in this process for each
    task whose worker ended before it answered, to remove what it may have left.

    Raises:
        Interrupted: Ctrl-C; all workers have ended.
    """
    started_s = time.monotonic()
    ledger = _Ledger(plan, progress or ignore_progress)
    try:
        try:
            for outcome in plan.refused:
                ledger.record(outcome)
            ledger.tell()
            if plan.tasks:
                _work(ledger, function, min(workers, len(plan.tasks)))
        finally:
            # Before the lost tasks get their outcome: that takes them out of open_tasks.
            for task in ledger.open_tasks.values():
                if tidy is not None:
                    tidy(task)
        ledger.record_lost()
    except KeyboardInterrupt:
        raise Interrupted(_result(ledger, started_s)) from None
    return _result(ledger, started_s)


def _work(ledger: _Ledger[TaskT], function: Callable[[TaskT], Outcome], workers: int) -> None:
    from procession import Pool

    pool = Pool(workers)
    try:
        outcomes = pool.imap_unordered(function, ledger.hand_out())
        # More errors than tasks come only from a pool that can give nothing else.
        while len(ledger.losses) <= len(ledger.plan.tasks):
            try:
                outcome = outcomes.next(TICK_S)
            except StopIteration:
                return
            except TimeoutError:
                ledger.tell()
            except Exception as error:
                # One task is lost (its worker died); the iterator goes on with the others.
                ledger.lose(error)
            else:
                ledger.record(outcome)
    finally:
        pool.terminate()
        pool.join()


def _result(ledger: _Ledger[TaskT], started_s: float) -> Result:
    return Result(list(ledger.outcomes.values()), ledger.plan.total, time.monotonic() - started_s)


def ignore_progress(progress: Progress) -> None:
    """The callback for who does not watch."""
