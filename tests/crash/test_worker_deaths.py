"""Whatever kills a worker: its task gets a typed error in about a second, the others their results, the pool goes on."""

import os
import signal
import threading
import time

import pytest

import procession
import tasks
from conftest import is_running, wait_until
from procession.errors import InitializerFailed, ProcessionError, StartFailed, WorkerDied

EXITS = {"os._exit": 3, "segfault": -signal.SIGSEGV, "kill -9": -signal.SIGKILL, "SIGTERM": -signal.SIGTERM}


def worker_pids(pool):
    return {handle.pid for handle in pool._pool}


def collect(results):
    """Values, and errors in their places."""
    got = []
    while True:
        try:
            got.append(next(results))
        except StopIteration:
            return got
        except Exception as error:
            got.append(error)


def test_map_raises_worker_died_within_a_second(pool, tmp_path):
    path = str(tmp_path / "here")
    result = pool.map_async(tasks.hang_at, [(path, i, 3) for i in range(8)], 1)
    wait_until((tmp_path / "here").exists)
    pid = int((tmp_path / "here").read_text())
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerDied, match="SIGKILL") as caught:
        result.get(5)
    assert time.monotonic() - began < 1
    assert (caught.value.pid, caught.value.exitcode) == (pid, -signal.SIGKILL)
    assert "hang_at" in caught.value.task and str(pid) in str(caught.value)
    assert pool.map(tasks.double, [1, 2]) == [2, 4]


@pytest.mark.parametrize("chunksize", [1, 4, 10])
@pytest.mark.parametrize("death", EXITS)
def test_imap_gives_all_other_results(pool, death, chunksize):
    got = collect(pool.imap(tasks.die_at_three, [(death, i) for i in range(10)], chunksize))
    assert [value for value in got if not isinstance(value, Exception)] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert isinstance(got[3], WorkerDied) and (got[3].exitcode, got[3].index) == (EXITS[death], 3)
    assert pool.map(tasks.double, [1, 2]) == [2, 4]


@pytest.mark.parametrize("death", EXITS)
def test_apply_raises_worker_died(pool, death):
    with pytest.raises(WorkerDied) as caught:
        pool.apply_async(tasks.die, (death,)).get(5)
    assert caught.value.exitcode == EXITS[death]
    assert len(worker_pids(pool)) == 2


def test_sys_exit_is_an_exception_like_any_other(pool):
    pids = worker_pids(pool)
    with pytest.raises(SystemExit):
        pool.apply_async(tasks.exit_soft, (3,)).get(5)
    assert worker_pids(pool) == pids


@pytest.mark.parametrize("who", ["one", "all"])
def test_idle_workers_that_are_killed_are_not_missed(pool, who):
    pool.map(tasks.double, range(10))
    for _ in range(3):
        pids = sorted(worker_pids(pool))
        for pid in pids[:1] if who == "one" else pids:
            os.kill(pid, signal.SIGKILL)
        assert pool.map_async(tasks.double, range(50)).get(10) == [2 * i for i in range(50)]
        wait_until(lambda: (pool.map(tasks.double, [1]), len(worker_pids(pool)) == 2)[1], "the replacement")


def test_a_death_while_unpickling_costs_only_that_item(pool):
    with pytest.raises(WorkerDied):
        pool.apply_async(tasks.type_name, (tasks.DiesWhenUnpickled(),)).get(5)
    got = collect(pool.imap(tasks.type_name, [1, 2, tasks.DiesWhenUnpickled(), 4], 4))
    assert isinstance(got[2], WorkerDied)
    assert [got[0], got[1], got[3]] == ["int", "int", "int"]


def test_a_death_while_pickling_the_result_is_a_worker_died(pool):
    with pytest.raises(WorkerDied, match="SIGKILL"):
        pool.apply_async(tasks.return_dies_when_pickled).get(5)
    assert pool.apply(tasks.double, (1,)) == 2


def test_a_result_that_is_ready_survives_the_death_of_the_next_task(ctx):
    with ctx.Pool(1) as pool:
        for _ in range(10):
            good = [pool.apply_async(tasks.double, (i,)) for i in range(20)]
            bad = pool.apply_async(tasks.die, ("kill -9",))
            after = [pool.apply_async(tasks.double, (i,)) for i in range(20)]
            assert [result.get(10) for result in good] == [2 * i for i in range(20)]
            with pytest.raises(WorkerDied):
                bad.get(10)
            assert [result.get(10) for result in after] == [2 * i for i in range(20)]
            if ctx._name == "spawn":
                break
    pool.join()


def test_long_tasks_are_shared_out_among_idle_workers(pool, tmp_path):
    """After many short tasks too: a worker must not take a second one while it runs a long one."""
    pool.map(tasks.double, range(2000))
    paths = [str(tmp_path / name) for name in "ab"]
    results = [pool.apply_async(tasks.arrive_and_wait, (path, path)) for path in paths]
    for path in paths:
        wait_until(lambda path=path: os.path.exists(path), "two long tasks at one time", 3)
    for path in paths:
        tasks.arrive(path + ".go")
    assert [result.get(5) for result in results] == paths


