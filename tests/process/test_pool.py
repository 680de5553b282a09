"""Pool under every start method, as the standard library's manual describes it, and where it is better."""

import gc
import itertools
import os
import re
import signal
import threading
import time
import warnings

import numpy as np
import pytest

import procession
import tasks
from conftest import wait_until
from procession.errors import CannotDecode, CannotEncode, TimeoutError
from procession.pool import MaybeEncodingError, RemoteTraceback

# ---- calls and maps ----


def test_apply_gives_the_result(pool):
    assert pool.apply(tasks.add, (1,), {"b": 2, "scale": 10}) == 30
    assert pool.apply(tasks.own_pid) != os.getpid()


def test_apply_async_gives_a_result_to_ask(pool, tmp_path):
    path = str(tmp_path / "here")
    result = pool.apply_async(tasks.arrive_and_wait, (path, 5))
    wait_until((tmp_path / "here").exists)
    assert not result.ready()
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    with pytest.raises(TimeoutError):
        result.get(0.05)
    assert result.wait(0.01) is None
    tasks.arrive(path + ".go")
    assert result.get(10) == 5
    assert result.ready() and result.successful()
    assert result.get() == 5


def test_ready_turns_true_by_itself(pool):
    result = pool.apply_async(tasks.double, (4,))
    wait_until(result.ready, within_s=5)
    assert result.successful()


@pytest.mark.parametrize("length", [0, 1, 2, 3, 10, 1000])
@pytest.mark.parametrize("chunksize", [None, 1, 7, 5000])
def test_map_is_map(pool, length, chunksize):
    assert pool.map(tasks.double, range(length), chunksize) == [2 * i for i in range(length)]


@pytest.mark.parametrize("kind", [list, tuple, iter, set, lambda r: (i for i in r), lambda r: np.array(r)])
def test_map_takes_any_iterable(pool, kind):
    assert pool.map(tasks.double, kind(range(20))) == [2 * i for i in range(20)]


def test_starmap_spreads_its_items(pool):
    assert pool.starmap(tasks.add, [(1, 2), (3, 4), (5,)]) == [3, 7, 5]
    assert pool.starmap_async(tasks.add, iter([(1, 2)])).get(10) == [3]


@pytest.mark.parametrize("chunksize", [1, 3, 1000])
@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
def test_imap_gives_everything(pool, name, chunksize):
    got = list(getattr(pool, name)(tasks.double, range(200), chunksize))
    assert (got if name == "imap" else sorted(got)) == [2 * i for i in range(200)]


@pytest.mark.parametrize("kind", [list, iter])
@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
def test_imap_batches_by_itself_and_loses_nothing(pool, name, kind):
    got = list(getattr(pool, name)(tasks.double, kind(range(20_000))))
    assert (got if name == "imap" else sorted(got)) == [2 * i for i in range(20_000)]


@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
def test_imap_of_nothing_is_empty(pool, name):
    assert list(getattr(pool, name)(tasks.double, [])) == []
    assert list(getattr(pool, name)(tasks.double, iter([]))) == []


def test_imap_unordered_gives_first_what_is_first_done(pool, tmp_path):
    slow, quick = str(tmp_path / "slow"), str(tmp_path / "quick")
    tasks.arrive(quick + ".go")
    results = pool.imap_unordered(tasks.arrive_and_wait_pair, [(slow, 1), (quick, 2)])
    assert next(results) == 2
    tasks.arrive(slow + ".go")
    assert next(results) == 1


def test_a_chunk_stays_together(pool):
    pids = pool.map(tasks.own_pid, range(100), chunksize=25)
    for start in range(0, 100, 25):
        assert len(set(pids[start : start + 25])) == 1


def test_both_workers_work(pool, tmp_path):
    paths = [str(tmp_path / name) for name in "ab"]
    results = [pool.apply_async(tasks.arrive_and_wait, (path, path)) for path in paths]
    for path in paths:
        wait_until(lambda path=path: os.path.exists(path), "two tasks at one time")
    for path in paths:
        tasks.arrive(path + ".go")
    assert [result.get(10) for result in results] == paths


@pytest.mark.parametrize("bad", [0, -1])
def test_a_chunksize_must_be_positive(pool, bad):
    for name in ("map", "starmap", "imap", "imap_unordered"):
        with pytest.raises(ValueError, match="hunksize"):
            getattr(pool, name)(tasks.double, [1], bad)


