"""Rounds of measurements: for each measure all its sides in turn, each in a fresh interpreter.

    round 1   pool.map A B C   pool.imap A B C   ...
    round 2   pool.map A B C   pool.imap A B C   ...

The sides of a row run within seconds of each other, and the rounds of one row lie far apart: a burst of other work
spoils one round of some rows, which the median forgets, and not all rounds of one row.
Each row waits a little for an idle machine.  A child that takes too long is killed with everything it started, and what
a child leaves behind is killed too: all of it carries the same mark in its environment, however it was started.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter, sleep

from .measure import MODULES, OURS, Curve, Figure, Measure
from .results import Outcome, Results, Row, describe_run

ROOT = Path(__file__).resolve().parent.parent
OUTPUT_TAIL_CHARACTERS = 300
QUIET_SHARE = 0.1
QUIET_WINDOW_S = 0.2
QUIET_WAIT_S = 2.0
MARK = "BENCHMARKS_CHILD"
CLEARED_WITHIN_S = 5.0
SHARED_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run: `candidate` is the module that plays our side.

    Only these `peers`, only those that goals are against, or all that a measure has.
    """

    measures: Sequence[Measure | Curve]
    candidate: str
    peers: Sequence[str]
    is_for_goals: bool
    method: str
    workers: int
    rounds: int
    size: str
    time_limit_s: float

    def sides(self, measure: Measure | Curve) -> list[str]:
        """Those of the measure that take part."""
        peers = self.peers or (measure.needed if self.is_for_goals else measure.sides)
        return [side for side in measure.sides if side == OURS or side in peers]

    def rounds_of(self, measure: Measure | Curve, side: str) -> int:
        """Fewer where the figure is for information."""
        return min(self.rounds if side in measure.needed else fewer(self.rounds), measure.rounds)


def fewer(rounds: int) -> int:
    """Of what is not measured so often."""
    return max(1, rounds // 2)


def run(plan: Plan, *, announce: Callable[[str], None]) -> Results:
    """Run every round of every measure; failures end up in the rows.  `announce` hears what is about to run."""
    about = describe_run(
        method=plan.method, workers=plan.workers, rounds=plan.rounds, size=plan.size, candidate=plan.candidate
    )
    results = Results(about, {measure.name: Row.empty(measure) for measure in plan.measures})
    for round_number in range(1, plan.rounds + 1):
        for row in results.rows.values():
            measure = row.measure
            sides = [side for side in plan.sides(measure) if plan.rounds_of(measure, side) >= round_number]
            if sides and plan.size != "trial" and (load := wait_for_quiet()) is not None:
                row.foreign_loads.append(load)
            for side in sides:
                if row.sides[side].reason is None:
                    announce(f"round {round_number} of {plan.rounds}: {measure.name}, {side}")
                    row.sides[side].add(measure_once(measure, side, plan), round_number)
    for row in results.rows.values():
        for values in row.sides.values():
            values.close()
    return results


def measure_once(measure: Measure | Curve, side_name: str, plan: Plan) -> Outcome:
    """One measurement in a fresh interpreter, whose processes are all gone afterwards."""
    side = measure.sides[side_name]
    module = plan.candidate if side.module == OURS else side.module or MODULES["stdlib"]
    with (
        TemporaryDirectory(prefix="benchmarks-", ignore_cleanup_errors=True) as folder,
        TemporaryDirectory(prefix="benchmarks-", dir=SHARED_MEMORY, ignore_cleanup_errors=True) as memory_folder,
    ):
        result_path = Path(folder, "result.json")
        output_path = Path(folder, "output.txt")
        # The output goes to a file, not to a pipe: a process left behind would hold the pipe open.
        with output_path.open("wb") as output:
            child = subprocess.Popen(
                [
                    *(sys.executable, "-m", side.main, measure.name, side_name, module),
                    *(side.method or plan.method, str(plan.workers), plan.size, str(result_path)),
                ],
                cwd=ROOT,
                # joblib's own choice of a place, but one that is emptied if joblib cannot do it any more
                env=os.environ | {MARK: folder, "TMPDIR": folder, "JOBLIB_TEMP_FOLDER": memory_folder},
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
            kill_all(child, folder)
        if result_path.exists():
            outcome = Outcome(**json.loads(result_path.read_text(encoding="utf-8")))
            if outcome.value is None:
                return outcome
            if bad_end is None:
                return Outcome(value=scaled(outcome.value, measure.unit.factor))
            bad_end = f"measured, but {bad_end}"
        tail = " ".join(output_path.read_text(encoding="utf-8", errors="replace")[-OUTPUT_TAIL_CHARACTERS:].split())
        return Outcome(failed=f"{bad_end or 'no result'}; last output: {tail or 'none'}")


def scaled(value: Figure, factor: float) -> Figure:
    """In the unit of the table."""
    if isinstance(value, dict):
        return {point: figure * factor for point, figure in value.items()}
    return value * factor


def kill_all(child: subprocess.Popen[bytes], mark: str) -> None:
    """Kill the child and whatever it has left running, in its session or in others."""
    if hasattr(os, "killpg"):
        # The group keeps its number, which is the child's pid, for as long as it has members.
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()
    child.wait()
    give_up = monotonic() + CLEARED_WITHIN_S
    while (left := marked(mark)) and monotonic() < give_up:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        sleep(0.01)


def marked(mark: str) -> list[int]:
    """The processes that carry this mark and have not ended; none where the system does not tell."""
    entry = f"{MARK}={mark}".encode()
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if entry in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


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
