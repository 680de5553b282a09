"""What is seen while a run lasts, on a terminal and without one."""

import io
import re

from rich.console import Console

from procession.apps.driver import Progress
from procession.apps.view import Picture, PlainLines, fraction


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def progress_of(ended: int, total: int, **fields: object) -> Progress:
    usual = {
        "total_files": total,
        "total_bytes": total * 1000,
        "is_listed": True,
        "ended_files": ended,
        "ended_bytes": ended * 1000,
        "unchanged": 0,
        "failed": 0,
        "worked_bytes": ended * 1000,
    }
    return Progress(**{**usual, **fields})  # type: ignore[arg-type]


def test_plain_lines_come_every_few_seconds_with_rate_and_time_left() -> None:
    clock, stream = Clock(), io.StringIO()
    show = PlainLines("images", stream, every_s=3.0, clock=clock)
    show(progress_of(0, 1000))
    for done in range(1, 8):
        clock.now_s += 1
        show(progress_of(done * 10, 1000, failed=done // 4))
    assert stream.getvalue().splitlines() == [
        "30 of 1,000 images, 30.0 kB of 1.0 MB (3 %), 10.0 images/s, 10.0 kB/s, 1 min 37 s left",
        "60 of 1,000 images, 60.0 kB of 1.0 MB (6 %), 10.0 images/s, 10.0 kB/s, 1 min 34 s left, 1 failed",
    ]


def test_what_was_known_while_listing_does_not_raise_the_rate() -> None:
    clock, stream = Clock(), io.StringIO()
    show = PlainLines("images", stream, every_s=1.0, clock=clock)
    show(progress_of(10, 30, worked_bytes=0, failed=10, total_bytes=0, ended_bytes=0))
    clock.now_s += 2
    show(progress_of(12, 30, worked_bytes=0, failed=10, total_bytes=0, ended_bytes=0))
    assert stream.getvalue() == "12 of 30 images (40 %), 1.0 images/s, 18 s left, 10 failed\n"


def test_while_the_listing_goes_on_there_is_no_end_in_sight() -> None:
    clock, stream = Clock(), io.StringIO()
    show = PlainLines("files", stream, every_s=1.0, clock=clock)
    show(progress_of(0, 10, is_listed=False))
    clock.now_s += 2
    show(progress_of(4, 20, is_listed=False))
    assert stream.getvalue() == "4 of 20+ files, 4.0 kB of 20.0 kB+, 2.0 files/s, 2.0 kB/s\n"


def test_the_share_weighs_files_and_bytes_alike() -> None:
    assert fraction(progress_of(1, 2, total_bytes=100, ended_bytes=100)) == 0.75
    assert fraction(progress_of(0, 0, total_bytes=0, ended_bytes=0)) == 0.0


def drawn(picture: Picture, progress: Progress, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(picture.draw(progress))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


def test_the_picture_shows_a_bar_amounts_pace_and_the_files_that_workers_have() -> None:
    clock = Clock()
    picture = Picture("images", clock)
    picture.draw(progress_of(0, 40))
    clock.now_s += 2
    lines = drawn(picture, progress_of(10, 40, failed=1, unchanged=2, running=("a\nb.jpg", "c" * 200)))
    assert lines[0].endswith(" 25 %")
    assert [line.rstrip() for line in lines[1:4]] == [
        "10 of 40 images, 10.0 kB of 40.0 kB · 2 unchanged · 1 failed",
        "5.0 images/s, 5.0 kB/s, 6.0 s left",
        r"  a\nb.jpg",
    ]
    assert re.fullmatch("  c+…", lines[4])
    assert all(len(line) <= 80 for line in lines)


def test_the_picture_does_not_become_smaller_and_says_that_it_lists() -> None:
    picture = Picture("images")
    drawn(picture, progress_of(1, 40, running=("a", "b")))
    lines = drawn(picture, progress_of(2, 40, is_listed=False, running=("a",)))
    assert (len(lines), lines[0].split()[-1]) == (5, "listing")
    # The bar moves; it says nothing of how much is done.
    done = drawn(Picture("images"), progress_of(39, 40, is_listed=False))[0]
    begun = drawn(Picture("images"), progress_of(1, 40, is_listed=False))[0]
    assert done.count("━") == begun.count("━")
