"""Run a program's plan on a pool: each task is accounted for, whatever happens to it or to its worker.

    plan ── tasks ──> Pool.imap_unordered(function) ── Done ──> counts, progress callback ──> Result

A plan is a list, or an iterator that lists while workers work: it is read in a thread of its own, a bounded number of tasks
ahead.  The driver knows nothing of images or trees: a new program brings a plan and a function.  It keeps failures, and all
other outcomes only if it is asked to, so a run over a million files needs no more memory than one over a thousand.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Generic, NamedTuple, Protocol, TypeVar

from procession.apps.outcome import Done, Outcome, done_with, failed
from procession.errors import TaskCancelled, TaskTimeout, TimeoutError, WorkerDied

TICK_S = 0.2
"""How long to wait for a worker before the progress callback is called without news."""
AHEAD = 512
"""Tasks that are listed and not yet done."""


class Task(Protocol):
    """What a plan's task must have."""

    @property
    def name(self) -> str:
        """Shown while it runs."""

    @property
    def files(self) -> int:
        """How many files are done with it: several for a batch, 0 for a part of a file that others complete."""

    @property
    def size_bytes(self) -> int:
        """What there is to read: how much of the whole it is."""


TaskT = TypeVar("TaskT", bound=Task)
Plan = Iterable[TaskT | Done]
"""What to do; and, as Done, what the listing knows already: what is unchanged, or impossible."""


class PlanError(ValueError):
    """The arguments make no sense together.  Raised before anything is written."""


class Progress(NamedTuple):
    """Where a run is.  Totals grow until `is_listed`."""

    total_files: int
    total_bytes: int
    is_listed: bool
    ended_files: int
    """Done, unchanged or failed."""
    ended_bytes: int
    """Of `total_bytes`."""
    unchanged: int
    failed: int
    worked_bytes: int
    """Read by workers, of files that were done: what a rate is made of."""
    running: tuple[str, ...] = ()
    """Names of the tasks that workers have now."""
    outcomes: tuple[Outcome, ...] = ()
    """What has come since the callback was last called."""


ProgressCallback = Callable[[Progress], None]


class Result:
    """The end of a run."""

    def __init__(
        self,
        *,
        total: int,
        done: int,
        unchanged: int,
        planned: int,
        failed: int,
        source_bytes: int,
        result_bytes: int,
        seconds: float,
        outcomes: Sequence[Outcome],
    ) -> None:
        self.total = total
        """Files that were listed."""
        self.done = done
        self.unchanged = unchanged
        self.planned = planned
        self.failed = failed
        self.source_bytes = source_bytes
        self.result_bytes = result_bytes
        self.seconds = seconds
        self.outcomes = outcomes
        """One for each file; only those that failed if nothing else was to be kept."""

    def __repr__(self) -> str:
        fields = (f"{name}={value!r}" for name, value in vars(self).items() if name != "outcomes")
        return f"{type(self).__name__}({', '.join(fields)}, {len(self.outcomes)} outcomes)"

    @property
    def failures(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.is_failed]

    @property
    def missing(self) -> int:
        """Files that were listed and have no end, because the run was interrupted."""
        return self.total - self.done - self.unchanged - self.planned - self.failed


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run.  The workers are gone and temporary files removed; `result` has what was done until then."""

    def __init__(self, result: Result) -> None:
        super().__init__(f"interrupted after {result.total - result.missing} of {result.total} files")
        self.result = result


class Run(Generic[TaskT]):
    """Which tasks the pool has, what came back, and what that comes to.

    Args:
        lose: what becomes of a task whose worker ended before it answered, for which reason; removes what it may have left.
        settle: called in this process with each task that was answered, before it is counted.
        keeps: whether all outcomes are kept, not only failures.
    """

    def __init__(
        self,
        plan: Plan[TaskT],
        lose: Callable[[TaskT, str], Done],
        report: ProgressCallback,
        settle: Callable[[TaskT, Done], Done] | None = None,
        *,
        keeps: bool = True,
        workers: int = 1,
    ) -> None:
        self.plan = plan
        self.lose = lose
        self.report = report
        self.settle = settle
        self.keeps = keeps
        self.workers = workers
        # By their places, from when tasks are handed out until they are answered.  In that order: the first are running.
        self.open: dict[int, TaskT] = {}
        self.kept: list[Outcome] = []
        self.known: list[Done] = []
        self.total_files = self.total_bytes = 0
        self.is_listed = False
        self.ended_bytes = 0
        self.done = Done()
        self.failed = 0
        self.started_s = time.monotonic()

    def hand_out(self) -> Iterator[tuple[int, TaskT]]:
        """The plan's tasks with their places; read by the pool, most often in a thread of its own."""
        place = 0
        for item in self.plan:
            if isinstance(item, Done):
                self.total_files += item.files + item.unchanged + item.planned + item.failed
                self.known.append(item)  # counted in the driver's thread
                continue
            self.total_files += item.files
            self.total_bytes += item.size_bytes
            self.open[place] = item
            yield place, item
            place += 1
        self.is_listed = True

    def answered(self, place: int, done: Done) -> None:
        """A worker has done a task."""
        task = self.open[place]
        if self.settle is not None:
            done = self.settle(task, done)
        self._end(place, done)

    def lost(self, place: int, reason: str) -> None:
        """The worker of a task has ended instead of answering."""
        if place in self.open:
            self._end(place, self.lose(self.open[place], reason))

    def _end(self, place: int, done: Done) -> None:
        self.ended_bytes += self.open.pop(place).size_bytes
        self._count(done)
        self.tell(done.outcomes)

    def _count(self, done: Done) -> None:
        sums = self.done
        self.done = Done(
            sums.files + done.files,
            sums.unchanged + done.unchanged,
            sums.planned + done.planned,
            sums.source_bytes + done.source_bytes,
            sums.result_bytes + done.result_bytes,
        )
        self.failed += done.failed
        self.kept.extend(done.outcomes if self.keeps else (each for each in done.outcomes if each.is_failed))

    def count_known(self) -> None:
        """Count what the listing has found out by itself."""
        while self.known:
            done = self.known.pop(0)
            self._count(done)
            if done.outcomes:
                self.tell(done.outcomes)

    def tell(self, outcomes: tuple[Outcome, ...] = ()) -> None:
        """Call back."""
        sums = self.done
        running = tuple(self.open[place].name for place in self._first_open())
        self.report(
            Progress(
                total_files=self.total_files,
                total_bytes=self.total_bytes,
                is_listed=self.is_listed,
                ended_files=sums.files + sums.unchanged + sums.planned + self.failed,
                ended_bytes=self.ended_bytes,
                unchanged=sums.unchanged,
                failed=self.failed,
                worked_bytes=sums.source_bytes,
                running=running,
                outcomes=outcomes,
            )
        )

    def _first_open(self) -> list[int]:
        try:
            return list(islice(self.open, self.workers))
        except RuntimeError:
            return []  # the thread that lists has added one meanwhile

    def end_open(self, reason: str) -> None:
        """The pool is gone: what has no answer is lost."""
        for place in list(self.open):
            self.lost(place, reason)

    def result(self) -> Result:
        """What the run has come to."""
        sums = self.done
        return Result(
            total=self.total_files,
            done=sums.files,
            unchanged=sums.unchanged,
            planned=sums.planned,
            failed=self.failed,
            source_bytes=sums.source_bytes,
            result_bytes=sums.result_bytes,
            seconds=time.monotonic() - self.started_s,
            outcomes=self.kept,
        )


