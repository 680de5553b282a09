"""copy_tree() end to end: what it makes is what there was, and what it cannot copy it names."""

import os
import resource
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import xxhash

import procession
import trees
from procession.apps.copy import content, copy_tree, filesystems, large, listing, plan, staging
from procession.apps.copy.worker import Worker
from procession.apps.driver import Interrupted, PlanError
from procession.pool import Pool

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs another user's files")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


@pytest.fixture
def copy(source: Path, target: Path) -> Any:
    def run(**options: Any) -> Any:
        return copy_tree(source, target, **{"workers": 2, "context": procession.get_context("fork"), **options})

    return run


def reasons(result: Any) -> dict[str, str]:
    return {outcome.name: outcome.reason for outcome in result.outcomes if outcome.reason}


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".procession*")]


def interrupt(*arguments: Any, **options: Any) -> None:
    raise KeyboardInterrupt


def test_an_odd_tree_arrives_whole_and_a_second_run_does_nothing(tmp_path: Path, target: Path, method: str) -> None:
    source = trees.make_odd_tree(tmp_path / "odd")
    context = procession.get_context(method)
    first = copy_tree(source, target, workers=2, context=context)
    assert reasons(first) == {}
    assert trees.differences(source, target) == []
    assert first.done == first.total == len(first.outcomes)
    if method == "fork":
        second = copy_tree(source, target, workers=2, context=context)
        assert (second.done, second.unchanged, second.failed) == (0, first.done, 0)
        assert trees.differences(source, target) == []


@pytest.mark.parametrize(
    "options", [{"update": False}, {"checksum": True}, {"verify": True, "update": False, "fsync": True}]
)
def test_a_copy_over_a_copy_is_the_same_again(tmp_path: Path, target: Path, options: dict[str, Any]) -> None:
    source = trees.make_odd_tree(tmp_path / "odd")
    (source / "holes" / "huge").unlink()  # it would be read in full
    context = procession.get_context("fork")
    copy_tree(source, target, workers=2, context=context)
    again = copy_tree(source, target, workers=2, context=context, **options)
    assert reasons(again) == {}
    assert again.unchanged == (again.total if "checksum" in options else 0)
    assert trees.differences(source, target) == []
    assert leftovers(target.parent) == []


def test_what_differs_is_copied_again_and_nothing_else(source: Path, target: Path, copy: Any) -> None:
    trees.make_small_tree(source, 50)
    copy()
    changed = source / "folder 0" / "inner 0" / "file 0"
    changed.write_text("other")
    (source / "folder 1" / "new").write_text("new")
    (source / "folder 2" / "inner 2" / "file 2").chmod(0o640)
    result = copy()
    assert {outcome.name for outcome in result.outcomes if outcome.status == "done"} == {
        "folder 0/inner 0/file 0",
        "folder 1/new",
    }
    assert trees.differences(source, target) == []


def test_checksum_finds_what_size_and_time_do_not_show(source: Path, target: Path, copy: Any) -> None:
    (source / "a").write_text("one")
    copy()
    found = (target / "a").stat()
    (target / "a").write_text("two")
    os.utime(target / "a", ns=(found.st_atime_ns, found.st_mtime_ns))
    assert copy().unchanged == 1
    assert copy(checksum=True).done == 1
    assert (target / "a").read_text() == "one"
    os.utime(target / "a", ns=(1, 1))
    assert copy(checksum=True).unchanged == 1
    assert trees.differences(source, target) == []


def test_large_files_are_split_and_whole(
    source: Path, target: Path, copy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "LARGE_BYTES", 3 << 20)
    monkeypatch.setattr(large, "PART_BYTES", 1 << 20)
    data = os.urandom(1 << 20)
    (source / "solid").write_bytes(data * 5 + b"end")
    trees.write_sparse(source / "holes", 7 << 20, {2 << 20: data, (4 << 20) + 4096: b"x"})
    os.link(source / "solid", source / "other name")
    (source / "solid").chmod(0o640)
    assert reasons(copy(verify=True)) == {}
    assert trees.differences(source, target) == []
    assert copy().unchanged == 3
    (source / "solid").write_bytes(data * 4 + b"other")
    assert copy().done == 2
    assert trees.differences(source, target) == []
    assert leftovers(target.parent) == []


