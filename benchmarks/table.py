"""The results as a table for people (rich if it is there, plain text otherwise).

A measure takes a line for each of its peers, the goal stands beside the peer that it is against.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from .harness import QUIET_SHARE
from .measure import OURS, Goal, Measure
from .results import NOT_ASKED, Results, Row, Values

if TYPE_CHECKING:
    from rich.console import Console

LOG_WIDTH = 220
LEFT_COLUMNS = 4
HEADINGS = ["name", "work", "unit", "peer", OURS, "min..max", "peer's", "min..max", "ratio", "goal", "met"]
MET = {True: "yes", False: "NO", None: "-"}


class Line(NamedTuple):
    """One peer of one measure, or a goal that is against no peer."""

    row: Row
    peer: str
    goal: Goal | None
    is_met: bool | None


def lines(row: Row) -> list[Line]:
    """The peers that goals are against first; the others from the hardest to beat to the easiest."""
    measure = row.measure
    assert isinstance(measure, Measure)
    found = [Line(row, "the goal", goal, is_met) for goal, is_met in row.goals if not goal.against]
    goals = {row.best(goal.against) or goal.against[0]: (goal, is_met) for goal, is_met in row.goals if goal.against}
    peers = [side for side in row.sides if side != OURS and row.sides[side].reason != NOT_ASKED]
    peers.sort(key=lambda peer: (peer not in goals, peer not in measure.needed, row.ratio(peer) or float("inf")))
    return found + [Line(row, peer, *goals.get(peer, (None, None))) for peer in peers]


def cells(line: Line, *, is_first: bool) -> list[str]:
    """One line's texts, in the order of `HEADINGS`; what stands in the line above is not repeated."""
    row = line.row
    theirs = row.sides.get(line.peer)
    ratio = row.ratio(line.peer) if theirs else None
    return [
        *((row.measure.name, row.measure.work, row.measure.unit.label) if is_first else ("", "", "")),
        line.peer,
        *((median(row.ours), spread(row.ours)) if is_first else ("", "")),
        *((median(theirs), spread(theirs)) if theirs else ("", "")),
        "-" if ratio is None else f"{figure(ratio)}x",
        "" if line.goal is None else goal_text(line.goal, row),
        "" if line.goal is None else MET[line.is_met],
    ]


def goal_text(goal: Goal, row: Row) -> str:
    """What is asked for."""
    if goal.against:
        return f">= {goal.figure:g}x"
    unit = row.measure.unit
    return f"{'>=' if unit.more_is_better else '<='} {goal.figure:g} {unit.label.split()[0]}"


def all_cells(rows: Iterable[Row]) -> list[list[str]]:
    """The whole table without its headings."""
    return [
        cells(line, is_first=number == 0)
        for row in rows
        for number, line in enumerate(lines(row) or [Line(row, "", None, None)])
    ]


def summary(results: Results) -> str:
    """What was run, in one sentence."""
    run = results.run
    return (
        f"Python {run['python']}, {run['system']}, {run['cores']} cores; {run['workers']} workers, {run['method']} unless "
        f"the row says otherwise; medians of up to {run['rounds']} rounds, {run['size']} size; ratio: how many times "
        f"better {run['candidate']} is."
    )


def notes(results: Results) -> list[str]:
    """What a reader needs beside the figures: the machine, the goals, the failures in full, the noise."""
    texts = [summary(results)]
    goals = [is_met for row in results.table for _, is_met in row.goals if is_met is not None]
    if goals:
        texts.append(f"{sum(goals)} of {len(goals)} goals met.")
    texts += [
        f"{row.measure.name}, {name}: {side.reason}"
        for row in results.rows.values()
        for name, side in row.sides.items()
        if side.reason is not None and side.reason != NOT_ASKED
    ]
    loads = [load for row in results.rows.values() for load in row.foreign_loads]
    if busy := sum(load > QUIET_SHARE for load in loads):
        texts.append(f"{busy} of {len(loads)} rounds began while others kept the machine busy: the figures are coarse.")
    return texts


def show(results: Results) -> None:
    """Print the table, the curves and the notes."""
    try:
        from rich.console import Console
    except ImportError:
        print(plain(results))
        return
    # Where nobody looks at a terminal, lines keep their length: a log should not wrap at 80.
    _show_rich(results, Console(width=None if sys.stdout.isatty() else LOG_WIDTH, highlight=False))


def _show_rich(results: Results, console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    if results.table:
        table = Table(*HEADINGS[:LEFT_COLUMNS])
        for heading in HEADINGS[LEFT_COLUMNS:]:
            table.add_column(heading, justify="right")
        for texts in all_cells(results.table):
            *start, goal, met = map(escape, texts)
            style = {"yes": "green", "NO": "bold red"}.get(met, "default")
            table.add_row(*start, goal, f"[{style}]{met}[/]")
        console.print(table)
    for row in results.curves:
        table = Table(*curve_headings(row)[:1], title=f"{row.measure.name}: {row.measure.work}")
        for heading in curve_headings(row)[1:]:
            table.add_column(heading, justify="right")
        for texts in curve_cells(row):
            table.add_row(*map(escape, texts))
        console.print(table)
    for line in notes(results):
        console.print(line, markup=False)


def plain(results: Results) -> str:
    """The tables as aligned text."""
    parts = [aligned([HEADINGS, *all_cells(results.table)], LEFT_COLUMNS)] if results.table else []
    for row in results.curves:
        title = f"{row.measure.name}: {row.measure.work}"
        parts.append("\n".join([title, aligned([curve_headings(row), *curve_cells(row)], 1)]))
    return "\n\n".join([*parts, "\n".join(notes(results))])


def aligned(rows: list[list[str]], left_columns: int) -> str:
    """Columns of one width, a rule under the first line."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    signs = "<" * left_columns + ">" * (len(widths) - left_columns)
    texts = [
        "  ".join(f"{text:{sign}{width}}" for text, sign, width in zip(row, signs, widths, strict=True)).rstrip()
        for row in rows
    ]
    texts.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(texts)


def curve_headings(row: Row) -> list[str]:
    """The point, and what each side reached there."""
    return [getattr(row.measure, "axis", ""), *(f"{side}, {row.measure.unit.label}" for side in row.sides)]


def curve_cells(row: Row) -> list[list[str]]:
    """A line for each point."""
    sides = [side.points for side in row.sides.values()]
    return [
        [point, *(figure(points[point]) if point in points else "-" for points in sides)]
        for point in getattr(row.measure, "points", {})
    ]


def median(side: Values) -> str:
    """The figure, or that there is none."""
    return "-" if side.median is None else figure(side.median)


def spread(side: Values) -> str:
    """From the lowest value to the highest; why there is none stands in the notes."""
    if side.reason is not None:
        return ""
    return f"{figure(min(side.values))}..{figure(max(side.values))}"


def figure(value: float) -> str:
    """Three significant digits, never an exponent."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 1 else f"{value:.3f}"
