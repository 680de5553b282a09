"""What `procession images` decides to do with a folder, before anything is written."""

import os
import socket
from pathlib import Path

import pytest

pytest.importorskip("PIL")

from procession.apps.driver import PlanError
from procession.apps.images.plan import parse_size, plan_thumbnails
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


Plan = list[ThumbnailTask | Done]


def tasks_of(plan: Plan) -> list[ThumbnailTask]:
    return [item for item in plan if isinstance(item, ThumbnailTask)]


def names_of(plan: Plan) -> list[str]:
    return [task.name for task in tasks_of(plan)]


def reasons_of(plan: Plan) -> dict[str, str]:
    return {outcome.name: outcome.reason for item in plan if isinstance(item, Done) for outcome in item.outcomes}


def test_sub_folders_are_included_and_names_are_kept(source: Path, target: Path) -> None:
    touch(source, "a.jpg", "sub/b.PNG", "sub/deep/c.tiff")
    plan = plan_thumbnails(source, target)
    assert {task.name: task.output for task in tasks_of(plan)} == {
        name: str(target / name) for name in ("a.jpg", "sub/b.PNG", "sub/deep/c.tiff")
    }


def test_planning_writes_nothing(source: Path, target: Path) -> None:
    touch(source, "a.jpg")
    plan_thumbnails(source, target)
    assert not target.exists()


def test_hidden_files_and_folders_are_left_alone(source: Path, target: Path) -> None:
    touch(source, ".hidden.jpg", ".cache/a.jpg", "seen.jpg")
    plan = plan_thumbnails(source, target)
    assert names_of(plan) == ["seen.jpg"]
    assert not reasons_of(plan)


@pytest.mark.parametrize("name", ["notes.txt", "no_suffix", "page.pdf"])
def test_a_file_without_an_image_suffix_is_refused(name: str, source: Path, target: Path) -> None:
    touch(source, name)
    assert reasons_of(plan_thumbnails(source, target)) == {name: "not an image"}


def test_special_files_and_broken_links_are_refused_by_kind(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(source / "pipe.jpg")
    (source / "broken.jpg").symlink_to("nowhere")
    monkeypatch.chdir(source)  # a socket's path has a short limit
    with socket.socket(socket.AF_UNIX) as door:
        door.bind("door.jpg")
        assert reasons_of(plan_thumbnails(source, target)) == {
            "pipe.jpg": "not a file but a fifo",
            "door.jpg": "not a file but a socket",
            "broken.jpg": "cannot be opened: No such file or directory",
        }


def test_links_to_files_count_and_links_to_folders_do_not(source: Path, target: Path) -> None:
    touch(source, "real/a.jpg")
    (source / "link.jpg").symlink_to("real/a.jpg")
    (source / "circle").symlink_to(".")
    plan = plan_thumbnails(source, target)
    assert names_of(plan) == ["link.jpg", "real/a.jpg"]
    assert not reasons_of(plan)


def test_an_output_folder_inside_the_source_is_not_listed(source: Path) -> None:
    touch(source, "a.jpg", "small/a.jpg")
    assert names_of(plan_thumbnails(source, source / "small")) == ["a.jpg"]


def test_a_format_that_is_only_read_becomes_png(source: Path, target: Path) -> None:
    touch(source, "layers.psd")
    (task,) = tasks_of(plan_thumbnails(source, target))
    assert task.output == str(target / "layers.psd.png")
    assert task.format == "PNG"


def test_temporary_names_are_hidden_unique_and_next_to_their_output(source: Path, target: Path) -> None:
    touch(source, "a" * 250 + ".jpg", "sub/b.jpg")
    tasks = tasks_of(plan_thumbnails(source, target))
    temporaries = [Path(task.temporary) for task in tasks]
    assert [path.parent for path in temporaries] == [Path(task.output).parent for task in tasks]
    assert len({path.name for path in temporaries}) == 2
    assert all(path.name.startswith(".") and len(path.name) < 40 for path in temporaries)


def test_a_name_that_is_not_text_is_planned(source: Path, target: Path) -> None:
    name = os.fsdecode(b"caf\xe9\n.jpg")
    touch(source, name)
    assert names_of(plan_thumbnails(source, target)) == [name]


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
        plan_thumbnails(source, target)


def test_an_output_that_is_a_source_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "in/in/a.jpg")
    with pytest.raises(PlanError, match="would replace the image"):
        plan_thumbnails(tmp_path / "in", tmp_path)


def test_folders_that_make_no_sense_are_an_error(source: Path, target: Path) -> None:
    touch(source, "a.jpg")
    with pytest.raises(PlanError, match="there is no folder"):
        plan_thumbnails(source / "missing", target)
    with pytest.raises(PlanError, match="is a file"):
        plan_thumbnails(source / "a.jpg", target)
    with pytest.raises(PlanError, match="not a folder"):
        plan_thumbnails(source, source / "a.jpg")
    target.symlink_to(source)
    with pytest.raises(PlanError, match="the same folder"):
        plan_thumbnails(source, target)


@pytest.mark.parametrize(("text", "size"), [("128x96", (128, 96)), ("1X65535", (1, 65535)), (" 7x7 ", (7, 7))])
def test_a_size_is_two_numbers(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "128", "128x", "x128", "0x5", "5x0", "-1x5", "65536x1", "1.5x2", "axb", "1x2x3", "٣x٣"]
)
def test_a_size_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="got"):
        parse_size(text)