# ---- iterators ----


@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
def test_next_with_a_timeout_comes_back_and_can_be_asked_again(pool, tmp_path, name):
    path = str(tmp_path / "here")
    results = getattr(pool, name)(tasks.arrive_and_wait, [path])
    with pytest.raises(TimeoutError):
        results.next(timeout=0.05)
    tasks.arrive(path + ".go")
    assert results.next(timeout=10) is None
    with pytest.raises(StopIteration):
        results.next(timeout=10)
    with pytest.raises(StopIteration):
        next(results)


@pytest.mark.parametrize("kind", [list, iter])
def test_an_exception_comes_in_its_place_and_the_iteration_goes_on(pool, kind):
    results = pool.imap(tasks.raise_at_three, kind(range(6)))
    got = []
    while True:
        try:
            got.append(next(results))
        except ValueError as error:
            got.append(str(error))
        except StopIteration:
            break
    assert got == [0, 1, 2, "three", 4, 5]


def test_an_input_that_raises_gives_its_items_and_then_its_error(pool):
    def broken():
        yield from range(5)
        raise ZeroDivisionError("in the input")

    got = []
    with pytest.raises(ZeroDivisionError, match="in the input"):
        for value in pool.imap(tasks.double, broken()):
            got.append(value)
    assert got == [0, 2, 4, 6, 8]
    with pytest.raises(ZeroDivisionError):
        pool.map(tasks.double, broken())
    assert pool.map(tasks.double, [1]) == [2]


def counted(total, counter):
    for i in itertools.count() if total is None else range(total):
        counter[0] = i + 1
        yield i


@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
def test_an_infinite_input_is_read_a_little_ahead(pool, name):
    read = [0]
    results = getattr(pool, name)(tasks.identity, counted(None, read))
    got = [next(results) for _ in range(20)]
    assert sorted(got) == list(range(20)) if name == "imap" else len(set(got)) == 20
    wait_until(lambda seen=[-1]: seen[-1] == read[0] or seen.append(read[0]))
    assert read[0] <= 20 + 200
    results = None


def test_buffersize_bounds_the_read_ahead(pool):
    read = [0]
    results = pool.imap(tasks.identity, counted(None, read), buffersize=4)
    for i in range(50):
        assert next(results) == i
        assert read[0] <= i + 1 + 5


def test_an_input_that_waits_for_its_reader_does_not_deadlock(pool):
    """The idiom of a semaphore that throttles a generator."""
    permits = threading.Semaphore(3)
    results = pool.imap(tasks.double, tasks.throttled(permits, 60))
    for i in range(60):
        assert results.next(timeout=10) == 2 * i
        permits.release()
    with pytest.raises(StopIteration):
        results.next(timeout=10)


@pytest.mark.parametrize("kind", [list, iter])
def test_an_abandoned_imap_does_not_hold_up_close_and_join(ctx, kind):
    pool = ctx.Pool(2)
    results = pool.imap(tasks.identity, kind(range(5000)))
    assert next(results) == 0
    del results
    gc.collect()
    assert pool.map(tasks.double, [1, 2]) == [2, 4]
    pool.close()
    joined(pool)


def test_an_unread_imap_of_a_list_does_not_hold_up_close_and_join(ctx):
    """The standard library works through all of it."""
    pool = ctx.Pool(2)
    results = pool.imap(tasks.double, list(range(500)))
    pool.close()
    joined(pool)
    assert list(results) == [2 * i for i in range(500)]


def joined(pool, within_s=8):
    thread = threading.Thread(target=pool.join, daemon=True)
    thread.start()
    thread.join(within_s)
    if thread.is_alive():
        pool.terminate()
        thread.join(5)
        pytest.fail(f"join() had not come back after {within_s} s")


# ---- callbacks ----


def test_callbacks_get_the_value_or_the_error(pool):
    values, errors = [], []
    pool.apply_async(tasks.double, (2,), callback=values.append, error_callback=errors.append).wait(10)
    pool.map_async(tasks.double, [1, 2], callback=values.append, error_callback=errors.append).wait(10)
    pool.starmap_async(tasks.add, [(1, 2)], callback=values.append).wait(10)
    pool.apply_async(tasks.raise_value_error, (1,), callback=values.append, error_callback=errors.append).wait(10)
    pool.map_async(tasks.raise_value_error, [1], callback=values.append, error_callback=errors.append).wait(10)
    wait_until(lambda: len(values) == 3 and len(errors) == 2, within_s=5)
    assert values == [4, [2, 4], [3]]
    assert [str(error) for error in errors] == ["bad value 1"] * 2


