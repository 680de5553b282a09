"""What people see while a run lasts: a bar, what comes when, and what the workers have; or plain lines without a terminal.

It goes to standard error (to standard output if only that is a terminal).  rich draws, and leaves out colours when NO_COLOR
is set.  Nothing here starts a thread: the picture changes when the driver calls, a few times a second at least.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from procession.apps.driver import Progress, ProgressCallback, ignore_progress
from procession.apps.words import counted, human_bytes, human_duration, human_rate, joined, printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.text import Text

LINE_EVERY_S = 3.0
FIRST_AFTER_S = 0.15
REDRAW_EVERY_S = 0.1
MOST_SHOWN = 8
"""Workers whose files are shown."""

Clock = Callable[[], float]


@contextmanager
def show_progress(noun: str, *, is_quiet: bool = False) -> Iterator[ProgressCallback]:
    """A callback that shows how far a run over `noun` ("images") is, as a picture or as lines, whichever can be seen."""
    if is_quiet:
        yield ignore_progress
        return
    terminal = next((stream for stream in (sys.stderr, sys.stdout) if stream.isatty()), None)
    if terminal is None or os.environ.get("TERM") == "dumb":
        yield PlainLines(noun, sys.stderr)
        return
    with picture(noun, terminal) as callback:
        yield callback


def both(first: ProgressCallback, second: ProgressCallback) -> ProgressCallback:
    """A callback that calls two."""

    def call(progress: Progress) -> None:
        first(progress)
        second(progress)

    return call


class Pace:
    """How fast a run goes and how long the rest of it will take, from its average so far."""

    def __init__(self, noun: str, clock: Clock = time.monotonic) -> None:
        self._noun = noun
        self._clock = clock
        self._started_s = clock()
        # What was known while listing took no time.
        self._free: tuple[int, int] | None = None

    def describe(self, progress: Progress) -> str:
        """For example `82.1 images/s, 10.3 MB/s, 1 min 5 s left`; empty while nothing is known."""
        if self._free is None and not progress.worked_bytes:
            self._free, self._started_s = (progress.ended_files, progress.ended_bytes), self._clock()
        free_files, free_bytes = self._free or (0, 0)
        files, size_bytes = progress.ended_files - free_files, progress.ended_bytes - free_bytes
        elapsed_s = self._clock() - self._started_s
        if elapsed_s <= 0 or (files <= 0 and size_bytes <= 0):
            return ""
        return joined(
            f"{human_rate(files / elapsed_s)} {self._noun}/s" if files > 0 else "",
            f"{human_bytes(progress.worked_bytes / elapsed_s)}/s" if progress.worked_bytes else "",
            self._left(progress, files, size_bytes, elapsed_s),
        )

    def _left(self, progress: Progress, files: int, size_bytes: int, elapsed_s: float) -> str:
        """Some files are small and some are large, so the truth lies between the share of the files and that of the bytes."""
        if not progress.is_listed:
            return ""
        shares = [
            (rest / ended)
            for rest, ended in (
                (progress.total_files - progress.ended_files, files),
                (progress.total_bytes - progress.ended_bytes, size_bytes),
            )
            if ended > 0
        ]
        return f"{human_duration(elapsed_s * sum(shares) / len(shares))} left"


def fraction(progress: Progress) -> float:
    """How much of the whole is done, from 0 to 1."""
    shares = [
        ended / total
        for ended, total in (
            (progress.ended_files, progress.total_files),
            (progress.ended_bytes, progress.total_bytes),
        )
        if total
    ]
    return min(1.0, sum(shares) / len(shares)) if shares else 0.0


def percent(progress: Progress) -> int:
    """That in percent; 100 are not before the end."""
    return int(100 * fraction(progress))


def amounts(progress: Progress, noun: str) -> str:
    """`12 of 30 images, 1.2 of 3.4 MB`; a plus where the listing goes on."""
    more = "" if progress.is_listed else "+"
    size = ""
    if progress.total_bytes:
        size = f"{human_bytes(progress.ended_bytes)} of {human_bytes(progress.total_bytes)}{more}"
    return joined(f"{progress.ended_files:,} of {progress.total_files:,}{more} {noun}", size)


class PlainLines:
    """One line every few seconds, for logs and pipes; none for a run that is over before the first is due."""

    def __init__(
        self, noun: str, stream: TextIO, *, every_s: float = LINE_EVERY_S, clock: Clock = time.monotonic
    ) -> None:
        self._noun, self._stream, self._every_s, self._clock = noun, stream, every_s, clock
        self._pace = Pace(noun, clock)
        self._due_s = clock() + every_s

    def __call__(self, progress: Progress) -> None:
        pace = self._pace.describe(progress)
        if self._clock() < self._due_s:
            return
        self._due_s = self._clock() + self._every_s
        share = f" ({percent(progress)} %)" if progress.is_listed else ""
        line = joined(
            amounts(progress, self._noun) + share,
            pace,
            counted(progress.unchanged, "unchanged"),
            counted(progress.failed, "failed"),
        )
        print(line, file=self._stream, flush=True)


class Picture:
    """What is drawn: the bar, the amounts, the pace, and the files that workers have."""

    def __init__(self, noun: str, clock: Clock = time.monotonic) -> None:
        self._noun = noun
        self._pace = Pace(noun, clock)
        self._height = 0

    def draw(self, progress: Progress) -> "RenderableType":
        """`progress` as something that rich can print."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        pace = self._pace.describe(progress)
        top = Table.grid(padding=(0, 1), expand=True)
        top.add_column(ratio=1)
        top.add_column(justify="right", no_wrap=True)
        share = f"{percent(progress):3} %" if progress.is_listed else "listing"
        # What is listed is always little more than what is done, so a bar of it would be nearly full all the time.
        bar = ProgressBar(total=1.0, completed=fraction(progress), pulse=not progress.is_listed)
        top.add_row(bar, Text(share, style="progress.percentage"))
        counts = Text(amounts(progress, self._noun), no_wrap=True, overflow="ellipsis")
        if progress.unchanged:
            counts.append(" · ").append(counted(progress.unchanged, "unchanged"), style="dim")
        if progress.failed:
            counts.append(" · ").append(counted(progress.failed, "failed"), style="red")
        rows = [Text(pace, style="cyan", no_wrap=True, overflow="ellipsis")]
        rows += [self._file(name) for name in progress.running[:MOST_SHOWN]]
        # As many lines as there ever were, so that what is below does not jump.
        self._height = max(self._height, len(rows))
        rows += [Text("")] * (self._height - len(rows))
        return Group(top, counts, *rows)

    def _file(self, name: str) -> "Text":
        from rich.text import Text

        text = printable(name)
        return Text("  " + text, style="dim", no_wrap=True, overflow="ellipsis")


@contextmanager
def picture(noun: str, stream: TextIO) -> Iterator[ProgressCallback]:
    """A picture on the terminal `stream`, removed at the end; the summary says what it said.

    None for a run that is over before the first is due: rich is loaded while workers work, or not at all.
    """
    drawing = Picture(noun)
    live: Live | None = None
    due_s = time.monotonic() + FIRST_AFTER_S

    def redraw(progress: Progress) -> None:
        nonlocal live, due_s
        if time.monotonic() < due_s:
            return
        if live is None:
            live = open_live(stream)
        live.update(drawing.draw(progress), refresh=True)
        due_s = time.monotonic() + REDRAW_EVERY_S

    try:
        yield redraw
    finally:
        if live is not None:
            live.stop()


def open_live(stream: TextIO) -> "Live":
    """A place at the end of `stream` where pictures follow each other."""
    from rich.console import Console
    from rich.live import Live

    # auto_refresh would be a thread, and a worker that is forked while it draws inherits its locks.
    live = Live(
        console=Console(file=stream),
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    live.start()
    return live
