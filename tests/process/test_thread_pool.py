"""ThreadPool is the pool's engine on threads: nothing is pickled, no process is started, nothing waits for ever."""

import gc
import itertools
import os
import pickle
import textwrap
import threading
import time
import traceback
import warnings
import weakref

import pytest

import procession
import tasks
from conftest import wait_until
from procession.errors import InitializerFailed, TaskCancelled, TimeoutError
from procession.pool import IMapIterator, IMapUnorderedIterator, Pool, ThreadPool


@pytest.fixture
def pool():
    pool = ThreadPool(2)
    yield pool
    pool.close()
    pool.join()


@pytest.fixture
def terminated():
    """Makes pools that are terminated after the test."""
    pools = []

    def make(*arguments):
        pools.append(ThreadPool(*arguments))
        return pools[-1]

    yield make
    for pool in pools:
        pool.terminate()
        pool.join()


def pool_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolWorker")]


def nested_map(pool):
    return pool.map(tasks.double, range(100))


def wait_for(event):
    return event.wait(20)


# ---- what it gives ----


def test_it_is_a_pool(pool):
    assert isinstance(pool, Pool)
    assert repr(pool) == "<procession.pool.ThreadPool state=RUN pool_size=2>"
    assert len(pool._pool) == 2
    assert all(worker.is_alive() and worker.daemon and worker.exitcode is None for worker in pool._pool)


def test_calls_give_results(pool):
    assert pool.apply(tasks.add, (1,), {"b": 2, "scale": 10}) == 30
    assert pool.apply_async(tasks.add, (1, 2)).get(10) == 3
    assert pool.apply(tasks.own_pid) == os.getpid()


@pytest.mark.parametrize("length", [0, 1, 3, 1000, 20_000])
@pytest.mark.parametrize("chunksize", [None, 1, 7, 5000])
def test_map_is_map(pool, length, chunksize):
    if chunksize == 1:
        length = min(length, 1000)
    assert pool.map(tasks.double, range(length), chunksize) == [2 * i for i in range(length)]
    assert pool.starmap(tasks.add, ((i, 1) for i in range(length)), chunksize) == [i + 1 for i in range(length)]


@pytest.mark.parametrize("kind", [list, iter])
@pytest.mark.parametrize("chunksize", [None, 1, 3, 1000])
def test_imap_gives_everything(pool, kind, chunksize):
    more = () if chunksize is None else (chunksize,)
    ordered, unordered = (imap(tasks.double, kind(range(2000)), *more) for imap in (pool.imap, pool.imap_unordered))
    assert type(ordered) is IMapIterator and type(unordered) is IMapUnorderedIterator
    assert list(ordered) == sorted(unordered) == [2 * i for i in range(2000)]


def test_an_infinite_input_is_read_as_far_as_it_is_asked_for(pool):
    read = itertools.count()
    assert list(itertools.islice(pool.imap(tasks.double, iter(read)), 100)) == [2 * i for i in range(100)]
    assert next(read) < 10_000


@pytest.mark.parametrize("way", ["apply", "map", "starmap", "imap", "imap_unordered"])
def test_objects_go_and_come_back_as_themselves(pool, way):
    things = [threading.Lock(), lambda: 1, (i for i in ()), object(), {}.keys()]
    if way == "apply":
        back = [pool.apply(lambda x: x, (thing,)) for thing in things]
    elif way == "starmap":
        back = pool.starmap(lambda x: x, [(thing,) for thing in things])
    else:
        back = list(getattr(pool, way)(lambda x: x, things, 1))
    assert {id(thing) for thing in back} == {id(thing) for thing in things}


def test_both_threads_work(pool):
    barrier = threading.Barrier(2)
    assert sorted(pool.map(lambda _: barrier.wait(10), range(2), 1)) == [0, 1]


def test_a_task_may_use_its_own_pool(pool):
    assert pool.apply(nested_map, (pool,)) == [2 * i for i in range(100)]


def test_callbacks_are_called(pool):
    got, failed = [], []
    pool.apply_async(tasks.double, (2,), callback=got.append).wait(10)
    pool.map_async(tasks.double, [1, 2], callback=got.append).wait(10)
    pool.apply_async(tasks.raise_value_error, (1,), error_callback=failed.append).wait(10)
    wait_until(lambda: failed)
    assert got == [4, [2, 4]]
    assert isinstance(failed[0], ValueError)


