"""`procession copy` as a library: a folder becomes the copy of another, on all cores.

    from procession.apps.copy import copy_tree
    result = copy_tree("photos", "/mnt/backup/photos", verify=True)

What is copied, how it stays safe, and what each option does: docs/copy.md.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

from procession.apps.copy.records import CopyResult, Wishes
from procession.apps.driver import Interrupted, PlanError, ProgressCallback, ignore_progress

__all__ = ["CopyResult", "Interrupted", "PlanError", "copy_tree"]


def copy_tree(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    workers: int | None = None,
    update: bool = True,
    checksum: bool = False,
    verify: bool = False,
    fsync: bool = False,
    exclude: Sequence[str] = (),
    include: Sequence[str] = (),
    one_file_system: bool = False,
    delete: bool = False,
    confirm: Callable[[list[str]], bool] | None = None,
    dry_run: bool = False,
    on_error: str = "continue",
    progress: ProgressCallback | None = None,
    keep: bool = True,
    tell: bool = False,
    context: Any = None,
) -> CopyResult:
    """Make `target` a copy of the folder `source`: what is in the one is in the other then.

    Args:
        workers: processes; by default two for each usable core, for they wait for the disk, too; one if there is none.
        update: leave out what the target has already, by size and modification time.
        checksum: with `update`, compare contents instead of times.
        verify: read each file back and compare its checksum with its source's; outcomes have it.
        fsync: have each file on the disk before it gets its name.
        exclude, include: globs; see `filters`.
        one_file_system: do not descend into folders on other file systems.
        delete: remove from `target` what `source` does not have, after all was copied, and if it was.
        confirm: called with what is to be deleted before anything is done; unless it returns true, nothing is.
        dry_run: only find out what would be done: outcomes are `planned` then.
        on_error: "continue" with the other files, or "stop".
        progress: called in this process, some times a second.
        keep: have an outcome for each name in the result; False keeps those that failed or were skipped, and memory flat.
        tell: have one for each name in what `progress` gets.
        context: whose start method the workers are started with, as from `procession.get_context()`.

    Raises:
        PlanError: the folders or options make no sense together; nothing was written.
        Interrupted: Ctrl-C; its `result` tells what was done.
    """
    from procession.apps.copy.board import Board
    from procession.apps.copy.filesystems import is_in_memory
    from procession.apps.copy.filters import Filters
    from procession.apps.copy.ledger import Ledger
    from procession.apps.copy.roots import check_roots
    from procession.apps.copy.run import NoTarget, Run

    if on_error not in ("continue", "stop"):
        raise PlanError(f"on_error must be 'continue' or 'stop', got {on_error!r}")
    if workers is not None and workers < 1:
        raise PlanError(f"workers must be at least 1, got {workers}")
    try:
        filters = Filters(exclude, include)
    except ValueError as error:
        raise PlanError(str(error)) from None
    roots = check_roots(os.fspath(source), os.fspath(target), delete=delete)
    extras: list[str] = []
    if delete:
        from procession.apps.copy.delete import NOT_DELETED, find_extras, remove_extras

        extras = find_extras(roots, filters, one_file_system=one_file_system)
    if extras and confirm is not None and not confirm(extras):
        raise PlanError("nothing was done, because the deletion was not confirmed")
    if context is None:
        from procession import get_context

        context = get_context()
    if workers is None:
        waits = not (is_in_memory(roots.source.device) and is_in_memory(roots.base.device))
        workers = context.cpu_count() * (2 if waits else 1)
    ledger = Ledger(keeps=keep, tells=keep or tell, stop_at_failure=on_error == "stop")
    wishes = Wishes(update, checksum, verify, fsync)
    board = Board(1 if dry_run else workers)
    progress = progress or ignore_progress
    run: Any
    if dry_run:
        from procession.apps.copy.dry import DryRun

        run = DryRun(roots, wishes, filters, ledger, board, one_file_system=one_file_system, progress=progress)
    else:
        run = Run(
            roots,
            wishes,
            filters,
            ledger,
            board,
            workers=workers,
            one_file_system=one_file_system,
            progress=progress,
            context=context,
        )
    try:
        run.run()
        if extras and dry_run:
            ledger.foresee_deleted(extras)
        elif extras and (ledger.stop or ledger.counts["failed"]):
            ledger.notes.add(NOT_DELETED)
        elif extras:
            remove_extras(roots, extras, ledger)
    except KeyboardInterrupt:
        ledger.stop = "interrupted"
        try:
            run.tell()  # what has an end since the last time
        except KeyboardInterrupt:
            pass
        raise Interrupted(ledger.close(run.total)) from None
    except NoTarget as error:
        raise PlanError(f"{os.fspath(target)}: {error}") from None
    run.tell()
    return ledger.close(run.total, is_dry=dry_run)
