"""Pool and ThreadPool: the standard library's ``multiprocessing.pool`` on the engine.

Better on purpose: a worker that dies fails only the task that it ran, and is replaced; imap() reads its input no further ahead
than its reader's pace asks for; lambdas and functions typed in by hand work.

All that runs calls takes what each of them may cost, by keyword:

    timeout      seconds that one call may run; then its worker is ended with all that it has started, and the call gets
                 TaskTimeout.  In the map family it counts for each item, not for a chunk
    retries      times that a call is run again if its worker dies, or if it raises one of `retry_on`
    retry_on     types of exceptions; TaskTimeout among them has late calls run again
    on_error     in the map family: "raise", or "return" to have exceptions in the place of results
"""

from __future__ import annotations

import functools
import itertools
import sys
import warnings
from collections.abc import Callable, Iterable

from procession import _os
from procession.engine import program, wire
from procession.engine.batches import Terms
from procession.engine.exceptions import ExceptionWithTraceback, MaybeEncodingError, RemoteTraceback, rebuild_exc
from procession.engine.functions import FunctionTable, LocalFunction, SentFunction
from procession.engine.tickets import OrderedStream, UnorderedStream
from procession.engine.workers import Workers
from procession.errors import PoolClosed, TimeoutError  # noqa: F401 - many look here for TimeoutError
from procession.results import (
    ApplyResult,
    AsyncResult,
    IMapIterator,
    IMapUnorderedIterator,
    MapResult,
    OnError,
    RetryOn,
    keeps_errors,
    terms_of,
)
from procession.worker import cores, loop, streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    _Results = TypeVar("_Results", bound=IMapIterator)

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


class _Automatic(int):
    """A chunksize of 1 that nobody asked for: batches adapt."""

    def __repr__(self) -> str:
        return "1"


_AUTOMATIC = _Automatic(1)