def test_a_result_can_be_asked_and_waited_for(pool):
    event = threading.Event()
    result = pool.apply_async(wait_for, (event,))
    assert not result.ready()
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    with pytest.raises(TimeoutError):
        result.get(0.02)
    iterator = pool.imap(wait_for, [event])
    with pytest.raises(TimeoutError):
        iterator.next(timeout=0.02)
    event.set()
    assert result.get(10) and result.successful() and next(iterator)


# ---- errors ----


def test_an_exception_is_the_one_that_was_raised(pool):
    error = ValueError("mine")

    def fail():
        raise error

    with pytest.raises(ValueError) as caught:
        pool.apply(fail)
    assert caught.value is error and error.__cause__ is None
    assert "in fail" in "".join(traceback.format_tb(error.__traceback__))


@pytest.mark.parametrize("name", ["KeyboardInterrupt", "SystemExit", "GeneratorExit"])
def test_exceptions_outside_of_exception_are_their_tasks_alone(pool, name):
    workers = list(pool._pool)
    with pytest.raises(BaseException, match="told to") as caught:
        pool.apply(tasks.raise_named, (name,))
    assert type(caught.value).__name__ == name
    assert pool.apply(tasks.double, (1,)) == 2 and pool._pool == workers


def test_a_stop_iteration_is_an_exception_as_any(pool):
    exhausted = iter(())
    with pytest.raises(StopIteration):
        pool.apply(next, (exhausted,))
    results = pool.imap(next, [iter([1]), exhausted, iter([2])], 3)
    assert next(results) == 1
    with pytest.raises(StopIteration):
        next(results)
    assert next(results) == 2


@pytest.mark.parametrize("chunksize", [1, 3, 100])
def test_an_exception_comes_in_its_place(pool, chunksize):
    with pytest.raises(ValueError, match="three"):
        pool.map(tasks.raise_at_three, range(10), chunksize)
    results = pool.imap(tasks.raise_at_three, range(5), chunksize)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert list(results) == [4]


def test_an_initializer_runs_in_each_thread(terminated):
    seen = []
    pool = terminated(3, lambda *arguments: seen.append((threading.current_thread(), arguments)), (1, 2))
    wait_until(lambda: len(seen) == 3)
    assert {thread for thread, _ in seen} == set(pool._pool) and {arguments for _, arguments in seen} == {(1, 2)}


def test_an_initializer_that_raises_ends_the_pool(terminated):
    pool = terminated(2, tasks.initializer_raises)
    with pytest.raises(InitializerFailed, match="boom") as caught:
        pool.apply(tasks.double, (1,))
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("arguments", [(0,), (-1,)])
def test_misuse_says_so(arguments):
    with pytest.raises(ValueError, match="at least 1"):
        ThreadPool(*arguments)
    with pytest.raises(TypeError, match="callable"):
        ThreadPool(1, 5)


def test_it_cannot_be_pickled(pool):
    with pytest.raises(NotImplementedError, match="cannot be passed between processes or pickled"):
        pickle.dumps(pool)


# ---- the end ----


def test_close_and_join_let_the_work_finish():
    pool = ThreadPool(2)
    results = [pool.apply_async(tasks.nap_and_double, (i,)) for i in range(50)]
    pool.close()
    with pytest.raises(ValueError, match="not running"):
        pool.apply(tasks.double, (1,))
    pool.join()
    assert [result.get(0) for result in results] == [2 * i for i in range(50)]
    assert not pool_threads()


def test_terminate_does_not_wait_for_a_call_that_runs_and_begins_no_other():
    event, begun = threading.Event(), []

    def task(_):
        begun.append(1)
        event.wait(20)

    pool = ThreadPool(2)
    result = pool.map_async(task, range(1000), 1)
    wait_until(lambda: len(begun) == 2)
    start = time.monotonic()
    pool.terminate()
    assert time.monotonic() - start < 0.5
    with pytest.raises(TaskCancelled, match="terminated"):
        result.get(0)
    pool.join()
    assert time.monotonic() - start < 5
    event.set()
    wait_until(lambda: not pool_threads())
    assert len(begun) == 2


def test_join_after_terminate_lets_a_short_call_finish():
    begun, done = threading.Event(), []

    def task():
        begun.set()
        time.sleep(0.05)
        done.append(1)

    with ThreadPool(1) as pool:
        pool.apply_async(task)
        assert begun.wait(10)
    pool.join()
    assert done and not pool_threads()


