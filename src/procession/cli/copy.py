"""`procession copy`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from procession.cli.telling import run_program

if TYPE_CHECKING:
    from procession.apps.copy import CopyResult
    from procession.apps.driver import ProgressCallback

Options = typer.Option


def copy(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="The folder whose content is copied.")],
    target: Annotated[Path, typer.Argument(metavar="DST", help="The folder that becomes the copy; made if needed.")],
    workers: Annotated[int | None, Options(min=1, help="Processes; two for each usable core if not given.")] = None,
    update: Annotated[
        bool, Options("--update/--all", help="Copy only what differs by size or time, or all again.")
    ] = True,
    checksum: Annotated[bool, Options("--checksum", help="Compare contents, not times, to find what differs.")] = False,
    verify: Annotated[bool, Options("--verify", help="Read each copy back and compare it with its source.")] = False,
    fsync: Annotated[bool, Options("--fsync", help="Have each file on the disk before it gets its name.")] = False,
    exclude: Annotated[
        list[str] | None, Options(metavar="GLOB", help="Leave out what matches; can be repeated.")
    ] = None,
    include: Annotated[list[str] | None, Options(metavar="GLOB", help="But not what matches this.")] = None,
    delete: Annotated[
        bool, Options("--delete", help="Remove from DST what SRC does not have; it is listed first.")
    ] = False,
    yes: Annotated[bool, Options("--yes", "-y", help="Do not ask before --delete.")] = False,
    one_file_system: Annotated[
        bool, Options("--one-file-system", "-x", help="Stay out of folders where another file system is mounted.")
    ] = False,
    on_error: Annotated[
        Literal["continue", "stop"], Options(help="What to do when a file cannot be copied.")
    ] = "continue",
    dry_run: Annotated[bool, Options("--dry-run", "-n", help="Say what would be done, and do nothing.")] = False,
    json: Annotated[bool, Options("--json", help="One line of JSON for each file, on standard output.")] = False,
    quiet: Annotated[bool, Options("--quiet", "-q", help="Say nothing but what failed.")] = False,
) -> None:
    """Make DST a copy of the folder SRC, on all cores.

    Files, folders, symbolic and hard links, holes, modes, times, attributes
    and (where allowed) owners are kept. Each file appears under its name only
    when it is whole: after a kill or on a full disk nothing is half there,
    and the same command does what is missing. Symbolic links in DST are never followed.

    A GLOB without a slash is compared with names, one with a slash with paths
    below SRC: --exclude '*.o' --exclude /build/ --exclude 'docs/**/*.pdf'

    Examples:

      procession copy photos /mnt/backup/photos --verify

      procession copy . /mnt/mirror --delete --exclude .git/
    """
    from procession.apps.copy import copy_tree
    from procession.apps.copy.summary import print_copy, print_list

    def confirm(extras: list[str]) -> bool:
        if not quiet:
            print_list(extras)
        return dry_run or yes or not sys.stdin.isatty() or typer.confirm("Delete them after the copy?", err=True)

    def make(progress: "ProgressCallback") -> "CopyResult":
        return copy_tree(
            source,
            target,
            workers=workers,
            update=update,
            checksum=checksum,
            verify=verify,
            fsync=fsync,
            exclude=exclude or (),
            include=include or (),
            one_file_system=one_file_system,
            delete=delete,
            confirm=confirm,
            dry_run=dry_run,
            on_error=on_error,
            progress=progress,
            keep=False,
            tell=json,
        )

    code = run_program(
        make,
        noun="files",
        verb="copied",
        nothing=f"no files in {source}",
        is_json=json,
        is_quiet=quiet,
        print_end=print_copy,
    )
    raise typer.Exit(code)
