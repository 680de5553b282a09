"""`procession images`: arguments to a call of `procession.apps.images.make_thumbnails`."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from procession.cli.telling import complain, run_program

if TYPE_CHECKING:
    from procession.apps.driver import ProgressCallback, Result

STANDARD_INPUT = "-"


def images(
    sources: Annotated[
        list[str], typer.Argument(metavar="IN", help="Folders, files, or - for a list on standard input.")
    ],
    target: Annotated[str, typer.Argument(metavar="OUT", help="Folder for the thumbnails, made if needed.")],
    size: Annotated[str, typer.Option(metavar="WxH", help="Fit inside this; nothing is enlarged.")] = "128x128",
    fill: Annotated[bool, typer.Option("--fill", help="Cut to the exact size instead of fitting inside it.")] = False,
    format: Annotated[str, typer.Option(metavar="FORMAT", help="keep, jpeg, png, webp or avif.")] = "keep",
    quality: Annotated[int | None, typer.Option(metavar="N", help="For jpeg, webp and avif, from 1 to 100.")] = None,
    keep_metadata: Annotated[
        bool, typer.Option("--keep-metadata", help="Keep EXIF and XMP (date, camera, place).")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Make all anew, not only what is new or changed.")
    ] = False,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="The list on standard input has NUL between names.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Processes; as many as usable cores if not given.")
    ] = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="For one image; 0 for no limit.")] = 120,
    memory: Annotated[str, typer.Option(metavar="SIZE", help="For one image, such as 500MB; 0 for no limit.")] = "1GB",
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would be made.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One line of JSON for each file, on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but what failed.")] = False,
) -> None:
    """Make a thumbnail of every image in IN, with the same name under OUT.

    Sub-folders are included. Pictures are set upright, their colours kept
    right, and only what is new or has changed is made. A file that is no
    image, or is damaged, is listed with its reason at the end and does not
    stop the others. Hidden files and links to folders are left alone. A
    format that can only be read (PSD, for example) becomes NAME.psd.png.

    Examples:

        procession images photos thumbnails

        procession images photos thumbnails --size 256x256 --fill --format webp

        find . -name '*.jpg' -print0 | procession images -0 - thumbnails
    """  # fmt: skip
    try:
        from procession.apps.images import make_thumbnails
        from procession.apps.images.recipe import parse_bytes, parse_size
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "PIL":
            raise
        raise typer.Exit(complain("images needs Pillow: pip install 'procession[images]'")) from None

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

    code = run_program(
        make, noun="images", verb="made", nothing=f"no images in {', '.join(sources)}", is_json=json, is_quiet=quiet
    )
    raise typer.Exit(code)


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
