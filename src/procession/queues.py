"""Queue: the standard library's ``multiprocessing.queues`` on a channel.

What was put is there when put() returns, so there is no feeder thread: nothing is lost or waited for at exit, errors of
pickling come out of put(), and empty(), full() and qsize() are exact.
"""

from __future__ import annotations

from typing import Any

from procession.engine import memory
from procession.engine.clock import FOREVER, deadline_after
from procession.engine.codec import decode, encode
from procession.errors import Empty, Full

__all__ = ["Queue"]


class Queue:
    """Like multiprocessing.Queue; can itself be sent through a queue, a pipe, or as a task's argument."""

    def __init__(self, maxsize: int = 0, *, ctx: Any = None) -> None:
        self._open(memory.channel(max(0, maxsize)))

    def _open(self, channel: memory.Channel) -> None:
        self._channel = channel
        self._closed = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_queue, (type(self), self._channel)

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put `obj` in, waiting for room.

        Raises:
            Full: there was none within `timeout` seconds.
            CannotEncode: `obj` cannot be pickled.
            ValueError: the queue is closed.
        """
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")
        if not self._channel.put(encode(obj), FOREVER if block and timeout is None else _deadline(block, timeout)):
            raise Full

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the oldest object out, waiting for one.

        Raises:
            Empty: there was none within `timeout` seconds.
            ValueError: the queue is closed.
        """
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")
        payload = self._channel.get(FOREVER if block and timeout is None else _deadline(block, timeout))
        if payload is None:
            raise Empty
        return decode(payload)

    def put_nowait(self, obj: Any) -> None:
        """put() without waiting."""
        self.put(obj, False)

    def get_nowait(self) -> Any:
        """get() without waiting."""
        return self.get(False)

    def qsize(self) -> int:
        """Objects in the queue, exactly, at this moment."""
        return len(self._channel)

    def empty(self) -> bool:
        """Whether nothing is in it at this moment."""
        return not len(self._channel)

    def full(self) -> bool:
        """Whether a put would wait at this moment."""
        limit = self._channel.limit
        return bool(limit) and len(self._channel) >= limit

    def close(self) -> None:
        """This process puts and gets no more; others may."""
        self._closed = True

    def join_thread(self) -> None:
        """Nothing to wait for: what was put is delivered."""
        if not self._closed:
            raise AssertionError(f"Queue {self!r} not closed")

    def cancel_join_thread(self) -> None:
        """Nothing to cancel."""


def _deadline(block: bool, timeout: float | None) -> int:
    return deadline_after(timeout) if block else 0


def _open_queue(kind: type[Queue], channel: memory.Channel) -> Queue:
    queue = kind.__new__(kind)
    queue._open(channel)
    return queue
