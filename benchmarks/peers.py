"""The pools of all sides behind one face, each as its documentation recommends.

A face is only names: where a pool has the method that a measure calls, the face holds that very method, so that nothing
is added to its time.  Libraries are imported where they are used: only the side that is measured pays for its import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import AbstractContextManager, contextmanager
from time import sleep
from types import FunctionType
from typing import Any, NamedTuple

from .measure import Setting

NOTES = {
    "stdlib": "`Pool`, `Queue`, `Pipe`, `Lock` and so on of `multiprocessing`, by the start method that the row names.",
    "concurrent.futures": "`ProcessPoolExecutor`; where the row says map, with the chunksize that `Pool.map` would take, "
    "as its documentation advises for long inputs.",
    "joblib": "`with Parallel(n_jobs=2)`, automatic batches, warm workers; `return_as='generator'` for streams; arrays as "
    "memory maps, its default, and each call with an array that it has not seen.",
    "loky": "`get_reusable_executor`, for what joblib has no words for: single tasks.",
    "mpire": "`WorkerPool(keep_alive=True)`, its automatic chunks, lengths given.",
    "pebble": "`ProcessPool`; its map sends single tasks unless told otherwise, and gets `Pool.map`'s "
    "chunksize in the rows of map.",
    "billiard": "as the standard library, whose API it has.",
    "multiprocess": "as the standard library, whose API it has.",
    "ray": "a local cluster of two cores without dashboard, started before the clock; `ray.util.multiprocessing.Pool` for map "
    "and imap, `ray.remote` and `ray.get` for single tasks, `ray.put` for shared objects.",
    "faster-fifo": "`faster_fifo.Queue`, everything at its default.",
}
RAY_STORE_BYTES = 4_000_000_000


class Face(NamedTuple):
    """What the measures call.  `caches_arrays`: whether an array that changed must be a new one to be sent anew."""

    map: Callable[[Callable[[Any], Any], Any], Any]
    imap: Callable[[Callable[[Any], Any], Any], Iterable[Any]]
    apply: Callable[[Callable[..., Any], tuple[Any, ...]], Any]
    submit_all: Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]]
    caches_arrays: bool = False


def open_pool(setting: Setting) -> AbstractContextManager[Face]:
    """The side's pool, as a context manager."""
    return OTHERS.get(setting.side, multiprocessing_pool)(setting)


def touch(_: object) -> None:
    """Long enough that each worker gets one of a few."""
    sleep(0.02)


def wake_all(pool: Face, setting: Setting, task: Callable[[Any], Any] = touch) -> None:
    """Bring up every worker: some pools start them only when there is work."""
    pool.submit_all(task, range(2 * setting.workers))


