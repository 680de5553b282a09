"""`python -m benchmarks`: run the measures, print the table, write the page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import harness, table
from .measure import DIVISORS, OURS, Curve, Measure
from .results import Results
from .subjects import MEASURES

ROUNDS = {"full": 5, "quick": 2, "trial": 1}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="procession beside its peers")
    parser.add_argument(
        *("--only", "-k"),
        action="append",
        default=[],
        metavar="NAME",
        help="a subject (pool) or one measure (pool.imap); may be repeated",
    )
    parser.add_argument(
        *("--peer", "-p"),
        action="append",
        default=[],
        metavar="NAME",
        help="only procession and this side (joblib); may be repeated",
    )
    parser.add_argument("--goals", action="store_true", help="only the peers that the goals are against")
    default = ", ".join(f"{rounds} for {size}" for size, rounds in ROUNDS.items())
    parser.add_argument("--rounds", type=int, metavar="N", help=f"default: {default}")
    parser.add_argument("--size", choices=list(DIVISORS), default="full", help="how much work: only full is to quote")
    parser.add_argument("--quick", action="store_const", dest="size", const="quick", help="the same as --size quick")
    parser.add_argument("--method", choices=["fork", "spawn", "forkserver"], default="fork")
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    parser.add_argument("--candidate", default=OURS, metavar="MODULE", help="the module that plays procession")
    parser.add_argument("--time-limit", type=float, default=60, metavar="SECONDS", help="for one measurement")
    parser.add_argument("--from-json", type=Path, metavar="FILE", help="earlier results; only what --only names is run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all values, for --from-json")
    parser.add_argument("--page", type=Path, metavar="FOLDER", help="write benchmarks.md and benchmarks.svg there")
    options = parser.parse_args(arguments)
    if options.rounds is None:
        options.rounds = ROUNDS[options.size]
    if options.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {options.rounds}")
    if options.workers < 1:
        parser.error(f"--workers must be at least 1, got {options.workers}")
    peers = {side for measure in MEASURES.values() for side in measure.sides}
    if unknown := set(options.peer) - peers:
        parser.error(f"no peer {', '.join(sorted(unknown))}; there are: {', '.join(sorted(peers))}")
    try:
        options.measures = [] if options.from_json and not options.only else select(options.only)
    except LookupError as error:
        parser.error(str(error))
    return options


def select(names: Sequence[str]) -> list[Measure | Curve]:
    """The measures of these names or subjects, in the order of the table; all if there are no names."""
    for name in names:
        if not any(is_named(measure, name) for measure in MEASURES.values()):
            raise LookupError(f"no measure {name!r}; there are: {', '.join(MEASURES)}")
    return [measure for measure in MEASURES.values() if not names or any(is_named(measure, name) for name in names)]


def is_named(measure: Measure | Curve, name: str) -> bool:
    """Whether `name` is this measure or its subject."""
    return name in (measure.name, measure.name.partition(".")[0])


def announce(text: str) -> None:
    """Tell somebody who waits at a terminal what is running, on one line."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def main() -> int:
    """Exit code 1 if procession failed in a measure; what a peer cannot do, and a goal that is missed, are figures."""
    options = parse()
    if options.page:
        from . import page, plot  # before hours of work, not after: matplotlib may be missing
    plan = harness.Plan(
        measures=options.measures,
        candidate=options.candidate,
        peers=options.peer,
        is_for_goals=options.goals,
        method=options.method,
        workers=options.workers,
        rounds=options.rounds,
        size=options.size,
        time_limit_s=options.time_limit,
    )
    try:
        measured = harness.run(plan, announce=announce) if plan.measures else None
    except KeyboardInterrupt:
        return 130
    finally:
        announce("")
    results = measured
    if options.from_json:
        results = Results.from_json(options.from_json)
        if measured is not None:
            results.merge(measured)
    assert results is not None
    table.show(measured or results)
    if options.json:
        options.json.write_text(results.as_json(), encoding="utf-8")
    if options.page:
        (options.page / "benchmarks.md").write_text(page.page(results), encoding="utf-8")
        plot.draw(results, options.page / "benchmarks.svg")
    return int(any(row.ours.reason and not row.ours.is_skipped for row in (measured or results).rows.values()))


if __name__ == "__main__":
    sys.exit(main())
