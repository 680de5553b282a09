"""What became of one file.  Made in a worker, read by the parent; light, because every worker imports it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """One file's end: done, or failed for `reason`."""

    name: str
    """Relative to the folder that was given; unique within a run."""
    reason: str = ""
    """Why it failed, in one line; empty when it did not."""
    source_bytes: int = 0
    result_bytes: int = 0

    @property
    def is_failed(self) -> bool:
        return bool(self.reason)


def one_line(text: str) -> str:
    """`text` with every run of white space made one space."""
    return " ".join(text.split())
