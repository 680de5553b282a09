"""What a copy says at its end: what failed, what was skipped, what could not be kept, and one line of numbers."""

import sys

from procession.apps.copy.records import CopyResult
from procession.apps.report import print_failures
from procession.apps.words import counted, human_bytes, human_duration, human_rate, joined, printable

MOST_SKIPPED = 20
"""Names that are shown of what was skipped."""


def print_copy(result: CopyResult, is_interrupted: bool) -> None:
    """Say all that."""
    print_failures(result)
    skipped = [outcome for outcome in result.outcomes if outcome.status == "skipped"]
    for outcome in skipped[:MOST_SKIPPED]:
        print(f"skipped {printable(outcome.name)}: {outcome.reason}")
    if len(skipped) > MOST_SKIPPED:
        print(f"skipped {len(skipped) - MOST_SKIPPED:,} more")
    for note in result.notes:
        print(f"note: {note}")
    if result.stopped and not is_interrupted:
        print(f"stopped: {printable(result.stopped)}")
    print(summary_line(result, is_interrupted=is_interrupted), flush=True)


def summary_line(result: CopyResult, *, is_interrupted: bool = False) -> str:
    """`copied 20,000 files (210.0 MB) in 0.5 s, ...`"""
    ends = (
        counted(result.unchanged, "unchanged"),
        counted(result.deleted, "deleted"),
        counted(result.skipped, "skipped"),
        counted(result.failed, "failed"),
    )
    if result.is_dry:
        return joined(f"would copy {result.planned:,} of {files(result.total)}", *ends)
    seconds = max(result.seconds, 1e-9)
    line = joined(
        f"copied {files(result.done)} ({human_bytes(result.source_bytes)}) in {human_duration(result.seconds)}",
        f"{human_rate(result.done / seconds)} files/s" if result.done else "",
        f"{human_bytes(result.source_bytes / seconds)}/s" if result.done else "",
        *ends,
        f"{result.missing:,} not done" if (is_interrupted or result.stopped) and result.missing > 0 else "",
    )
    return f"interrupted: {line}" if is_interrupted else line


def files(count: int) -> str:
    """`1 file`, `2,000 files`."""
    return "1 file" if count == 1 else f"{count:,} files"


def print_list(extras: list[str]) -> None:
    """What `--delete` will remove."""
    print(f"to be deleted, because SRC does not have {'it' if len(extras) == 1 else 'them'}:", file=sys.stderr)
    for extra in extras:
        print(f"  {printable(extra)}", file=sys.stderr)
