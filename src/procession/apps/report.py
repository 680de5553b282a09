"""What a run says at its end, and what it says of each file to a script that reads along.

The summary goes to standard output: each failure with its reason, then one line with what was done.  With JSON, standard
output has one line for each file and nothing else.
"""

import os
import sys
from typing import TextIO

from procession.apps.driver import Progress, Result
from procession.apps.outcome import Outcome
from procession.apps.words import counted, human_bytes, human_duration, human_rate, joined, printable

RED, GREEN, YELLOW = 31, 32, 33


class OutputError(Exception):
    """Standard output takes no more, and not because nobody reads it; the argument is the OSError."""


class JsonLines:
    """A progress callback that writes one line for each file, as its outcome comes."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout

    def __call__(self, progress: Progress) -> None:
        if progress.outcomes:
            try:
                for outcome in progress.outcomes:
                    print(json_line(outcome), file=self._stream)
                self._stream.flush()
            except BrokenPipeError:
                raise
            except OSError as error:
                raise OutputError(error) from None


def json_line(outcome: Outcome) -> str:
    """One file's end, in ASCII; bytes of names that are no text are lone surrogates, as `os.fsdecode` makes them."""
    fields: dict[str, object] = {"name": outcome.name, "status": outcome.status}
    if outcome.output:
        fields["output"] = outcome.output
    if outcome.reason:
        fields["reason"] = outcome.reason
    if outcome.status == "done":
        fields |= {"source_bytes": outcome.source_bytes, "result_bytes": outcome.result_bytes}
    if outcome.checksum:
        fields["xxh3_128"] = outcome.checksum
    import json

    return json.dumps(fields)


def print_failures(result: Result, stream: TextIO | None = None) -> None:
    """Each failure with its reason, in order of name."""
    if not result.failed:
        return
    stream = stream or sys.stdout
    for outcome in sorted(result.failures, key=lambda outcome: outcome.name):
        print(f"{coloured('failed', RED, stream)} {printable(outcome.name)}: {printable(outcome.reason)}", file=stream)


def print_summary(result: Result, noun: str, verb: str, *, is_interrupted: bool = False) -> None:
    """The failures, then one line with what was done."""
    print_failures(result)
    line = summary_line(result, noun, verb, is_interrupted=is_interrupted)
    colour = YELLOW if is_interrupted else RED if result.failed else GREEN
    print(coloured(line, colour, sys.stdout), flush=True)


def coloured(text: str, colour: int, stream: TextIO) -> str:
    """`text` in a colour, if `stream` is a terminal that has any and NO_COLOR does not forbid it."""
    # Not by rich: it takes longer to load than a small run takes.
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") in (None, "", "dumb"):
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"


def summary_line(result: Result, noun: str, verb: str, *, is_interrupted: bool = False) -> str:
    """`made 3 of 5 images in 1.0 s, ...`, with `verb` "made" and `noun` "images"."""
    if result.planned:
        return joined(
            f"would have {verb} {result.planned:,} of {result.total:,} {noun}",
            counted(result.unchanged, "unchanged"),
            counted(result.failed, "failed"),
        )
    per_s = result.done / result.seconds if result.seconds > 0 else 0.0
    line = joined(
        f"{verb} {result.done:,} of {result.total:,} {noun} in {human_duration(result.seconds)}",
        f"{human_rate(per_s)} {noun}/s" if result.done else "",
        f"{human_bytes(result.source_bytes)} read" if result.done else "",
        f"{human_bytes(result.result_bytes)} written" if result.done else "",
        counted(result.unchanged, "unchanged"),
        counted(result.failed, "failed"),
        f"{result.missing:,} not done" if is_interrupted else "",
    )
    return f"interrupted: {line}" if is_interrupted else line
