"""A pool under deaths that come at any instant, where nobody may learn of them, or while it changes its size."""

import os
import random
import signal
import threading
import time

import pytest

import death_tasks
import late_tasks
import procession
import tasks
from conftest import METHODS, is_running, wait_until
from procession.errors import TaskTimeout, WorkerDied

KILLS = {"fork": 200, "forkserver": 60, "spawn": 10}


def goes_on(pool, size):
    def works():
        assert pool.map_async(tasks.double, range(20), 1).get(10) == [2 * i for i in range(20)]
        return sum(is_running(worker.pid) for worker in pool._pool) == size == len(pool._pool)

    wait_until(works, f"{size} workers", 10)


def ready_workers(pool):
    """Those that are up: three that die before, one after the other, end the pool by intent."""
    ready = set(pool._workers._scheduler.ready)
    return [worker for identity, worker in list(pool._workers._crew.handles.items()) if identity in ready]


class Killer(threading.Thread):
    """Kills workers at random instants until it has had enough."""

    def __init__(self, pool, kills):
        super().__init__(name="killer")
        self.pool, self.left, self.random = pool, kills, random.Random(7)
        self.killed = set()

    def run(self):
        end = time.monotonic() + 25
        while self.left and time.monotonic() < end:
            for worker in ready_workers(self.pool):
                time.sleep(self.random.uniform(0, 0.003))  # what is random is when
                if self.left and worker.pid not in self.killed:
                    self.killed.add(worker.pid)
                    self.left -= 1
                    worker.kill()


def items():
    """Of any size: in a slot, in a small block, in pages of their own; until somebody says that it is enough."""
    number = 0
    while True:
        yield b"%d " % number + b"x" * (10, 3000, 200, 100_000)[number % 4]
        number += 1


@pytest.mark.deadline(60)
def test_workers_that_are_killed_while_they_take_and_put_stop_nobody(ctx, method):
    """At whatever instruction it was, with whatever lock in its hands; the fixtures look at what is left of the memory."""
    with ctx.Pool(4) as pool:
        killer = Killer(pool, KILLS[method])
        killer.start()
        died = right = 0
        for expected, outcome in zip(items(), pool.imap(tasks.identity, items(), 2, on_error="return"), strict=False):
            if isinstance(outcome, WorkerDied):
                assert outcome.signal == "SIGKILL" and outcome.pid in killer.killed
                died += 1
            else:
                assert outcome == expected
                right += 1
            if not killer.is_alive():
                break
        killer.join()
        assert killer.left == 0 and right > 0 and died <= KILLS[method]
        goes_on(pool, 4)
    pool.join()


@pytest.mark.parametrize("end", ["close", "terminate"])
def test_a_dead_workers_child_that_holds_all_open_keeps_nobody(ctx, tmp_path, end):
    pool = ctx.Pool(2)
    with pytest.raises(WorkerDied):
        pool.apply_async(tasks.fork_then_die, (str(tmp_path / "child"),)).get(10)
    child = int((tmp_path / "child").read_text())
    try:
        goes_on(pool, 2)
        began = time.monotonic()
        getattr(pool, end)()
        pool.join()
        assert time.monotonic() - began < 3
        assert is_running(child)
    finally:
        os.kill(child, signal.SIGKILL)


