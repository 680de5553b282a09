"""What the scheduler and the engine hand to each other: batches, what their caller wants for them, and how long calls take.

Pure data and arithmetic, as the scheduler itself.
"""

from __future__ import annotations

from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["LEAST_NS", "TARGET_NS", "Batch", "Estimate", "Lane", "Terms"]

TARGET_NS = 1_000_000  # of work in one batch: a thousand times what handing it over costs
LEAST_NS = 50_000  # of work in a batch that need not be smaller, as far as there is so much


class Terms:
    """What the caller of one submission wants for its tasks, and how often each of them has been tried again.

    Attributes:
        timeout_ns: that one task may run; 0 is no limit.
        retries: times that a task is run again if its worker dies, or if it raises one of `retry_on`.
        retry_late: it is run again if it is late, too.
        tries: of the retries, used so far, by the task's index within the submission.
    """

    __slots__ = ("retries", "retry_late", "retry_on", "timeout_ns", "tries")

    def __init__(
        self,
        timeout_ns: int = 0,
        retries: int = 0,
        retry_on: tuple[type[BaseException], ...] = (),
        retry_late: bool = False,
    ) -> None:
        self.timeout_ns = timeout_ns
        self.retries = retries
        self.retry_on = retry_on
        self.retry_late = retry_late
        self.tries: dict[int, int] = {}

    def try_again(self, index: int) -> bool:
        """Whether task number `index`, which has ended in a way that may be tried again, may be once more; counts it."""
        used = self.tries.get(index, 0)
        if used >= self.retries:
            return False
        self.tries[index] = used + 1
        return True


class Lane:
    """One input's share of what is in flight."""

    __slots__ = ("batches",)

    def __init__(self) -> None:
        self.batches = 0


class Batch:
    """Consecutive items of one ticket that travel together.

    Attributes:
        ticket: whose items they are.
        function: what to call on them.
        start: index of the first within the ticket.
        items: kept until the batch is done, because a death may send them again.
        lane: which input it counts for.
        terms: what the caller wants for them, if anything.
        position: in the tasks channel, of the last time that it was queued.
        finished: how many have a result; workers finish them in order.
    """

    __slots__ = ("finished", "function", "items", "lane", "mode", "position", "start", "terms", "ticket")

    def __init__(
        self,
        ticket: Any,
        function: Any,
        start: int,
        items: Sequence[Any],
        mode: int,
        lane: Lane,
        terms: Terms | None = None,
    ) -> None:
        self.ticket = ticket
        self.function = function
        self.start = start
        self.items = items
        self.mode = mode
        self.lane = lane
        self.terms = terms
        self.position = -1
        self.finished = 0

    def part(self, first: int, end: int) -> Batch:
        """Items first to end, as a batch."""
        return Batch(
            self.ticket, self.function, self.start + first, self.items[first:end], self.mode, self.lane, self.terms
        )


class Estimate:
    """How long one call takes, from what was seen so far."""

    __slots__ = ("item_ns", "seen")

    def __init__(self) -> None:
        self.item_ns = 0.0
        self.seen = 0

    def learn(self, count: int, elapsed_ns: int) -> None:
        """`count` calls took `elapsed_ns`."""
        if count <= 0 or elapsed_ns <= 0:
            return  # nothing, or nobody knows how long it took
        mean = elapsed_ns / count
        # The first calls pay for imports and cold caches: they count for little.
        weight = 1.0 if self.seen == 0 else min(0.5, count / (count + 8.0))
        self.item_ns += weight * (mean - self.item_ns)
        self.seen += count

    def batch_size(self, workers: int, remaining: int | None) -> int:
        """Items for the next batch: a target's worth, no more than experience and what is left allow.

        The size may reach only a few times what has been seen done, so that one wrong guess is small; near the end it
        shrinks with what is left (guided self-scheduling, Polychronopoulos and Kuck 1987), so that workers end together
        but for so little that handing it over would cost as much.
        """
        if self.seen == 0:
            return 1
        item_ns = max(self.item_ns, 1.0)
        size = min(TARGET_NS / item_ns, 4.0 * self.seen / workers)
        if remaining is not None:
            size = min(size, max(remaining / (2.0 * workers), min(remaining, LEAST_NS / item_ns)))
        return max(1, int(size))
