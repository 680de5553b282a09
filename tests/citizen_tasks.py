"""What runs in the workers of test_citizens.  NumPy is imported by the tasks, as far as the program has not done so."""

from __future__ import annotations

import os
import random
from typing import Any

import procession

VARIABLES = (
    "OMP_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "PROCESSION_SHARE",
)


def draw(_: object = None) -> tuple[float, float]:
    import numpy.random

    return random.random(), numpy.random.random()


def draw_together(barrier: Any) -> tuple[float, float]:
    """In as many workers as meet at the barrier, once in each."""
    barrier.wait(20)
    return draw()


def seed(number: int) -> None:
    import numpy.random

    random.seed(number)
    numpy.random.seed(number)


def draw_seeded(place: tuple[Any, int, int]) -> tuple[float, float]:
    from procession.worker import streams

    streams.seed_task(*place)
    return draw()


def settings() -> dict[str, str]:
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}


def blas_threads() -> int:
    """That NumPy's BLAS would use."""
    import numpy  # noqa: F401
    import threadpoolctl

    return max(library["num_threads"] for library in threadpoolctl.threadpool_info())


def threads_after_blas() -> int:
    """Of this process, once it has multiplied matrices that are large enough for all that BLAS has."""
    import numpy

    matrix = numpy.ones((500, 500))
    assert (matrix @ matrix)[0, 0] == 500
    return len(os.listdir("/proc/self/task"))


def pool_within(method: str, workers: int) -> tuple[int, int, dict[str, str]]:
    """In a worker: its cores, the size of a pool that is told none, and the settings in a worker of one."""
    context = procession.get_context(method)
    with context.Pool(workers) as pool:
        found = pool.apply(settings)
    pool.join()
    with context.Pool() as pool:
        size = pool._processes
    pool.join()
    return procession.cpu_count(), size, found


def hold_pool(method: str, pids: Any) -> None:
    """In a worker: say who it is and whom it has started, and stay."""
    pool = procession.get_context(method).Pool(2)
    pool.map(abs, range(4))
    pids.put([os.getpid(), *(worker.pid for worker in pool._pool)])
    procession.Event().wait()


def draw_for(item: object, other: object = None) -> tuple[object, float, float]:
    """What a task draws, beside its arguments."""
    return item, *draw()
