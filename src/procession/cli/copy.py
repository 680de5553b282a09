"""`procession copy`."""

import sys
from typing import TYPE_CHECKING

import click

from procession.cli.telling import run_program

if TYPE_CHECKING:
    from procession.apps.copy import CopyResult
    from procession.apps.driver import ProgressCallback


@click.command
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option("--workers", metavar="N", type=int, help="Processes; two for each usable core if not given.")
@click.option(
    "--update/--all",
    default=True,
    show_default=True,
    help="Copy only what differs by size or time, or all again.",
)
@click.option("--checksum", is_flag=True, help="Compare contents, not times, to find what differs.")
@click.option("--verify", is_flag=True, help="Read each copy back and compare checksums.")
@click.option("--fsync", is_flag=True, help="Have each file on the disk before it gets its name.")
@click.option("--exclude", metavar="GLOB", multiple=True, help="Leave out what matches; can be repeated.")
@click.option("--include", metavar="GLOB", multiple=True, help="But not what matches this.")
@click.option("--delete", is_flag=True, help="Remove from DST what SRC does not have; it is listed first.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before --delete.")
@click.option("--one-file-system", "-x", is_flag=True, help="Stay out of folders where another file system is mounted.")
@click.option(
    "--on-error",
    type=click.Choice(["continue", "stop"]),
    default="continue",
    show_default=True,
    help="What to do when a file cannot be copied.",
)
@click.option("--dry-run", "-n", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--json", is_flag=True, help="One line of JSON for each file, on standard output.")
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but what failed.")
def copy(
    source: str,
    target: str,
    workers: int | None,
    update: bool,
    checksum: bool,
    verify: bool,
    fsync: bool,
    exclude: tuple[str, ...],
    include: tuple[str, ...],
    delete: bool,
    yes: bool,
    one_file_system: bool,
    on_error: str,
    dry_run: bool,
    json: bool,
    quiet: bool,
) -> int:
    """Make DST a copy of the folder SRC, on all cores. DST is made if needed.

    Files, folders, symbolic and hard links, holes, modes, times, attributes
    and (where allowed) owners are kept. Each file appears under its name only
    when it is whole: after a kill or on a full disk nothing is half there,
    and the same command does what is missing. Symbolic links in DST are never
    followed.

    \b
    A GLOB without a slash is compared with names, one with a slash with paths
    below SRC: --exclude '*.o' --exclude /build/ --exclude 'docs/**/*.pdf'

    \b
    Examples:
      procession copy photos /mnt/backup/photos --verify
      procession copy . /mnt/mirror --delete --exclude .git/
    """
    from procession.apps.copy import copy_tree
    from procession.apps.copy.summary import print_copy, print_list

    def confirm(extras: list[str]) -> bool:
        if not quiet:
            print_list(extras)
        return dry_run or yes or not sys.stdin.isatty() or click.confirm("Delete them after the copy?", err=True)

    def make(progress: "ProgressCallback") -> "CopyResult":
        return copy_tree(
            source,
            target,
            workers=workers,
            update=update,
            checksum=checksum,
            verify=verify,
            fsync=fsync,
            exclude=exclude,
            include=include,
            one_file_system=one_file_system,
            delete=delete,
            confirm=confirm,
            dry_run=dry_run,
            on_error=on_error,
            progress=progress,
            keep=False,
            tell=json,
        )

    return run_program(
        make,
        noun="files",
        verb="copied",
        nothing=f"no files in {source}",
        is_json=json,
        is_quiet=quiet,
        print_end=print_copy,
    )
