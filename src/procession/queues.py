"""Queues: the standard library's ``multiprocessing.queues`` on channels.

What was put is there when put() returns, so there is no feeder thread: nothing is lost or waited for at exit, errors of
pickling come out of put(), and empty(), full() and qsize() are exact.
"""

from __future__ import annotations

import os
import types

from procession import _core
from procession.engine import memory
from procession.engine.clock import FOREVER
from procession.engine.codec import Payload, decode, encode
from procession.errors import CannotEncode
from procession.errors import Empty as Empty  # programs find them here
from procession.errors import Full as Full

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["JoinableQueue", "Queue", "SimpleQueue"]


class _ChannelQueue(_core.ObjectQueue):
    """A channel as a queue of objects: what all queues share."""

    _ends: tuple[_Reader, _Writer] | None = None
    _decode = staticmethod(decode)
    _encode: Any = staticmethod(encode)

    __class_getitem__ = classmethod(types.GenericAlias)  # type: ignore[var-annotated]

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_queue, (type(self), self._channel)

    def _check_open(self, error: type[Exception] = ValueError) -> None:
        if self._closed:
            raise error(f"Queue {self!r} is closed")

    def empty(self) -> bool:
        """Whether nothing is in it at this moment.

        Raises:
            OSError: the queue is closed.
        """
        self._check_open(OSError)
        return not len(self._channel)

    def close(self) -> None:
        """This process puts and gets no more; others may."""
        self._closed = True
        if self._ends is not None:
            self._ends[0].forget_bell()

    # ---- for wait(), and for those who expect a pipe in it ----

    def _wait_arm(self, bell: _core.Bell) -> bool:
        """Have `bell` rung at the next put; whether something can be taken now."""
        self._check_open(OSError)
        self._channel.listen(bell)
        return bool(len(self._channel))

    def _wait_disarm(self, bell: _core.Bell) -> None:
        self._channel.unlisten(bell)

    def _pipe_ends(self) -> tuple[_Reader, _Writer]:
        if self._ends is None:
            self._ends = _Reader(self), _Writer(self)
            self._call_when_taken(self._ends[0].look_again)
        return self._ends

    @property
    def _reader(self) -> _Reader:
        return self._pipe_ends()[0]

    @property
    def _writer(self) -> _Writer:
        return self._pipe_ends()[1]


class _Reader:
    """A queue as the receiving end of a pipe, for those who look into one: ``concurrent.futures`` polls it and receives."""

    def __init__(self, queue: _ChannelQueue) -> None:
        self._queue = queue
        self._bell: _core.Bell | None = None
        self._pid = 0
        self._closed = False

    def _check_open(self) -> None:
        self._queue._check_open(OSError)
        if self._closed:
            raise OSError(f"the receiving end of {self._queue!r} is closed")

    def fileno(self) -> int:
        """A descriptor that is readable when something is in the queue."""
        self._check_open()
        if self._bell is None or self._pid != os.getpid():
            self._bell, self._pid = _core.Bell(), os.getpid()
        self.look_again()
        return self._bell.fileno()

    def look_again(self) -> None:
        """Something was taken: the descriptor is readable only if something is left, or when something comes."""
        if self._bell is not None and self._pid == os.getpid():
            self._bell.clear()
            if self._queue._wait_arm(self._bell):
                self._bell.ring()

    def forget_bell(self) -> None:
        """Give the descriptor back."""
        if self._bell is not None and self._pid == os.getpid():
            self._queue._wait_disarm(self._bell)
        self._bell = None

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Whether something can be received within `timeout` seconds."""
        from procession.connection import wait

        self._check_open()
        return not self._queue.empty() or bool(wait([self._queue], timeout))

    def recv(self) -> Any:
        """Take the oldest object out."""
        self._check_open()
        return self._queue._get(FOREVER)

    @property
    def closed(self) -> bool:
        return self._closed or self._queue._closed

    def close(self) -> None:
        """Nothing is received here any more; the queue goes on, as a pipe's other end does."""
        self._closed = True
        self.forget_bell()


