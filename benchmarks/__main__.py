"""`python -m benchmarks`: run the measures and print the table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import harness, table
from .child import MEASURES
from .measure import Measure

FULL_ROUNDS = 5
QUICK_ROUNDS = 2


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="procession beside multiprocessing")
    parser.add_argument(
        *("--only", "-k"),
        action="append",
        default=[],
        metavar="NAME",
        help="a subject (pool) or one measure (pool.map); may be repeated",
    )
    parser.add_argument("--rounds", type=int, metavar="N", help=f"default {FULL_ROUNDS}, {QUICK_ROUNDS} with --quick")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: for trying, not for quoting")
    parser.add_argument("--method", choices=["fork", "spawn", "forkserver"], default="fork")
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    parser.add_argument("--baseline", default="multiprocessing", metavar="MODULE")
    parser.add_argument("--candidate", default="procession", metavar="MODULE")
    parser.add_argument("--time-limit", type=float, default=60, metavar="SECONDS", help="for one measurement")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    if options.rounds is None:
        options.rounds = QUICK_ROUNDS if options.quick else FULL_ROUNDS
    if options.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {options.rounds}")
    if options.workers < 1:
        parser.error(f"--workers must be at least 1, got {options.workers}")
    try:
        options.measures = select(options.only)
    except LookupError as error:
        parser.error(str(error))
    return options


def select(names: Sequence[str]) -> list[Measure]:
    """The measures of these names or subjects, in the order of the table; all if there are no names."""
    for name in names:
        if not any(is_named(measure, name) for measure in MEASURES.values()):
            raise LookupError(f"no measure {name!r}; there are: {', '.join(MEASURES)}")
    return [measure for measure in MEASURES.values() if not names or any(is_named(measure, name) for name in names)]


def is_named(measure: Measure, name: str) -> bool:
    """Whether `name` is this measure or its subject."""
    return name in (measure.name, measure.name.partition(".")[0])


def announce(text: str) -> None:
    """Tell somebody who waits at a terminal what is running, on one line."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def main() -> int:
    """Exit code 1 if a measure failed; a goal that is missed is a figure, not a failure."""
    options = parse()
    plan = harness.Plan(
        measures=options.measures,
        baseline=options.baseline,
        candidate=options.candidate,
        method=options.method,
        workers=options.workers,
        rounds=options.rounds,
        is_quick=options.quick,
        time_limit_s=options.time_limit,
    )
    try:
        rows = harness.run(plan, announce=announce)
    except KeyboardInterrupt:
        return 130
    finally:
        announce("")
    table.show(plan, rows)
    if options.json:
        options.json.write_text(table.as_json(plan, rows), encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(table.markdown(plan, rows), encoding="utf-8")
    sides = [side for row in rows for side in (row.baseline, row.candidate)]
    return int(any(side.reason is not None and not side.is_skipped for side in sides))


if __name__ == "__main__":
    sys.exit(main())
