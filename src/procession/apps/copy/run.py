"""One copy from its beginning to its end: lists, hands out, takes in, completes.

    Listing ── batches, parts ──> Pool ── answers ──> Ledger
       └──────── folders ────────> Target <── links, large files, the end of folders

All of it happens in the caller's thread, one step at a time, so that nothing here needs a lock.  A few batches for each worker
are out at any time: the listing runs that far ahead, and waits then.
"""

import os
import time
from typing import Any

from procession.apps.copy import large as large_files
from procession.apps.copy.board import Board
from procession.apps.copy.filters import Filters
from procession.apps.copy.folders import join
from procession.apps.copy.large import Large
from procession.apps.copy.ledger import Ledger
from procession.apps.copy.listing import Listing
from procession.apps.copy.plan import Batches, Folder, Pending, Shared
from procession.apps.copy.reasons import Refused, is_full, reason_of
from procession.apps.copy.records import (
    Answer,
    File,
    Part,
    Wishes,
)
from procession.apps.copy.roots import Roots
from procession.apps.copy.target import Target
from procession.apps.copy.worker import run_task, start_worker
from procession.apps.driver import ProgressCallback
from procession.apps.outcome import Status

AHEAD = 3
"""Batches for each worker that are out or waiting in the pool."""
LOOK_S = 0.005
"""How long to wait for the oldest batch before the others are looked at."""
TICK_S = 0.1
MOST_ATTEMPTS = 3
"""A batch whose worker dies is tried again; this often in all."""


class NoTarget(Exception):
    """DST itself cannot be made or used."""


