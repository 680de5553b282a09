"""What a run says at its end, to people and to scripts."""

import io
import json
import os

import pytest

from procession.apps.driver import Progress, Result
from procession.apps.outcome import Outcome, failed
from procession.apps.report import JsonLines, print_summary, summary_line

OUTCOMES = [failed("b[red].jpg", "empty file"), Outcome("ok.jpg"), failed("a.txt", "not an image")]


def result_of(**fields: object) -> Result:
    usual = {
        "total": 3,
        "done": 1,
        "unchanged": 0,
        "planned": 0,
        "failed": 2,
        "source_bytes": 2_000_000,
        "result_bytes": 3_000,
        "seconds": 2.0,
        "outcomes": OUTCOMES,
    }
    return Result(**{**usual, **fields})  # type: ignore[arg-type]


def test_the_summary_says_what_was_made_and_how_fast() -> None:
    assert summary_line(result_of(), "images", "made") == (
        "made 1 of 3 images in 2.0 s, 0.5 images/s, 2.0 MB read, 3.0 kB written, 2 failed"
    )


def test_the_summary_of_a_run_without_work_has_no_rate() -> None:
    line = summary_line(result_of(done=0, unchanged=1, failed=0, total=1), "images", "made")
    assert line == "made 0 of 1 images in 2.0 s, 1 unchanged"


def test_the_summary_of_an_interrupted_run_says_what_was_not_done() -> None:
    line = summary_line(result_of(total=5), "images", "made", is_interrupted=True)
    assert line.startswith("interrupted: made 1 of 5 images")
    assert line.endswith("2 failed, 2 not done")


def test_the_summary_of_a_dry_run_says_what_would_have_been() -> None:
    line = summary_line(result_of(done=0, planned=1, unchanged=1, failed=1), "images", "made")
    assert line == "would have made 1 of 3 images, 1 unchanged, 1 failed"


def test_the_summary_lists_failures_in_order_of_name_on_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    long = failed("c" * 200 + ".jpg", "empty file")
    print_summary(result_of(outcomes=[*OUTCOMES, long]), "images", "made")
    assert capsys.readouterr().out.splitlines()[:3] == [
        "failed a.txt: not an image",
        "failed b[red].jpg: empty file",
        f"failed {'c' * 200}.jpg: empty file",
    ]


def test_json_has_a_line_for_each_file_from_which_any_name_can_be_read_back() -> None:
    name = os.fsdecode(b"caf\xe9\n.jpg")
    stream = io.StringIO()
    outcomes = (Outcome(name, "done", "", 10, 5, "/out/a"), failed("b", "empty file"), Outcome("c", "unchanged"))
    JsonLines(stream)(Progress(3, 10, True, 3, 10, 1, 1, 10, (), outcomes))
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == [
        {"name": name, "status": "done", "output": "/out/a", "source_bytes": 10, "result_bytes": 5},
        {"name": "b", "status": "failed", "reason": "empty file"},
        {"name": "c", "status": "unchanged"},
    ]
