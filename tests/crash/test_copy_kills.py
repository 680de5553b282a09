"""A copy that is killed leaves no half file under a real name, and the next one finishes it and leaves nothing else.

PROCESSION_COPY_KILLS says how many moments are tried (fifty for a release).
"""

import os
import random
import signal
import stat
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import procession
import trees
from procession.apps.copy import copy_tree, large, listing
from procession.apps.copy.worker import Worker

KILLS = int(os.environ.get("PROCESSION_COPY_KILLS", "3"))
PROGRAM = """
import sys
import procession
from procession.apps.copy import copy_tree, large, listing

# Small enough that the tree has some that are split.
listing.LARGE_BYTES, large.PART_BYTES = 2 << 20, 1 << 20
if __name__ == "__main__":
    print("ready", flush=True)
    result = copy_tree(sys.argv[1], sys.argv[2], workers=3, context=procession.get_context("fork"))
    print(result.done, result.failed, flush=True)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kills") / "source"
    trees.make_odd_tree(root)
    (root / "holes" / "huge").unlink()
    trees.make_small_tree(root / "more", 300, seed=3)
    for number in range(4):
        (root / "more" / f"large {number}").write_bytes(random.Random(number).randbytes(5 << 20))
    os.link(root / "more" / "large 1", root / "more" / "folder 1" / "large")
    return root


def half_files(source: Path, target: Path) -> list[str]:
    """Files under a real name whose content is not that of the source."""
    found = []
    for folder, folders, files in os.walk(target):
        folders[:] = [name for name in folders if not name.startswith(".procession-")]
        for name in files:
            path = os.path.join(folder, name)
            if name.startswith(".procession-") or not stat.S_ISREG(os.lstat(path).st_mode):
                continue
            original = os.path.join(source, os.path.relpath(path, target))
            if trees.content_of(path) != trees.content_of(original) or os.path.getsize(path) != os.path.getsize(
                original
            ):
                found.append(path)
    return found


def age(target: Path) -> None:
    """Make some of a whole copy older, so that it has to be replaced file by file."""
    for number, path in enumerate(sorted(target.rglob("file *"))):
        if number % 2 and not path.is_symlink():
            os.utime(path, ns=(1, 1))
    for path in target.rglob("large *"):
        os.utime(path, ns=(1, 1))


@pytest.mark.deadline(30 + 10 * KILLS)
def test_a_copy_killed_at_any_moment_is_finished_by_the_next(source: Path, tmp_path: Path, script: Any) -> None:
    program = script.write(PROGRAM)
    rng = random.Random(os.environ.get("PROCESSION_COPY_SEED") or time.time_ns())
    longest_s = 0.0
    hits = 0
    for number in range(KILLS + 1):
        target = tmp_path / f"target {number}"
        if number % 3 == 2:
            copy_tree(source, target, workers=2, context=procession.get_context("fork"))
            age(target)
        process = script.start(program, source, target, stderr=sys.stderr)
        assert process.stdout.readline() == "ready\n"
        started_s = time.monotonic()
        if number:  # the first run tells how long it takes
            wait_s = rng.uniform(0, longest_s)
            while process.poll() is None and time.monotonic() - started_s < wait_s:
                time.sleep(0.0005)  # the moment is what is tested
            process.kill()  # unless it has ended just now
        rest = process.stdout.read()
        process.wait()
        if not number:
            longest_s = time.monotonic() - started_s
        hits += not rest
        assert half_files(source, target) == []
        again = copy_tree(source, target, workers=2, context=procession.get_context("fork"))
        assert again.failed == 0
        assert trees.differences(source, target) == []
        assert [path.name for path in tmp_path.rglob(".procession-*")] == []
        trees.remove_deep(target)
    assert hits or KILLS < 20  # of many some are in the middle


def test_a_worker_that_is_killed_costs_nothing(source: Path, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_one(progress: Any) -> None:
        workers = procession.active_children()
        if workers and len(killed) < 2:  # the last call comes when they have ended
            victim = random.choice(workers)
            killed.append(victim.pid)
            os.kill(victim.pid, signal.SIGKILL)

    result = copy_tree(
        source, tmp_path / "target", workers=3, context=procession.get_context("fork"), progress=kill_one
    )
    assert killed and result.failed == 0
    assert trees.differences(source, tmp_path / "target") == []
    assert [path.name for path in tmp_path.rglob(".procession-*")] == []


@pytest.fixture
def dies_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has the first worker that calls a method die in it."""

    def plant(owner: type, name: str) -> None:
        method = getattr(owner, name)

        def die_once(*arguments: Any) -> Any:
            if not (tmp_path / "died").exists():
                (tmp_path / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return method(*arguments)

        monkeypatch.setattr(owner, name, die_once)

    return plant


def test_a_worker_that_dies_in_a_part_of_a_large_file_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_once: Any
) -> None:
    monkeypatch.setattr(listing, "LARGE_BYTES", 2 << 20)
    monkeypatch.setattr(large, "PART_BYTES", 1 << 20)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "large").write_bytes(random.Random(1).randbytes(5 << 20))
    dies_once(Worker, "copy_range")
    result = copy_tree(tmp_path / "source", tmp_path / "target", workers=2, context=procession.get_context("fork"))
    assert (result.done, result.failures) == (1, [])
    assert trees.differences(tmp_path / "source", tmp_path / "target") == []


@pytest.mark.parametrize("options", [{"checksum": True}, {"update": False}, {}])
def test_what_a_dead_worker_did_not_compare_is_not_taken_for_copied(
    tmp_path: Path, options: dict[str, Any], dies_once: Any
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    for folder, content, mode in ((source, "new", 0o600), (target, "old" if options else "new", 0o640)):
        folder.mkdir()
        for name in ("first", "second"):
            (folder / name).write_text(content)
            (folder / name).chmod(mode)
            os.utime(folder / name, (1, 1))
    dies_once(Worker, "is_unchanged")
    result = copy_tree(source, target, workers=1, context=procession.get_context("fork"), **options)
    assert (result.done, result.unchanged) == ((2, 0) if options else (0, 2))
    assert trees.differences(source, target) == []


def test_a_worker_that_always_dies_is_told_in_words_for_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "link").symlink_to("nowhere")
    (tmp_path / "target").mkdir()
    monkeypatch.setattr(Worker, "look", lambda *arguments: os.kill(os.getpid(), signal.SIGKILL))
    result = copy_tree(tmp_path / "source", tmp_path / "target", workers=1, context=procession.get_context("fork"))
    assert [outcome.reason for outcome in result.failures] == ["its worker was killed by SIGKILL"]