class Run:
    """A copy that is running; it tells the listing's ends what to do."""

    def __init__(
        self,
        roots: Roots,
        wishes: Wishes,
        filters: Filters,
        ledger: Ledger,
        board: Board,
        *,
        workers: int,
        one_file_system: bool,
        progress: ProgressCallback,
        context: Any,
    ) -> None:
        self._roots = roots
        self._wishes = wishes
        self._ledger = ledger
        self._workers = workers
        self._progress = progress
        self._context = context
        self._board = board
        self._batches = Batches(os.urandom(4).hex())
        self._target = Target(roots, ledger.fail, ledger.notes, fsync=wishes.fsync)
        self._pool: Any = None
        self._listing = Listing(
            roots,
            self._target,
            self._batches,
            self,
            filters,
            one_file_system=one_file_system,
            split_large=not wishes.checksum,
        )
        self._parts: list[Part] = []
        self._large: dict[int, Large] = {}  # by the number of each part
        self._out: dict[int, tuple[Any, Pending | Part]] = {}
        self._told_s = 0.0

    # ---- the loop ----

    def run(self) -> None:
        """Copy everything; the caller finds the end in the ledger.

        Raises:
            KeyboardInterrupt: Ctrl-C; what was begun and is not whole has been removed.
        """
        # Before any folder is locked: a worker that is forked would hold the lock, too.
        arguments = (self._roots.source, self._roots.base, self._wishes, self._board)
        self._pool = self._context.Pool(self._workers, start_worker, arguments)
        try:
            try:
                self._loop(self._listing.steps(self._root()))
            finally:
                # Nobody writes any more when what is half is looked for.
                self._pool.terminate()
                self._pool.join()
                self._tidy()
                self._ledger.folders = self._target.folders
            self._target.remove_old()
        finally:
            self._listing.close()
            self._target.close()

    def _root(self) -> Folder:
        try:
            return self._target.root()
        except (OSError, Refused) as error:
            raise NoTarget(reason_of(error)) from None

    def _loop(self, steps: Any) -> None:
        is_listed = False
        while not self._ledger.stop:
            while len(self._out) < AHEAD * self._workers:
                if self._parts:
                    self._send(self._parts.pop())
                elif self._batches.ready:
                    self._send(self._batches.ready.popleft())
                elif not is_listed:
                    is_listed = next(steps, self) is self
                    if self._ledger.stop:
                        return
                    self._take_ready()
                else:
                    self._batches.flush()  # what links could not be made of
                    if not self._batches.ready:
                        break
            if not self._out:
                return
            next(iter(self._out.values()))[0].wait(LOOK_S)
            self._take_ready()
            now_s = time.monotonic()
            if now_s - self._told_s >= TICK_S:
                self._told_s = now_s
                self.tell()

    def _send(self, work: Pending | Part) -> None:
        number = work.number if isinstance(work, Part) else work.batch.number
        task = work if isinstance(work, Part) else work.batch
        self._out[number] = None, work  # whatever a Ctrl-C leaves of it is looked for
        self._out[number] = self._pool.apply_async(run_task, (task,)), work

    def _take_ready(self) -> None:
        done = [number for number, (result, _) in self._out.items() if result.done]
        for number in done:
            result, work = self._out[number]
            try:
                answer = result.get()
            except Exception as error:  # the worker died
                self._take_lost(work, error)
                del self._out[number]
                continue
            del self._out[number]
            if isinstance(work, Part):
                self._take_part(work, answer)
            else:
                self._take_batch(work, answer)
            if answer.full and not self._ledger.stop:
                self._ledger.stop = f"the target takes no more: {answer.full}; run it again when that is mended"

    # ---- answers ----

    def _take_batch(self, pending: Pending, answer: Answer) -> None:
        self._ledger.answer(
            pending, answer, lambda group, entry, status: self._end_shared(pending, group, entry, status)
        )
        for folder in pending.folders:
            self._target.release(folder)

    def _take_lost(self, work: Pending | Part, error: Exception) -> None:
        """A worker died in the middle: what it had finished counts, the rest is tried again."""
        if isinstance(work, Part):
            large = self._large[work.number]
            large.deaths += 1
            if large.deaths < MOST_ATTEMPTS and not large.trouble:
                self._parts.append(work)
            else:
                self._take_part(work, Answer([], [], ""), reason_of(error))
            return
        again: list[tuple[Folder, Any, Shared | None]] = []
        for folder, position, entry, is_whole in self._look_at(work):
            # What was there before has the size and the time, too, but perhaps another content, or mode.
            is_done = is_whole and work.batch.groups[position[0]].is_new
            shared = work.shared.get(position)
            if not is_done and work.attempts < MOST_ATTEMPTS:
                again.append((folder, entry, shared))
                continue
            status: Status = "done" if is_done else "failed"
            reason = "" if is_done else reason_of(error)
            self._ledger.finish(join(folder.source, entry.name), status, reason, entry.size)
            if shared is not None:
                self._settle(shared, status)
        if again:
            self._batches.flush()
            before = len(self._batches.ready)
            for folder, entry, shared in again:
                self._batches.add(folder, entry, shared)
            self._batches.flush()
            for position in range(before, len(self._batches.ready)):
                self._batches.ready[position].attempts = work.attempts + 1
        for folder in work.folders:
            self._target.release(folder)

    def _look_at(self, pending: Pending) -> Any:
        """For each entry of a batch without an answer: its folder, place, itself, whether it is whole.

        What is not is removed, where it might be half.
        """
        for number, (folder, group) in enumerate(zip(pending.folders, pending.batch.groups, strict=True)):
            if not group.is_new:
                self._target.remove_half(folder, pending.batch.temporary)
            for position, entry in enumerate(group.entries):
                is_whole = self._target.is_whole(folder, entry.name, entry.size, entry.mtime_ns)
                if group.is_new and not is_whole:
                    self._target.remove_half(folder, entry.name)
                yield folder, (number, position), entry, is_whole

    def _take_part(self, part: Part, answer: Answer, trouble: str = "") -> None:
        large = self._large[part.number]
        large.parts_left -= 1
        large.trouble = large.trouble or trouble or (answer.troubles[0].reason if answer.troubles else "")
        if large.parts_left:
            del self._large[part.number]
            self._ledger.ended_bytes += part.length
            return
        self._ledger.ended_bytes -= large.file.size - part.length
        name = join(large.folder.source, large.file.name)
        status: Status = "done"
        reason = large.trouble
        if not reason:
            try:
                large_files.complete(
                    large, self._listing.tree, self._target, self._ledger.notes, fsync=self._wishes.fsync
                )
            except (OSError, Refused) as error:
                reason = reason_of(error)
        if reason:
            status = "failed"
            large_files.abandon(large, self._target)
        del self._large[part.number]
        self._ledger.finish(name, status, reason, large.file.size)
        if large.shared is not None:
            self._settle(large.shared, status)
        self._target.release(large.folder)

    # ---- what the listing finds ----

    def skip(self, name: str, reason: str) -> None:
        self._ledger.skip(name, reason)

    def fail(self, name: str, error: Exception) -> None:
        self._ledger.fail(name, error)
        if is_full(error) and not self._ledger.stop:
            self._ledger.stop = f"the target takes no more: {reason_of(error)}; run it again when that is mended"

    def begin_large(self, folder: Folder, file: File, shared: Shared | None) -> None:
        name = join(folder.source, file.name)
        status: Status = "failed"
        try:
            if large_files.is_unchanged(self._listing.tree, self._target, folder, file, self._wishes):
                self._ledger.finish(name, "unchanged", size_bytes=file.size)
                status = "unchanged"
            else:
                self._begin_large(folder, file, shared)
                return
        except (OSError, Refused) as error:
            self._ledger.ended_bytes += file.size
            self._ledger.ended_files += 1
            self.fail(name, error)
        if shared is not None:
            self._settle(shared, status)

    def _begin_large(self, folder: Folder, file: File, shared: Shared | None) -> None:
        large = large_files.begin(self._listing.tree, folder, file, shared, self._batches)
        # Known before it is made: wherever a Ctrl-C comes, it is removed.
        self._large.update((part.number, large) for part in large.parts)
        try:
            large_files.open_target(large, self._target)
        except OSError as error:
            for part in large.parts:
                del self._large[part.number]
            if large.fd >= 0:
                large_files.abandon(large, self._target)
            raise error
        folder.pending += 1
        self._parts += reversed(large.parts)

    def link(self, shared: Shared, folder: Folder, file: File) -> None:
        """Another name of a file that was met before."""
        folder.pending += 1
        if shared.is_done:
            self._make_link(shared, folder, file)
        else:
            shared.waiting.append((folder, file))

    def _end_shared(self, pending: Pending, group: int, entry: int, status: Status) -> None:
        self._settle(pending.shared[group, entry], status)

    def _settle(self, shared: Shared, status: Status) -> None:
        """The first name has its end: the others become links to it, or one of them the next first."""
        if status == "failed":
            if shared.waiting:
                folder, file = shared.waiting.pop(0)
                shared.folder, shared.name = folder, file.name
                self._batches.add(folder, file, shared)
                self._target.release(folder)
            else:
                # A name that is met from now on is copied as if it were alone; more links than one are lost then.
                shared.is_done = True
            return
        shared.is_done = True
        waiting, shared.waiting = shared.waiting, []
        for folder, file in waiting:
            self._make_link(shared, folder, file)

    def _make_link(self, shared: Shared, folder: Folder, file: File) -> None:
        name = join(folder.source, file.name)
        try:
            temporary = self._batches.name(self._batches.number())
            is_new = self._target.link(shared.folder, shared.name, folder, file.name, temporary)
        except Refused as error:
            self._ledger.finish(name, "failed", reason_of(error), file.size)
        except OSError as error:
            if is_full(error):
                self.fail(name, error)
            else:  # too many links, or a file system without: a copy of its own
                self._batches.add(folder, file)
        else:
            self._ledger.finish(name, "done" if is_new else "unchanged", size_bytes=file.size)
        self._target.release(folder)

    # ---- the end, and on the way ----

    def _tidy(self) -> None:
        """Nothing half is left, and folders have their names."""
        for _, work in self._out.values():
            if isinstance(work, Pending):
                for folder, _, entry, is_whole in self._look_at(work):
                    if is_whole:
                        self._ledger.finish(join(folder.source, entry.name), "done", size_bytes=entry.size)
        for large in set(self._large.values()):
            large_files.abandon(large, self._target)
        self._out.clear()
        self._target.complete_all()

    def tell(self) -> None:
        """Call the progress callback."""
        files, size_bytes, names = self._board.read(self._out)
        self._progress(self._ledger.progress(self._listing.totals, files, size_bytes, names))

    @property
    def total(self) -> int:
        return self._listing.totals.files
