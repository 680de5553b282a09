"""Rounds of measurements: for each measure the baseline and then the candidate, each in a fresh interpreter.

    round 1   pool.map A B   pool.imap A B   ...
    round 2   pool.map A B   pool.imap A B   ...

The two sides of a pair run within seconds of each other, and the rounds of one measure lie far apart: a burst of
other work spoils one round of some rows, which the median forgets, and not all rounds of one row.
Each pair waits a little for an idle machine.  A child that takes too long is killed with everything it started.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, sleep

from .measure import Measure

ROOT = Path(__file__).resolve().parent.parent
OUTPUT_TAIL_CHARACTERS = 300
QUIET_SHARE = 0.1
QUIET_WINDOW_S = 0.2
QUIET_WAIT_S = 2.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run: two modules with the API of multiprocessing, and how often."""

    measures: Sequence[Measure]
    baseline: str
    candidate: str
    method: str
    workers: int
    rounds: int
    is_quick: bool
    time_limit_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """One measurement: a value in the measure's unit, or the reason why there is none."""

    value: float | None = None
    failed: str | None = None
    skipped: str | None = None


@dataclass(slots=True)
class Side:
    """The values of one side of a row.  The first failure ends the side: `reason` says why, and it is not run again."""

    values: list[float] = field(default_factory=list)
    reason: str | None = None
    is_skipped: bool = False

    @property
    def median(self) -> float | None:
        """None if there is no figure to trust."""
        return median(self.values) if self.values and self.reason is None else None

    def add(self, outcome: Outcome, round_number: int) -> None:
        """Keep the value, or the reason with the round that it came in."""
        if outcome.value is not None:
            self.values.append(outcome.value)
        elif outcome.skipped is not None:
            self.reason = f"skipped: {outcome.skipped}"
            self.is_skipped = True
        else:
            where = f" (round {round_number})" if round_number > 1 else ""
            self.reason = " ".join(f"failed{where}: {outcome.failed}".split())


@dataclass(slots=True)
class Row:
    """A measure and what both sides made of it; `foreign_loads` is how busy others kept the cores before each round."""

    measure: Measure
    baseline: Side = field(default_factory=Side)
    candidate: Side = field(default_factory=Side)
    foreign_loads: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        """How many times better the candidate's median is; None unless both sides have one."""
        ours, theirs = self.candidate.median, self.baseline.median
        if not ours or not theirs:
            return None
        return ours / theirs if self.measure.unit.more_is_better else theirs / ours

    @property
    def is_goal_met(self) -> bool | None:
        """None where there is no goal, or where the measure cannot run here."""
        if self.measure.goal is None or self.candidate.is_skipped or self.baseline.is_skipped:
            return None
        return self.ratio is not None and self.ratio >= self.measure.goal


def run(plan: Plan, *, announce: Callable[[str], None]) -> list[Row]:
    """Run every round of every measure; failures end up in the rows.  `announce` hears what is about to run."""
    rows = [Row(measure) for measure in plan.measures]
    for round_number in range(1, plan.rounds + 1):
        for row in rows:
            announce(f"round {round_number} of {plan.rounds}: {row.measure.name}")
            if (load := wait_for_quiet()) is not None:
                row.foreign_loads.append(load)
            for module, side in ((plan.baseline, row.baseline), (plan.candidate, row.candidate)):
                if side.reason is None:
                    side.add(measure_once(row.measure, module, plan), round_number)
    return rows


def measure_once(measure: Measure, module: str, plan: Plan) -> Outcome:
    """One measurement in a fresh interpreter, whose processes are all gone afterwards."""
    with TemporaryDirectory(prefix="benchmarks-") as folder:
        result_path = Path(folder, "result.json")
        output_path = Path(folder, "output.txt")
        # The output goes to a file, not to a pipe: a process left behind would hold the pipe open.
        with output_path.open("wb") as output:
            child = subprocess.Popen(
                [
                    *(sys.executable, "-m", "benchmarks.child", measure.name, module, measure.method or plan.method),
                    *(str(plan.workers), "quick" if plan.is_quick else "full", str(result_path)),
                ],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            bad_end = describe_bad_end(child.wait(plan.time_limit_s))
        except subprocess.TimeoutExpired:
            bad_end = f"no end within {plan.time_limit_s:g} s"
        finally:
            kill_group(child)
        if result_path.exists():
            outcome = Outcome(**json.loads(result_path.read_text(encoding="utf-8")))
            if outcome.value is None:
                return outcome
            if bad_end is None:
                return Outcome(value=outcome.value * measure.unit.factor)
            bad_end = f"measured, but {bad_end}"
        tail = " ".join(output_path.read_text(encoding="utf-8", errors="replace")[-OUTPUT_TAIL_CHARACTERS:].split())
        return Outcome(failed=f"{bad_end or 'no result'}; last output: {tail or 'none'}")


def kill_group(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and whatever it has left running."""
    if hasattr(os, "killpg"):
        # The group keeps its number, which is the child's pid, for as long as it has members.
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()
    child.wait()


def describe_bad_end(exitcode: int) -> str | None:
    """How a child ended that should have ended well; None if it did."""
    if exitcode == 0:
        return None
    return f"killed by {signal.Signals(-exitcode).name}" if exitcode < 0 else f"exit code {exitcode}"


def wait_for_quiet() -> float | None:
    """Wait until the cores are idle, but not for ever; the share of them (0 to 1) that others used last.

    None where the system does not tell.
    """
    give_up = perf_counter() + QUIET_WAIT_S
    while True:
        before_s, started = _busy_s(), perf_counter()
        sleep(QUIET_WINDOW_S)
        after_s = _busy_s()
        if before_s is None or after_s is None:
            return None
        share = (after_s - before_s) / (perf_counter() - started) / (os.cpu_count() or 1)
        if share <= QUIET_SHARE or perf_counter() >= give_up:
            return share


def _busy_s() -> float | None:
    """Seconds that all cores together have worked since boot, or were withheld by the host."""
    try:
        with Path("/proc/stat").open(encoding="ascii") as stat:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
