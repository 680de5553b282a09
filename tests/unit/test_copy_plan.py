"""The plan of a copy, its globs and its names, without processes or files."""

import os
from pathlib import Path

import pytest

from procession.apps.copy import filesystems, large, plan, staging
from procession.apps.copy.filters import Filters
from procession.apps.copy.ledger import Ledger
from procession.apps.copy.plan import Batches, Folder, SharedFiles
from procession.apps.copy.reasons import is_full, reason_of
from procession.apps.copy.records import Answer, File, Link, Trouble, pack, unpack
from procession.apps.copy.summary import summary_line


def file(name: str, size: int = 10) -> File:
    return File(name, size, 1, 1, False)


def folders(*names: str) -> list[Folder]:
    root = Folder(None, "", "root")
    return [root.child(name) for name in names]


def test_batches_are_full_by_number_and_span_folders() -> None:
    batches = Batches("00000000")
    first, second = folders("a", "b")
    for number in range(100):
        batches.add(first if number < 40 else second, file(str(number)))
    assert [len(group.entries) for group in batches.ready[0].batch.groups] == [40, plan.BATCH_FILES - 40]
    assert len(batches.ready) == 1
    batches.flush()
    batches.flush()
    assert [pending.files for pending in batches.ready] == [plan.BATCH_FILES, 100 - plan.BATCH_FILES]
    # Each batch that has something of a folder holds it open.
    assert (first.pending, second.pending) == (2, 3)


def test_batches_grow_with_their_number_and_end_with_a_folder() -> None:
    batches = Batches("00000000")
    (folder,) = folders("a")
    for number in range(20 * plan.MOST_BATCH_FILES):
        batches.add(folder, file(str(number)))
    sizes = [pending.files for pending in batches.ready]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (plan.BATCH_FILES, plan.MOST_BATCH_FILES)
    batches.flush()
    batches.ready.clear()
    for number in range(plan.BATCH_FILES - 1):
        batches.add(folder, file(str(number)))
    batches.end_folder()
    assert not batches.ready
    batches.add(folder, file("another"))
    batches.end_folder()
    assert [pending.files for pending in batches.ready] == [plan.BATCH_FILES]