def run(
    plan: Plan[TaskT],
    function: Callable[[TaskT], Done],
    *,
    workers: int,
    lose: Callable[[TaskT, str], Done],
    settle: Callable[[TaskT, Done], Done] | None = None,
    progress: ProgressCallback | None = None,
    keep: bool = True,
    timeout: float | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: tuple[object, ...] = (),
) -> Result:
    """Call `function` for each task of `plan` on `workers` processes.

    `function` and the tasks are sent to workers, so they must be picklable.  See Run for `lose` and `settle`; `timeout` is in
    seconds for each task; `initializer(*initargs)` is called in each worker first.  What the plan raises is raised.

    Raises:
        Interrupted: Ctrl-C; all workers have ended.
    """
    report = progress or ignore_progress
    state = Run(plan, lose, report, settle, keeps=keep, workers=workers)
    try:
        if isinstance(plan, Sequence):
            workers = min(workers, sum(not isinstance(item, Done) for item in plan))
        try:
            state.count_known()
            state.tell()
            if workers:
                _work(state, function, workers, timeout, initializer, initargs)
            else:
                list(state.hand_out())
            state.count_known()
            state.end_open("its worker never answered")
        except BaseException:
            # Tidied, but neither counted nor told: nobody has seen to the end of these.
            for task in list(state.open.values()):
                lose(task, "interrupted")
            raise
        state.tell()
    except KeyboardInterrupt:
        raise Interrupted(state.result()) from None
    return state.result()


def _work(
    state: Run[TaskT],
    function: Callable[[TaskT], Done],
    workers: int,
    timeout: float | None,
    initializer: Callable[..., object] | None,
    initargs: tuple[object, ...],
) -> None:
    from procession import Pool

    pool = Pool(workers, initializer, initargs)
    try:
        call = _Guarded(function)
        tasks: Iterable[tuple[int, TaskT]] = state.hand_out()
        if isinstance(state.plan, Sequence):
            tasks = list(tasks)  # nothing to wait for, and no thread needed to read it
        answers = pool.imap_unordered(call, tasks, buffersize=AHEAD, timeout=timeout)
        while True:
            state.count_known()
            try:
                place, done = answers.next(TICK_S)
            except StopIteration:
                return
            except (WorkerDied, TaskTimeout, TaskCancelled) as error:
                # One task is lost; the iterator goes on with the others.
                if error.index is None:
                    raise
                state.lost(error.index, _reason(error))
            except TimeoutError:
                state.tell()
            else:
                if isinstance(done, Done):
                    state.answered(place, done)
                else:
                    state.lost(place, done)
    finally:
        pool.terminate()
        pool.join()


class _Guarded(Generic[TaskT]):
    """The function in a worker: what it raises is told for its own task."""

    def __init__(self, function: Callable[[TaskT], Done]) -> None:
        self.function = function

    def __call__(self, item: tuple[int, TaskT]) -> tuple[int, Done | str]:
        place, task = item
        try:
            return place, self.function(task)
        except Exception as error:
            return place, f"{type(error).__name__}: {error}"


def _reason(error: WorkerDied | TaskTimeout | TaskCancelled) -> str:
    """For people who know nothing of workers' functions."""
    if isinstance(error, TaskTimeout):
        return f"took longer than {error.timeout:g} s"
    if isinstance(error, WorkerDied):
        from procession.errors import describe_exit

        return f"its worker {describe_exit(error.exitcode)}"
    return "cancelled"


def lose_files(task: Task, reason: str) -> Done:
    """For programs with one file to a task that leave nothing behind."""
    return done_with(failed(task.name, reason))


def ignore_progress(progress: Progress) -> None:
    """The callback for who does not watch."""
