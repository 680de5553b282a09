"""What people see of a run: a progress bar or plain lines while it lasts, and a summary at its end.

Progress goes to standard error (to standard output if only that is a terminal), the summary to standard output.  rich
draws, and leaves out colours when NO_COLOR is set or nobody looks.  Nothing here starts a thread: the bar moves when
the driver calls.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from procession.apps.driver import Progress, ProgressCallback, Result

LINE_EVERY_S = 3.0
REDRAW_EVERY_S = 0.1

Clock = Callable[[], float]


@contextmanager
def show_progress(noun: str) -> Iterator[ProgressCallback]:
    """A callback that shows how far a run of `noun` ("thumbnails") is, as a bar or as lines, whichever can be seen."""
    terminal = next((stream for stream in (sys.stderr, sys.stdout) if stream.isatty()), None)
    if terminal is None or os.environ.get("TERM") == "dumb":
        yield PlainLines(noun, sys.stderr)
        return
    with progress_bar(noun, terminal) as callback:
        yield callback


class Pace:
    """How fast a run goes and how long the rest of it will take, from its average so far."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._started_s = clock()
        # What was refused while listing took no time.
        self._free: int | None = None

    def describe(self, progress: Progress, noun: str) -> str:
        """For example `82.1 images/s, 1 min 5 s left`; empty while nothing is known."""
        if self._free is None and progress.outcome is None:
            self._free, self._started_s = progress.done, self._clock()
        worked = progress.done - (self._free or 0)
        elapsed_s = self._clock() - self._started_s
        if worked <= 0 or elapsed_s <= 0:
            return ""
        per_s = worked / elapsed_s
        return f"{human_rate(per_s)} {noun}/s, {human_duration((progress.total - progress.done) / per_s)} left"


class PlainLines:
    """One line every few seconds, for logs and pipes; none for a run that is over before the first is due."""

    def __init__(
        self, noun: str, stream: TextIO, *, every_s: float = LINE_EVERY_S, clock: Clock = time.monotonic
    ) -> None:
        self._noun, self._stream, self._every_s, self._clock = noun, stream, every_s, clock
        self._pace = Pace(clock)
        self._due_s = clock() + every_s

    def __call__(self, progress: Progress) -> None:
        pace = self._pace.describe(progress, self._noun)
        if self._clock() < self._due_s:
            return
        self._due_s = self._clock() + self._every_s
        percent = 100 * progress.done // max(progress.total, 1)
        parts = [
            f"{progress.done:,} of {progress.total:,} {self._noun} ({percent} %)",
            pace,
            failed_text(progress.failed),
        ]
        print(", ".join(filter(None, parts)), file=self._stream, flush=True)


@contextmanager
def progress_bar(noun: str, stream: TextIO) -> Iterator[ProgressCallback]:
    """A bar on the terminal `stream`, removed at the end; the summary says what it said."""
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} " + noun),
        TextColumn("{task.fields[pace]}", style="cyan"),
        TextColumn("{task.fields[failed]}", style="red"),
    )
    # auto_refresh would be a thread, and a worker that is forked while it draws inherits its locks.
    bar = Bar(
        *columns,
        console=Console(file=stream),
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        expand=True,
    )
    pace = Pace()
    shown = bar.add_task(noun, total=1, pace="", failed="")
    next_redraw_s = 0.0

    def redraw(progress: Progress) -> None:
        nonlocal next_redraw_s
        text = pace.describe(progress, noun)
        now_s = time.monotonic()
        if now_s < next_redraw_s:
            return
        next_redraw_s = now_s + REDRAW_EVERY_S
        bar.update(
            shown,
            completed=progress.done,
            total=progress.total,
            pace=text,
            failed=failed_text(progress.failed),
            refresh=True,
        )

    with bar:
        yield redraw


def print_summary(result: Result, noun: str, *, is_interrupted: bool = False) -> None:
    """Each failure with its reason, then one line with what was made."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, soft_wrap=True, highlight=False)
    for outcome in sorted(result.failed, key=lambda outcome: outcome.name):
        line = Text.assemble(("failed ", "red"), printable(outcome.name), ": ", printable(outcome.reason))
        console.print(line)
    style = "yellow" if is_interrupted else "red" if result.failed else "green"
    console.print(Text(summary_line(result, noun, is_interrupted=is_interrupted), style=style))


def summary_line(result: Result, noun: str, *, is_interrupted: bool = False) -> str:
    made = len(result.made)
    per_s = made / result.seconds if result.seconds > 0 else 0.0
    source_bytes = sum(outcome.source_bytes for outcome in result.outcomes)
    result_bytes = sum(outcome.result_bytes for outcome in result.outcomes)
    parts = [
        f"made {made:,} of {result.total:,} {noun} in {human_duration(result.seconds)}",
        f"{human_rate(per_s)} {noun}/s",
        f"{human_bytes(source_bytes)} read",
        f"{human_bytes(result_bytes)} written",
        failed_text(len(result.failed)),
    ]
    if is_interrupted:
        parts.append(f"{result.total - len(result.outcomes):,} not done")
    return ("interrupted: " if is_interrupted else "") + ", ".join(filter(None, parts))


def failed_text(failed: int) -> str:
    return f"{failed:,} failed" if failed else ""


def human_bytes(size_bytes: int) -> str:
    """`1536` to `1.5 kB`."""
    size = float(size_bytes)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        # 999.95 would be shown as 1000.0.
        if size < 999.95 or unit == "TB":
            break
        size /= 1000
    return f"{size_bytes} bytes" if unit == "bytes" else f"{size:.1f} {unit}"


def human_duration(seconds: float) -> str:
    """`65.2` to `1 min 5 s`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole_s = round(seconds)
    if whole_s < 60:
        return f"{whole_s} s"
    minutes, rest_s = divmod(whole_s, 60)
    if minutes < 60:
        return f"{minutes} min {rest_s} s"
    return f"{minutes // 60} h {minutes % 60} min"


def human_rate(per_s: float) -> str:
    return f"{per_s:.1f}" if per_s < 100 else f"{per_s:,.0f}"


def printable(name: str) -> str:
    """`name` on one line and in any encoding's reach: control characters and bytes that are not text become escapes."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
