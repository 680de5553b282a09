"""What a run says at its end, and what it says of each file to a script that reads along.

The summary goes to standard output: each failure with its reason, then one line with what was done.  With JSON, standard
output has one line for each file and nothing else.
"""

import json
import sys
from typing import TextIO

from procession.apps.driver import Progress, Result
from procession.apps.outcome import Outcome
from procession.apps.words import counted, human_bytes, human_duration, human_rate, joined, printable


class JsonLines:
    """A progress callback that writes one line for each file, as its outcome comes."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout

    def __call__(self, progress: Progress) -> None:
        for outcome in progress.outcomes:
            print(json_line(outcome), file=self._stream)
        if progress.outcomes:
            self._stream.flush()


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
    return json.dumps(fields)


def print_failures(result: Result, stream: TextIO | None = None) -> None:
    """Each failure with its reason, in order of name."""
    if not result.failed:
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream or sys.stdout, soft_wrap=True, highlight=False)
    for outcome in sorted(result.failures, key=lambda outcome: outcome.name):
        line = Text.assemble(("failed ", "red"), printable(outcome.name), ": ", printable(outcome.reason))
        console.print(line)


def print_summary(result: Result, noun: str, verb: str, *, is_interrupted: bool = False) -> None:
    """The failures, then one line with what was done."""
    print_failures(result)
    line = summary_line(result, noun, verb, is_interrupted=is_interrupted)
    if not sys.stdout.isatty():
        print(line, flush=True)  # rich costs more to load than a small run
        return
    from rich.console import Console
    from rich.text import Text

    style = "yellow" if is_interrupted else "red" if result.failed else "green"
    Console(soft_wrap=True, highlight=False).print(Text(line, style=style))


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
