"""The benchmark of copies measures what it says, on a tree of a few files."""

import shutil
import subprocess
from pathlib import Path

import pytest
from benchmarks import copies, copies_memory, programs

import trees

ROOT = Path(__file__).parents[2]


def test_every_goal_is_of_a_side() -> None:
    sides = copies.sides(Path("limit"))
    assert all(goals.keys() == sides.keys() - {copies.PROCESSION} for goals in copies.GOALS.values())
    assert copies.GOALS.keys() == copies.TREES.keys()


def test_the_table_has_seconds_and_ratios() -> None:
    figures = {"small": {copies.PROCESSION: 0.5, "cp -a": 1.0}, "large": {copies.PROCESSION: 2.0}}
    assert copies.table(figures).splitlines()[2:] == [
        "| **procession copy** | 0.50 | 2.00 |",
        "| cp -a | 1.00 (2.00) |  |",
    ]


def test_goals_are_told_of_what_was_measured() -> None:
    told = programs.verdicts("small", {"cp -a": 2.0, "rsync -a": 1.7}, copies.GOALS["small"])
    assert told == [
        "small, cp -a: 2.00 times as fast, goal 1.80: yes",
        "small, rsync -a: 1.70 times as fast, goal 1.80: NO",
    ]


def test_memory_is_of_all_processes_and_flat_or_not(tmp_path: Path) -> None:
    peaks = copies_memory.measure_tree(tmp_path, 30, 20)
    assert all(5 < own < 500 for own, _ in peaks.values())
    assert list(tmp_path.iterdir()) == []
    few, many = {"copied": (30, 20), "unchanged": (30, 20), "deleted": (30, 0)}, {"copied": (90, 20)}
    assert copies_memory.verdict({"few": few, "many": few}).endswith("1.00 times as much, goal 1.20: yes")
    assert copies_memory.verdict({"few": few, "many": few | many}).endswith("3.00 times as much, goal 1.20: NO")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_sides_copy_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies.os, "sync", lambda: None)
    source = trees.make_small_tree(tmp_path / "source", 30)
    limit = tmp_path / "limit"
    subprocess.run(["cc", "-o", limit, ROOT / "benchmarks" / "copies.c"], check=True)
    for side, command in copies.sides(limit).items():
        if shutil.which(command[0]):
            assert copies.measure(command, source, tmp_path / side.replace(" ", "")) > 0


def test_small_files_are_copied_in_memory_and_on_the_disk_large_ones_on_the_disk_alone(tmp_path: Path) -> None:
    trees_ = ["small", "large"]
    assert copies.columns(trees_, tmp_path, tmp_path) == [("small", tmp_path), ("large", tmp_path)]
    memory = Path("/proc")  # another file system
    assert copies.columns(trees_, tmp_path, memory) == [("small", memory), ("small", tmp_path), ("large", tmp_path)]


def test_too_little_room_is_told_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="name another --folder"):
        copies.check_space(tmp_path, ["real"], rounds=10**6, sides=7)