def test_batches_are_full_by_size() -> None:
    batches = Batches("00000000")
    (folder,) = folders("a")
    for number in range(5):
        batches.add(folder, file(str(number), plan.BATCH_BYTES // 2))
    assert [pending.files for pending in batches.ready] == [2, 2]


def test_packed_entries_come_back_as_they_were() -> None:
    odd = os.fsdecode(b"a\nb\xff")
    entries = [
        File("a", 1, -1, 2**62, False),
        File("seven77", 0, 0, 0, True),
        Link("eight888", 3, 4, 5),
        File("x" * 255, 2**62, 1, 2, False),
        File(odd, 1, 1, 1, False),
    ]
    assert unpack(b"".join(pack(entry) for entry in entries)) == entries
    batches = Batches("00000000")
    (folder,) = folders("a")
    batches.add(folder, entries[0])
    batches.add_packed(folder, pack(entries[1]) + pack(entries[2]), 2, 3)
    assert batches.room == (plan.BATCH_FILES - 3, plan.BATCH_BYTES - 4)
    batches.flush()
    (group,) = batches.ready[0].batch.groups
    assert (group.length, group.entries) == (3, entries[:3])


def test_a_folder_knows_its_path_by_its_present_name() -> None:
    (folder,) = folders("a")
    inner = folder.child("b")
    assert (inner.source, inner.target) == ("a/b", "root/a/b")
    folder.target_name = "other"
    assert (inner.source, inner.target) == ("a/b", "root/other/b")


def test_files_with_several_names_are_forgotten_when_all_were_met() -> None:
    shared = SharedFiles()
    (folder,) = folders("a")
    key = (1, 2)
    first, is_first = shared.meet(folder, "x", 3, key)
    assert is_first and first.name == "x"
    assert shared.meet(folder, "y", 3, key) == (first, False)
    assert len(shared) == 1
    assert shared.meet(folder, "z", 3, key) == (first, False)
    assert len(shared) == 0


@pytest.mark.parametrize("size", [1, large.PART_BYTES, large.PART_BYTES + 1, 5 * large.PART_BYTES - 3, 10**10])
def test_parts_cover_a_file_without_a_gap(size: int) -> None:
    parts = large.split(size)
    ends = [offset + length for offset, length in parts]
    assert [offset for offset, _ in parts] == [0, *ends[:-1]] and ends[-1] == size
    assert max(length for _, length in parts) <= large.PART_BYTES + (1 << 20)


@pytest.mark.parametrize(
    ("glob", "matching", "others"),
    [
        ("*.o", ["a.o", "x/y/a.o", ".o"], ["a.oo", "x.o/a"]),
        ("/a", ["a"], ["x/a"]),
        ("a/*", ["a/b"], ["a/b/c", "x/a/b"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "x/a/b"]),
        ("**/b", ["b", "a/b", "a/c/b"], ["bb"]),
        ("[ab]?", ["ax", "x/b\n"], ["cx", "a"]),
        ("[!ab]", ["c"], ["a"]),
        ("[", ["["], ["a"]),
        ("a.b", ["a.b"], ["axb"]),
        ("caf\xe9*", ["caf\xe9 1"], ["cafe"]),
    ],
)
def test_globs(glob: str, matching: list[str], others: list[str]) -> None:
    filters = Filters([glob])
    for path in matching:
        assert not filters.keeps(*os.path.split(path), False), path
    for path in others:
        assert filters.keeps(*os.path.split(path), False), path


def test_a_slash_at_the_end_is_for_folders() -> None:
    filters = Filters(["build/"])
    assert filters.keeps("", "build", False) and not filters.keeps("a", "build", True)


def test_includes_are_stronger_than_excludes_and_choose_when_alone() -> None:
    filters = Filters(["*.log"], ["keep.log"])
    assert filters.keeps("", "keep.log", False) and filters.keeps("", "a.txt", False)
    assert not filters.keeps("", "a.log", False)
    alone = Filters(include=["*.txt"])
    assert alone.keeps("", "a.txt", False) and alone.keeps("", "folder", True) and not alone.keeps("", "a.log", False)


def test_temporary_names_are_short_and_known_again() -> None:
    names = [staging.temporary_name("0123abcd", 12345678), staging.partial_name("n" * 255, "/source")]
    assert all(staging.is_leftover(name) and len(name) < 64 for name in names)
    assert staging.is_partial_of(names[1], "n" * 255) and not staging.is_partial_of(names[1], "n")
    for name in (".procession", ".procession-1.tmp", "x.partial", names[0] + "x", names[1] + "\n"):
        assert not staging.is_leftover(name)


def test_reasons_are_one_line_in_small_letters() -> None:
    assert reason_of(PermissionError(13, "Permission denied")) == "permission denied"
    assert reason_of(FileNotFoundError(2, "No such file")) == "it vanished before it was copied"
    assert reason_of(ValueError("two\nlines")) == "two lines"
    assert reason_of(ValueError()) == "ValueError"
    assert is_full(OSError(28, "")) and not is_full(OSError(5, ""))


@pytest.mark.parametrize("keeps", [True, False])
def test_what_a_full_target_left_untried_has_no_end(keeps: bool) -> None:
    batches = Batches("00000000")
    (folder,) = folders("a")
    for name in "wxyz":
        batches.add(folder, file(name))
    batches.flush()
    ledger = Ledger(keeps=keeps, tells=False, stop_at_failure=False)
    troubles = [Trouble(0, 0, "unchanged", ""), Trouble(0, 2, "failed", "full")]
    ledger.answer(batches.ready[0], Answer(troubles, ["a note"], "full", [(0, 3)]), lambda *_: None)
    result = ledger.close(4)
    assert (result.done, result.unchanged, result.failed, result.missing) == (1, 1, 1, 1)
    assert [outcome.name for outcome in result.failures] == ["a/y"] and result.notes == ["a note"]
    assert len(result.outcomes) == (3 if keeps else 1)


def test_the_summary_is_one_line() -> None:
    ledger = Ledger(keeps=False, tells=False, stop_at_failure=False)
    for number in range(3):
        ledger.finish(str(number), "done", size_bytes=1000)
    ledger.skip("pipe", "it is a fifo")
    line = summary_line(ledger.close(5), is_interrupted=True)
    assert line.startswith("interrupted: copied 3 files (3.0 kB) in ") and line.endswith(", 1 skipped, 2 not done")
    assert summary_line(ledger.close(3, is_dry=True)).startswith("would copy 0 of 3 files")


@pytest.mark.parametrize(
    ("tick_ns", "kept", "is_same"),
    [
        (1, 1_234_567_891_234_567_891, True),
        (1, 1_234_567_891_234_567_800, False),
        (100, 1_234_567_891_234_567_800, True),
        (100, 1_234_567_891_234_567_700, False),
        (10**9, 1_234_567_891_000_000_000, True),
        (2 * 10**9, 1_234_567_890_000_000_000, True),
        (2 * 10**9, 1_234_567_892_000_000_000, False),
    ],
)
def test_a_copy_has_the_time_that_its_file_system_can_keep(
    tick_ns: int, kept: int, is_same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystems, "tick_of", lambda device: tick_ns)
    os.utime(tmp_path, ns=(0, kept))
    assert filesystems.has_time(tmp_path.stat(), 1_234_567_891_234_567_891) is is_same


def test_the_tick_of_a_file_system_is_found_by_its_device() -> None:
    assert filesystems.tick_of(os.stat("/proc").st_dev) == 1
    assert filesystems.tick_of(os.makedev(4095, 4095)) == 1


@pytest.mark.parametrize(("kind", "is_in_memory"), [("tmpfs", True), ("ext4", False), ("", False)])
def test_only_what_is_known_to_be_in_memory_has_no_disk_to_wait_for(
    kind: str, is_in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystems, "kind_of", lambda device: kind)
    assert filesystems.is_in_memory(1) is is_in_memory
