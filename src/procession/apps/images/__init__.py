"""Thumbnails of many images: `make_thumbnails` is the whole job as a function, `procession images` the same as a command."""

import os
from functools import partial

from procession.apps import driver
from procession.apps.driver import ProgressCallback, Result
from procession.apps.images.plan import DEFAULT_SIZE, Size, parse_size, plan_thumbnails
from procession.apps.images.thumbnail import lose_thumbnail, make_thumbnail

__all__ = ["make_thumbnails", "parse_size"]


def make_thumbnails(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    size: Size = DEFAULT_SIZE,
    workers: int | None = None,
    progress: ProgressCallback | None = None,
) -> Result:
    """Make a thumbnail under `target` of every image under `source`, with the same relative name, fitted into `size`.

    Proportions are kept and nothing is enlarged.  Formats that Pillow only reads become `name.suffix.png`.  `workers`
    is the number of processes, by default `procession.cpu_count()`.  `progress` is called in this process.

    Raises:
        PlanError: the folders make no sense together; nothing was written.
        driver.Interrupted: Ctrl-C; its `result` tells what was done.
    """
    if workers is None:
        from procession import cpu_count

        workers = cpu_count()
    return driver.run(
        plan_thumbnails(source, target),
        partial(make_thumbnail, size=size),
        workers=workers,
        lose=lose_thumbnail,
        progress=progress,
    )
