"""What workers do in tests of procession images."""

from __future__ import annotations

import sys
from pathlib import Path

from procession.apps.images import formats, vips
from procession.apps.images.recipe import Recipe
from procession.apps.images.thumbnail import ThumbnailTask, make_thumbnail, prepare_worker


def prepare(uses_vips: bool, memory_bytes: int | None = None) -> None:
    """As a worker of the program is; `uses_vips` False as if it were not installed."""
    if not uses_vips:
        vips.is_installed = lambda: False  # type: ignore[assignment]
    prepare_worker(frozenset({"PNG", "WEBP"}), memory_bytes)


def shrink(source: Path, output: Path, size: tuple[int, int], options: dict[str, object]) -> tuple[str, bool]:
    """Why there is no thumbnail, if so; and whether libvips was loaded by now."""
    format = formats.format_of(source.name)
    task = ThumbnailTask(source.name, str(source), str(output), str(output.with_name(".tmp")), format, 1, 10**18)
    (outcome,) = make_thumbnail(task, Recipe(size, **options)).outcomes  # type: ignore[arg-type]
    return outcome.reason, "pyvips" in sys.modules


def has_reader(source: Path) -> bool:
    """Whether libvips is asked for this file."""
    from PIL import Image

    with source.open("rb") as file, Image.open(file) as image:
        return vips.reader_of(file, image) is not None
