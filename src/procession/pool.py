"""Pool and ThreadPool: the standard library's ``multiprocessing.pool`` on the engine.

Better on purpose: a worker that dies fails only the task that it ran, and is replaced; imap() reads its input no further ahead
than its reader's pace asks for; lambdas and functions typed in by hand work.
"""

from __future__ import annotations

import functools
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, TypeVar

from procession import _os
from procession.engine import program, wire
from procession.engine.clock import FOREVER, deadline_after
from procession.engine.functions import FunctionTable, LocalFunction, SentFunction
from procession.engine.tickets import CallTicket, Failure, MapTicket, OrderedStream, UnorderedStream
from procession.engine.wire import ExceptionWithTraceback, MaybeEncodingError, RemoteTraceback, RunnerSpec, rebuild_exc
from procession.engine.workers import Workers
from procession.errors import TimeoutError
from procession.worker import loop

__all__ = [
    "ApplyResult",
    "AsyncResult",
    "ExceptionWithTraceback",
    "IMapIterator",
    "IMapUnorderedIterator",
    "MapResult",
    "MaybeEncodingError",
    "Pool",
    "RemoteTraceback",
    "ThreadPool",
    "rebuild_exc",
]

INIT, RUN, CLOSE, TERMINATE = "INIT", "RUN", "CLOSE", "TERMINATE"
_Results = TypeVar("_Results", bound="IMapIterator")


class _Automatic(int):
    """A chunksize of 1 that nobody asked for: batches adapt."""

    def __repr__(self) -> str:
        return "1"


