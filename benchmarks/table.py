"""The results as a table for people (rich if it is there, plain text otherwise), as Markdown and as JSON."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from .harness import QUIET_SHARE, Plan, Row, Side

if TYPE_CHECKING:
    from rich.console import Console

LOG_WIDTH = 220
REASON_WIDTH = 60
LEFT_COLUMNS = 3


def headings(plan: Plan) -> list[str]:
    """The columns."""
    theirs, ours = plan.baseline, plan.candidate
    if theirs == ours:
        theirs, ours = f"{theirs} (A)", f"{ours} (B)"
    return ["name", "work", "unit", theirs, ours, "ratio", f"{theirs} min..max", f"{ours} min..max", "goal", "met"]


def cells(row: Row) -> list[str]:
    """One row's texts, in the order of `headings`."""
    goal, ratio = row.measure.goal, row.ratio
    return [
        row.measure.name,
        row.measure.work,
        row.measure.unit.label,
        _median(row.baseline),
        _median(row.candidate),
        "-" if ratio is None else f"{_figure(ratio)}x",
        _spread(row.baseline),
        _spread(row.candidate),
        "-" if goal is None else f"{goal:g}x",
        {True: "yes", False: "NO", None: "-"}[row.is_goal_met],
    ]


def notes(plan: Plan, rows: Sequence[Row]) -> list[str]:
    """What a reader needs beside the figures: the machine, the goals, the failures in full, the noise."""
    size = "quick run, a tenth of the work" if plan.is_quick else "full run"
    lines = [
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores; "
        f"{plan.workers} workers, {plan.method} unless the row says otherwise; "
        f"medians of {plan.rounds}, {size}; ratio: how many times better {plan.candidate} is."
    ]
    goals = [row.is_goal_met for row in rows if row.is_goal_met is not None]
    if goals:
        lines.append(f"{sum(goals)} of {len(goals)} goals met.")
    for row in rows:
        for module, side in ((plan.baseline, row.baseline), (plan.candidate, row.candidate)):
            if side.reason is not None:
                lines.append(f"{row.measure.name}, {module}: {side.reason}")
    loads = [load for row in rows for load in row.foreign_loads]
    if busy := sum(load > QUIET_SHARE for load in loads):
        lines.append(f"{busy} of {len(loads)} pairs began while others kept the machine busy: the figures are coarse.")
    return lines


def show(plan: Plan, rows: Sequence[Row]) -> None:
    """Print the table and its notes."""
    try:
        from rich.console import Console
    except ImportError:
        print(plain(plan, rows))
        return
    # Where nobody looks at a terminal, lines keep their length: a log should not wrap at 80.
    _show_rich(plan, rows, Console(width=None if sys.stdout.isatty() else LOG_WIDTH, highlight=False))


def _show_rich(plan: Plan, rows: Sequence[Row], console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    for number, heading in enumerate(headings(plan)):
        table.add_column(heading, justify="left" if number < LEFT_COLUMNS else "right")
    for row in rows:
        style = {True: "green", False: "bold red", None: "default"}[row.is_goal_met]
        *texts, ratio, theirs, ours, goal, met = map(escape, cells(row))
        table.add_row(*texts, f"[{style}]{ratio}[/]", theirs, ours, goal, f"[{style}]{met}[/]")
    console.print(table)
    for line in notes(plan, rows):
        console.print(line, markup=False)


def plain(plan: Plan, rows: Sequence[Row]) -> str:
    """The table as aligned text."""
    lines = [headings(plan), *map(cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    signs = "<" * LEFT_COLUMNS + ">" * (len(widths) - LEFT_COLUMNS)
    texts = [
        "  ".join(f"{text:{sign}{width}}" for text, sign, width in zip(line, signs, widths, strict=True))
        for line in lines
    ]
    texts.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*texts, "", *notes(plan, rows)])


def markdown(plan: Plan, rows: Sequence[Row]) -> str:
    """The table as Markdown."""
    columns = headings(plan)
    rule = ["---"] * LEFT_COLUMNS + ["---:"] * (len(columns) - LEFT_COLUMNS)
    lines = [columns, rule, *map(cells, rows)]
    texts = ["| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines]
    return "\n".join([*texts, "", *(f"- {line}" for line in notes(plan, rows)), ""])


def as_json(plan: Plan, rows: Sequence[Row]) -> str:
    """Everything, single values included, in the units of the table."""
    return json.dumps(
        {
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "cores": os.cpu_count(),
            "workers": plan.workers,
            "method": plan.method,
            "rounds": plan.rounds,
            "is_quick": plan.is_quick,
            "baseline": plan.baseline,
            "candidate": plan.candidate,
            "rows": [_row_as_dict(row) for row in rows],
        },
        indent=2,
    )


def _row_as_dict(row: Row) -> dict[str, Any]:
    return {
        "name": row.measure.name,
        "work": row.measure.work,
        "unit": row.measure.unit.label,
        "more_is_better": row.measure.unit.more_is_better,
        "method": row.measure.method,
        "baseline": _side_as_dict(row.baseline),
        "candidate": _side_as_dict(row.candidate),
        "ratio": row.ratio,
        "goal": row.measure.goal,
        "is_goal_met": row.is_goal_met,
        "foreign_loads": row.foreign_loads,
    }


def _side_as_dict(side: Side) -> dict[str, Any]:
    return {"values": side.values, "median": side.median, "reason": side.reason}


def _median(side: Side) -> str:
    if side.median is not None:
        return _figure(side.median)
    return "skipped" if side.is_skipped else "failed"


def _spread(side: Side) -> str:
    """From the lowest value to the highest, or why there is none (in full in the notes)."""
    if side.reason is not None:
        return shorten(side.reason, REASON_WIDTH, placeholder="...")
    return f"{_figure(min(side.values))}..{_figure(max(side.values))}"


def _figure(value: float) -> str:
    """Three significant digits, never an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"