def test_a_full_folder_that_a_killed_run_left_is_gone_on_with(source: Path, target: Path, copy: Any) -> None:
    """With files of this run under temporary names in it while what does not belong there is removed."""
    for number in range(1500):
        (source / str(number)).write_text("x")
    (source / "kind").mkdir()
    left = target.parent / staging.partial_name(target.name, os.path.realpath(source))
    left.mkdir()
    for number in range(0, 1500, 2):
        (left / str(number)).write_text("half")
    for name in ("stranger", "kind", staging.temporary_name("0" * 8, 1)):
        (left / name).touch()
    assert reasons(copy()) == {}
    assert trees.differences(source, target) == []


def test_a_verified_copy_has_the_checksums_that_xxhsum_prints(source: Path, target: Path, copy: Any) -> None:
    contents = {"empty": b"", "small": b"procession", "middle": os.urandom(1 << 20) + b"end"}
    for name, data in contents.items():
        (source / name).write_bytes(data)
    os.symlink("small", source / "link")
    wanted = {name: xxhash.xxh3_128_hexdigest(data) for name, data in contents.items()} | {"link": ""}
    for options in ({}, {"fsync": True, "update": False}, {"update": False}):
        result = copy(verify=True, **options)
        assert {outcome.name: outcome.checksum for outcome in result.outcomes} == wanted
    assert wanted["small"] == "53e1c78bd177cea46eb72cbb3ae5947f"  # xxhsum -H2
    assert not any(outcome.checksum for outcome in copy(verify=True).outcomes)
    assert not any(outcome.checksum for outcome in copy(update=False).outcomes)


@pytest.mark.parametrize("is_synced", [False, True])
@pytest.mark.parametrize("place", [0, 700_000])
def test_what_is_not_what_was_written_is_found_when_it_is_read_back(
    source: Path, target: Path, copy: Any, monkeypatch: pytest.MonkeyPatch, place: int, is_synced: bool
) -> None:
    (source / "file").write_bytes(b"x" * (place + 5))
    check = content.check_written

    def spoil(fd: int, *rest: Any, **options: Any) -> None:
        os.pwrite(fd, b"y", place)
        check(fd, *rest, **options)

    monkeypatch.setattr(content, "check_written", spoil)
    result = copy(verify=True, fsync=is_synced)
    assert reasons(result) == {"file": "what was read back is not what was written"}
    assert os.listdir(target) == []


def test_special_files_are_skipped_with_a_word(source: Path, target: Path, copy: Any) -> None:
    names = trees.make_special(source)
    (source / "file").touch()
    result = copy()
    assert reasons(result) == {"fifo": "it is a fifo", "socket": "it is a socket"}
    assert (result.skipped, result.failed, result.done) == (2, 0, 1)
    assert sorted(names) == ["fifo", "socket"] and os.listdir(target) == ["file"]


def test_a_path_longer_than_the_system_allows_is_copied(source: Path, target: Path, copy: Any) -> None:
    trees.make_deep(source, 100)
    result = copy()
    assert (result.failed, result.done, result.folders) == (0, 1, 101)
    assert copy().unchanged == 1
    trees.remove_deep(source)
    trees.remove_deep(target)


def test_links_between_far_branches_are_links_again(source: Path, target: Path, copy: Any) -> None:
    # Deeper than the folders that are kept open.
    deep = [source / name / "/".join(str(level) for level in range(80)) for name in ("left", "right")]
    for folder in deep:
        folder.mkdir(parents=True)
    (deep[0] / "a").write_text("x")
    os.link(deep[0] / "a", deep[1] / "b")
    assert copy().failed == 0
    assert trees.differences(source, target) == []


def test_links_are_made_again_where_the_target_has_copies(source: Path, target: Path, copy: Any) -> None:
    for name in "abc":
        (source / name).write_text("same")
        os.utime(source / name, ns=(1, 1))
    copy()
    for name in "bc":
        (source / name).unlink()
        os.link(source / "a", source / name)
    copy()
    assert trees.differences(source, target) == []
    for name in "bc":
        (source / name).unlink()
        (source / name).write_text("same")
        os.utime(source / name, ns=(1, 1))
    copy()
    assert trees.differences(source, target) == []