def test_callbacks_are_called_while_nobody_waits(pool):
    event = threading.Event()
    pool.apply_async(tasks.double, (2,), callback=lambda _: event.set())
    assert event.wait(5)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_callback_that_raises_is_told_of_and_harms_nobody(pool, monkeypatch):
    told = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    result = pool.apply_async(tasks.double, (2,), callback=lambda _: 1 / 0)
    assert result.get(10) == 4
    wait_until(lambda: told, within_s=5)
    assert told[0].exc_type is ZeroDivisionError
    assert pool.map(tasks.double, [1, 2]) == [2, 4]


def test_a_callback_may_submit_more(pool):
    got, done = [], threading.Event()

    def second(value):
        got.append(value)
        done.set()

    pool.apply_async(tasks.double, (1,), callback=lambda v: pool.apply_async(tasks.double, (v,), callback=second))
    assert done.wait(10)
    assert got == [4]


# ---- exceptions ----


def test_an_exception_comes_with_the_workers_traceback(pool):
    with pytest.raises(ValueError, match="bad value 'x'") as caught:
        pool.apply(tasks.raise_value_error, ("x",))
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    text = str(caught.value.__cause__)
    assert "tasks.py" in text and "raise ValueError" in text


def test_map_raises_an_error_of_its_items(pool):
    with pytest.raises(ValueError, match="three"):
        pool.map(tasks.raise_at_three, range(100), chunksize=1)
    with pytest.raises(ValueError, match="three"):
        pool.map(tasks.raise_at_three, range(100))
    assert pool.map(tasks.double, [1]) == [2]


def test_a_failed_map_does_not_hold_up_close_and_join(ctx):
    pool = ctx.Pool(2)
    with pytest.raises(ValueError, match="three"):
        pool.map(tasks.raise_at_three, range(5000), chunksize=1)
    pool.close()
    joined(pool)


def test_an_empty_map_does_not_hold_up_close_and_join(ctx):
    pool = ctx.Pool(2)
    assert pool.map(tasks.double, []) == []
    pool.close()
    joined(pool)


@pytest.mark.parametrize("name", ["KeyboardInterrupt", "SystemExit", "GeneratorExit"])
def test_exceptions_outside_of_exception_come_back_too(pool, name):
    with pytest.raises(BaseException, match="told to") as caught:
        pool.apply(tasks.raise_named, (name,))
    assert type(caught.value).__name__ == name
    assert pool.apply(tasks.double, (1,)) == 2


def test_an_argument_that_cannot_be_pickled_raises_here(pool):
    with pytest.raises(CannotEncode, match="lock"):
        pool.apply(tasks.identity, (threading.Lock(),))
    with pytest.raises(CannotEncode, match="lock"):
        pool.map(tasks.identity, [1, threading.Lock()])
    assert pool.map(tasks.double, [1, 2]) == [2, 4]


def test_in_imap_an_argument_that_cannot_be_pickled_fails_in_its_place(pool):
    results = pool.imap(tasks.identity, [1, threading.Lock(), 3], 1)
    assert next(results) == 1
    with pytest.raises(CannotEncode):
        next(results)
    assert next(results) == 3


def test_an_argument_that_cannot_be_unpickled_fails_alone(pool):
    with pytest.raises(CannotDecode, match="refuses"):
        pool.apply(tasks.type_name, (tasks.RaisesWhenUnpickled(),))
    results = pool.imap(tasks.type_name, [1, tasks.RaisesWhenUnpickled(), 3], 3)
    assert next(results) == "int"
    with pytest.raises(CannotDecode):
        next(results)
    assert next(results) == "int"


def test_a_result_that_cannot_be_pickled_fails_alone(pool):
    with pytest.raises(MaybeEncodingError, match="lock"):
        pool.apply(tasks.return_lock)
    results = pool.imap(tasks.return_lock_at_three, range(6), 6)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(MaybeEncodingError):
        next(results)
    assert list(results) == [4, 5]


def test_a_result_that_cannot_be_pickled_fails_alone_among_arrays(pool):
    results = pool.imap(tasks.array_or_lock, range(4), 4)
    got = []
    for _ in range(4):
        try:
            got.append(int(next(results)[0]))
        except MaybeEncodingError:
            got.append("lock")
    assert got == [0, 1, 2, "lock"]