def like_pool_map(items: Sized, workers: int) -> int:
    """The chunksize that Pool.map chooses."""
    return -(-len(items) // (4 * workers))


@contextmanager
def multiprocessing_pool(setting: Setting) -> Iterator[Face]:
    """Every module with the API of multiprocessing."""
    with setting.context.Pool(setting.workers) as pool:

        def submit_all(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
            pending = [pool.apply_async(function, (item,)) for item in items]
            return [result.get() for result in pending]

        yield Face(pool.map, pool.imap, pool.apply, submit_all)


def executor_face(executor: Any, workers: int, **options: Any) -> Face:
    """Whatever has the API of concurrent.futures."""

    def map_all(function: Callable[[Any], Any], items: Any) -> list[Any]:
        return list(executor.map(function, items, chunksize=like_pool_map(items, workers)))

    def apply(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        return executor.submit(function, *arguments).result()

    def submit_all(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        pending = [executor.submit(function, item) for item in items]
        return [future.result() for future in pending]

    return Face(map_all, executor.map, apply, submit_all, **options)


@contextmanager
def futures_pool(setting: Setting) -> Iterator[Face]:
    """ProcessPoolExecutor."""
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(setting.workers, mp_context=setting.context) as executor:
        yield executor_face(executor, setting.workers)


@contextmanager
def loky_pool(setting: Setting) -> Iterator[Face]:
    """The executor under joblib."""
    from joblib.externals.loky import get_reusable_executor

    executor = get_reusable_executor(max_workers=setting.workers)
    yield executor_face(executor, setting.workers, caches_arrays=True)
    executor.shutdown(wait=True)


@contextmanager
def joblib_pool(setting: Setting) -> Iterator[Face]:
    """Both forms of Parallel share one set of workers."""
    from joblib import Parallel, delayed

    with Parallel(setting.workers) as parallel, Parallel(setting.workers, return_as="generator") as stream:

        def map_all(function: Callable[[Any], Any], items: Iterable[Any]) -> Any:
            call = delayed(function)
            return parallel(call(item) for item in items)

        def imap(function: Callable[[Any], Any], items: Iterable[Any]) -> Any:
            call = delayed(function)
            return stream(call(item) for item in items)

        def apply(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
            return parallel([delayed(function)(*arguments)])[0]

        yield Face(map_all, imap, apply, map_all, caches_arrays=True)


@contextmanager
def mpire_pool(setting: Setting) -> Iterator[Face]:
    """mpire wants the length of its input to choose chunks: all measures give ranges and lists."""
    from mpire import WorkerPool

    with WorkerPool(setting.workers, start_method=setting.method, keep_alive=True) as pool:

        def submit_all(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
            pending = [pool.apply_async(function, (item,)) for item in items]
            return [result.get() for result in pending]

        yield Face(pool.map, pool.imap, pool.apply, submit_all)
        pool.terminate()


@contextmanager
def pebble_pool(setting: Setting) -> Iterator[Face]:
    """pebble has the futures of concurrent.futures, and words of its own."""
    from pebble import ProcessPool

    with ProcessPool(max_workers=setting.workers, context=setting.context) as pool:

        def map_all(function: Callable[[Any], Any], items: Any) -> list[Any]:
            return list(pool.map(function, items, chunksize=like_pool_map(items, setting.workers)).result())

        def imap(function: Callable[[Any], Any], items: Iterable[Any]) -> Any:
            return pool.map(function, items).result()

        def apply(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
            return pool.schedule(function, args=arguments).result()

        def submit_all(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
            pending = [pool.schedule(function, args=(item,)) for item in items]
            return [future.result() for future in pending]

        yield Face(map_all, imap, apply, submit_all)
        pool.stop()


@contextmanager
def ray_cluster(setting: Setting) -> Iterator[Any]:
    """A local Ray; the harness ends what it leaves behind."""
    import logging
    import os
    import tempfile

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        ray.init(
            num_cpus=setting.workers,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=RAY_STORE_BYTES,
            _temp_dir=folder,
        )
        yield ray
        ray.shutdown()


@contextmanager
def ray_pool(setting: Setting) -> Iterator[Face]:
    """Ray's pool for whole inputs, its tasks for single calls."""
    with ray_cluster(setting) as ray:
        from ray.util.multiprocessing import Pool

        # The pool's actors hold the cores for as long as they live: single tasks must do without them, and the other way round.
        pools: list[Any] = []
        remotes: dict[Any, Any] = {}

        def pool() -> Any:
            if not pools:
                pools.append(Pool(setting.workers))
            return pools[0]

        def remote(function: Callable[..., Any]) -> Any:
            if function not in remotes:
                # ray.remote takes functions only, and nothing else that can be called
                plain = function if isinstance(function, FunctionType) else lambda *arguments: function(*arguments)
                remotes[function] = ray.remote(num_cpus=0 if pools else 1)(plain)
            return remotes[function]

        def imap(function: Callable[[Any], Any], items: Iterable[Any]) -> Any:
            return pool().imap(function, items)

        def map_all(function: Callable[[Any], Any], items: Iterable[Any]) -> Any:
            return pool().map(function, items)

        def apply(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
            return ray.get(remote(function).remote(*arguments))

        def submit_all(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
            task = remote(function)
            return list(ray.get([task.remote(item) for item in items]))

        yield Face(map_all, imap, apply, submit_all)


OTHERS: dict[str, Callable[[Setting], AbstractContextManager[Face]]] = {
    "concurrent.futures": futures_pool,
    "joblib": joblib_pool,
    "loky": loky_pool,
    "mpire": mpire_pool,
    "pebble": pebble_pool,
    "ray": ray_pool,
}
PACKAGES = {
    "faster-fifo": "faster_fifo",
    "joblib": "joblib",
    "mpire": "mpire",
    "pebble": "pebble",
    "billiard": "billiard",
    "multiprocess": "multiprocess",
    "ray": "ray",
    "numpy": "numpy",
}
"""What `pip install` calls it, and what `import` does."""
