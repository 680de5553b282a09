"""Pool under every start method, as the standard library's manual describes it, and where it is better."""

import gc
import itertools
import os
import threading

import numpy as np
import pytest

import tasks
from conftest import wait_until
from procession.errors import CannotDecode, CannotEncode, TimeoutError
from procession.pool import AsyncResult, MaybeEncodingError, RemoteTraceback


class RefusesToBePickled:
    def __reduce__(self):
        raise RuntimeError("refuses to be pickled")

    def __call__(self):
        raise AssertionError("never gets there")


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


def test_results_are_asynchronous_results(pool):
    for result in (
        pool.apply_async(tasks.double, (1,)),
        pool.map_async(tasks.double, [1]),
        pool.starmap_async(tasks.add, [(1,)]),
    ):
        assert isinstance(result, AsyncResult)
    assert AsyncResult[int].__origin__ is AsyncResult


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


@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
def test_an_input_that_raises_within_a_chunk_spoils_the_chunk(pool, name):
    def numbers():
        yield from range(7)
        raise KeyError("seven")

    results = getattr(pool, name)(tasks.double, numbers(), 2)
    assert sorted(next(results) for _ in range(6)) == [0, 2, 4, 6, 8, 10]
    with pytest.raises(KeyError, match="seven"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_a_chunk_goes_when_it_is_full_and_not_before(pool):
    tickets = threading.Semaphore(3)
    results = pool.imap(tasks.double, tasks.throttled(tickets, 8), 4)
    with pytest.raises(TimeoutError):
        results.next(timeout=0.05)
    tickets.release()
    assert next(results) == 0
    for _ in range(4):
        tickets.release()
    assert list(results) == [2 * i for i in range(1, 8)]


@pytest.mark.parametrize("chunksize", [1, 3, 100])
@pytest.mark.parametrize("buffersize", [1, 2, 50])
def test_a_buffersize_may_be_smaller_than_a_chunk(pool, chunksize, buffersize):
    results = pool.imap(tasks.double, iter(range(30)), chunksize, buffersize=buffersize)
    assert list(results) == [2 * i for i in range(30)]


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


def test_what_an_arguments_own_code_raises_comes_as_it_is(pool):
    for submit in (
        lambda: pool.apply(tasks.identity, (RefusesToBePickled(),)),
        lambda: pool.map(tasks.identity, [1, RefusesToBePickled()]),
        lambda: pool.apply(RefusesToBePickled()),
    ):
        with pytest.raises(RuntimeError, match="refuses to be pickled") as caught:
            submit()
        assert caught.type is RuntimeError and caught.value.__cause__ is None


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


@pytest.mark.parametrize(
    ("function", "kind"), [(tasks.raise_two_arguments, tasks.TwoArguments), (tasks.raise_with_lock, ValueError)]
)
def test_an_exception_that_cannot_travel_whole_arrives_with_its_type_and_text(pool, function, kind):
    with pytest.raises(kind, match=r"one-two|holds a lock") as caught:
        pool.apply(function)
    assert function.__name__ in str(caught.value.__cause__)


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