def test_a_result_that_cannot_be_unpickled_says_so(pool):
    with pytest.raises(CannotDecode, match="refuses"):
        pool.apply(tasks.return_raises_when_unpickled)


@pytest.mark.parametrize("function", [tasks.raise_two_arguments, tasks.raise_with_lock])
def test_an_exception_that_cannot_travel_says_what_it_was(pool, function):
    with pytest.raises(MaybeEncodingError, match=r"one-two|holds a lock"):
        pool.apply(function)


def test_a_function_that_is_not_in_the_worker_says_so(pool, method):
    import types

    ghost = types.ModuleType("ghost")
    exec("def f(x): return x", ghost.__dict__)
    import sys

    pool.map(tasks.double, range(10))
    sys.modules["ghost"] = ghost
    try:
        with pytest.raises(CannotDecode, match="ghost"):
            pool.apply(ghost.f, (1,))
    finally:
        del sys.modules["ghost"]
    assert pool.apply(tasks.double, (1,)) == 2


# ---- functions ----


def test_lambdas_closures_and_methods_work(pool):
    factor = 3
    assert pool.map(lambda x: factor * x, [1, 2, 3]) == [3, 6, 9]
    assert pool.map("-".join, [["a", "b"]]) == ["a-b"]
    assert pool.apply(Counter(5).plus, (2,)) == 7


def test_a_closure_that_changes_is_sent_anew(pool):
    factor = 1

    def scaled(x):
        return factor * x

    assert pool.apply(scaled, (5,)) == 5
    factor = 2
    assert pool.apply(scaled, (5,)) == 10


class Counter:
    def __init__(self, start):
        self.start = start

    def plus(self, x):
        return self.start + x


def test_many_functions_may_be_used(pool):
    for i in range(150):
        assert pool.apply(lambda x, i=i: x + i, (1,)) == 1 + i


def test_workers_may_have_pools(ctx, method):
    with ctx.Pool(1) as pool:
        assert pool.apply(tasks.pool_in_worker, (method,)) == [2, 4]
    pool.join()


def test_shared_objects_may_be_arguments_and_items(pool):
    queue, lock, value = procession.Queue(), procession.Lock(), procession.Value("i", 0)
    assert pool.map(tasks.echo_through, [(queue, i) for i in range(10)]) == [True] * 10
    assert sorted(queue.get(timeout=5) for _ in range(10)) == list(range(10))
    pool.starmap(tasks.count_up_under, [(lock, value, 200)] * 4)
    assert value.value == 800
    with lock:
        assert pool.apply(tasks.try_lock, (lock,)) is False
    assert pool.apply(tasks.try_lock, (lock,)) is True


# ---- data ----


@pytest.mark.parametrize("count", [1, 1000, 100_000])
def test_arrays_arrive_writable_and_private(pool, count):
    array = np.arange(count, dtype=np.float64)
    facts = pool.apply(tasks.array_facts, (array,))
    assert facts == ((count,), "float64", True, 42.0 if count == 1 else count - 1)
    assert array[0] == 0
    back = pool.apply(tasks.make_array, (count,))
    back[0] = 7
    assert back.sum() == 7 + sum(range(count)) and back.flags.writeable


def test_100_megabytes_go_both_ways(pool):
    data = np.arange(100 << 17, dtype=np.float64)
    assert pool.apply(tasks.array_facts, (data,))[3] == data[-1]
    assert np.array_equal(pool.apply(tasks.make_array, (100 << 17,)), data)
    assert pool.apply(tasks.size, (bytes(100 << 20),)) == 100 << 20


def test_arrays_come_in_maps(pool):
    arrays = [np.full(20_000, i, dtype=np.float64) for i in range(12)]
    for i, back in enumerate(pool.imap(tasks.double, arrays)):
        assert back[0] == 2 * i and back.shape == (20_000,)
    assert [float(back[-1]) for back in pool.map(tasks.double, arrays, 3)] == [2.0 * i for i in range(12)]


# ---- workers ----


def test_the_initializer_runs_in_each_worker(ctx):
    with ctx.Pool(2, tasks.remember, ("key", [1, 2])) as pool:
        assert pool.map(tasks.recall, ["key"] * 20, 1) == [[1, 2]] * 20
    pool.join()