_AUTOMATIC = _Automatic(1)


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
        """
        if not self.done and not self._workers.wait(self, FOREVER if timeout is None else deadline_after(timeout)):
            raise TimeoutError
        if self._success:
            return self._value
        raise self._value


class ApplyResult(CallTicket, AsyncResult):
    """The result of apply_async()."""

    __slots__ = ("_workers",)

    def __init__(
        self,
        workers: Workers,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> None:
        self._workers = workers
        CallTicket.__init__(self, callback, error_callback)


class MapResult(MapTicket, AsyncResult):
    """The result of map_async() and starmap_async()."""

    __slots__ = ("_workers",)

    def __init__(
        self,
        workers: Workers,
        length: int,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> None:
        self._workers = workers
        super().__init__(length, callback, error_callback)


class IMapIterator:
    """The results of imap(), in order; an exception comes in its place, and the iteration can go on after it."""

    def __init__(self, workers: Workers, stream: UnorderedStream) -> None:
        self._workers = workers
        self._stream = stream
        self._ready = stream.ready
        self._feed: Any = None
        self._unfed = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            value = self._ready.popleft()
        except IndexError:
            value = self._wait_for_next(FOREVER)
        if type(value) is Failure:
            raise value.error
        return value

    def next(self, timeout: float | None = None) -> Any:
        """The next result.

        Raises:
            StopIteration: there is none.
            TimeoutError: it did not come within `timeout` seconds.
        """
        value = self._ready.popleft() if self._ready else self._wait_for_next(deadline_after(timeout))
        if type(value) is Failure:
            raise value.error
        return value

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


class Pool:
    """Like multiprocessing.Pool.

    Args:
        processes: workers; by default as many as there are cores for this process.
        initializer, initargs: called in each worker before its first task.
        maxtasksperchild: tasks after which a worker is replaced by a fresh one.
        context: whose start method the workers are started with.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
    ) -> None:
        self._state = INIT
        if context is None:
            from procession import get_context

            context = get_context()
        self._processes = _checked_size(processes, maxtasksperchild, initializer)
        by_value = context.get_start_method() != "fork" and program.main_origin() is None
        self._workers = Workers(
            self._processes,
            functools.partial(_start_worker, functools.partial(self.Process, context)),
            functions=FunctionTable(functools.partial(SentFunction, main_by_value=by_value)),
            initializer=initializer,
            initargs=tuple(initargs),
            task_limit=maxtasksperchild or 0,
        )
        self._state = RUN

    @staticmethod
    def Process(ctx: Any, *args: Any, **kwds: Any) -> Any:
        """A worker that is not started yet; subclasses may make their own kind."""
        return ctx.Process(*args, **kwds)

    # ---- one call ----

    def apply(self, func: Callable[..., Any], args: Iterable[Any] = (), kwds: dict[str, Any] | None = None) -> Any:
        """``func(*args, **kwds)`` in a worker, waiting for the result."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: dict[str, Any] | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult:
        """``func(*args, **kwds)`` in a worker; returns at once."""
        result = ApplyResult(self._workers, callback, error_callback)
        self._workers.submit(result, func, args if type(args) is tuple else tuple(args), kwds)
        return result

    # ---- many calls, all results ----

    def map(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        """``[func(item) for item in iterable]`` in the workers; raises the first error once all calls are done.

        A worker's death is raised at once.
        """
        result: list[Any] = self._map(func, iterable, wire.ITEM, chunksize).get()
        return result

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> MapResult:
        """map() that returns at once."""
        return self._map(func, iterable, wire.ITEM, chunksize, callback, error_callback)

    def starmap(
        self, func: Callable[..., Any], iterable: Iterable[Iterable[Any]], chunksize: int | None = None
    ) -> list[Any]:
        """``[func(*item) for item in iterable]`` in the workers."""
        result: list[Any] = self._map(func, iterable, wire.STAR, chunksize).get()
        return result

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> MapResult:
        """starmap() that returns at once."""
        return self._map(func, iterable, wire.STAR, chunksize, callback, error_callback)

    def _map(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        mode: int,
        chunksize: int | None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> MapResult:
        self._check_running()
        if chunksize is not None and chunksize < 1:
            raise ValueError(f"chunksize must be at least 1, got {chunksize}")
        items: Any = iterable if hasattr(iterable, "__len__") else list(iterable)
        if chunksize is None and not self._workers.batching:
            chunksize = max(1, -(-len(items) // (self._processes * 4)))
        result = MapResult(self._workers, len(items), callback, error_callback)
        self._workers.map(result, func, mode, items, chunksize)
        return result

    # ---- many calls, results as they come ----

    def imap(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int = _AUTOMATIC,
        *,
        buffersize: int | None = None,
    ) -> IMapIterator:
        """A lazy map(): results in order, while the input is read `buffersize` items ahead (by default a few)."""
        stream = OrderedStream()
        return self._imap(IMapIterator(self._workers, stream), stream, func, iterable, chunksize, buffersize)

    def imap_unordered(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int = _AUTOMATIC,
        *,
        buffersize: int | None = None,
    ) -> IMapUnorderedIterator:
        """A lazy map(): results as they come."""
        stream = UnorderedStream()
        return self._imap(IMapUnorderedIterator(self._workers, stream), stream, func, iterable, chunksize, buffersize)

    def _imap(
        self,
        iterator: _Results,
        stream: UnorderedStream,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int,
        buffersize: int | None,
    ) -> _Results:
        self._check_running()
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize}")
        if buffersize is not None and buffersize < 1:
            raise ValueError(f"buffersize must be at least 1, got {buffersize}")
        chunk = None if chunksize is _AUTOMATIC else chunksize
        iterator._feed = self._workers.stream(stream, func, wire.ITEM, iterable, chunk, buffersize)
        return iterator

    # ---- the pool itself ----

    def _check_running(self) -> None:
        if self._state != RUN:
            raise ValueError("Pool not running")

    @property
    def _pool(self) -> list[Any]:
        return self._workers.processes

    def _repopulate_pool(self) -> None:
        self._workers.look_at_workers()

    def close(self) -> None:
        """Take no more work; the workers end when all is done."""
        if self._state == RUN:
            self._state = CLOSE
            self._workers.close()

    def terminate(self) -> None:
        """Kill the workers at once."""
        self._state = TERMINATE
        self._workers.terminate()

    def join(self) -> None:
        """Wait for the workers to end; close() or terminate() comes first."""
        if self._state == RUN:
            raise ValueError("Pool is still running")
        if self._state not in (CLOSE, TERMINATE):
            raise ValueError("In unknown state")
        self._workers.join()

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(self, *args: object) -> None:
        self.terminate()

    def __del__(self) -> None:
        # What is left at the end of the interpreter has been seen to, and belongs to the parent in a forked child.
        if self._state == RUN and not self._workers.is_foreign and not sys.is_finalizing():
            warnings.warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self, stacklevel=2)
            self._workers.terminate()

    def __reduce__(self) -> tuple[Any, ...]:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} state={self._state} pool_size={len(self._pool)}>"


class ThreadPool(Pool):
    """Like multiprocessing.pool.ThreadPool: a Pool whose workers are threads of this process, so that nothing is pickled."""

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
    ) -> None:
        from procession.worker import threads

        self._state = INIT
        self._processes = _checked_size(processes, None, initializer)
        self._workers = Workers(
            self._processes,
            threads.start,
            functions=FunctionTable(LocalFunction),
            channel=threads.ThreadChannel,
            initializer=initializer,
            initargs=tuple(initargs),
            can_kill=False,
        )
        self._state = RUN


def _checked_size(processes: int | None, task_limit: object, initializer: object) -> int:
    """The number of workers; the arguments that pools have in common are checked."""
    if processes is None:
        processes = _os.cpu_count()
    if processes < 1:
        raise ValueError(f"Number of processes must be at least 1, got {processes}")
    if task_limit is not None and (not isinstance(task_limit, int) or task_limit <= 0):
        raise ValueError(f"maxtasksperchild must be a positive int or None, got {task_limit!r}")
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")
    return processes


def _start_worker(make: Callable[..., Any], spec: RunnerSpec, quiet: bool) -> Any:
    process = make(target=loop.main, args=(spec,))
    process.name, process.daemon = process.name.replace("Process", "PoolWorker"), True
    process._starts_quietly, process._is_deaf = quiet, True
    process.start()
    return process
