"""What `procession images` decides to do with a folder, before anything is written."""

import os
import socket
from pathlib import Path

import pytest

pytest.importorskip("PIL")

from procession.apps.driver import PlanError
from procession.apps.images import formats
from procession.apps.images.plan import Plan, as_dry_run, is_running, plan_thumbnails, remove_leftovers
from procession.apps.images.recipe import Recipe, parse_bytes, parse_size
from procession.apps.images.sources import split_list
from procession.apps.images.thumbnail import ThumbnailTask
from procession.apps.outcome import Done


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out"


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def plan_of(source: Path, target: Path, recipe: Recipe | None = None, **options: bool) -> Plan:
    return plan_thumbnails([str(source)], str(target), recipe or Recipe(), **options)


def tasks_of(plan: Plan) -> list[ThumbnailTask]:
    return [item for item in plan if isinstance(item, ThumbnailTask)]


def names_of(plan: Plan) -> list[str]:
    return [task.name for task in tasks_of(plan)]


def reasons_of(plan: Plan) -> dict[str, str]:
    return {outcome.name: outcome.reason for item in plan if isinstance(item, Done) for outcome in item.outcomes}


def test_sub_folders_are_included_and_names_are_kept(source: Path, target: Path) -> None:
    touch(source, "a.jpg", "sub/b.PNG", "sub/deep/c.tiff")
    plan = plan_of(source, target)
    assert {task.name: task.output for task in tasks_of(plan)} == {
        name: str(target / name) for name in ("a.jpg", "sub/b.PNG", "sub/deep/c.tiff")
    }


def test_planning_writes_nothing(source: Path, target: Path) -> None:
    touch(source, "a.jpg")
    plan_of(source, target)
    assert not target.exists()


def test_hidden_files_and_folders_are_left_alone(source: Path, target: Path) -> None:
    touch(source, ".hidden.jpg", ".cache/a.jpg", "seen.jpg")
    plan = plan_of(source, target)
    assert names_of(plan) == ["seen.jpg"]
    assert not reasons_of(plan)


@pytest.mark.parametrize("name", ["notes.txt", "no_suffix", "page.pdf"])
def test_a_file_without_an_image_suffix_is_refused(name: str, source: Path, target: Path) -> None:
    touch(source, name)
    assert reasons_of(plan_of(source, target)) == {name: "not an image"}


def test_special_files_and_broken_links_are_refused_by_kind(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(source / "pipe.jpg")
    (source / "broken.jpg").symlink_to("nowhere")
    monkeypatch.chdir(source)  # a socket's path has a short limit
    with socket.socket(socket.AF_UNIX) as door:
        door.bind("door.jpg")
        assert reasons_of(plan_of(source, target)) == {
            "pipe.jpg": "not a file but a fifo",
            "door.jpg": "not a file but a socket",
            "broken.jpg": "cannot be opened: No such file or directory",
        }


def test_links_to_files_count_and_links_to_folders_do_not(source: Path, target: Path) -> None:
    touch(source, "real/a.jpg")
    (source / "link.jpg").symlink_to("real/a.jpg")
    (source / "circle").symlink_to(".")
    plan = plan_of(source, target)
    assert names_of(plan) == ["link.jpg", "real/a.jpg"]
    assert not reasons_of(plan)


def test_an_output_folder_inside_the_source_is_not_listed(source: Path) -> None:
    touch(source, "a.jpg", "small/a.jpg")
    assert names_of(plan_of(source, source / "small")) == ["a.jpg"]


def test_a_format_that_is_only_read_becomes_png(source: Path, target: Path) -> None:
    touch(source, "layers.psd")
    (task,) = tasks_of(plan_of(source, target))
    assert task.output == str(target / "layers.psd.png")
    assert task.format == "PNG"


def test_temporary_names_are_hidden_unique_and_next_to_their_output(source: Path, target: Path) -> None:
    touch(source, "a" * 250 + ".jpg", "sub/b.jpg")
    tasks = tasks_of(plan_of(source, target))
    temporaries = [Path(task.temporary) for task in tasks]
    assert [path.parent for path in temporaries] == [Path(task.output).parent for task in tasks]
    assert len({path.name for path in temporaries}) == 2
    assert all(path.name.startswith(".") and len(path.name) < 40 for path in temporaries)


def test_a_name_that_is_not_text_is_planned(source: Path, target: Path) -> None:
    name = os.fsdecode(b"caf\xe9\n.jpg")
    touch(source, name)
    assert names_of(plan_of(source, target)) == [name]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.psd", "a.psd.png"], "a.psd and a.psd.png would both become"),
        (["a.psd", "a.psd.png/deep/b.jpg"], "a.psd would stand where the folder"),
    ],
)
def test_outputs_that_collide_are_an_error(names: list[str], message: str, source: Path, target: Path) -> None:
    touch(source, *names)
    with pytest.raises(PlanError, match=message):
        plan_of(source, target)