def test_a_worker_does_as_many_tasks_as_it_may(ctx):
    with ctx.Pool(2, maxtasksperchild=3) as pool:
        pids = pool.map(tasks.own_pid, range(24), 1)
        assert all(pids.count(pid) <= 3 for pid in pids)
        assert len(set(pids)) >= 8
    pool.join()


def test_workers_that_leave_in_order_lose_no_task(ctx, method):
    count = {"fork": 300, "spawn": 40, "forkserver": 150}[method]
    with ctx.Pool(2, maxtasksperchild=1) as pool:
        results = [pool.apply_async(tasks.double, (i,)) for i in range(count)]
        assert [result.get(20) for result in results] == [2 * i for i in range(count)]
    pool.join()


def test_a_task_that_forks_and_whose_child_comes_back_harms_nobody(pool):
    assert sorted(pool.map(tasks.fork_and_come_back, range(4), 1)) == [0, 1, 2, 3]
    assert pool.map(tasks.double, [1, 2]) == [2, 4]


def test_the_worker_is_a_daemon_with_a_name(pool):
    facts = pool.apply(tasks.current_facts)
    assert "PoolWorker" in facts["me"][0]
    assert facts["me"][2] is True


def test_the_default_size_is_the_cpu_count(method):
    pool = procession.get_context(method).Pool()
    assert len(pool._pool) == procession.cpu_count()
    pool.terminate()
    pool.join()


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ((0,), ValueError),
        ((-1,), ValueError),
        ((1, 5), TypeError),
        ((1, None, (), 0), ValueError),
        ((1, None, (), "x"), ValueError),
    ],
)
def test_misuse_of_the_constructor_says_so(ctx, arguments, kind):
    with pytest.raises(kind):
        ctx.Pool(*arguments)


def test_an_initializer_that_cannot_be_pickled_raises_here(ctx, method):
    if method == "fork":
        pytest.skip("nothing is pickled")
    with pytest.raises(CannotEncode):
        ctx.Pool(2, tasks.remember, ("key", threading.Lock()))


# ---- the end ----


def test_close_and_join_let_the_work_finish(ctx):
    pool = ctx.Pool(2)
    result = pool.map_async(tasks.double, range(200), 1)
    pool.close()
    joined(pool)
    assert result.get(0) == [2 * i for i in range(200)]


def test_a_closed_pool_takes_no_work(ctx):
    pool = ctx.Pool(2)
    pool.close()
    for submit in (pool.apply, pool.apply_async):
        with pytest.raises(ValueError, match="not running"):
            submit(tasks.double, (1,))
    for submit in (pool.map, pool.map_async, pool.imap, pool.imap_unordered, pool.starmap, pool.starmap_async):
        with pytest.raises(ValueError, match="not running"):
            submit(tasks.double, [1])
    with pytest.raises(ValueError, match="not running"), pool:
        pass
    pool.join()


def test_a_running_pool_cannot_be_joined(pool):
    with pytest.raises(ValueError, match="still running"):
        pool.join()


def test_ends_may_be_repeated(ctx):
    pool = ctx.Pool(2)
    pool.close()
    pool.close()
    pool.join()
    pool.join()
    pool.terminate()
    pool.terminate()
    pool.join()


def test_terminate_ends_long_tasks_at_once(ctx, tmp_path):
    pool = ctx.Pool(2)
    result = pool.apply_async(tasks.arrive_and_hang, (str(tmp_path / "here"),))
    wait_until((tmp_path / "here").exists)
    began = time.monotonic()
    pool.terminate()
    pool.join()
    assert time.monotonic() - began < 2
    with pytest.raises(procession.errors.WorkerDied, match="terminated"):
        result.get(5)


def test_terminate_ends_a_worker_that_ignores_the_soft_signal(ctx, tmp_path):
    pool = ctx.Pool(1)
    pool.apply_async(tasks.be_deaf, (str(tmp_path / "here"),))
    wait_until((tmp_path / "here").exists)
    began = time.monotonic()
    pool.terminate()
    pool.join()
    assert time.monotonic() - began < 4


