"""The page of results, docs/benchmarks.md: everything on it follows from the results, the peers' notes and reasons.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from . import table
from .curves import IDEAL
from .harness import QUIET_SHARE, fewer
from .measure import OURS, Curve
from .peers import NOTES, PACKAGES
from .results import NOT_ASKED, Results, Row

REASONS = Path(__file__).with_name("reasons.toml")
HEADINGS = ["work", "unit", OURS, "min..max", "peer", "its median", "min..max", "ratio", "goal", "met"]
NO_REASON = "Not explained yet."


def page(results: Results) -> str:
    """The whole page."""
    parts = [
        HEAD,
        "## The machine and the run",
        *machine(results),
        "## The table",
        TABLE_HEAD,
        markdown(HEADINGS, table_cells(results), left_columns=2),
        absent(results),
        "## The curves",
        CURVES_HEAD,
        *curves(results),
        "## Where procession loses",
        *losses(results),
        "## How it is measured",
        METHOD.format(rounds=results.run["rounds"], fewer=fewer(results.run["rounds"])),
        "## The peers",
        PEERS_HEAD,
        peers(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def machine(results: Results) -> Iterator[str]:
    """What the figures are of."""
    run = results.run
    dates = sorted({row.date for row in results.rows.values()})
    days = " to ".join(dates[:1] + dates[-1:] if len(dates) > 1 else dates)
    yield (
        f"{run['cores']} cores ({run['machine']}), {run['memory_gb']} GB, {run['system']}, Python {run['python']}; measured "
        f"{days}. {run['workers']} workers, {run['method']} unless the row says otherwise."
    )
    if run["size"] != "full":
        yield f"**This was a {run['size']} run, with a part of the work: it shows that all rows run, and is not to be quoted.**"
    if run["candidate"] != OURS:
        yield f"**`{run['candidate']}` played procession in this run.**"
    goals = [is_met for row in results.table for _, is_met in row.goals if is_met is not None]
    loads = [load for row in results.rows.values() for load in row.foreign_loads]
    busy = sum(load > QUIET_SHARE for load in loads)
    yield (
        f"{sum(goals)} of {len(goals)} goals are met. {busy} of {len(loads)} rounds began while something else kept the "
        "machine busy."
    )


def table_cells(results: Results) -> list[list[str]]:
    """As on the terminal, without the names of the rows."""
    rows = []
    for name, work, unit, peer, *rest in table.all_cells(results.table):
        ours, theirs = rest[:2], rest[2:]
        rows.append([f"<a id='{name}'></a>{work}" if name else "", unit, *ours, peer, *theirs])
    return rows


def absent(results: Results) -> str:
    """Why a side has no figure."""
    lines = [
        f"- {row.measure.work}, {name}: {side.reason}"
        for row in results.rows.values()
        for name, side in row.sides.items()
        if side.reason is not None and side.reason != NOT_ASKED
    ]
    return "\n".join(["No figure:", "", *lines]) if lines else ""


def curves(results: Results) -> Iterator[str]:
    """One table for each."""
    for row in results.curves:
        yield f"### {row.measure.work[0].upper()}{row.measure.work[1:]}"
        yield markdown(table.curve_headings(row), table.curve_cells(row), left_columns=1)


def losses(results: Results) -> Iterator[str]:
    """Every goal that is missed and every peer that is faster, with the reason that somebody has found."""
    yield LOSSES_HEAD
    reasons = tomllib.loads(REASONS.read_text(encoding="utf-8"))
    found = [(row, sentences) for row in results.rows.values() if (sentences := shortfalls(row))]
    if not found:
        yield "Nowhere in this run."
    for row, sentences in found:
        reason = " ".join(reasons.get(row.measure.name, NO_REASON).split())
        yield "\n".join(
            [f"**{row.measure.work}** (`{row.measure.name}`)", "", *map("- {}".format, sentences), "", reason]
        )


def shortfalls(row: Row) -> list[str]:
    """What is to be admitted of one row."""
    if isinstance(row.measure, Curve):
        return list(behind_at_points(row))
    sentences = []
    for goal, is_met in row.goals:
        if is_met is False:
            best = row.best(goal.against)
            ratio = row.ratio(best) if best else None
            against = "" if best is None else f" against {best}"
            reached = table.median(row.ours) if ratio is None else f"{table.figure(ratio)}x"
            sentences.append(f"goal {table.goal_text(goal, row)}{against}: {reached}")
    for peer in row.sides:
        ratio = row.ratio(peer)
        if ratio is not None and ratio < 1 and peer not in LIMITS and not peer.startswith(OURS):
            sentences.append(f"{peer} is {table.figure(1 / ratio)} times as good")
    return sentences


LIMITS = ("numpy.copyto",)
"""Sides that are no peers: what the machine can do at most."""


def behind_at_points(row: Row) -> Iterator[str]:
    """Of a curve: the points at which a peer has more."""
    ours = row.ours.points
    for peer, values in row.sides.items():
        if peer in (OURS, IDEAL):
            continue
        points = [
            f"{point} ({table.figure(theirs / ours[point])} times as much)"
            for point, theirs in values.points.items()
            if point in ours and theirs > ours[point]
        ]
        if points:
            yield f"{peer} has more at {', '.join(points)}"


def peers(results: Results) -> str:
    """Versions and settings."""
    versions = results.run["versions"]
    lines = []
    for name, note in NOTES.items():
        package = "joblib" if name == "loky" else name
        version = versions.get(package) if package in PACKAGES else f"Python {results.run['python']}"
        lines.append([name, f"{'of joblib ' if name == 'loky' else ''}{version or 'not installed'}", note])
    return markdown(["peer", "version", "how it is set up"], lines, left_columns=3)


def markdown(headings: list[str], rows: Iterable[list[str]], *, left_columns: int) -> str:
    """A table."""
    rule = ["---"] * left_columns + ["---:"] * (len(headings) - left_columns)
    return "\n".join(
        "| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in (headings, rule, *rows)
    )


HEAD = """\
# Benchmarks

