"""Thumbnails of a folder of images: what to make (the plan) and the whole job as a function.

Names starting with a dot and links to folders are left alone.  A file is tried if its suffix is that of an image format
that Pillow reads; all else is refused with a reason, so that nothing that was given goes unmentioned.
"""

import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from PIL import Image

from procession.apps.driver import PlanError
from procession.apps.images.thumbnail import ThumbnailTask
from procession.apps.outcome import Done, Outcome, done_with, failed

Size: TypeAlias = tuple[int, int]

DEFAULT_SIZE: Size = (128, 128)
LARGEST_SIDE = 65535

NOT_WRITTEN = frozenset({"BUFR", "GRIB", "HDF5", "ICNS", "PDF", "WMF"})
"""Formats that Pillow registers for writing, but only for a plugin to fill in or only in sizes of their own."""
SAME_FORMAT = {"MPO": "JPEG"}
"""Written as another format under the same suffix: an MPO with one picture is a JPEG."""
FALLBACK_FORMAT, FALLBACK_SUFFIX = "PNG", ".png"


def parse_size(text: str) -> Size:
    """`"128x96"` to (128, 96).

    Raises:
        ValueError: not two whole numbers from 1 to 65535 with an x between them.
    """
    match = re.fullmatch(r"([0-9]{1,5})[xX]([0-9]{1,5})", text.strip())
    if match is None:
        raise ValueError(f"size must be WIDTHxHEIGHT, for example 128x128, got {text!r}")
    width, height = int(match[1]), int(match[2])
    if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
        raise ValueError(f"width and height must be from 1 to {LARGEST_SIDE}, got {text!r}")
    return width, height


def plan_thumbnails(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> list[ThumbnailTask | Done]:
    """List `source` and decide what becomes of each file; reads folders, writes nothing.

    Raises:
        PlanError: see make_thumbnails.
    """
    source_root, target_root = os.path.realpath(source), os.path.realpath(target)
    check_folders(Path(source), Path(target), source_root, target_root)
    output_formats = list_output_formats()
    run_id = secrets.token_hex(4)
    tasks: list[ThumbnailTask] = []
    refused: list[Outcome] = []
    for path, reason in list_files(source_root, skip=target_root):
        name = os.path.relpath(path, source_root)
        suffix = Path(name).suffix.lower()
        if reason or suffix not in output_formats:
            refused.append(failed(name, reason or "not an image"))
            continue
        format, added_suffix = output_formats[suffix]
        output = Path(target_root, name + added_suffix)
        temporary = output.with_name(f".procession-{run_id}-{len(tasks)}.tmp")
        tasks.append(ThumbnailTask(name, path, str(output), str(temporary), format, Path(path).stat().st_size))
    check_outputs(tasks)
    return [done_with(*refused), *tasks]


def list_output_formats() -> dict[str, tuple[str, str]]:
    """For each suffix that Pillow reads: the format to write, and what is added to the name if that is another one."""
    Image.init()
    formats: dict[str, tuple[str, str]] = {}
    for suffix, format in Image.registered_extensions().items():
        # An MPO is opened as the JPEG that it begins with, so it is not registered for opening.
        if format not in Image.OPEN and format not in SAME_FORMAT:
            continue
        is_written = format in Image.SAVE and format not in NOT_WRITTEN
        formats[suffix] = (SAME_FORMAT.get(format, format), "") if is_written else (FALLBACK_FORMAT, FALLBACK_SUFFIX)
    return formats


def list_files(root: str, *, skip: str) -> Iterator[tuple[str, str]]:
    """Each visible entry under `root` that is no folder, in order of name, with the reason if it cannot be an image."""
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                visible = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            yield folder, f"folder cannot be read: {error.strerror}"
            continue
        inner_folders: list[str] = []
        for entry in sorted(visible, key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                if entry.path != skip:
                    inner_folders.append(entry.path)
                continue
            kind, reason = look_at(entry.path)
            # A link to a folder could lead in a circle or out of the source.
            if kind != stat.S_IFDIR:
                yield entry.path, reason
        folders.extend(reversed(inner_folders))


def look_at(path: str) -> tuple[int, str]:
    """The kind of what `path` leads to (0 if nothing), and why it cannot be an image, if so."""
    try:
        kind = stat.S_IFMT(Path(path).stat().st_mode)
    except OSError as error:
        return 0, f"cannot be opened: {error.strerror}"
    names = {stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
    return kind, f"not a file but a {names[kind]}" if kind in names else ""


def check_folders(source: Path, target: Path, source_root: str, target_root: str) -> None:
    if not source.exists():
        raise PlanError(f"there is no folder {source}")
    if not source.is_dir():
        raise PlanError(f"{source} is a file; give the folder that it is in")
    if source_root == target_root:
        raise PlanError(f"{source} and {target} are the same folder; thumbnails would replace the images")
    if os.path.lexists(target) and not target.is_dir():
        raise PlanError(f"{target} exists and is not a folder")


def check_outputs(tasks: list[ThumbnailTask]) -> None:
    """Refuse a plan in which one output would replace another, a source, or stand where a folder is needed."""
    maker_of: dict[str, str] = {}
    for task in tasks:
        other = maker_of.setdefault(task.output, task.name)
        if other != task.name:
            raise PlanError(f"{other} and {task.name} would both become {task.output}; rename one of them")
    sources = {task.source for task in tasks}
    parents = {Path(task.output).parent for task in tasks}
    folders = {str(folder) for parent in parents for folder in (parent, *parent.parents)}
    for task in tasks:
        if task.output in sources:
            raise PlanError(f"{task.name} would replace the image {task.output}; choose another OUT")
        if task.output in folders:
            raise PlanError(f"{task.name} would stand where the folder {task.output} is needed; rename one")