class _Writer:
    """A queue as the sending end of a pipe."""

    def __init__(self, queue: _ChannelQueue) -> None:
        self._queue = queue
        self._closed = False

    def send(self, obj: Any) -> None:
        """Put `obj` in."""
        self._queue._check_open(OSError)
        if self._closed:
            raise OSError(f"the sending end of {self._queue!r} is closed")
        self._queue._put(obj, FOREVER)

    @property
    def closed(self) -> bool:
        return self._closed or self._queue._closed

    def close(self) -> None:
        """Nothing is sent here any more; the queue goes on, as a pipe's other end does."""
        self._closed = True


class Queue(_ChannelQueue):
    """Like multiprocessing.Queue; can itself be sent through a queue, a pipe, or as a task's argument."""

    def __init__(self, maxsize: int = 0, *, ctx: Any = None) -> None:
        self._open(memory.channel(max(0, maxsize)))

    def _encode(self, obj: Any) -> Payload | None:
        try:
            return encode(obj)
        except CannotEncode as error:
            hook = self._on_queue_feeder_error
            if hook is Queue._on_queue_feeder_error:
                raise
            hook(error.__cause__ or error, obj)
            return None

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
        """Whether nothing is in it at this moment.

        Raises:
            OSError: the queue is closed, and was used before.
        """
        if self._closed and self._channel.tail:
            self._check_open(OSError)
        return not len(self._channel)

    def full(self) -> bool:
        """Whether a put would wait at this moment."""
        limit = self._channel.limit
        return bool(limit) and len(self._channel) >= limit

    def join_thread(self) -> None:
        """Nothing to wait for: what was put is delivered."""
        if not self._closed:
            raise AssertionError(f"Queue {self!r} not closed")

    def cancel_join_thread(self) -> None:
        """Nothing to cancel."""

    def _terminate_broken(self) -> None:
        """Its readers have died (``concurrent.futures`` of 3.12 and later says so): nothing is put any more."""
        self.close()

    @staticmethod
    def _on_queue_feeder_error(e: BaseException, obj: Any) -> None:
        """What becomes of an object that cannot be pickled, in classes that override this; put() raises otherwise."""
        import traceback

        traceback.print_exception(e)


class JoinableQueue(Queue):
    """Like multiprocessing.JoinableQueue; join() does not wait for what a process that died had taken.

    What was put is counted by the channel itself, and what each process has taken beside it, so no death can leave one
    without the other.
    """

    def __init__(self, maxsize: int = 0, *, ctx: Any = None) -> None:
        self._open_joinable(memory.ledger(memory.channel(max(0, maxsize))))

    def _open_joinable(self, ledger: memory.Ledger) -> None:
        self._open(ledger.channel, ledger)
        self._ledger = ledger

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_joinable, (type(self), self._ledger)

    def task_done(self) -> None:
        """What one get() has given is dealt with.

        Raises:
            ValueError: called more often than something was put.
        """
        if not self._ledger.done():
            raise ValueError("task_done() called too many times")

    def join(self) -> None:
        """Wait until all that was put is dealt with.

        Raises:
            ConsumerDied: a process was killed, or ended with an exit code other than 0, and had not called task_done() for
                all that it had taken.  Told once, at once, to one of those who join; what is lost counts as done from then
                on, so join() can be called again to wait for the rest.
        """
        self._ledger.join()


class SimpleQueue(_ChannelQueue):
    """Like multiprocessing.SimpleQueue; a put never waits."""

    def __init__(self, *, ctx: Any = None) -> None:
        self._open(memory.channel())

    def put(self, obj: Any) -> None:  # type: ignore[override]
        """Put `obj` in.

        Raises:
            CannotEncode: `obj` cannot be pickled.
            OSError: the queue is closed.
        """
        self._check_open(OSError)
        self._put(obj, FOREVER)

    def get(self) -> Any:  # type: ignore[override]
        """Take the oldest object out, waiting for one.

        Raises:
            OSError: the queue is closed.
        """
        self._check_open(OSError)
        return self._get(FOREVER)


def _open_queue(kind: Any, channel: memory.Channel) -> Any:
    queue = kind.__new__(kind)
    queue._open(channel)
    return queue


def _open_joinable(kind: type[JoinableQueue], ledger: memory.Ledger) -> JoinableQueue:
    queue = kind.__new__(kind)
    queue._open_joinable(ledger)
    return queue