How fast procession is, measured beside its peers in one run on one machine; and [where it
loses](#where-procession-loses). `nox -s bench` measures all of it and writes this page: it is not edited by hand.

![Throughput of procession and its peers](benchmarks.svg)"""

TABLE_HEAD = """\
Medians. Less is better, save where the unit is % of ideal. The ratio says how many times better procession's median is;
the peers that a goal is against stand first, those after them are for information."""

CURVES_HEAD = """\
Medians; more is better. *The ideal* is what the workers would do if they spent all of their time in the tasks. At the left
end of the first curve a task is shorter than the clock that it reads: the ideal is measured too, not computed."""

LOSSES_HEAD = """\
Every goal that is missed and every peer that has the better median, by however little, with the reason for it."""

METHOD = """\
- Every side does the same work, and every value comes from a fresh interpreter. The sides of a row take turns, and the
  rounds of a row lie far apart, so that a burst of other work spoils one value and not a median. Rounds: {rounds}; {fewer}
  for peers that no goal is against, and for what takes long.
- Warm-up is not timed, unless the row says cold. What is fast is repeated until it has lasted some 50 to 400 ms. Results are
  checked: a fast wrong answer is no answer.
- A peer that needs more than some seconds for a row is measured with a tenth of the tasks, or by a single call.
- procession is used as it comes: no chunksize, no option. Peers are set up as below.
- Tasks of a given duration use that much processor time, so that time in which a worker was pushed off its core is not
  counted as work.
- *One busy process*: another process that computes all the time, as on a machine that has more to do.
- Memory is the sum of all private pages of the program's processes, and of its shared ones. After many tasks it counts as
  unchanged within 3 MB, a third of a byte for each task: so much it goes up and down by.

[benchmarks/README.md](../benchmarks/README.md) says how to run it and how to add to it."""

PEERS_HEAD = "All of them come with `pip install '.[bench]'`. What is not installed is left out, and the row says so."
