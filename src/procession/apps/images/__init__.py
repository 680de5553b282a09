"""Thumbnails of many images: `make_thumbnails` is the whole job as a function, `procession images` the same as a command."""

import os
from collections.abc import Iterable
from functools import partial

from procession.apps import driver
from procession.apps.driver import ProgressCallback, Result
from procession.apps.images import formats
from procession.apps.images.plan import as_dry_run, formats_in, plan_thumbnails, remove_leftovers
from procession.apps.images.recipe import DEFAULT_SIZE, Recipe, Size
from procession.apps.images.thumbnail import ThumbnailTask, lose_thumbnail, make_thumbnail, prepare_worker

__all__ = ["make_thumbnails"]

Path = str | os.PathLike[str]

DEFAULT_TIMEOUT_S = 120.0
DEFAULT_MEMORY_BYTES = 10**9


def make_thumbnails(
    source: Path | Iterable[Path],
    target: Path,
    *,
    size: Size = DEFAULT_SIZE,
    fill: bool = False,
    format: str = "keep",
    quality: int | None = None,
    keep_metadata: bool = False,
    workers: int | None = None,
    timeout: float | None = DEFAULT_TIMEOUT_S,
    memory_bytes: int | None = DEFAULT_MEMORY_BYTES,
    force: bool = False,
    dry_run: bool = False,
    keep_paths: bool = False,
    progress: ProgressCallback | None = None,
    keep_outcomes: bool = True,
) -> Result:
    """Make a thumbnail under `target` of every image in `source`: a folder, a file, or several of either.

    Proportions are kept and nothing is enlarged.  A thumbnail that was made from the same file in the same way is left as
    it is.  Formats that Pillow only reads become `name.suffix.png`.

    Args:
        size: width and height that thumbnails are fitted into; with `fill` they are cut to its shape.
        format: "keep", "jpeg", "png", "webp" or "avif".
        quality: of the formats that lose something, 1 to 100.
        keep_metadata: EXIF and XMP, if small; otherwise thumbnails have none, so no place and no name either.
        workers: processes, by default `procession.cpu_count()`.
        timeout, memory_bytes: seconds and memory that one image may take; None for no limit.
        force: make all thumbnails anew.
        dry_run: only say what would be made.
        keep_paths: a file that is given by a relative path keeps it under `target`.
        progress: called in this process, some times a second and with each outcome.
        keep_outcomes: False keeps only those that failed, for runs over millions.

    Raises:
        driver.PlanError, ValueError: the arguments make no sense; nothing was written.
        driver.Interrupted: Ctrl-C; its `result` tells what was done.
    """
    recipe = Recipe(size, fill, format, quality, keep_metadata)
    if workers is None:
        from procession import cpu_count

        workers = cpu_count()
    given = [source] if isinstance(source, str | os.PathLike) else source
    paths = [os.fspath(path) for path in given]
    plan = plan_thumbnails(paths, os.fspath(target), recipe, keeps_paths=keep_paths, forces=force)
    if dry_run:
        plan = as_dry_run(plan)
    remove_leftovers(plan)
    needed = formats_in(plan)
    if any(isinstance(item, ThumbnailTask) for item in plan):
        formats.load(needed)  # workers that are forked have it then
    prepare = partial(prepare_worker, needed, memory_bytes)
    return driver.run(
        plan,
        partial(make_thumbnail, recipe=recipe),
        workers=workers,
        lose=lose_thumbnail,
        progress=progress,
        keep=keep_outcomes,
        timeout=timeout,
        initializer=prepare,
    )
