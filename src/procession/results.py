"""What a caller may want for work, and what a pool gives for it: results to wait for and to ask, iterators over results."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator

from procession.engine.batches import Terms
from procession.engine.clock import FOREVER, deadline_after
from procession.engine.tickets import CallTicket, Failure, MapTicket, UnorderedStream
from procession.engine.workers import Workers
from procession.errors import TaskCancelled, TaskTimeout, TimeoutError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, Literal

    OnError = Literal["raise", "return"]
else:
    OnError = str

__all__ = [
    "ApplyResult",
    "AsyncResult",
    "IMapIterator",
    "IMapUnorderedIterator",
    "MapResult",
    "OnError",
    "RetryOn",
    "keeps_errors",
    "terms_of",
]

RetryOn = type[BaseException] | tuple[type[BaseException], ...]


def keeps_errors(on_error: OnError) -> bool:
    """Whether exceptions are to stand in the place of results."""
    if on_error not in ("raise", "return"):
        raise ValueError(f'on_error must be "raise" or "return", got {on_error!r}')
    return on_error == "return"


def terms_of(timeout: float | None, retries: int, retry_on: RetryOn) -> Terms | None:
    """What a submission asks for, checked; None if it is nothing.

    Raises:
        ValueError, TypeError: it cannot be had.
    """
    if timeout is not None and not 0 < timeout < float("inf"):
        raise ValueError(f"timeout must be a positive number of seconds or None, got {timeout!r}")
    if not isinstance(retries, int) or retries < 0:
        raise ValueError(f"retries must be an int that is not negative, got {retries!r}")
    kinds = retry_on if isinstance(retry_on, tuple) else (retry_on,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise TypeError(f"retry_on must be a type of exceptions or a tuple of such, got {retry_on!r}")
    if timeout is None and not retries:
        return None
    return Terms(int((timeout or 0) * 1e9), retries, kinds, any(issubclass(TaskTimeout, kind) for kind in kinds))


class AsyncResult:
    """What apply_async(), map_async() and starmap_async() return: something to wait for, and to ask."""

    __slots__ = ()
    __class_getitem__: ClassVar[Any] = classmethod(types.GenericAlias)

    _workers: Workers
    done: bool
    _success: bool
    _value: Any

    def ready(self) -> bool:
        """Whether the result is here."""
        if not self.done:
            self._workers.look(self)
        return self.done

    def successful(self) -> bool:
        """Whether the call raised nothing.

        Raises:
            ValueError: it is not done yet.
        """
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._success

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the result is here, or `timeout` seconds have passed."""
        if not self.done:
            self._workers.wait(self, FOREVER if timeout is None else deadline_after(timeout))

    def get(self, timeout: float | None = None) -> Any:
        """The result, or the exception that the call raised.

        Raises:
            TimeoutError: it was not done within `timeout` seconds.
            WorkerDied: the worker that ran it died.
            TaskTimeout: it ran for longer than it may.
            TaskCancelled: somebody has cancelled it, or ended the pool.
        """
        return self.wait_for_value(timeout)

    def wait_for_value(self, timeout: float | None) -> Any:
        """As get()."""
        if not self.done and not self._workers.wait(self, FOREVER if timeout is None else deadline_after(timeout)):
            raise TimeoutError
        if self._success:
            return self._value
        raise self._value

    def cancel(self) -> bool:
        """Have it not done, or ended where it runs: get() raises TaskCancelled then.

        A worker that runs it is ended as for a timeout, and replaced; a thread cannot be.

        Returns:
            False if it is done already, or is a call that a thread runs.
        """
        return self._workers.cancel(self)

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.done and not self._success and isinstance(self._value, TaskCancelled)


class ApplyResult(CallTicket, AsyncResult):
    """The result of apply_async()."""

    __slots__ = ()


class MapResult(MapTicket, AsyncResult):
    """The result of map_async() and starmap_async()."""

    __slots__ = ()

    def __init__(
        self,
        workers: Workers,
        length: int,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        keeps_errors: bool = False,
    ) -> None:
        self._workers = workers
        super().__init__(length, callback, error_callback, keeps_errors=keeps_errors)


class IMapIterator:
    """The results of imap(), in order; an exception comes in its place, and the iteration can go on after it."""

    def __init__(self, workers: Workers, stream: UnorderedStream, *, keeps_errors: bool = False) -> None:
        self._workers = workers
        self._keeps_errors = keeps_errors
        self._stream = stream
        self._ready = stream.ready
        self._feed: Any = None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            value = self._ready.popleft()
        except IndexError:
            value = self._wait_for_next(FOREVER)
        return self._given(value) if type(value) is Failure else value

    def next(self, timeout: float | None = None) -> Any:
        """The next result.

        Raises:
            StopIteration: there is none.
            TimeoutError: it did not come within `timeout` seconds.
        """
        value = self._ready.popleft() if self._ready else self._wait_for_next(deadline_after(timeout))
        return self._given(value) if type(value) is Failure else value

    def _given(self, failure: Failure) -> Any:
        if self._keeps_errors:
            return failure.error
        raise failure.error

    def _wait_for_next(self, deadline: int) -> Any:
        feed, stream = self._feed, self._stream
        while True:
            if not feed.ended:
                self._workers.advance(feed)  # what was read makes room
            if not stream.done and not self._workers.wait(stream, deadline):
                raise TimeoutError
            try:
                return self._ready.popleft()
            except IndexError:
                pass
            if stream.ended and not self._ready:
                error, stream.end = stream.end, None
                if error is not None:
                    raise error
                raise StopIteration

    def __del__(self) -> None:
        if self._feed is not None:
            self._feed.stop()  # nobody reads any more


class IMapUnorderedIterator(IMapIterator):
    """The results of imap_unordered(), as they come."""
