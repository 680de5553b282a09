"""`procession copy`: arguments to a call of `procession.apps.copy.copy_tree`."""

import sys
from typing import TYPE_CHECKING

from procession.cli.parsing import Parser, ask
from procession.cli.telling import run_program

if TYPE_CHECKING:
    from procession.apps.copy import CopyResult
    from procession.apps.driver import ProgressCallback

HELP = """Make DST a copy of the folder SRC, on all cores. DST is made if needed.

Files, folders, symbolic and hard links, holes, modes, times, attributes
and (where allowed) owners are kept. Each file appears under its name only
when it is whole: after a kill or on a full disk nothing is half there,
and the same command does what is missing. Symbolic links in DST are never
followed.

A GLOB without a slash is compared with names, one with a slash with paths
below SRC: --exclude '*.o' --exclude /build/ --exclude 'docs/**/*.pdf'

examples:
  procession copy photos /mnt/backup/photos --verify
  procession copy . /mnt/mirror --delete --exclude .git/
"""


def make_parser() -> Parser:
    """The options of `procession copy`."""
    parser = Parser("procession copy", "SRC DST", HELP)
    add = parser.add_argument
    add("--workers", metavar="N", type=int, help="Processes; two for each usable core if not given.")
    add("--update", action="store_true", default=True, help="Copy only what differs by size or time (the default).")
    add("--all", action="store_false", dest="update", help="Copy all again.")
    add("--checksum", action="store_true", help="Compare contents, not times, to find what differs.")
    add("--verify", action="store_true", help="Read each copy back and compare checksums.")
    add("--fsync", action="store_true", help="Have each file on the disk before it gets its name.")
    add("--exclude", metavar="GLOB", action="append", default=[], help="Leave out what matches; can be repeated.")
    add("--include", metavar="GLOB", action="append", default=[], help="But not what matches this.")
    add("--delete", action="store_true", help="Remove from DST what SRC does not have; it is listed first.")
    add("-y", "--yes", action="store_true", help="Do not ask before --delete.")
    add("-x", "--one-file-system", action="store_true", help="Stay out of folders on other file systems.")
    add("--on-error", choices=["continue", "stop"], default="continue", help="What to do when a file cannot be copied.")
    add("-n", "--dry-run", action="store_true", help="Say what would be done, and do nothing.")
    return parser


def run(arguments: list[str]) -> int:
    """Run the command and return its exit code.

    Raises:
        WrongUse: the arguments are not understood.
    """
    parser = make_parser()
    options = parser.parse(arguments)
    if len(options.names) < 2:
        parser.error("needs SRC and DST")
    source, target, *more = options.names
    if more:
        parser.error(f"takes SRC and DST and no more, got {more[0]!r}, too")
    from procession.apps.copy import copy_tree
    from procession.apps.copy.summary import print_copy, print_list

    def confirm(extras: list[str]) -> bool:
        if not options.quiet:
            print_list(extras)
        return options.dry_run or options.yes or not sys.stdin.isatty() or ask("Delete them after the copy?")

    def make(progress: "ProgressCallback") -> "CopyResult":
        return copy_tree(
            source,
            target,
            workers=options.workers,
            update=options.update,
            checksum=options.checksum,
            verify=options.verify,
            fsync=options.fsync,
            exclude=options.exclude,
            include=options.include,
            one_file_system=options.one_file_system,
            delete=options.delete,
            confirm=confirm,
            dry_run=options.dry_run,
            on_error=options.on_error,
            progress=progress,
            keep=False,
            tell=options.json,
        )

    return run_program(
        make,
        noun="files",
        verb="copied",
        nothing=f"no files in {source}",
        is_json=options.json,
        is_quiet=options.quiet,
        print_end=print_copy,
    )
