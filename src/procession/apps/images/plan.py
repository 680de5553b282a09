"""What to make: a task for each image that is new or changed, largest first, so that workers end together.

Nothing is written here, but for what a killed run has left, which is removed when all is checked.
"""

import os
import re
from collections.abc import Iterable
from contextlib import suppress

from procession.apps.driver import PlanError
from procession.apps.images import formats
from procession.apps.images.recipe import FORMATS, Recipe
from procession.apps.images.sources import Source, list_sources
from procession.apps.images.thumbnail import ThumbnailTask
from procession.apps.outcome import Done, Outcome, done_with, failed

TEMPORARY = re.compile(r"\.procession-([0-9]+)-[0-9]+\.tmp")
EFFORT = {"TIFF": 0.5, "WEBP": 8, "AVIF": 16}
"""How much longer a byte takes to decode than a byte of JPEG, roughly."""

Plan = list[ThumbnailTask | Done]


def plan_thumbnails(
    given: Iterable[str],
    target: str,
    recipe: Recipe,
    *,
    keeps_paths: bool = False,
    forces: bool = False,
) -> Plan:
    """List what was given and decide what becomes of each file; reads folders, writes nothing.

    Raises:
        PlanError: the arguments make no sense together.
    """
    given = list(given)
    target_root = os.path.realpath(target)
    check_folders(given, target, target_root)
    wanted = FORMATS[recipe.format]
    if not formats.is_supported(wanted):
        raise PlanError(f"the installed Pillow cannot write {recipe.format}; take another --format")
    tasks: list[ThumbnailTask] = []
    known: list[Outcome] = []
    sources = list(list_sources(given, skip=target_root, keeps_paths=keeps_paths))
    for source in sources:
        reason = source.reason or ("" if formats.format_of(source.path) else "not an image")
        if reason:
            known.append(failed(source.name, reason))
            continue
        tasks.append(task_of(source, target_root, wanted, recipe, len(tasks)))
    check_outputs(tasks, {os.path.realpath(source.path) for source in sources})
    if not forces:
        current = {task.name for task in tasks if is_current(task)}
        known += [Outcome(task.name, "unchanged", output=task.output) for task in tasks if task.name in current]
        tasks = [task for task in tasks if task.name not in current]
    tasks.sort(key=lambda task: task.size_bytes * EFFORT.get(formats.format_of(task.source), 1), reverse=True)
    return [done_with(*known), *tasks] if known else list(tasks)


def task_of(source: Source, target_root: str, wanted: str, recipe: Recipe, number: int) -> ThumbnailTask:
    """The task for one image."""
    format, name = formats.output_of(source.relative, wanted)
    output = os.path.join(target_root, name)
    temporary = os.path.join(os.path.dirname(output), f".procession-{os.getpid()}-{number}.tmp")
    mark_ns = recipe.mark_ns(source.size_bytes, source.modified_ns)
    return ThumbnailTask(source.name, source.path, output, temporary, format, source.size_bytes, mark_ns)


def is_current(task: ThumbnailTask) -> bool:
    """Whether the thumbnail is there, made from this source in this way."""
    try:
        status = os.lstat(task.output)
    except OSError:
        return False
    return status.st_mtime_ns == task.mark_ns and status.st_size > 0


def as_dry_run(plan: Plan) -> Plan:
    """The same plan with nothing to do: what there would be is told."""
    planned = [
        Outcome(item.name, "planned", source_bytes=item.size_bytes, output=item.output)
        for item in plan
        if isinstance(item, ThumbnailTask)
    ]
    return [*(item for item in plan if isinstance(item, Done)), done_with(*planned)]


def formats_in(plan: Plan) -> frozenset[str]:
    """What will be read or written, by the names of the files."""
    tasks = [item for item in plan if isinstance(item, ThumbnailTask)]
    return frozenset({task.format for task in tasks} | {formats.format_of(task.source) for task in tasks})


def remove_leftovers(plan: Plan) -> None:
    """Remove what runs that were killed have left where this one will write."""
    for folder in {os.path.dirname(item.output) for item in plan if isinstance(item, ThumbnailTask)}:
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for match in filter(None, map(TEMPORARY.fullmatch, names)):
            if not is_running(int(match[1])):
                with suppress(OSError):
                    os.unlink(os.path.join(folder, match[0]))


def is_running(pid: int) -> bool:
    """Whether there is such a process; this one's number on a temporary file is of an earlier one's."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def check_folders(given: list[str], target: str, target_root: str) -> None:
    if os.path.lexists(target) and not os.path.isdir(target):
        raise PlanError(f"{target} exists and is not a folder")
    for path in given:
        if os.path.realpath(path) == target_root:
            raise PlanError(f"{path} and {target} are the same folder; thumbnails would replace the images")


def check_outputs(tasks: list[ThumbnailTask], sources: set[str]) -> None:
    """Refuse a plan in which one output would replace another, a source, or stand where a folder is needed."""
    maker_of: dict[str, ThumbnailTask] = {}
    for task in tasks:
        other = maker_of.setdefault(task.output, task)
        if other is not task:
            raise PlanError(f"{other.name} and {task.name} would both become {task.output}; rename one of them")
    folders: set[str] = set()
    for folder in {os.path.dirname(task.output) for task in tasks}:
        while folder not in folders:
            folders.add(folder)
            folder = os.path.dirname(folder)
    for task in tasks:
        if task.output in sources:
            raise PlanError(f"{task.name} would replace the image {task.output}; choose another OUT")
        if task.output in folders:
            raise PlanError(f"{task.name} would stand where the folder {task.output} is needed; rename one")
