"""Pool under every start method: its functions, data and workers, its end, and threads that share it; see also test_pool."""

import gc
import importlib
import os
import re
import signal
import sys
import threading
import time
import warnings

import numpy as np
import pytest

import procession
import tasks
from conftest import wait_until
from procession.errors import CannotEncode
from procession.pool import Pool

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
    calls = [pool.apply_async(tasks.fork_and_come_back, (i,)) for i in range(4)]
    assert [call.get(20) for call in calls] == [0, 1, 2, 3]
    assert pool.map(tasks.double, [1, 2]) == [2, 4]


def test_an_initializer_that_forks_and_whose_child_comes_back_harms_nobody(ctx):
    with ctx.Pool(2, tasks.fork_and_come_back, (0,)) as pool:
        assert pool.map(tasks.double, range(100), 1) == [2 * i for i in range(100)]
    pool.join()


def test_a_task_whose_arguments_fork_is_done_once(pool, tmp_path):
    path = str(tmp_path / "notes")
    assert pool.apply_async(tasks.note, (path, tasks.Forking())).get(20) == 1
    assert pool.starmap(tasks.note, [(path, tasks.Forking())]) == [2]
    assert pool.apply(tasks.note, (path,), {"_": tasks.Forking()}) == 3


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
    pool.join()
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
    with pytest.raises(procession.errors.TaskCancelled, match="terminated"):
        result.get(5)


def test_a_worker_that_is_ended_while_it_begins_does_not_act_on_its_parents_behalf(script):
    """A forked child has the program's handlers until it sets its own."""
    program = script.write(
        "import signal, procession\n"
        "def told(*_):\n"
        "    raise KeyboardInterrupt\n"
        "signal.signal(signal.SIGTERM, told)\n"
        "for _ in range(20):\n"
        "    pool = procession.get_context('fork').Pool(2)\n"
        "    pool.terminate()\n"
        "    pool.join()\n"
    )
    done = script.run(program)
    assert (done.stderr, done.returncode) == ("", 0)


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
    assert outcomes == ["TaskCancelled"] * 3
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


def test_a_pool_that_nobody_refers_to_does_what_somebody_waits_for(ctx):
    with pytest.warns(ResourceWarning, match="unclosed"):
        result = ctx.Pool(2).map_async(tasks.double, range(100), chunksize=1)
        gc.collect()
    assert result.get() == list(range(0, 200, 2))
    wait_until(lambda: not procession.active_children(), "the end of the workers")
    with pytest.warns(ResourceWarning, match="unclosed"):
        assert ctx.Pool(1).apply_async(tasks.double, (4,)).get(10) == 8
        assert list(ctx.Pool(1).imap(tasks.double, range(50))) == list(range(0, 100, 2))
    wait_until(lambda: not procession.active_children(), "the end of the workers")


def test_a_pool_whose_results_nobody_can_have_any_more_ends(ctx, tmp_path):
    pool = ctx.Pool(1)
    result = pool.apply_async(tasks.arrive_and_hang, (str(tmp_path / "here"),))
    wait_until((tmp_path / "here").exists)
    with pytest.warns(ResourceWarning, match="unclosed"):
        del pool
    with pytest.raises(procession.TimeoutError):
        result.get(0.1)
    del result
    wait_until(lambda: not procession.active_children(), "the end of the worker")


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
    pool.join()


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


def import_and_get(name, attribute):
    return getattr(importlib.import_module(name), attribute)


def test_a_worker_is_free_to_import_what_another_thread_imports_while_it_is_forked(tmp_path, monkeypatch):
    (tmp_path / "slow_to_import.py").write_text(
        "import os, tasks\n"
        f"if os.getpid() == {os.getpid()}:\n"
        f"    tasks.arrive_and_wait({str(tmp_path / 'here')!r})\n"
        "whole = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    thread = threading.Thread(target=importlib.import_module, args=("slow_to_import",))
    thread.start()
    wait_until((tmp_path / "here").exists)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads, which this is about
        with procession.get_context("fork").Pool(2) as pool:
            results = [pool.apply_async(import_and_get, ("slow_to_import", "whole")) for _ in range(8)]
            assert [result.get(10) for result in results] == [True] * 8
        pool.join()
    tasks.arrive(tmp_path / "here.go")
    thread.join()
    assert sys.modules.pop("slow_to_import").whole


def test_a_subclass_may_make_its_own_kind_of_worker(ctx):
    made = []

    class Own(Pool):
        @staticmethod
        def Process(ctx, *args, **kwds):
            made.append(ctx.Process(*args, **kwds))
            return made[-1]

    with Own(2, context=ctx) as pool:
        assert pool.map(tasks.double, [1, 2]) == [2, 4]
        assert made == pool._pool and all("PoolWorker" in worker.name and worker.daemon for worker in made)
    pool.join()


def test_many_workers_one_after_the_other_lose_nothing(ctx):
    with ctx.Pool(2, maxtasksperchild=3) as pool:
        first = {worker.pid for worker in pool._pool}
        assert pool.map(tasks.double, range(30), 1) == [2 * i for i in range(30)]
        pool._repopulate_pool()
        assert len(pool._pool) >= 2 and first != {worker.pid for worker in pool._pool}
    pool.join()