def test_terminate_stops_within_a_long_chunk():
    begun, go = threading.Event(), threading.Event()
    calls = []

    def task(_):
        calls.append(1)
        begun.set()
        go.wait(10)
        time.sleep(0.006)

    pool = ThreadPool(1)
    pool.map_async(task, range(1000), 1000)
    assert begun.wait(10)
    pool.terminate()
    go.set()
    pool.join()
    assert not pool_threads() and len(calls) < 100


def test_a_forgotten_pool_warns_and_ends():
    pool = ThreadPool(2)
    pool.apply(tasks.double, (1,))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del pool
        gc.collect()
    assert [str(w.message)[:41] for w in caught if w.category is ResourceWarning] == [
        "unclosed running multiprocessing pool <pr"
    ]
    wait_until(lambda: not pool_threads())


def test_nothing_that_has_been_done_is_kept_alive(pool):
    class Thing:
        pass

    def references(things):
        return [weakref.ref(thing) for thing in things]

    things = [Thing() for _ in range(100)]
    kept = references(things)
    for way in (pool.map, pool.imap, pool.imap_unordered, lambda f, items: [pool.apply(f, (item,)) for item in items]):
        assert len(list(way(lambda thing: Thing(), things))) == 100
    with pytest.raises(ValueError):
        pool.map(tasks.raise_value_error, things)
    del things
    gc.collect()
    wait_until(lambda: not any(reference() for reference in kept))


def test_three_hundred_pools_leave_nothing():
    for _ in range(300):
        with ThreadPool(3) as pool:
            assert pool.map(tasks.double, range(5)) == [0, 2, 4, 6, 8]
        pool.join()
    assert not pool_threads()


# ---- with processes ----


def test_it_makes_no_shared_memory_and_no_process(script):
    done = script.run(
        "-c",
        textwrap.dedent("""
        import os
        from procession import _core
        from procession.pool import ThreadPool
        with ThreadPool(4) as pool:
            assert pool.map(abs, range(-1000, 0)) == list(range(1000, 0, -1))
            assert list(pool.imap(abs, iter(range(1000)))) == list(range(1000))
            children = open(f"/proc/self/task/{os.getpid()}/children").read()
        pool.join()
        print(_core.arena_is_ready(), repr(children))
        """),
    )
    assert (done.stdout, done.stderr, done.returncode) == ("False ''\n", "", 0)


def test_a_forked_child_has_no_part_in_it(pool):
    assert pool.apply(tasks.double, (1,)) == 2
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            pool.apply(tasks.double, (1,))
        except ValueError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    said = os.read(reading, 1000)
    os.close(reading)
    os.close(writing)
    assert b"belongs to the parent" in said
    assert pool.apply(tasks.double, (2,)) == 4


def thread_pool_in_worker(_):
    with ThreadPool(2) as pool:
        return pool.map(tasks.double, range(100))


def test_a_worker_process_may_have_one():
    with procession.get_context("fork").Pool(2) as pool:
        assert pool.map(thread_pool_in_worker, range(4)) == [[2 * i for i in range(100)]] * 4
    pool.join()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_task_may_start_a_process(pool):
    def start(method):
        process = procession.get_context(method).Process(target=tasks.nothing)
        process.start()
        process.join()
        return process.exitcode

    assert pool.map(start, ["fork", "spawn", "forkserver"], 1) == [0, 0, 0]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_task_that_forks_and_comes_back_twice_is_done_once(pool):
    assert pool.map(tasks.fork_and_come_back, range(6), 1) == list(range(6))


def test_ctrl_c_comes_out_of_a_wait_and_the_pool_goes_on(script):
    done = script.run(
        "-c",
        textwrap.dedent("""
        import os, signal, threading
        from procession.pool import ThreadPool
        event, waits = threading.Event(), threading.Event()
        def interrupt():
            waits.wait(20)
            os.kill(os.getpid(), signal.SIGINT)
            return event.wait(20)
        pool = ThreadPool(2)
        for _ in range(20):
            event.clear()
            waits.clear()
            result = pool.apply_async(interrupt)
            try:
                waits.set()
                result.get()
            except KeyboardInterrupt:
                event.set()
                assert result.get(10)
            else:
                raise SystemExit("not interrupted")
        pool.close()
        pool.join()
        print("done")
        """),
    )
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


def test_a_program_may_end_while_calls_run(script):
    done = script.run(
        "-c",
        textwrap.dedent("""
        import threading, time
        from procession.pool import ThreadPool
        begun = threading.Barrier(3)
        pool = ThreadPool(2)
        results = pool.map_async(lambda _: (begun.wait(), time.sleep(600)), range(50), 1)
        begun.wait()
        """),
        within_s=10,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
