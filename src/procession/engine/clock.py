"""Time: deadlines are absolute nanoseconds of one monotonic clock that all processes of the machine share."""

from __future__ import annotations

from procession._core import FOREVER, clock_ns

__all__ = ["FOREVER", "clock_ns", "deadline_after", "seconds_until"]


def deadline_after(timeout: float | None) -> int:
    """The deadline `timeout` seconds from now; None never comes, 0 or less has come already."""
    if timeout is None or timeout > 1e9:
        return FOREVER
    return clock_ns() + max(0, int(timeout * 1e9))


def seconds_until(deadline: int) -> float | None:
    """Seconds left until `deadline`, at least 0; None for one that never comes."""
    if deadline == FOREVER:
        return None
    return max(0.0, (deadline - clock_ns()) / 1e9)