REAPED = """
import os, signal, sys, threading, time
import procession, late_tasks, tasks
from procession.errors import TaskCancelled, TaskTimeout, WorkerDied
def reap():
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            time.sleep(0.001)
def main():
    method, how, path = sys.argv[1:]
    if how == "ignored":
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    else:
        threading.Thread(target=reap, daemon=True).start()
    with procession.get_context(method).Pool(2, late_tasks.get_ready) as pool:
        def outcome(*call, **terms):
            try:
                return pool.apply_async(*call, **terms).get(10)
            except (TaskCancelled, TaskTimeout, WorkerDied) as error:
                assert error.pid > 0 and error.function and error.task in str(error)
                return type(error).__name__
        print(outcome(tasks.die, ("kill -9",)), outcome(tasks.die, ("os._exit",)), outcome(tasks.die, ("SIGTERM",)))
        print(outcome(late_tasks.hang_once, (path,), timeout=0.3), outcome(late_tasks.sleep, ("",), timeout=0.1))
        print(outcome(late_tasks.ignore_the_signal, ("",), timeout=0.1))
        print(outcome(tasks.double, (4,), timeout=5))
        result = pool.apply_async(tasks.arrive_and_hang, (path + ".running",))
        tasks.wait_for_file(path + ".running")
        print(result.cancel(), pool.map(tasks.double, range(5), 1))
        names = [outcome if isinstance(outcome, int) else type(outcome).__name__ for outcome in
                 pool.imap(tasks.die_at_three, [("kill -9", i) for i in range(6)], 6, on_error="return")]
        print(names)
        pool.close()
        pool.join()
    print("end")
if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("how", ["ignored", "reaped by others"])
@pytest.mark.parametrize("method", METHODS)
def test_deaths_are_seen_though_nobody_may_wait_for_children(script, method, how):
    script.write(REAPED)
    done = script.run("program.py", method, how, script.folder / "at", within_s=25)
    assert done.stderr == "" and done.returncode == 0
    assert done.stdout.splitlines() == [
        "WorkerDied WorkerDied WorkerDied",
        "TaskTimeout TaskTimeout",
        "TaskTimeout",
        "8",
        "True [0, 2, 4, 6, 8]",
        "[0, 1, 2, 'WorkerDied', 4, 5]",
        "end",
    ]


# ---- sizes and limits ----


def test_resize_while_work_runs_loses_nothing(ctx, method):
    sizes = [4, 1, 3, 1, 2] if method != "spawn" else [3, 1, 2]
    with ctx.Pool(2) as pool:
        stream = pool.imap(tasks.nap_and_double, range(100 * len(sizes)), 3)
        for round_, size in enumerate(sizes):
            pool.resize(size)
            assert [next(stream) for _ in range(100)] == [2 * i for i in range(100 * round_, 100 * round_ + 100)]
        goes_on(pool, sizes[-1])
    pool.join()


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_resize_while_workers_die_loses_nothing(ctx):
    with ctx.Pool(2) as pool:
        killer = Killer(pool, 20)
        killer.start()
        outcomes = []
        stream = pool.imap(tasks.nap_and_double, range(100_000), 2, on_error="return")
        while killer.is_alive() or len(outcomes) < 400:
            pool.resize(1 + len(outcomes) // 50 % 4)
            outcomes += [next(stream) for _ in range(50)]
        killer.join()
        wrong = [number for number, outcome in enumerate(outcomes) if outcome != 2 * number]
        assert all(type(outcomes[number]) is WorkerDied for number in wrong) and len(wrong) <= 20
        del stream
        pool.resize(3)
        goes_on(pool, 3)
        pool.resize(1)
        goes_on(pool, 1)
    pool.join()


def test_a_worker_that_is_dismissed_while_it_runs_finishes_first(ctx, tmp_path):
    with ctx.Pool(2) as pool:
        paths = [str(tmp_path / name) for name in "ab"]
        results = [pool.apply_async(tasks.arrive_and_wait, (path, path)) for path in paths]
        for path in paths:
            tasks.wait_for_file(path)
        pool.resize(1)
        for path in paths:
            tasks.arrive(path + ".go")
        assert [result.get(10) for result in results] == paths
        goes_on(pool, 1)
    pool.join()


def test_a_worker_that_is_dismissed_and_dies_fails_only_what_it_ran(ctx, tmp_path):
    with ctx.Pool(2) as pool:
        paths = [tmp_path / "a", tmp_path / "b"]
        results = [pool.apply_async(tasks.arrive_and_hang, (str(path),)) for path in paths]
        rest = [pool.apply_async(tasks.double, (i,)) for i in range(20)]
        for path in paths:
            tasks.wait_for_file(path)
        pool.resize(1)
        for path, result in zip(paths, results, strict=True):
            os.kill(int(path.read_text()), signal.SIGKILL)
            with pytest.raises(WorkerDied):
                result.get(10)
        assert [result.get(10) for result in rest] == [2 * i for i in range(20)]
        goes_on(pool, 1)
    pool.join()


@pytest.mark.parametrize("limit", [{"maxtasksperchild": 1}, {"maxtasksperchild": 3}, {"max_memory_per_worker": 1}])
def test_limits_deaths_and_timeouts_together_lose_no_task(ctx, method, limit):
    count = 12 if method == "spawn" or "max_memory_per_worker" in limit else 60
    with ctx.Pool(2, late_tasks.get_ready, **limit) as pool:
        good = pool.map_async(tasks.double, range(count), 2)
        bad = [pool.apply_async(death_tasks.strike, (fault,)) for fault in ("SIGKILL", "os._exit", "SIGTERM")]
        late = pool.apply_async(late_tasks.sleep, ("",), timeout=0.3)
        more = [pool.apply_async(tasks.double, (i,)) for i in range(count)]
        for result in bad:
            with pytest.raises(WorkerDied):
                result.get(20)
        with pytest.raises(TaskTimeout):
            late.get(20)
        assert good.get(20) == [2 * i for i in range(count)]
        assert [result.get(20) for result in more] == [2 * i for i in range(count)]
        pool.close()
        pool.join()


def test_a_worker_that_has_grown_is_replaced_and_no_task_is_lost(ctx):
    size = 64 << 20
    with ctx.Pool(2, late_tasks.get_ready, max_memory_per_worker=3 * size) as pool:
        pids = pool.map_async(late_tasks.hoard, [size] * 16, 1).get(20)
        assert len(pids) == 16 and len(set(pids)) >= 4
        assert max(map(pids.count, pids)) <= 4
        goes_on(pool, 2)
    pool.join()


# ---- pools in workers ----


@pytest.mark.parametrize("inner", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize("end", ["timeout", "cancel", "kill -9", "terminate"])
def test_the_workers_of_a_workers_pool_end_with_it(tmp_path, inner, end):
    path = tmp_path / "inner"
    with procession.get_context("fork").Pool(1) as pool:
        result = pool.apply_async(
            late_tasks.hang_in_a_pool, (inner, str(path)), timeout=1.5 if end == "timeout" else None
        )
        wait_until(path.exists)
        worker, *inner_workers = map(int, path.read_text().split())
        assert len(inner_workers) == 2 and all(map(is_running, inner_workers))
        if end == "kill -9":
            os.kill(worker, signal.SIGKILL)
        elif end == "cancel":
            assert result.cancel()
        elif end == "terminate":
            pool.terminate()
        with pytest.raises({"timeout": TaskTimeout, "kill -9": WorkerDied}.get(end, Exception)):
            result.get(10)
        wait_until(lambda: not any(map(is_running, [worker, *inner_workers])), "the end of the inner workers", 3)
        if end != "terminate":
            assert pool.apply_async(tasks.double, (2,)).get(10) == 4
    pool.join()
