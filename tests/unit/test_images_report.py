"""What people read: sizes, times, names, progress lines and the summary."""

import io
import os

import pytest

from procession.apps.driver import Progress, Result
from procession.apps.outcome import Outcome
from procession.apps.report import (
    PlainLines,
    human_bytes,
    human_duration,
    human_rate,
    print_summary,
    printable,
    summary_line,
)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (1536, "1.5 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (3_200_000_000, "3.2 GB"),
        (5_000_000_000_000_000, "5000.0 TB"),
    ],
)
def test_bytes_are_written_as_people_read_them(size_bytes: int, text: str) -> None:
    assert human_bytes(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 0 s"),
        (65.2, "1 min 5 s"),
        (3599.6, "1 h 0 min"),
        (7300, "2 h 1 min"),
    ],
)
def test_durations_are_written_as_people_read_them(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


@pytest.mark.parametrize(("per_s", "text"), [(0.0, "0.0"), (82.13, "82.1"), (1234.5, "1,234")])
def test_rates_are_written_as_people_read_them(per_s: float, text: str) -> None:
    assert human_rate(per_s) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plain name.jpg", "plain name.jpg"),
        ("ünïcode 照片.jpg", "ünïcode 照片.jpg"),
        ("two\nlines\x1b[31m.jpg", r"two\nlines\x1b[31m.jpg"),
        (os.fsdecode(b"caf\xe9.jpg"), r"caf\xe9.jpg"),
    ],
)
def test_any_name_prints_on_one_line(name: str, text: str) -> None:
    assert printable(name) == text


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_plain_lines_come_every_few_seconds_with_rate_and_time_left() -> None:
    clock, stream = Clock(), io.StringIO()
    show = PlainLines("images", stream, every_s=3.0, clock=clock)
    show(Progress(total=1000, done=0, failed=0))
    for done in range(1, 8):
        clock.now_s += 1
        show(Progress(1000, done * 10, done // 4, Outcome("a")))
    assert stream.getvalue().splitlines() == [
        "30 of 1,000 images (3 %), 10.0 images/s, 1 min 37 s left",
        "60 of 1,000 images (6 %), 10.0 images/s, 1 min 34 s left, 1 failed",
    ]


def test_files_refused_while_listing_do_not_raise_the_rate() -> None:
    clock, stream = Clock(), io.StringIO()
    show = PlainLines("images", stream, every_s=1.0, clock=clock)
    show(Progress(total=30, done=10, failed=10))
    clock.now_s += 2
    show(Progress(30, 12, 10, Outcome("a")))
    assert stream.getvalue() == "12 of 30 images (40 %), 1.0 images/s, 18 s left, 10 failed\n"


OUTCOMES = [
    Outcome("b[red].jpg", "empty file"),
    Outcome("ok.jpg", "", 2_000_000, 3_000),
    Outcome("a.txt", "not an image"),
]


def test_the_summary_says_what_was_made_and_how_fast() -> None:
    assert summary_line(Result(OUTCOMES, 3, 2.0), "images") == (
        "made 1 of 3 images in 2.0 s, 0.5 images/s, 2.0 MB read, 3.0 kB written, 2 failed"
    )


def test_the_summary_of_an_interrupted_run_says_what_was_not_done() -> None:
    line = summary_line(Result(OUTCOMES[1:2], 3, 2.0), "images", is_interrupted=True)
    assert line.startswith("interrupted: made 1 of 3 images")
    assert line.endswith("2 not done")


def test_the_summary_lists_failures_in_order_of_name_on_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    long = Outcome("c" * 200 + ".jpg", "empty file")
    print_summary(Result([*OUTCOMES, long], 4, 2.0), "images")
    assert capsys.readouterr().out.splitlines()[:3] == [
        "failed a.txt: not an image",
        "failed b[red].jpg: empty file",
        f"failed {'c' * 200}.jpg: empty file",
    ]