def test_terminate_in_one_thread_frees_those_that_wait(ctx, tmp_path):
    pool = ctx.Pool(2)
    outcomes = []

    def wait(get):
        try:
            get()
        except BaseException as error:
            outcomes.append(type(error).__name__)

    path = str(tmp_path / "here")
    pending = pool.apply_async(tasks.arrive_and_hang, (path,))
    stream = pool.imap(tasks.arrive_and_hang, [path + "2"])
    threads = [threading.Thread(target=wait, args=(get,)) for get in (pending.get, stream.next, pending.get)]
    for thread in threads:
        thread.start()
    wait_until(lambda: os.path.exists(path) and os.path.exists(path + "2"))
    pool.terminate()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    assert outcomes == ["WorkerDied"] * 3
    pool.join()


def test_with_terminates(ctx, tmp_path):
    with ctx.Pool(2) as pool:
        pool.apply_async(tasks.arrive_and_hang, (str(tmp_path / "here"),))
        wait_until((tmp_path / "here").exists)
    pool.join()
    assert procession.active_children() == []


def test_a_forgotten_pool_warns_and_ends(ctx):
    pool = ctx.Pool(1)
    pool.apply(tasks.double, (1,))
    with pytest.warns(ResourceWarning, match="unclosed"):
        del pool
        gc.collect()


def test_a_pool_cannot_be_pickled(pool):
    import pickle

    with pytest.raises(NotImplementedError):
        pickle.dumps(pool)


def test_the_repr_tells_the_state(pool):
    assert re.search(r"Pool state=RUN pool_size=2", repr(pool))


# ---- threads ----


def test_eight_threads_share_a_pool(pool):
    failures = []

    def use(number):
        try:
            for i in range(15):
                base = number * 1000 + i
                assert pool.apply(tasks.double, (base,)) == 2 * base
                assert pool.map(tasks.double, range(base, base + 20)) == [2 * j for j in range(base, base + 20)]
                assert list(pool.imap(tasks.double, iter(range(base, base + 20)))) == [
                    2 * j for j in range(base, base + 20)
                ]
        except BaseException as error:
            failures.append(repr(error))

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(25)
    assert not any(thread.is_alive() for thread in threads)
    assert failures == []


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_pool_outlives_the_thread_that_made_it(ctx):
    made = []
    thread = threading.Thread(target=lambda: made.append(ctx.Pool(2)))
    thread.start()
    thread.join()
    wait_until(lambda: not os.path.exists(f"/proc/self/task/{thread.native_id}"))
    (pool,) = made
    assert pool.map(tasks.double, range(100)) == [2 * i for i in range(100)]
    pool.close()
    joined(pool)


def test_a_pool_may_be_ended_by_another_thread(ctx):
    pool = ctx.Pool(2)
    result = pool.map_async(tasks.double, range(100))
    thread = threading.Thread(target=lambda: (pool.close(), pool.join()))
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert result.get(0) == [2 * i for i in range(100)]


def test_a_signal_handler_runs_while_a_result_is_waited_for(pool, tmp_path):
    path = str(tmp_path / "here")
    result = pool.apply_async(tasks.arrive_and_wait, (path, "done"))
    wait_until((tmp_path / "here").exists)
    previous = signal.signal(signal.SIGUSR1, lambda *_: tasks.arrive(path + ".go"))
    try:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        assert result.get(10) == "done"
    finally:
        signal.signal(signal.SIGUSR1, previous)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_asking_for_children_meanwhile_changes_nothing(ctx):
    """It collects ended workers; the pool must learn of them all the same."""
    with ctx.Pool(2, maxtasksperchild=1) as pool:
        stop = threading.Event()

        def ask():
            while not stop.is_set():
                procession.active_children()

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            assert pool.map(tasks.double, range(30), 1) == [2 * i for i in range(30)]
        finally:
            stop.set()
            thread.join()
    pool.join()


def test_no_warning_comes_out_of_ordinary_use(ctx):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pool = ctx.Pool(2)
        pool.map(tasks.double, range(10))
        pool.close()
        pool.join()
        del pool
        gc.collect()


class Sequence:
    """Its length is not the number of its items."""

    def __init__(self, length, items):
        self.length, self.items = length, items

    def __len__(self):
        return self.length

    def __iter__(self):
        return iter(self.items)


@pytest.mark.parametrize("length", [0, 2, 5, 50])
def test_a_length_that_is_not_true_does_not_make_map_wait(pool, length):
    result = pool.map_async(tasks.double, Sequence(length, range(5)))
    assert result.get(10)[: min(length, 5)] == [0, 2, 4, 6, 8][:length]