def test_an_output_that_is_a_source_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "in/in/a.jpg")
    with pytest.raises(PlanError, match="would replace the image"):
        plan_of(tmp_path / "in", tmp_path)


def test_folders_that_make_no_sense_are_an_error(source: Path, target: Path) -> None:
    touch(source, "a.jpg")
    with pytest.raises(PlanError, match="there is no file or folder"):
        plan_of(source / "missing", target)
    with pytest.raises(PlanError, match="not a folder"):
        plan_of(source, source / "a.jpg")
    target.symlink_to(source)
    with pytest.raises(PlanError, match="the same folder"):
        plan_of(source, target)


def test_the_largest_come_first(source: Path, target: Path) -> None:
    for name, size_bytes in (("a.jpg", 10), ("b.jpg", 1000), ("c.webp", 800)):
        (source / name).write_bytes(b"x" * size_bytes)
    # A byte of WebP takes longer than one of JPEG.
    assert names_of(plan_of(source, target)) == ["c.webp", "b.jpg", "a.jpg"]


# Which files


def test_files_that_are_given_go_to_the_top(source: Path, target: Path) -> None:
    touch(source, "sub/a.jpg", "b.jpg")
    plan = plan_thumbnails([str(source / "sub" / "a.jpg"), str(source / "b.jpg")], str(target), Recipe())
    assert sorted(task.output for task in tasks_of(plan)) == [str(target / "a.jpg"), str(target / "b.jpg")]


def test_several_folders_are_joined_and_named_in_full(tmp_path: Path, target: Path) -> None:
    touch(tmp_path, "one/a.jpg", "two/b.jpg")
    folders = [str(tmp_path / "one"), str(tmp_path / "two")]
    plan = plan_thumbnails(folders, str(target), Recipe())
    assert {task.name: task.output for task in tasks_of(plan)} == {
        str(tmp_path / "one/a.jpg"): str(target / "a.jpg"),
        str(tmp_path / "two/b.jpg"): str(target / "b.jpg"),
    }