@pytest.mark.parametrize("chunksize", [1, 7])
def test_random_kills_lose_nothing_but_what_ran(ctx, method, chunksize):
    """Workers are killed at random moments; every item has its value or WorkerDied, and few have that."""
    kills = 6 if method == "spawn" else 15
    # Slower than workers come up: three that die at start, one after the other, end the pool by intent.
    pause_s = {"fork": 0.03, "forkserver": 0.1, "spawn": 0.4}[method]
    with ctx.Pool(2) as pool:
        stop, killed = threading.Event(), []

        def kill_now_and_then():
            while len(killed) < kills and not stop.wait(pause_s):
                for pid in sorted(worker_pids(pool))[:1]:
                    try:
                        os.kill(pid, signal.SIGKILL)
                        killed.append(pid)
                    except ProcessLookupError:
                        pass

        thread = threading.Thread(target=kill_now_and_then)
        thread.start()
        try:
            got = collect(pool.imap(tasks.nap_and_double, range(800), chunksize))
        finally:
            stop.set()
            thread.join()
    assert len(got) == 800
    failed = [i for i, value in enumerate(got) if value != 2 * i]
    assert all(isinstance(got[i], WorkerDied) for i in failed)
    assert len(failed) <= len(killed)
    pool.join()


def test_asking_for_children_does_not_hide_a_death_from_the_pool(pool, tmp_path):
    """active_children() collects the exit code first; the pool must still learn what the worker had claimed."""
    path = str(tmp_path / "here")
    result = pool.apply_async(tasks.arrive_and_hang, (path,))
    wait_until((tmp_path / "here").exists)
    pid = int((tmp_path / "here").read_text())
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(child.pid == pid for child in procession.active_children()))
    extra = procession.Process(target=tasks.nothing)
    extra.start()  # takes the slot that has become free
    with pytest.raises(WorkerDied) as caught:
        result.get(5)
    assert caught.value.pid == pid
    extra.join()


def test_a_closed_pool_whose_workers_all_die_finishes_its_work(ctx, tmp_path):
    pool = ctx.Pool(1)
    path = str(tmp_path / "here")
    dies = pool.apply_async(tasks.arrive_and_hang, (path,))
    rest = [pool.apply_async(tasks.double, (i,)) for i in range(5)]
    wait_until((tmp_path / "here").exists)
    pool.close()
    os.kill(int((tmp_path / "here").read_text()), signal.SIGKILL)
    with pytest.raises(WorkerDied):
        dies.get(5)
    assert [result.get(5) for result in rest] == [0, 2, 4, 6, 8]
    pool.join()


def test_a_killed_workers_children_do_not_hold_up_the_pool(pool, tmp_path):
    path = tmp_path / "grandchild"
    result = pool.apply_async(tasks.fork_then_die, (str(path),))
    with pytest.raises(WorkerDied):
        result.get(5)
    grandchild = int(path.read_text())
    try:
        assert pool.map(tasks.double, range(10)) == [2 * i for i in range(10)]
    finally:
        if is_running(grandchild):
            os.kill(grandchild, signal.SIGKILL)


# ---- initializers and starts ----


def test_an_initializer_that_raises_fails_every_task_with_its_error(ctx):
    with ctx.Pool(2, tasks.initializer_raises) as pool:
        with pytest.raises(InitializerFailed, match="boom") as caught:
            pool.apply_async(tasks.double, (1,)).get(10)
        assert isinstance(caught.value.__cause__, ValueError)
        # Later calls tell the same, not just that the pool does not run.
        with pytest.raises(InitializerFailed, match="boom"):
            pool.map_async(tasks.double, [1]).get(10)
    pool.join()


@pytest.mark.parametrize("code", [0, 5])
@pytest.mark.parametrize("how", [tasks.exit_hard, tasks.exit_soft])
def test_an_initializer_that_exits_ends_the_pool_with_the_reason(ctx, how, code):
    with ctx.Pool(2, how, (code,)) as pool, pytest.raises((InitializerFailed, StartFailed, SystemExit)):
        pool.apply_async(tasks.double, (1,)).get(8)
    pool.join()


def test_an_initializer_that_is_killed_ends_the_pool_with_the_reason(ctx):
    with ctx.Pool(2, tasks.kill_self) as pool, pytest.raises((InitializerFailed, StartFailed), match="SIGKILL"):
        pool.apply_async(tasks.double, (1,)).get(10)
    pool.join()


def test_workers_that_cannot_start_end_the_pool(ctx, method, capfd):
    if method == "fork":
        pytest.skip("a forked worker cannot fail to start so")
    with ctx.Pool(2, tasks.type_name, (tasks.RaisesWhenUnpickled(),)) as pool, pytest.raises(ProcessionError):
        pool.apply_async(tasks.double, (1,)).get(10)
    pool.join()


def test_a_fork_server_that_was_killed_is_started_anew():
    from procession.engine import launch

    ctx = procession.get_context("forkserver")
    process = ctx.Process()
    process.start()
    process.join()
    os.kill(launch._fork_server._server.pid, signal.SIGKILL)
    process = ctx.Process()
    process.start()
    process.join(10)
    assert process.exitcode == 0
