"""What came out: for each measure and each side the values of all rounds, and what follows from them.

Kept as JSON, so that a page can be made again, and so that rows can be measured anew without the others.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from .measure import OURS, Curve, Figure, Goal, Measure
from .peers import PACKAGES
from .subjects import MEASURES

KEPT_DIGITS = 5
NOT_ASKED = "skipped: not asked for"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One measurement: a value in the measure's unit, or the reason why there is none."""

    value: Figure | None = None
    failed: str | None = None
    skipped: str | None = None


@dataclass(slots=True)
class Values:
    """The values of one side of a row.  The first failure ends the side: `reason` says why, and it is not run again."""

    values: list[Any] = field(default_factory=list)
    reason: str | None = None
    is_skipped: bool = False

    @property
    def median(self) -> float | None:
        """None if there is no figure to trust."""
        return median(self.values) if self.values and self.reason is None else None

    @property
    def points(self) -> dict[str, float]:
        """Of a curve: the median at each point; none if there are no figures to trust."""
        if not self.values or self.reason is not None:
            return {}
        return {point: median(value[point] for value in self.values) for point in self.values[0]}

    def close(self) -> None:
        """After the last round: a side that had no part in any has a reason too."""
        if not self.values and self.reason is None:
            self.reason, self.is_skipped = NOT_ASKED, True

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
    """A measure and what all sides made of it; `foreign_loads` is how busy others kept the cores before each round."""

    measure: Measure | Curve
    sides: dict[str, Values]
    foreign_loads: list[float] = field(default_factory=list)
    date: str = ""

    @classmethod
    def empty(cls, measure: Measure | Curve) -> Row:
        """Before the first round."""
        return cls(measure, {side: Values() for side in measure.sides}, date=date.today().isoformat())

    @property
    def ours(self) -> Values:
        """The side that all others are compared with."""
        return self.sides[OURS]

    def ratio(self, side: str) -> float | None:
        """How many times better our median is than that side's; None unless both have one."""
        ours, theirs = self.ours.median, self.sides[side].median
        if ours is None or theirs is None or ours <= 0 or theirs <= 0:
            return None
        return ours / theirs if self.measure.unit.more_is_better else theirs / ours

    def best(self, sides: Sequence[str]) -> str | None:
        """The one of these that is hardest to beat; None if none has a figure."""
        ratios = {side: ratio for side in sides if (ratio := self.ratio(side)) is not None}
        return min(ratios, key=ratios.__getitem__, default=None)

    def is_met(self, goal: Goal) -> bool | None:
        """None where it cannot be said: we, or all that the goal is against, cannot do this here."""
        if self.ours.is_skipped or (goal.against and all(self.sides[side].is_skipped for side in goal.against)):
            return None
        ours = self.ours.median
        if not goal.against:
            more = self.measure.unit.more_is_better
            return ours is not None and (ours >= goal.figure if more else ours <= goal.figure)
        best = self.best(goal.against)
        ratio = None if best is None else self.ratio(best)
        return ratio is not None and ratio >= goal.figure

    @property
    def goals(self) -> list[tuple[Goal, bool | None]]:
        """Each with whether it is met."""
        return [] if isinstance(self.measure, Curve) else [(goal, self.is_met(goal)) for goal in self.measure.goals]


@dataclass(slots=True)
class Results:
    """All rows of the table and the curves, with what a reader must know of the machine and the run."""

    run: dict[str, Any]
    rows: dict[str, Row] = field(default_factory=dict)

    @property
    def table(self) -> list[Row]:
        """The rows that have one figure for each side, in the order of the subjects."""
        return [row for row in self._ordered if isinstance(row.measure, Measure)]

    @property
    def curves(self) -> list[Row]:
        """The others."""
        return [row for row in self._ordered if isinstance(row.measure, Curve)]

    @property
    def _ordered(self) -> list[Row]:
        return [self.rows[name] for name in MEASURES if name in self.rows]

    def merge(self, newer: Results) -> None:
        """Take over the rows that were measured anew; figures of two machines or two kinds of run are no table."""
        for key in ("machine", "python", "system", "cores", "workers", "method", "size", "candidate"):
            if self.run.get(key) != newer.run.get(key):
                raise ValueError(
                    f"the earlier results are of another {key}: {self.run.get(key)}, and these of {newer.run.get(key)}"
                )
        self.run = newer.run
        self.rows |= newer.rows

    def as_json(self) -> str:
        """Everything, single values included, in the units of the table."""
        rows = [
            {
                "name": row.measure.name,
                "date": row.date,
                "unit": row.measure.unit.label,
                "foreign_loads": [_rounded(load) for load in row.foreign_loads],
                "sides": {
                    name: {"values": [_rounded(value) for value in side.values]}
                    | ({} if side.reason is None else {"reason": side.reason, "is_skipped": side.is_skipped})
                    for name, side in row.sides.items()
                },
            }
            for row in self.rows.values()
        ]
        lines = ",\n".join(json.dumps(row) for row in rows)
        return f'{{"run": {json.dumps(self.run)},\n"rows": [\n{lines}\n]}}\n'

    @classmethod
    def from_json(cls, path: Path) -> Results:
        """What `as_json` wrote; measures and sides that no longer exist are dropped."""
        stored = json.loads(path.read_text(encoding="utf-8"))
        results = cls(stored["run"])
        for entry in stored["rows"]:
            if (measure := MEASURES.get(entry["name"])) is None:
                continue
            row = Row.empty(measure)
            row.date, row.foreign_loads = entry["date"], entry["foreign_loads"]
            for side, values in entry["sides"].items():
                if side in row.sides:
                    row.sides[side] = Values(**values)
            for values in row.sides.values():
                values.close()
            results.rows[measure.name] = row
        return results


def describe_run(*, method: str, workers: int, rounds: int, size: str, candidate: str) -> dict[str, Any]:
    """The machine, the versions and the options."""
    return {
        "machine": _processor(),
        "memory_gb": _memory_gb(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count(),
        "workers": workers,
        "method": method,
        "rounds": rounds,
        "size": size,
        "candidate": candidate,
        "versions": versions(),
    }


def versions() -> Mapping[str, str]:
    """Of the peers that are installed."""
    found: dict[str, str] = {}
    for package in (OURS, *PACKAGES):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            pass
    return found


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory_gb() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9)


def _rounded(value: Figure) -> Figure:
    if isinstance(value, dict):
        return {point: float(f"{figure:.{KEPT_DIGITS}g}") for point, figure in value.items()}
    return float(f"{value:.{KEPT_DIGITS}g}")