def test_what_is_in_the_way_is_named_and_nothing_is_written_through_links(
    tmp_path: Path, source: Path, target: Path, copy: Any
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    for name in ("folder", "other", "good"):
        (source / name).mkdir()
        (source / name / "kept").write_text("new")
    for name in ("file", "blocked", "link"):
        (source / name).write_text("new")
    target.mkdir()
    (target / "folder").symlink_to(outside, target_is_directory=True)
    (target / "other").write_text("a file")
    (target / "file").symlink_to(outside / "kept")
    (target / "link").symlink_to(outside / "not there")
    (target / "blocked").mkdir()
    found = reasons(copy())
    assert found == {
        "folder": "a symbolic link is in its place in the target, and is not followed; remove it",
        "other": "something that is no folder is in its place in the target; remove it",
        "blocked": "a folder is in its place in the target",
    }
    assert os.listdir(outside) == ["kept"] and (outside / "kept").read_text() == "kept"
    assert not (target / "file").is_symlink() and (target / "file").read_text() == "new"
    assert not (target / "link").is_symlink() and (target / "good" / "kept").read_text() == "new"
    assert leftovers(target) == []


def test_a_read_only_file_in_the_target_is_replaced(source: Path, target: Path, copy: Any) -> None:
    (source / "a").write_text("new")
    (source / "a").chmod(0o444)
    target.mkdir()
    (target / "a").write_text("old one")
    (target / "a").chmod(0o400)
    assert copy().done == 1
    assert trees.differences(source, target) == []


def test_files_that_change_all_the_time_are_named_and_leave_nothing(
    source: Path, target: Path, copy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "calm").write_text("calm")
    (source / "log").write_bytes(b"x" * (1 << 20))
    copy_bytes = content.Ways.copy

    def grow_and_copy(*arguments: Any) -> int:  # in the workers, who are forks of this process
        with open(source / "log", "ab") as file:
            file.write(b"more")
        return copy_bytes(*arguments)

    monkeypatch.setattr(content.Ways, "copy", grow_and_copy)
    assert reasons(copy()) == {"log": "it changed while it was being copied"}
    assert os.listdir(target) == ["calm"]


def test_a_file_that_changed_after_it_was_listed_is_copied_as_it_is_now(
    source: Path, target: Path, copy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "a").write_text("short")
    add = plan.Batches.add_packed

    def add_and_grow(self: Any, folder: Any, *entries: Any) -> None:
        add(self, folder, *entries)
        (source / "a").write_text("longer than before")

    monkeypatch.setattr(plan.Batches, "add_packed", add_and_grow)
    assert reasons(copy()) == {}
    assert trees.differences(source, target) == []


def test_a_file_that_vanished_after_it_was_listed_is_named(
    source: Path, target: Path, copy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "a").write_text("short")
    add = plan.Batches.add_packed

    def add_and_remove(self: Any, folder: Any, *entries: Any) -> None:
        add(self, folder, *entries)
        (source / "a").unlink()

    monkeypatch.setattr(plan.Batches, "add_packed", add_and_remove)
    assert reasons(copy()) == {"a": "it vanished before it was copied"}
    assert os.listdir(target) == []


def test_a_failure_in_the_middle_leaves_the_others_whole(source: Path, target: Path, copy: Any) -> None:
    (source / "small").write_bytes(b"x" * 1000)
    (source / "large").write_bytes(b"x" * (8 << 20))
    context = procession.get_context("fork")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, limit[1]))
    try:
        result = copy(context=context)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert reasons(result) == {"large": "file too large"}
    assert os.listdir(target) == ["small"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB, where one may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs -o size=1m tmpfs '{folder}' 2>/dev/null"):
        pytest.skip("mounting is not allowed here")
    yield folder
    os.system(f"umount '{folder}'")


def test_what_is_mounted_in_the_target_is_not_deleted(source: Path, target: Path, copy: Any) -> None:
    trees.make_small_tree(source, 5)
    for name in ("mounted", "bound", "folder"):
        (target / "extra" / name).mkdir(parents=True)
    kept = target.parent / "kept"
    kept.mkdir()
    (kept / "file").touch()
    if os.geteuid() != 0 or os.system(f"mount --bind '{kept}' '{target}/extra/bound' 2>/dev/null"):
        pytest.skip("mounting is not allowed here")
    try:
        result = copy(delete=True)
        assert reasons(result) == {"extra": "could not be deleted: device or resource busy"}
    finally:
        os.system(f"umount '{target}/extra/bound'")
    assert (kept / "file").exists()
    assert copy(delete=True).deleted == 1
    assert trees.differences(source, target) == []


def test_what_lies_on_another_file_system_is_not_deleted_where_it_is_not_copied(
    source: Path, target: Path, small_disk: Path
) -> None:
    copied = small_disk.parent
    backup = copied.parent / "backup"
    (backup / small_disk.name).mkdir(parents=True)
    (backup / small_disk.name / "kept").touch()
    (backup / "extra").touch()
    options: dict[str, Any] = {"workers": 1, "context": procession.get_context("fork"), "delete": True}
    result = copy_tree(copied, backup, one_file_system=True, **options)
    assert result.deleted == 1
    assert (backup / small_disk.name / "kept").exists()


@pytest.mark.parametrize("is_there", [False, True])
def test_a_full_disk_ends_the_run_with_a_clear_word(source: Path, small_disk: Path, is_there: bool, copy: Any) -> None:
    for number in range(400):
        (source / f"{number:03}").write_bytes(bytes([number % 256]) * 10_000)
    target = small_disk / "target"
    if is_there:
        target.mkdir()
    result = copy_tree(source, target, workers=2, context=procession.get_context("fork"))
    assert result.stopped == "the target takes no more: no space left on device; run it again when that is mended"
    assert 10 < result.done < 150
    assert set(reasons(result).values()) == {"no space left on device"}
    assert leftovers(small_disk) == []
    for path in target.iterdir():
        assert path.read_bytes() == (source / path.name).read_bytes()
    os.system(f"mount -o remount,size=20m '{small_disk}'")
    again = copy_tree(source, target, workers=2, context=procession.get_context("fork"))
    assert again.unchanged == result.done and again.done == 400 - result.done
    assert trees.differences(source, target) == []


def test_on_error_stop_ends_at_the_first_failure(source: Path, target: Path, copy: Any) -> None:
    for number in range(2000):
        (source / f"{number:04}").touch()
    target.mkdir()
    for number in range(2000):
        (target / f"{number:04}").mkdir()
    result = copy(on_error="stop")
    assert result.stopped.startswith("stopped at the first failure, ")
    assert 0 < result.failed < 2000


def test_filters_choose_and_what_is_left_out_is_not_made(source: Path, target: Path, copy: Any) -> None:
    for name in ("a.txt", "b.log", "sub/c.log", "sub/d.txt", "cache/e.txt", "sub/cache/f.txt", "keep.log"):
        (source / name).parent.mkdir(exist_ok=True, parents=True)
        (source / name).touch()
    copy(exclude=["*.log", "/cache/"], include=["keep.log"])
    found = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    assert found == ["a.txt", "keep.log", "sub/cache/f.txt", "sub/d.txt"]


def test_progress_grows_to_the_totals(source: Path, target: Path, copy: Any) -> None:
    trees.make_small_tree(source, 500)
    seen: list[Any] = []
    result = copy(progress=seen.append)
    last = seen[-1]
    assert last.is_listed and (last.ended_files, last.ended_bytes) == (last.total_files, last.total_bytes)
    assert last.total_files == result.total == 500
    assert [progress.total_files for progress in seen] == sorted(progress.total_files for progress in seen)


def test_an_unneeded_outcome_is_not_kept(source: Path, target: Path, copy: Any) -> None:
    trees.make_small_tree(source, 20)
    os.mkfifo(source / "fifo")
    told: list[Any] = []
    result = copy(keep=False, tell=True, progress=lambda progress: told.extend(progress.outcomes))
    assert [outcome.name for outcome in result.outcomes] == ["fifo"]
    assert len(told) == 21 and result.done == 20


@pytest.fixture
def left(source: Path, target: Path) -> Path:
    """What a killed run has left of the target, still empty."""
    folder = target.with_name(staging.partial_name(target.name, os.path.realpath(source)))
    folder.mkdir()
    return folder


def test_half_files_of_a_killed_run_get_no_name_when_the_next_ends_early(
    source: Path, target: Path, left: Path, copy: Any
) -> None:
    trees.make_small_tree(source, 500)
    for inner in source.iterdir():
        (left / inner.name / "inner 0").mkdir(parents=True)
        for path in (inner / "inner 0").iterdir():
            (left / path.relative_to(source)).write_bytes(path.read_bytes()[:-1])

    with pytest.raises(Interrupted):
        copy(progress=interrupt)
    for path in target.rglob("file *"):
        assert path.read_bytes() == (source / path.relative_to(target)).read_bytes()
    assert leftovers(target.parent) == []


def test_ctrl_c_while_a_large_file_is_begun_leaves_nothing_of_it(
    source: Path, target: Path, copy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "LARGE_BYTES", 1 << 20)
    (source / "large").write_bytes(b"x" * (1 << 20))
    monkeypatch.setattr(os, "truncate", interrupt)
    with pytest.raises(Interrupted):
        copy()
    assert list(target.iterdir()) == []


def test_ctrl_c_while_a_large_file_is_completed_leaves_nothing_of_it(
    source: Path, target: Path, copy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "LARGE_BYTES", 1 << 20)
    (source / "large").write_bytes(b"x" * (1 << 20))
    monkeypatch.setattr(large, "complete", interrupt)
    with pytest.raises(Interrupted):
        copy()
    assert list(target.iterdir()) == []


def test_ctrl_c_while_a_batch_is_handed_out_leaves_no_half_file(
    source: Path, target: Path, copy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "file").write_text("content")
    hand_out = Pool.apply_async

    def write_half(worker: Worker, batch: Any) -> None:
        os.close(os.open("file", os.O_CREAT, dir_fd=worker.target.open(batch.groups[0].target)))
        signal.pause()

    def interrupt_when_begun(*arguments: Any) -> None:
        hand_out(*arguments)
        while not [*target.parent.glob(".procession-*/file")]:
            pass
        raise KeyboardInterrupt

    monkeypatch.setattr(Worker, "run", write_half)
    monkeypatch.setattr(Pool, "apply_async", interrupt_when_begun)
    with pytest.raises(Interrupted):
        copy()
    assert list(target.iterdir()) == []


@ROOT_ONLY
def test_a_new_owner_takes_no_capabilities_away(source: Path, target: Path, copy: Any) -> None:
    name, value = "security.capability", bytes.fromhex("0100000202000000000000000000000000000000")
    path = source / "may listen"
    path.write_text("x")
    os.chown(path, 1234, 4321)
    os.setxattr(path, name, value)
    copy()
    assert os.getxattr(target / "may listen", name) == value
    os.chown(path, 4321, 1234)
    os.setxattr(path, name, value)
    assert copy().unchanged == 1
    assert trees.differences(source, target) == []


def test_attributes_that_the_source_has_no_more_are_taken_off(source: Path, target: Path, copy: Any) -> None:
    (source / "file").write_text("x")
    (source / "folder").mkdir()
    for path in (source, source / "file", source / "folder"):
        with suppress(OSError):  # a file system without
            os.setxattr(path, "user.old", b"1")
    copy()
    for path in (source, source / "file", source / "folder"):
        with suppress(OSError):
            os.removexattr(path, "user.old")
    (source / "file").chmod(0o640)  # a file's attributes alone are not looked at
    assert copy().unchanged == 1
    assert trees.differences(source, target) == []


@ROOT_ONLY
def test_read_only_folders_are_removed_by_their_owner(script: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder, "top")
        (top / "a" / "b" / "c" / ".lifted-1").mkdir(parents=True)
        (top / "a" / "b" / "file").touch()
        for path in (*top.rglob("*"), top, Path(folder)):
            os.chown(path, 1234, 1234)
            path.chmod(0o777 if path == Path(folder) else 0o555)
        program = script.write(
            "import os, sys\n"
            "from procession.apps.copy.folders import remove_tree\n"
            "folder = os.open(sys.argv[1], os.O_RDONLY)\n"
            "os.setgid(1234); os.setuid(1234)\n"
            "remove_tree('top', folder)\n"
        )
        done = script.run(program, folder)
        assert (done.stderr, os.listdir(folder)) == ("", [])


@ROOT_ONLY
def test_a_group_that_the_target_folder_gives_is_not_kept(source: Path, target: Path, copy: Any) -> None:
    (source / "inner").mkdir()
    for folder in (source, source / "inner"):
        os.chown(folder, 0, 4321)
        folder.chmod(0o2755)
    copy()
    (source / "link").symlink_to("nowhere")
    (source / "inner" / "link").symlink_to("nowhere")
    (source / "inner" / "new").mkdir()
    (source / "inner" / "new" / "file").write_text("x")
    for path in source.rglob("*"):
        if path.name in ("link", "new", "file"):
            os.chown(path, 0, 0, follow_symlinks=False)
    copy()
    assert trees.differences(source, target) == []


@ROOT_ONLY
def test_what_may_not_be_read_is_named(script: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to the other user
        check_what_may_not_be_read(Path(folder), script)


def check_what_may_not_be_read(folder: Path, script: Any) -> None:
    source, target = folder / "source", folder / "target"
    trees.make_small_tree(source, 5)
    (source / "secret").write_text("x")
    (source / "secret").chmod(0)
    (source / "locked").mkdir(mode=0)
    (source / "unlisted").mkdir()
    (source / "unlisted").chmod(0o311)
    for path in (source, *source.rglob("*")):
        os.chown(path, 1234, 1234, follow_symlinks=False)
    folder.chmod(0o777)
    program = script.write(
        "import os, procession\n"
        "from procession.apps.copy import copy_tree\n"
        "os.mkdir('empty')\n"
        "copy_tree('empty', 'empty too', workers=1)\n"  # the other user may not even read the interpreter's modules
        "os.setgid(1234); os.setuid(1234)\n"
        f"result = copy_tree({str(source)!r}, {str(target)!r}, workers=2, context=procession.get_context('fork'))\n"
        "print(sorted((o.name, o.reason) for o in result.outcomes if o.reason), result.done)\n"
    )
    done = script.run(program)
    assert done.stdout == (
        "[('locked', 'permission denied'), ('secret', 'permission denied'), ('unlisted', 'permission denied')] 5\n"
    ), done.stderr


@pytest.mark.parametrize(
    ("make", "arguments", "words"),
    [
        ("", ("nowhere", "target"), "there is no folder nowhere"),
        ("touch source", ("source", "target"), "source is not a folder"),
        ("mkdir source", ("source", "source"), "are the same folder"),
        ("mkdir source; ln -s source link", ("link", "source"), "are the same folder"),
        ("mkdir source", ("source", "source/inner"), "the copy would contain itself"),
        ("mkdir -p source/inner", ("source", "source/inner"), "the copy would contain itself"),
        ("mkdir source; ln -s source link", ("source", "link/inner"), "the copy would contain itself"),
        ("mkdir source; touch target", ("source", "target"), "exists and is not a folder"),
        ("mkdir source; ln -s nowhere target", ("source", "target"), "a symbolic link to nothing"),
        ("mkdir source", ("source", "a/b"), "make it first: mkdir -p"),
        ("mkdir source", ("source", ""), "DST is empty"),
    ],
)
def test_what_makes_no_sense_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: str, arguments: tuple[str, str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    os.system(make)
    before = sorted(map(str, tmp_path.rglob("*")))
    with pytest.raises(PlanError, match=words):
        copy_tree(*arguments)
    assert sorted(map(str, tmp_path.rglob("*"))) == before


def test_a_second_copy_into_the_same_folder_is_refused(source: Path, target: Path, copy: Any) -> None:
    trees.make_small_tree(source, 300)
    seen: list[str] = []

    def start_another(progress: Any) -> None:
        if not seen:
            seen.append("")
            with pytest.raises(PlanError) as caught:
                copy()
            seen.append(str(caught.value))

    copy(progress=start_another)
    assert seen == ["", f"{target}: another copy is at work on it; wait for its end"]
    assert trees.differences(source, target) == []


def test_a_copy_of_something_else_into_the_same_new_folder_is_refused(source: Path, target: Path, copy: Any) -> None:
    trees.make_small_tree(source, 300)
    other = trees.make_small_tree(target.parent / "other", 10)
    seen: list[str] = []

    def start_another(progress: Any) -> None:
        if not seen:
            seen.append("")
            with pytest.raises(PlanError) as caught:
                copy_tree(other, target, workers=2, context=procession.get_context("fork"))
            seen.append(str(caught.value))

    copy(progress=start_another)
    assert seen == ["", f"{target}: another copy is making it; wait for its end"]
    assert trees.differences(source, target) == []
    assert leftovers(target.parent) == []


def test_a_source_inside_the_target_is_copied_beside_itself(source: Path, copy: Any) -> None:
    trees.make_small_tree(source, 10)
    inner = source / "x"
    inner.mkdir()
    (inner / "x").mkdir()
    (inner / "file").write_text("moved up")
    result = copy_tree(inner, source, workers=2, context=procession.get_context("fork"))
    assert (source / "file").read_text() == "moved up" and result.failed == 0


def test_of_names_that_are_one_in_the_target_the_first_is_copied_and_the_other_named(
    source: Path, target: Path, copy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystems, "kind_of", lambda device: "vfat")
    target.mkdir()
    for name in ("name", "NAME", "other"):
        (source / name).write_text(name)
    for _ in range(2):
        result = copy()
        (reason,) = reasons(result).values()
        assert reason == listing.ONE_CASE and result.failed == 1
        assert len(os.listdir(target)) == 2


def test_files_that_the_system_makes_up_have_their_content(target: Path) -> None:
    result = copy_tree("/proc/sys/kernel", target, workers=2, verify=True, include=["ostype"], exclude=["*"])
    assert reasons(result) == {}
    assert (target / "ostype").read_text() == Path("/proc/sys/kernel/ostype").read_text() != ""
