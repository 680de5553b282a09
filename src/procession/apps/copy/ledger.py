"""What became of every name, and what is still to be told: counts, outcomes, notes."""

import time
from collections.abc import Callable

from procession.apps.copy.folders import join
from procession.apps.copy.plan import Pending, Totals
from procession.apps.copy.reasons import reason_of
from procession.apps.copy.records import Answer, CopyResult
from procession.apps.driver import Progress
from procession.apps.outcome import Outcome, Status

WORTH_A_WORD = ("failed", "skipped")


class Ledger:
    """Collects the result of a run.

    Args:
        keeps: whether the result has an outcome for each name, or only for what failed or was skipped.
        tells: whether the progress has one for each.
    """

    def __init__(self, *, keeps: bool, tells: bool, stop_at_failure: bool) -> None:
        self.notes: set[str] = set()
        self.counts: dict[Status, int] = dict.fromkeys(
            ("done", "unchanged", "planned", "failed", "skipped", "deleted"), 0
        )
        self.ended_files = self.ended_bytes = 0
        self.worked_bytes = 0
        self.folders = 0
        self.stop = ""
        """Why nothing more is to be begun."""
        self._keeps = keeps
        self._tells = tells
        self._stop_at_failure = stop_at_failure
        self._kept: list[Outcome] = []
        self._untold: list[Outcome] = []
        self._started_s = time.monotonic()

    def record(self, name: str, status: Status, reason: str = "", size_bytes: int = 0, checksum: str = "") -> None:
        """What became of a name that may be none of those in the totals."""
        self.counts[status] += 1
        if status == "done":
            self.worked_bytes += size_bytes
        elif status == "failed" and self._stop_at_failure and not self.stop:
            self.stop = f"stopped at the first failure, {name}: {reason}"
        is_worth = status in WORTH_A_WORD
        if not (is_worth or self._keeps or self._tells):
            return
        result_bytes = size_bytes if status == "done" else 0
        outcome = Outcome(name, status, reason, size_bytes, result_bytes, checksum=checksum)
        if is_worth or self._keeps:
            self._kept.append(outcome)
        self._untold.append(outcome)

    def finish(self, name: str, status: Status, reason: str = "", size_bytes: int = 0, checksum: str = "") -> None:
        """A name that is in the totals has its end."""
        self.ended_files += 1
        self.ended_bytes += size_bytes
        self.record(name, status, reason, size_bytes, checksum)

    def skip(self, name: str, reason: str) -> None:
        self.record(name, "skipped", reason)

    def foresee_deleted(self, names: list[str]) -> None:
        """In a dry run: what would be deleted, which is no part of what would be copied."""
        outcomes = [Outcome(name, "planned", "it would be deleted") for name in names]
        self.notes.add(f"{len(names):,} would be deleted")
        self._untold += outcomes
        if self._keeps:
            self._kept += outcomes

    def fail(self, name: str, error: Exception) -> None:
        self.record(name, "failed", reason_of(error))

    def answer(self, pending: Pending, answer: Answer, on_end: Callable[[int, int, Status], None]) -> None:
        """A batch's end; `on_end` gets group, entry and status of those to which others will be linked."""
        self.notes.update(answer.notes)
        troubles = {(trouble.group, trouble.entry): trouble for trouble in answer.troubles}
        if not (troubles or pending.shared or self._keeps or self._tells):
            self.ended_files += pending.files
            self.ended_bytes += pending.size_bytes
            self.counts["done"] += pending.files
            self.worked_bytes += pending.size_bytes
            return
        untried = set(answer.untried)
        for number, group in enumerate(pending.batch.groups):
            for position, entry in enumerate(group.entries):
                if (number, position) in untried:
                    continue
                trouble = troubles.get((number, position))
                status: Status = trouble.status if trouble is not None else "done"
                reason = trouble.reason if trouble is not None else ""
                checksum = answer.checksums.get((number, position), "")
                self.finish(join(group.source, entry.name), status, reason, entry.size, checksum)
                if (number, position) in pending.shared:
                    on_end(number, position, status)

    def progress(self, totals: Totals, files: int = 0, size_bytes: int = 0, names: tuple[str, ...] = ()) -> Progress:
        """Where the run is, with the outcomes since the last call.

        Args:
            files, size_bytes, names: of what workers have not answered for yet.
        """
        untold, self._untold = tuple(self._untold), []
        return Progress(
            total_files=totals.files,
            total_bytes=totals.size_bytes,
            is_listed=totals.is_listed,
            ended_files=self.ended_files + files,
            ended_bytes=self.ended_bytes + size_bytes,
            unchanged=self.counts["unchanged"],
            failed=self.counts["failed"],
            worked_bytes=self.worked_bytes + size_bytes,
            running=names,
            outcomes=untold,
        )

    def close(self, total: int, *, is_dry: bool = False) -> CopyResult:
        """The result."""
        counts = self.counts
        return CopyResult(
            total=total,
            done=counts["done"],
            unchanged=counts["unchanged"],
            planned=counts["planned"],
            failed=counts["failed"],
            source_bytes=self.worked_bytes,
            result_bytes=self.worked_bytes,
            seconds=time.monotonic() - self._started_s,
            outcomes=self._kept,
            skipped=counts["skipped"],
            deleted=counts["deleted"],
            folders=self.folders,
            notes=sorted(self.notes),
            stopped=self.stop,
            is_dry=is_dry,
        )
