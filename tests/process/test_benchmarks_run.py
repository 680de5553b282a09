"""The benchmarks run: every measure does next to no work on our side, and what hangs or leaves processes is cleared."""

import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from benchmarks import harness
from benchmarks.measure import MS, OURS, Measure, Side
from benchmarks.results import Outcome, Results, Row, describe_run
from benchmarks.subjects import MEASURES

PLAN = harness.Plan(
    measures=[],
    candidate=OURS,
    peers=[],
    is_for_goals=False,
    method="fork",
    workers=2,
    rounds=1,
    size="trial",
    time_limit_s=25,
)


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_runs(name):
    pytest.importorskip("numpy")
    outcome = harness.measure_once(MEASURES[name], OURS, PLAN)
    assert outcome.failed is None
    assert outcome.value is not None or outcome.skipped


def test_what_a_child_leaves_in_another_session_is_killed(tmp_path):
    source = "import time; time.sleep(600)"
    starter = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {source!r}], start_new_session=True)"
    mark = str(tmp_path)
    child = subprocess.Popen(
        [sys.executable, "-c", starter], env=os.environ | {harness.MARK: mark}, start_new_session=True
    )
    child.wait()
    assert harness.marked(mark)
    harness.kill_all(child, mark)
    assert harness.marked(mark) == []


def test_a_side_that_takes_too_long_is_killed_and_says_so():
    measure = Measure("locks.with", "with lock", MS, {OURS: Side(lambda setting: 0.0)})
    started = time.monotonic()
    outcome = harness.measure_once(measure, OURS, replace(PLAN, time_limit_s=0.001))
    assert outcome.failed is not None
    assert outcome.failed.startswith("no end within 0.001 s")
    assert time.monotonic() - started < 10


def test_the_page_and_its_picture_are_the_same_for_the_same_results(tmp_path):
    pytest.importorskip("matplotlib")
    curve = MEASURES["curves.size"]
    row = Row.empty(curve)
    row.ours.add(Outcome(value=dict(curve.points)), 1)
    about = describe_run(method="fork", workers=2, rounds=1, size="full", candidate=OURS)
    (tmp_path / "results.json").write_text(Results(about, {curve.name: row}).as_json())
    pages = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        options = ["--from-json", tmp_path / "results.json", "--page", tmp_path / name]
        subprocess.run(
            [sys.executable, "-m", "benchmarks", *options], cwd=harness.ROOT, check=True, capture_output=True
        )
        pages.append([path.read_bytes() for path in sorted((tmp_path / name).iterdir())])
    assert pages[0] == pages[1]
    assert all(pages[0])
