"""A dry run: the same listing, and the same look at each file, but nothing is written."""

import os
import stat

from procession.apps.copy.board import Board
from procession.apps.copy.filters import Filters
from procession.apps.copy.folders import join
from procession.apps.copy.ledger import Ledger
from procession.apps.copy.listing import Listing
from procession.apps.copy.plan import Batches, Folder, Shared
from procession.apps.copy.reasons import Refused, reason_of
from procession.apps.copy.records import File, Group, Link, Wishes
from procession.apps.copy.roots import Roots
from procession.apps.copy.target import Target
from procession.apps.copy.worker import IN_THE_WAY, Worker
from procession.apps.driver import ProgressCallback


class DryTarget(Target):
    """Looks which folders are there, and makes none."""

    def root(self) -> Folder:
        root = Folder(self._base, "", self._roots.name)
        self._make(root, "")
        return root

    def _make(self, folder: Folder, key: str) -> None:
        parent = folder.parent
        assert parent is not None
        if not parent.is_new and self._is_there(self.tree.open(parent.target), folder.target_name):
            folder.is_new = False
        self._open[folder] = None

    def _complete(self, folder: Folder) -> None:
        self.folders += self._open.pop(folder, self) is not self


class DryRun:
    """Finds what a run would do."""

    def __init__(
        self,
        roots: Roots,
        wishes: Wishes,
        filters: Filters,
        ledger: Ledger,
        board: Board,
        *,
        one_file_system: bool,
        progress: ProgressCallback,
    ) -> None:
        self._progress = progress
        self._ledger = ledger
        self._batches = Batches("0" * 8)
        self._target = DryTarget(roots, ledger.fail, ledger.notes)
        self._listing = Listing(
            roots, self._target, self._batches, self, filters, one_file_system=one_file_system, split_large=False
        )
        self._worker = Worker(roots.source, roots.base, wishes, board.take_slot())

    def run(self) -> None:
        """Look at everything."""
        try:
            for _ in self._listing.steps(self._target.root()):
                self._judge_ready()
            self._judge_ready()  # the last batch, which may not be full
        finally:
            self._ledger.folders = self._target.folders
            self._worker.close()
            self._listing.close()
            self._target.close()

    def _judge_ready(self) -> None:
        while self._batches.ready:
            pending = self._batches.ready.popleft()
            for group in pending.batch.groups:
                self._judge_group(group)
            for folder in pending.folders:
                self._target.release(folder)
            self.tell()

    def _judge_group(self, group: Group) -> None:
        for entry in group.entries:
            name = join(group.source, entry.name)
            try:
                is_same = not group.is_new and self._is_same(entry, group)
            except (OSError, Refused) as error:
                self._ledger.finish(name, "failed", reason_of(error), entry.size)
            else:
                self._ledger.finish(name, "unchanged" if is_same else "planned", size_bytes=entry.size)

    def _is_same(self, entry: File | Link, group: Group) -> bool:
        worker = self._worker
        source, target = worker.source.open(group.source), worker.target.open(group.target)
        there = worker.look(target, entry.name)
        if there is None:
            return False
        if stat.S_ISDIR(there.st_mode):
            raise Refused(IN_THE_WAY)
        if isinstance(entry, File):
            return worker.is_unchanged(entry, there, source, target) is not None
        return worker.is_same_link(entry, there, os.readlink(entry.name, dir_fd=source), target)

    # ---- what the listing finds ----

    def skip(self, name: str, reason: str) -> None:
        self._ledger.skip(name, reason)

    def fail(self, name: str, error: Exception) -> None:
        self._ledger.fail(name, error)

    def begin_large(self, folder: Folder, file: File, shared: Shared | None) -> None:
        self._batches.add(folder, file)

    def link(self, shared: Shared, folder: Folder, file: File) -> None:
        self._batches.add(folder, file)

    def tell(self) -> None:
        """Call the progress callback."""
        self._progress(self._ledger.progress(self._listing.totals))

    @property
    def total(self) -> int:
        return self._listing.totals.files
