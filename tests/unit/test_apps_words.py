"""Sizes, times and names as people read them."""

import os

import pytest

from procession.apps.words import counted, human_bytes, human_duration, human_rate, joined, printable


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


def test_only_what_there_is_is_said() -> None:
    assert joined("a", counted(0, "failed"), counted(1234, "done")) == "a, 1,234 done"
