"""Large arrays: float64 to a worker and back, warm and cold, and one object that all tasks read.

The receiver reads one element: these rows are about the transfer, not about reading memory.  The element changes from
call to call, so that a copy kept from the last call would be seen.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any, TypeAlias

from .measure import (
    MODULES,
    MS,
    OURS,
    US_PER_TASK,
    Goal,
    Measure,
    Setting,
    Side,
    Skipped,
    expect,
    middle,
    seconds_per_item,
)
from .peers import RAY_STORE_BYTES, Face, open_pool, ray_cluster, wake_all

if TYPE_CHECKING:
    import numpy

    Floats: TypeAlias = numpy.ndarray[Any, numpy.dtype[numpy.float64]]

MB_100 = 100_000_000
GB = 1_000_000_000
FLOAT_BYTES = 8
SHARED_BY = 100


@cache
def ready_array(length: int) -> Floats:
    """An array whose pages exist; made once per process, so that its making is not measured."""
    try:
        import numpy
    except ImportError:
        raise Skipped("needs numpy") from None
    return numpy.arange(length, dtype=numpy.float64)


def read_first(array: Floats) -> float:
    """What a worker does with its argument."""
    return float(array[0])


def give_array(length: int, mark: float) -> Floats:
    """What a worker returns as its result: the array that it has ready, marked."""
    array = ready_array(length)
    array[0] = mark
    return array


def load_numpy(_: object) -> None:
    """Each worker does this once before anything is timed: the rows are not about an import."""
    ready_array(1)
    sleep(0.02)


def make_ready(length: int, _: object) -> None:
    """Each worker makes its array, if it gets one of these tasks."""
    ready_array(length)
    sleep(0.02)


def send_once(pool: Face, array: Floats, mark: float) -> float:
    """The time of one call with `array` as its argument."""
    array[0] = mark
    if pool.caches_arrays:
        array = array.copy()
    started = perf_counter()
    seen = pool.apply(read_first, (array,))
    elapsed_s = perf_counter() - started
    expect(seen == mark, f"the worker saw {seen} in the array instead of {mark}")
    return elapsed_s


def receive_once(pool: Face, length: int, mark: float) -> float:
    """The time of one call with an array as its result, which is dropped afterwards."""
    started = perf_counter()
    array = pool.apply(give_array, (length, mark))
    seen = float(array[0])
    elapsed_s = perf_counter() - started
    expect(seen == mark, f"the result's first element is {seen} instead of {mark}")
    return elapsed_s


def argument(setting: Setting, *, size: int, warm_ups: int, calls: int) -> float:
    """The median call; the first ones, which warm the workers and the memory, do not count."""
    array = ready_array(setting.count(size // FLOAT_BYTES))
    with open_pool(setting) as pool:
        wake_all(pool, setting, load_numpy)
        durations_s = [send_once(pool, array, float(number)) for number in range(warm_ups + calls)]
    return middle(durations_s[warm_ups:])


def result(setting: Setting, *, size: int, warm_ups: int, calls: int) -> float:
    """As `argument`, the other way."""
    length = setting.count(size // FLOAT_BYTES)
    ready_array(1)  # in this process, which then can say that NumPy is missing
    with open_pool(setting) as pool:
        wake_all(pool, setting, load_numpy)
        wake_all(pool, setting, partial(make_ready, length))
        durations_s = [receive_once(pool, length, float(number)) for number in range(warm_ups + calls)]
    return middle(durations_s[warm_ups:])


def copy(setting: Setting) -> float:
    """The same bytes copied within one process, into memory that is warm."""
    import numpy

    array = ready_array(setting.count(GB // FLOAT_BYTES))
    other = numpy.ones_like(array)
    numpy.copyto(other, array)
    return seconds_per_item(lambda: numpy.copyto(other, array), items=1, least_s=0.3)


def read_shared(handle: Any) -> float:
    """Open what was shared and read one element."""
    return float(handle.get()[0])


def read_from_both(shared: Floats, number: int) -> float:
    """mpire hands the shared object to each task."""
    return float(shared[0]) + number


def shared(setting: Setting, *, size: int) -> float:
    """The time of each of 100 tasks that get the handle of one object, shared beforehand."""
    module = import_module(type(setting.context).__module__.partition(".")[0])
    if not hasattr(module, "share"):
        raise Skipped(f"there is no {module.__name__}.share")
    handle = module.share(ready_array(setting.count(size // FLOAT_BYTES)))
    handles = [handle] * SHARED_BY
    with setting.context.Pool(setting.workers) as pool:
        expect(pool.map(read_shared, handles) == [0.0] * SHARED_BY, "a worker saw another array than was shared")
        return seconds_per_item(lambda: pool.map(read_shared, handles), items=SHARED_BY, least_s=setting.seconds(0.5))


def shared_by_joblib(setting: Setting) -> float:
    """The same array in every call: joblib writes it to a file once, which the workers map."""
    array = ready_array(setting.count(GB // FLOAT_BYTES))
    with open_pool(setting) as pool:
        pool.map(read_first, [array] * SHARED_BY)
        return seconds_per_item(lambda: pool.map(read_first, [array] * SHARED_BY), items=SHARED_BY)


def shared_by_mpire(setting: Setting) -> float:
    """Workers that are forked from the process that has the array."""
    from mpire import WorkerPool

    array = ready_array(setting.count(GB // FLOAT_BYTES))
    with WorkerPool(setting.workers, shared_objects=array, start_method="fork", keep_alive=True) as pool:
        pool.map(read_from_both, range(SHARED_BY))
        seconds = seconds_per_item(lambda: pool.map(read_from_both, range(SHARED_BY)), items=SHARED_BY)
        pool.terminate()
        return seconds


def shared_by_ray(setting: Setting) -> float:
    """A reference to what `ray.put` has stored."""
    array = ready_array(setting.count(GB // FLOAT_BYTES))
    expect(array.nbytes * 2 < RAY_STORE_BYTES, "Ray's store is too small for this")
    with ray_cluster(setting) as ray:
        reference = ray.put(array)
        task = ray.remote(read_first)

        def read_all() -> list[float]:
            return list(ray.get([task.remote(reference) for _ in range(SHARED_BY)]))

        expect(read_all() == [0.0] * SHARED_BY, "a worker saw another array than was shared")
        read_all()
        return seconds_per_item(read_all, items=SHARED_BY)


def sides(run: Callable[[Setting], float], *others: str) -> dict[str, Side]:
    """procession, the standard library, and these."""
    return {side: Side(run, MODULES.get(side)) for side in (OURS, "stdlib", *others)}


LOCAL = ("concurrent.futures", "joblib", "mpire", "pebble")
OTHERS = (*LOCAL, "ray")
WARM: dict[str, Any] = {"size": MB_100, "warm_ups": 4, "calls": 5}
COLD: dict[str, Any] = {"size": MB_100, "warm_ups": 0, "calls": 1}
WARM_GB: dict[str, Any] = {"size": GB, "warm_ups": 1, "calls": 1}

MEASURES = [
    Measure(
        "arrays.argument",
        "100 MB float64 as argument, warm",
        MS,
        sides(partial(argument, **WARM), *OTHERS),
        [Goal(40, ("stdlib",))],
    ),
    Measure(
        "arrays.result",
        "100 MB float64 as result, warm",
        MS,
        sides(partial(result, **WARM), *OTHERS),
        [Goal(15, ("stdlib",))],
    ),
    Measure(
        "arrays.argument_cold",
        "100 MB float64 as argument, the first of its program",
        MS,
        sides(partial(argument, **COLD), *LOCAL),
        [Goal(1, ("joblib",))],
    ),
    Measure(
        "arrays.result_cold",
        "100 MB float64 as result, the first of its program",
        MS,
        sides(partial(result, **COLD), *LOCAL),
        [Goal(1, ("joblib",))],
    ),
    Measure(
        "arrays.argument_1gb",
        "1 GB float64 as argument, warm",
        MS,
        {
            **sides(partial(argument, **WARM_GB), "joblib", "ray"),
            OURS: Side(partial(argument, size=GB, warm_ups=2, calls=5), MODULES[OURS]),
            "numpy.copyto": Side(copy),
        },
        [Goal(30, ("stdlib",)), Goal(0.5, ("numpy.copyto",))],
        rounds=3,
    ),
    Measure(
        "arrays.shared",
        "a shared object of 1 GB to each of 100 tasks",
        US_PER_TASK,
        {
            OURS: Side(partial(shared, size=GB), MODULES[OURS]),
            "procession, 1 MB": Side(partial(shared, size=1_000_000), MODULES[OURS]),
            "joblib": Side(shared_by_joblib),
            "mpire": Side(shared_by_mpire),
            "ray": Side(shared_by_ray),
        },
        [Goal(0.83, ("procession, 1 MB",))],
    ),
]
