"""`procession images`: arguments to a call of `procession.apps.images.make_thumbnails`."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from procession.cli.telling import complain, run_program

if TYPE_CHECKING:
    from procession.apps.driver import ProgressCallback, Result

STANDARD_INPUT = "-"


@click.command
@click.argument("sources", metavar="IN...", nargs=-1, required=True)
@click.argument("target", metavar="OUT")
@click.option(
    "--size", metavar="WxH", default="128x128", show_default=True, help="Fit inside this; nothing is enlarged."
)
@click.option("--fill", is_flag=True, help="Cut to the exact size instead of fitting inside it.")
@click.option("--format", metavar="FORMAT", default="keep", show_default=True, help="keep, jpeg, png, webp or avif.")
@click.option("--quality", metavar="N", type=int, help="For jpeg, webp and avif, from 1 to 100.")
@click.option("--keep-metadata", is_flag=True, help="Keep EXIF and XMP (date, camera, place).")
@click.option("--force", "-f", is_flag=True, help="Make all anew, not only what is new or changed.")
@click.option("--null", "-0", is_flag=True, help="The list on standard input has NUL between names.")
@click.option("--workers", metavar="N", type=int, help="Processes; as many as usable cores if not given.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=float,
    default=120,
    show_default=True,
    help="For one image; 0 for no limit.",
)
@click.option(
    "--memory",
    metavar="SIZE",
    default="1GB",
    show_default=True,
    help="For one image, such as 500MB; 0 for no limit.",
)
@click.option("--dry-run", "-n", is_flag=True, help="Only say what would be made.")
@click.option("--json", is_flag=True, help="One line of JSON for each file, on standard output.")
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but what failed.")
def images(
    sources: tuple[str, ...],
    target: str,
    size: str,
    fill: bool,
    format: str,
    quality: int | None,
    keep_metadata: bool,
    force: bool,
    null: bool,
    workers: int | None,
    timeout: float,
    memory: str,
    dry_run: bool,
    json: bool,
    quiet: bool,
) -> int:
    """Make a thumbnail of every image in IN, with the same name under OUT.

    IN are folders, files, or - for a list on standard input. OUT is a folder,
    made if needed. Subfolders are included. Pictures are set upright, their
    colours kept right, and only what is new or has changed is made. A file
    that is no image, or is damaged, is listed with its reason at the end and
    does not stop the others. Hidden files and links to folders are left
    alone. A format that can only be read (PSD, for example) becomes
    NAME.psd.png.

    \b
    Examples:
      procession images photos thumbnails
      procession images photos thumbnails --size 256x256 --fill --format webp
      find . -name '*.jpg' -print0 | procession images -0 - thumbnails
    """
    try:
        from procession.apps.images import make_thumbnails
        from procession.apps.images.recipe import parse_bytes, parse_size
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "PIL":
            raise
        return complain("images needs Pillow: pip install 'procession[images]'")

    def make(progress: "ProgressCallback") -> "Result":
        if workers is not None and workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        if timeout < 0:
            raise ValueError(f"timeout must be a number of seconds, or 0 for no limit, got {timeout:g}")
        is_list = STANDARD_INPUT in sources
        return make_thumbnails(
            listed(sources, is_null=null) if is_list else sources,
            target,
            size=parse_size(size),
            fill=fill,
            format=format,
            quality=quality,
            keep_metadata=keep_metadata,
            workers=workers,
            timeout=timeout or None,
            memory_bytes=parse_bytes(memory) or None,
            force=force,
            dry_run=dry_run,
            keep_paths=is_list,
            progress=progress,
            keep_outcomes=False,
        )

    return run_program(
        make, noun="images", verb="made", nothing=f"no images in {', '.join(sources)}", is_json=json, is_quiet=quiet
    )


def listed(sources: Iterable[str], *, is_null: bool) -> list[str]:
    """The names that were given, with those on standard input in the place of the dash."""
    from procession.apps.images.sources import split_list

    names: list[str] = []
    for source in sources:
        if source == STANDARD_INPUT:
            names += split_list(sys.stdin.buffer.read(), b"\0" if is_null else b"\n")
        else:
            names.append(source)
    return names
