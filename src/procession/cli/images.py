"""`procession images`: arguments to a call of `procession.apps.images.make_thumbnails`."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from procession.cli.parsing import Parser
from procession.cli.telling import complain, run_program

if TYPE_CHECKING:
    from procession.apps.driver import ProgressCallback, Result

STANDARD_INPUT = "-"

HELP = """Make a thumbnail of every image in IN, with the same name under OUT.

IN are folders, files, or - for a list on standard input. OUT is a folder,
made if needed. Subfolders are included. Pictures are set upright, their
colours kept right, and only what is new or has changed is made. A file
that is no image, or is damaged, is listed with its reason at the end and
does not stop the others. Hidden files and links to folders are left
alone. A format that can only be read (PSD, for example) becomes
NAME.psd.png.

examples:
  procession images photos thumbnails
  procession images photos thumbnails --size 256x256 --fill --format webp
  find . -name '*.jpg' -print0 | procession images -0 - thumbnails
"""


def make_parser() -> Parser:
    """The options of `procession images`."""
    parser = Parser("procession images", "IN... OUT", HELP)
    add = parser.add_argument
    add("--size", metavar="WxH", default="128x128", help="Fit inside this; nothing is enlarged (default %(default)s).")
    add("--fill", action="store_true", help="Cut to the exact size instead of fitting inside it.")
    add("--format", metavar="FORMAT", default="keep", help="keep, jpeg, png, webp or avif (default %(default)s).")
    add("--quality", metavar="N", type=int, help="For jpeg, webp and avif, from 1 to 100.")
    add("--keep-metadata", action="store_true", help="Keep EXIF and XMP (date, camera, place).")
    add("-f", "--force", action="store_true", help="Make all anew, not only what is new or changed.")
    add("-0", "--null", action="store_true", help="The list on standard input has NUL between names.")
    add("--workers", metavar="N", type=int, help="Processes; as many as usable cores if not given.")
    add(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=120,
        help="For one image; 0 for no limit (default %(default)s).",
    )
    add("--memory", metavar="SIZE", default="1GB", help="For one image; 0 for no limit (default %(default)s).")
    add("-n", "--dry-run", action="store_true", help="Only say what would be made.")
    return parser


def run(arguments: list[str]) -> int:
    """Run the command and return its exit code.

    Raises:
        WrongUse: the arguments are not understood.
    """
    parser = make_parser()
    options = parser.parse(arguments)
    *sources, target = options.names or [""]
    if not sources:
        parser.error("needs IN and OUT")
    try:
        from procession.apps.images import make_thumbnails
        from procession.apps.images.recipe import parse_bytes, parse_size
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "PIL":
            raise
        return complain("images needs Pillow: pip install 'procession[images]'")

    def make(progress: "ProgressCallback") -> "Result":
        if options.workers is not None and options.workers < 1:
            raise ValueError(f"workers must be at least 1, got {options.workers}")
        if options.timeout < 0:
            raise ValueError(f"timeout must be a number of seconds, or 0 for no limit, got {options.timeout:g}")
        is_list = STANDARD_INPUT in sources
        return make_thumbnails(
            listed(sources, is_null=options.null) if is_list else sources,
            target,
            size=parse_size(options.size),
            fill=options.fill,
            format=options.format,
            quality=options.quality,
            keep_metadata=options.keep_metadata,
            workers=options.workers,
            timeout=options.timeout or None,
            memory_bytes=parse_bytes(options.memory) or None,
            force=options.force,
            dry_run=options.dry_run,
            keep_paths=is_list,
            progress=progress,
            keep_outcomes=False,
        )

    return run_program(
        make,
        noun="images",
        verb="made",
        nothing=f"no images in {', '.join(sources)}",
        is_json=options.json,
        is_quiet=options.quiet,
    )


def listed(sources: Iterable[str], *, is_null: bool) -> list[str]:
    """The names that were given, with those on standard input in the place of the dash."""
    from procession.apps.images.sources import split_list

    names: list[str] = []
    for source in sources:
        if source == STANDARD_INPUT:
            data = sys.stdin.buffer.read()
            if b"\0" in data and not is_null:
                raise ValueError("the list on standard input has NUL between names; give -0, too")
            names += split_list(data, b"\0" if is_null else b"\n")
        else:
            names.append(source)
    return names
