"""What became of one file, and of one task.  Made in a worker, read by the parent; light, because every worker imports it."""

from typing import Literal, NamedTuple

Status = Literal["done", "unchanged", "planned", "failed", "skipped", "deleted"]


class Outcome(NamedTuple):
    """One file's end."""

    name: str
    """As people know it, most often relative to the folder that was given; unique within a run."""
    status: Status = "done"
    """`unchanged`: there was nothing to do; `planned`: there would have been, in a dry run;
    `skipped`: it is not for this program."""
    reason: str = ""
    """Why it failed or was skipped, in one line; otherwise empty."""
    source_bytes: int = 0
    result_bytes: int = 0
    output: str = ""
    """Where the result is, or would be."""
    checksum: str = ""
    """XXH3 of 128 bits in hexadecimal, of a copy that was verified."""

    @property
    def is_failed(self) -> bool:
        return self.status == "failed"


def failed(name: str, reason: str) -> Outcome:
    """The outcome of a file that failed for `reason`."""
    return Outcome(name, "failed", one_line(reason))


class Done(NamedTuple):
    """What has been done with a task: counts of files and bytes, and those outcomes that are worth a message.

    Every failure is among `outcomes`; all other files are if the run is to give an outcome for each (the function that
    workers run is told so by its program).  Failures are counted from there, the rest by the counts.
    """

    files: int = 0
    unchanged: int = 0
    planned: int = 0
    source_bytes: int = 0
    result_bytes: int = 0
    outcomes: tuple[Outcome, ...] = ()

    @property
    def failed(self) -> int:
        return sum(outcome.is_failed for outcome in self.outcomes)


def done_with(*outcomes: Outcome) -> Done:
    """What these outcomes come to."""
    statuses = [outcome.status for outcome in outcomes]
    return Done(
        files=statuses.count("done"),
        unchanged=statuses.count("unchanged"),
        planned=statuses.count("planned"),
        source_bytes=sum(outcome.source_bytes for outcome in outcomes if outcome.status == "done"),
        result_bytes=sum(outcome.result_bytes for outcome in outcomes),
        outcomes=outcomes,
    )


def one_line(text: str) -> str:
    """`text` with every run of white space made one space."""
    return " ".join(text.split())
