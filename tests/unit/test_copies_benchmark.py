"""The benchmark of copies measures what it says, on a tree of a few files."""

import shutil
import subprocess
from pathlib import Path

import pytest
from benchmarks import copies

import trees

ROOT = Path(__file__).parents[2]


def test_every_goal_is_of_a_side() -> None:
    sides = copies.sides(Path("limit"))
    assert all(goals.keys() == sides.keys() - {copies.PROCESSION} for goals in copies.GOALS.values())
    assert copies.GOALS.keys() == copies.TREES.keys()


def test_the_table_has_seconds_and_ratios() -> None:
    figures = {"small": {copies.PROCESSION: 0.5, "cp -a": 1.0}}
    assert copies.table(figures).splitlines()[2:] == ["| **procession copy** | 0.50 |", "| cp -a | 1.00 (2.00) |"]


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_sides_copy_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies.os, "sync", lambda: None)
    source = trees.make_small_tree(tmp_path / "source", 30)
    limit = tmp_path / "limit"
    subprocess.run(["cc", "-o", limit, ROOT / "benchmarks" / "copies.c"], check=True)
    for side, command in copies.sides(limit).items():
        if shutil.which(command[0]):
            assert copies.measure(command, source, tmp_path / side.replace(" ", "")) > 0