class Pool:
    """Like multiprocessing.Pool.

    Args:
        processes: workers; by default as many as there are cores for this process.
        initializer, initargs: called in each worker before its first task.
        maxtasksperchild: tasks after which a worker is replaced by a fresh one.
        context: whose start method the workers are started with.
        max_memory_per_worker: bytes of memory of its own after which a worker is replaced, between two tasks.
        grace: seconds between the soft signal (SIGTERM) and the hard one, wherever a worker is ended.
        seed: each task begins with streams of `random` and ``numpy.random`` that follow from this, from how many calls of the
            pool's methods came before, and from the item's place in its input: not from who runs it.  Without one each
            worker has streams of its own.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
        *,
        max_memory_per_worker: int | None = None,
        grace: float = 0.4,
        seed: int | str | bytes | None = None,
    ) -> None:
        self._state = INIT
        if context is None:
            from procession import get_context

            context = get_context()
        self._processes = _checked_size(processes, initializer)
        for name, limit in (("maxtasksperchild", maxtasksperchild), ("max_memory_per_worker", max_memory_per_worker)):
            if limit is not None and (not isinstance(limit, int) or limit <= 0):
                raise ValueError(f"{name} must be a positive int or None, got {limit!r}")
        if not 0 <= grace < float("inf"):
            raise ValueError(f"grace must be a number of seconds that is not negative, got {grace!r}")
        if seed is not None and not isinstance(seed, (int, str, bytes)):
            raise TypeError(f"seed must be an int, a str, bytes or None, got {seed!r}")
        self._seed = seed
        self._calls = itertools.count()
        by_value = context.get_start_method() != "fork" and program.main_origin() is None
        self._workers = Workers(
            self._processes,
            functools.partial(_start_worker, functools.partial(self.Process, context)),
            functions=FunctionTable(functools.partial(SentFunction, main_by_value=by_value)),
            initializer=initializer,
            initargs=tuple(initargs),
            task_limit=maxtasksperchild or 0,
            memory_limit=max_memory_per_worker or 0,
            grace=grace,
        )
        self._state = RUN

    _seed: int | str | bytes | None = None

    @staticmethod
    def Process(ctx: Any, *args: Any, **kwds: Any) -> Any:
        """A worker that is not started yet; subclasses may make their own kind."""
        return ctx.Process(*args, **kwds)

    # ---- one call ----

    def apply(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: dict[str, Any] | None = None,
        *,
        timeout: float | None = None,
        retries: int = 0,
        retry_on: RetryOn = (),
    ) -> Any:
        """``func(*args, **kwds)`` in a worker, waiting for the result."""
        return self.apply_async(func, args, kwds, timeout=timeout, retries=retries, retry_on=retry_on).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: dict[str, Any] | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        timeout: float | None = None,
        retries: int = 0,
        retry_on: RetryOn = (),
    ) -> AsyncResult:
        """``func(*args, **kwds)`` in a worker; returns at once."""
        terms = None if timeout is None and not retries else self._terms(timeout, retries, retry_on)
        result = ApplyResult(callback, error_callback, terms, self._workers)
        args = args if type(args) is tuple else tuple(args)
        if self._seed is not None:
            func, args, kwds = self._seeded(func, unpack=True), (next(self._calls), 0, args, kwds), None
        self._workers.submit(result, func, args, kwds)
        return result

    # ---- many calls, all results ----

    def map(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        *,
        timeout: float | None = None,
        retries: int = 0,
        retry_on: RetryOn = (),
        on_error: OnError = "raise",
    ) -> list[Any]:
        """``[func(item) for item in iterable]`` in the workers; raises the first error once all calls are done.

        A worker's death and a timeout are raised at once.
        """
        terms = self._terms(timeout, retries, retry_on)
        result: list[Any] = self._map(func, iterable, wire.ITEM, chunksize, None, None, terms, on_error).get()
        return result

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        timeout: float | None = None,
        retries: int = 0,
        retry_on: RetryOn = (),
        on_error: OnError = "raise",
    ) -> MapResult:
        """map() that returns at once."""
        terms = self._terms(timeout, retries, retry_on)
        return self._map(func, iterable, wire.ITEM, chunksize, callback, error_callback, terms, on_error)

    def starmap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        *,
        timeout: float | None = None,
        retries: int = 0,
        retry_on: RetryOn = (),
        on_error: OnError = "raise",
    ) -> list[Any]:
        """``[func(*item) for item in iterable]`` in the workers."""
        terms = self._terms(timeout, retries, retry_on)
        result: list[Any] = self._map(func, iterable, wire.STAR, chunksize, None, None, terms, on_error).get()
        return result

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        timeout: float | None = None,
        retries: int = 0,
        retry_on: RetryOn = (),
        on_error: OnError = "raise",
    ) -> MapResult:
        """starmap() that returns at once."""
        terms = self._terms(timeout, retries, retry_on)
        return self._map(func, iterable, wire.STAR, chunksize, callback, error_callback, terms, on_error)

    def _map(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        mode: int,
        chunksize: int | None,
        callback: Callable[[Any], object] | None,
        error_callback: Callable[[BaseException], object] | None,
        terms: Terms | None,
        on_error: OnError,
    ) -> MapResult:
        self._check_running()
        if chunksize is not None and chunksize < 1:
            raise ValueError(f"chunksize must be at least 1, got {chunksize}")
        items: Any = iterable if hasattr(iterable, "__len__") else list(iterable)
        if chunksize is None and not self._workers.batching:
            chunksize = max(1, -(-len(items) // (self._processes * 4)))
        if self._seed is not None:
            call = next(self._calls)
            items = [(call, index, item) for index, item in enumerate(items)]
            func, mode = self._seeded(func, unpack=mode == wire.STAR), wire.STAR
        result = MapResult(self._workers, len(items), callback, error_callback, keeps_errors=keeps_errors(on_error))
        self._workers.map(result, func, mode, items, chunksize, terms)
        return result

    # ---- many calls, results as they come ----

    def imap(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int = _AUTOMATIC,
        *,
        buffersize: int | None = None,
        timeout: float | None = None,
        retries: int = 0,
        retry_on: RetryOn = (),
        on_error: OnError = "raise",
    ) -> IMapIterator:
        """A lazy map(): results in order, while the input is read `buffersize` items ahead (by default a few)."""
        stream, terms = OrderedStream(), self._terms(timeout, retries, retry_on)
        iterator = IMapIterator(self._workers, stream, keeps_errors=keeps_errors(on_error))
        return self._imap(iterator, stream, func, iterable, chunksize, buffersize, terms)

    def imap_unordered(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int = _AUTOMATIC,
        *,
        buffersize: int | None = None,
        timeout: float | None = None,
        retries: int = 0,
        retry_on: RetryOn = (),
        on_error: OnError = "raise",
    ) -> IMapUnorderedIterator:
        """A lazy map(): results as they come."""
        stream, terms = UnorderedStream(), self._terms(timeout, retries, retry_on)
        iterator = IMapUnorderedIterator(self._workers, stream, keeps_errors=keeps_errors(on_error))
        return self._imap(iterator, stream, func, iterable, chunksize, buffersize, terms)

    def _imap(
        self,
        iterator: _Results,
        stream: UnorderedStream,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int,
        buffersize: int | None,
        terms: Terms | None,
    ) -> _Results:
        self._check_running()
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize}")
        if buffersize is not None and buffersize < 1:
            raise ValueError(f"buffersize must be at least 1, got {buffersize}")
        chunk = None if chunksize is _AUTOMATIC else chunksize
        mode = wire.ITEM
        if self._seed is not None:
            func, mode = self._seeded(func, unpack=False), wire.STAR
            iterable = zip(itertools.repeat(next(self._calls)), itertools.count(), iterable, strict=False)
        iterator._feed = self._workers.stream(stream, func, mode, iterable, chunk, buffersize, terms)
        return iterator

    # ---- the pool itself ----

    def resize(self, processes: int) -> None:
        """Have that many workers from now on.

        More are started at once.  Fewer leave when they have done what they run; no task is lost.

        Raises:
            PoolClosed: the pool takes no more work.
        """
        self._check_running()
        self._processes = _checked_size(processes, None)
        self._workers.resize(self._processes)

    def _seeded(self, func: Callable[..., Any], *, unpack: bool) -> streams.Seeded:
        assert self._seed is not None
        return streams.Seeded(func, self._seed, unpack=unpack)

    def _check_running(self) -> None:
        if self._state != RUN:
            raise PoolClosed("Pool not running")

    def _terms(self, timeout: float | None, retries: int, retry_on: RetryOn) -> Terms | None:
        return terms_of(timeout, retries, retry_on)

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
            self._workers.let_go()

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
        self._processes = _checked_size(processes, initializer)
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

    def _terms(self, timeout: float | None, retries: int, retry_on: RetryOn) -> Terms | None:
        if timeout is not None:
            raise ValueError(
                f"a thread cannot be stopped, so there is no timeout={timeout!r} in a ThreadPool: "
                "use a Pool, or wait no longer than that by get(timeout)"
            )
        return super()._terms(timeout, retries, retry_on)


def _checked_size(processes: int | None, initializer: object) -> int:
    """The number of workers; the arguments that pools have in common are checked."""
    processes = _os.cpu_count() if processes is None else processes
    if processes < 1:
        raise ValueError(f"Number of processes must be at least 1, got {processes}")
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")
    return processes


def _start_worker(make: Callable[..., Any], spec: wire.RunnerSpec, quiet: bool) -> Any:
    process = make(target=loop.main, args=(spec,))
    process.name, process.daemon = process.name.replace("Process", "PoolWorker"), True
    process._starts_quietly, process._is_deaf = quiet, True
    cores.prepare(spec.share)
    process.start()
    return process
