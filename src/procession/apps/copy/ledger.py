"""What became of every name, and what is still out: counts, outcomes, notes."""

import time
from collections.abc import Callable

from procession.apps.copy.folders import join
from procession.apps.copy.plan import Pending
from procession.apps.copy.reasons import reason_of
from procession.apps.copy.records import (
    COPIED,
    DELETED,
    FAILED,
    SKIPPED,
    UNCHANGED,
    Answer,
    CopyResult,
    Outcome,
    OutcomeCallback,
)


class Ledger:
    """Collects the result of a run.

    Args:
        tell: called with each outcome.
        keeps_all: whether the result has an outcome for each name, or only for what failed or was skipped.
    """

    def __init__(self, tell: OutcomeCallback | None, *, keeps_all: bool, stop_at_failure: bool) -> None:
        self.result = CopyResult()
        self.notes: set[str] = set()
        self.files_done = 0
        self.bytes_done = 0
        self.stop = ""
        """Why nothing more is to be begun."""
        self._tell = tell
        self._keeps_all = keeps_all
        self._stop_at_failure = stop_at_failure
        self._started_s = time.monotonic()

    def record(self, name: str, state: str, reason: str = "", size_bytes: int = 0) -> None:
        result = self.result
        if state == COPIED:
            result.copied += 1
            result.copied_bytes += size_bytes
        elif state == UNCHANGED:
            result.unchanged += 1
        elif state == SKIPPED:
            result.skipped += 1
        elif state == DELETED:
            result.deleted += 1
        else:
            result.failed += 1
            if self._stop_at_failure and not self.stop:
                self.stop = f"stopped at the first failure: {name}: {reason}"
        if self._tell is None and not self._keeps_all and state not in (SKIPPED, FAILED):
            return
        outcome = Outcome(name, state, reason, size_bytes)
        if self._keeps_all or state in (SKIPPED, FAILED):
            result.outcomes.append(outcome)
        if self._tell is not None:
            self._tell(outcome)

    def finish(self, name: str, state: str, reason: str = "", size_bytes: int = 0) -> None:
        """A name that is in the totals has its end."""
        self.files_done += 1
        self.bytes_done += size_bytes
        self.record(name, state, reason, size_bytes)

    def skip(self, name: str, reason: str) -> None:
        self.record(name, SKIPPED, reason)

    def fail(self, name: str, error: Exception) -> None:
        self.record(name, FAILED, reason_of(error))

    def answer(self, pending: Pending, answer: Answer, on_end: Callable[[int, int, str], None]) -> None:
        """A batch's end; `on_end` gets group, entry and state of those to which others will be linked."""
        self.notes.update(answer.notes)
        troubles = {(trouble.group, trouble.entry): trouble for trouble in answer.troubles}
        last = answer.troubles[-1] if answer.full else None
        is_silent = self._tell is None and not self._keeps_all
        if is_silent and not troubles and not pending.shared:
            self.files_done += pending.files
            self.bytes_done += pending.size_bytes
            self.result.copied += pending.files
            self.result.copied_bytes += pending.size_bytes
            return
        for number, group in enumerate(pending.batch.groups):
            for position, entry in enumerate(group.entries):
                if last is not None and (number, position) > (last.group, last.entry):
                    return  # not tried
                trouble = troubles.get((number, position))
                state = trouble.state if trouble is not None else COPIED
                reason = trouble.reason if trouble is not None else ""
                self.finish(join(group.source, entry.name), state, reason, entry.size)
                if (number, position) in pending.shared:
                    on_end(number, position, state)

    def close(self, total: int) -> CopyResult:
        result = self.result
        result.total = total
        result.seconds = time.monotonic() - self._started_s
        result.notes = sorted(self.notes)
        result.stopped = self.stop
        return result