@pytest.mark.parametrize(
    ("given", "place"), [("sub/a.jpg", "sub/a.jpg"), ("./sub/../a.jpg", "a.jpg"), ("../in/a.jpg", "a.jpg")]
)
def test_a_list_s_relative_paths_are_kept_if_they_lead_downwards(
    given: str, place: str, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(source, "a.jpg", "sub/a.jpg")
    monkeypatch.chdir(source)
    (task,) = tasks_of(plan_thumbnails([given], str(target), Recipe(), keeps_paths=True))
    assert (task.name, task.output) == (given, str(target / place))


def test_a_list_may_have_folders_and_what_is_in_them(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `find` without `-type f` makes it."""
    touch(source, "a.jpg", "sub/b.jpg")
    monkeypatch.chdir(source)
    given = [".", "./a.jpg", "./sub", "./sub/b.jpg", "a.jpg"]
    plan = plan_thumbnails(given, str(target), Recipe(), keeps_paths=True)
    assert sorted(task.output for task in tasks_of(plan)) == [str(target / "a.jpg"), str(target / "sub/b.jpg")]


def test_a_file_that_is_given_twice_is_there_once(source: Path, target: Path) -> None:
    touch(source, "a.jpg")
    plan = plan_thumbnails([str(source / "a.jpg"), str(source)], str(target), Recipe())
    assert len(tasks_of(plan)) == 1


def test_what_a_list_names_and_is_not_there_is_one_failure(source: Path, target: Path) -> None:
    plan = plan_thumbnails([str(source / "gone.jpg")], str(target), Recipe(), keeps_paths=True)
    assert reasons_of(plan) == {str(source / "gone.jpg"): "cannot be opened: No such file or directory"}


def test_a_list_may_have_any_name() -> None:
    assert split_list(b"a.jpg\nb c.jpg\n", b"\n") == ["a.jpg", "b c.jpg"]
    assert split_list(b"a\n.jpg\0caf\xe9.jpg\0", b"\0") == ["a\n.jpg", os.fsdecode(b"caf\xe9.jpg")]


def test_a_folder_that_cannot_be_read_is_told(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source / "locked").mkdir()
    real = os.scandir

    def scandir(path: str) -> object:
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    (reason,) = reasons_of(plan_of(source, target)).values()
    assert reason == "folder cannot be read: Permission denied"


# Names and formats


@pytest.mark.parametrize(
    ("name", "wanted", "output"),
    [
        ("a.png", "", ("PNG", "a.png")),
        ("a.JPG", "", ("JPEG", "a.JPG")),
        ("sub/a.png", "WEBP", ("WEBP", "sub/a.webp")),
        ("a.jpeg", "JPEG", ("JPEG", "a.jpeg")),
        ("a.b.gif", "JPEG", ("JPEG", "a.b.jpg")),
        ("a.psd", "", ("PNG", "a.psd.png")),
        ("a.psd", "PNG", ("PNG", "a.png")),
        ("a.mpo", "", ("JPEG", "a.mpo")),
        ("a.xbm", "", ("XBM", "a.xbm")),
    ],
)
def test_a_thumbnail_s_name_says_its_format(name: str, wanted: str, output: tuple[str, str]) -> None:
    assert formats.output_of(name, wanted) == output


def test_what_is_known_of_suffixes_is_what_pillow_knows() -> None:
    assert {suffix: formats.all_formats()[suffix] for suffix in formats.USUAL} == formats.USUAL


def test_a_format_that_this_pillow_cannot_write_is_an_error(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats.features, "check", lambda name: False)
    with pytest.raises(PlanError, match="cannot write avif"):
        plan_of(source, target, Recipe(format="avif"))


# What is up to date


def pretend_made(plan: Plan) -> None:
    for task in tasks_of(plan):
        Path(task.output).parent.mkdir(parents=True, exist_ok=True)
        Path(task.output).write_bytes(b"thumbnail")
        os.utime(task.output, ns=(task.mark_ns, task.mark_ns))


def test_what_was_made_is_left_alone_until_it_changes(source: Path, target: Path) -> None:
    touch(source, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    pretend_made(plan_of(source, target))
    plan = plan_of(source, target)
    assert (names_of(plan), [item.unchanged for item in plan if isinstance(item, Done)]) == ([], [4])
    (source / "a.jpg").write_bytes(b"other")  # longer
    second_ns = 10**9
    modified_ns = (source / "b.jpg").stat().st_mtime_ns
    os.utime(source / "b.jpg", ns=(modified_ns - second_ns, modified_ns - second_ns))  # replaced by an older one
    (target / "c.jpg").unlink()
    (target / "d.jpg").write_bytes(b"written to by somebody")
    touch(source, "e.jpg")
    assert sorted(names_of(plan_of(source, target))) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe((64, 64)),
        Recipe(fills=True),
        Recipe(quality=50),
        Recipe(keeps_metadata=True),
        Recipe(format="jpeg"),
    ],
)
def test_another_recipe_makes_all_anew(recipe: Recipe, source: Path, target: Path) -> None:
    touch(source, "a.jpg")
    pretend_made(plan_of(source, target))
    assert names_of(plan_of(source, target, recipe)) == ["a.jpg"]


def test_force_makes_all_anew(source: Path, target: Path) -> None:
    touch(source, "a.jpg")
    pretend_made(plan_of(source, target))
    assert names_of(plan_of(source, target, forces=True)) == ["a.jpg"]


def test_a_thumbnail_s_time_is_its_source_s_to_the_second() -> None:
    modified_ns = 1_700_000_000_123_456_789
    mark_ns = Recipe().mark_ns(1000, modified_ns)
    assert (mark_ns // 10**9, mark_ns % 1000) == (1_700_000_000, 0)
    assert mark_ns != Recipe().mark_ns(1001, modified_ns)
    assert mark_ns != Recipe().mark_ns(1000, modified_ns + 1)


def test_a_dry_run_tells_what_would_be_made(source: Path, target: Path) -> None:
    touch(source, "a.jpg", "notes.txt")
    plan = as_dry_run(plan_of(source, target))
    outcomes = [outcome for item in plan if isinstance(item, Done) for outcome in item.outcomes]
    assert [(outcome.name, outcome.status) for outcome in outcomes] == [("notes.txt", "failed"), ("a.jpg", "planned")]
    assert not tasks_of(plan)


def test_leftovers_of_runs_that_are_no_more_are_removed(source: Path, target: Path) -> None:
    touch(source, "a.jpg")
    gone = next(pid for pid in range(4_000_000, 4_200_000) if not is_running(pid))
    stay = {".procession-1-0.tmp", ".procession-x.tmp", "b.tmp"}  # of process 1, which runs; and not ours
    touch(target, f".procession-{gone}-17.tmp", f".procession-{os.getpid()}-17.tmp", *stay)
    remove_leftovers(plan_of(source, target))
    assert {path.name for path in target.iterdir()} == stay


# Arguments


@pytest.mark.parametrize(("text", "size"), [("128x96", (128, 96)), ("1X65535", (1, 65535)), (" 7x7 ", (7, 7))])
def test_a_size_is_two_numbers(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "128", "128x", "x128", "0x5", "5x0", "-1x5", "65536x1", "1.5x2", "axb", "1x2x3", "٣x٣"]
)
def test_a_size_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="got"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("500MB", 500_000_000), ("1GiB", 2**30), ("1.5 g", 1_500_000_000), ("0", 0), ("64Ki", 65536), ("12b", 12)],
)
def test_a_size_of_memory_has_a_unit(text: str, size_bytes: int) -> None:
    assert parse_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "GB", "1 potato", "-1GB", "1i", "1e9"])
def test_a_size_of_memory_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="for example 500MB"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": (0, 5)}, "from 1 to 65535"),
        ({"format": "bmp2"}, "format must be one of keep, jpeg"),
        ({"quality": 101}, "quality must be from 1 to 100"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_an_error(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(**wrong)  # type: ignore[arg-type]
