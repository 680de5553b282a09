"""`procession images`."""

from pathlib import Path
from typing import Annotated

import typer

from procession.cli.telling import complain, run_program


def images(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Folder with images; its sub-folders are included.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the thumbnails, made if needed.")],
    size: Annotated[str, typer.Option(metavar="WxH", help="Fit inside this; nothing is enlarged.")] = "128x128",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; as many as usable cores if not given.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One line of JSON for each file, on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but what failed.")] = False,
) -> None:
    """Make a thumbnail of every image under IN, with the same relative name under OUT.

    Proportions are kept and pictures are set upright. Existing thumbnails
    are replaced. A file that is no image, or is damaged, is listed with
    its reason at the end and does not stop the others. Hidden files and
    links to folders are left alone. A format that can only be read (PSD,
    for example) becomes NAME.psd.png.

    Example: procession images photos thumbnails --size 256x256
    """
    try:
        from procession.apps.images import make_thumbnails, parse_size
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "PIL":
            raise
        raise typer.Exit(complain("images needs Pillow: pip install 'procession[images]'")) from None
    code = run_program(
        lambda progress: make_thumbnails(source, target, size=parse_size(size), workers=workers, progress=progress),
        noun="images",
        verb="made",
        nothing=f"no images in {source}",
        is_json=json,
        is_quiet=quiet,
    )
    raise typer.Exit(code)
