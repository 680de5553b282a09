"""cancel(): what is queued never runs, what runs is ended with all that it has started, what is done stays as it is."""

import os
import signal
import threading
import time

import pytest

import late_tasks
import procession
import tasks
from conftest import is_running, wait_until
from late_tasks import noted
from procession.errors import TaskCancelled
from procession.pool import ThreadPool


def goes_on(pool):
    assert pool.map_async(tasks.double, range(20), 1).get(10) == [2 * i for i in range(20)]


def is_cancelled(result):
    """Whether all that can be asked says so."""
    began = time.monotonic()
    with pytest.raises(TaskCancelled):
        result.get(10)
    assert time.monotonic() - began < 1
    return result.cancelled() and result.ready() and not result.successful()


@pytest.fixture(params=["processes", "threads"])
def one(request, tmp_path):
    """A pool of one worker, that is busy until the test makes the file, and its result."""
    pool = procession.get_context("fork").Pool(1) if request.param == "processes" else ThreadPool(1)
    with pool:
        busy = pool.apply_async(tasks.arrive_and_wait, (str(tmp_path / "busy"), "done"))
        wait_until((tmp_path / "busy").exists)
        yield pool, busy
    pool.join()


def test_what_is_queued_is_never_run(one, tmp_path):
    pool, busy = one
    runs = str(tmp_path / "runs")
    results = [pool.apply_async(late_tasks.note, (runs, number)) for number in range(10)]
    assert [result.cancel() for result in results[::2]] == [True] * 5
    assert all(is_cancelled(result) for result in results[::2])
    tasks.arrive(tmp_path / "busy.go")
    assert [result.get(10) for result in results[1::2]] == [None] * 5
    assert busy.get(10) == "done" and not busy.cancelled()
    assert sorted(noted(runs)) == ["1", "3", "5", "7", "9"]


def test_the_error_names_the_call(one, tmp_path):
    pool, _ = one
    result = pool.apply_async(tasks.add, (1,), {"scale": 7})
    assert result.cancel()
    with pytest.raises(TaskCancelled, match=r"add\(1, scale=7\) was cancelled"):
        result.get(0)
    tasks.arrive(tmp_path / "busy.go")


def test_cancelling_twice_says_no_the_second_time(one, tmp_path):
    pool, _ = one
    result = pool.apply_async(tasks.double, (1,))
    assert (result.cancel(), result.cancel()) == (True, False)
    assert is_cancelled(result)
    tasks.arrive(tmp_path / "busy.go")


def test_what_is_done_cannot_be_cancelled(one, tmp_path):
    pool, busy = one
    tasks.arrive(tmp_path / "busy.go")
    raised = pool.apply_async(tasks.raise_value_error, (1,))
    raised.wait(10)
    assert busy.get(10) == "done"
    assert not busy.cancel() and not raised.cancel()
    assert busy.get() == "done" and not busy.cancelled() and not raised.cancelled()


def test_the_error_callback_is_told(one, tmp_path):
    pool, _ = one
    told = []
    result = pool.apply_async(tasks.double, (1,), callback=told.append, error_callback=told.append)
    assert result.cancel()
    wait_until(lambda: told)
    tasks.arrive(tmp_path / "busy.go")
    assert pool.apply_async(tasks.double, (2,)).get(10) == 4
    assert [type(error) for error in told] == [TaskCancelled]


def test_a_callback_may_cancel(one, tmp_path):
    pool, _ = one
    runs, answers = str(tmp_path / "runs"), []
    later = []
    first = pool.apply_async(tasks.double, (1,), callback=lambda _: answers.extend(result.cancel() for result in later))
    between = pool.apply_async(tasks.arrive_and_wait, (str(tmp_path / "between"),))
    later += [pool.apply_async(late_tasks.note, (runs, number)) for number in range(5)]
    tasks.arrive(tmp_path / "busy.go")
    wait_until(lambda: len(answers) == 5)
    tasks.arrive(tmp_path / "between.go")
    assert first.get(10) == 2
    between.get(10)
    assert pool.apply_async(tasks.double, (2,)).get(10) == 4
    assert answers == [True] * 5 and noted(runs) == []


def test_another_thread_may_cancel_what_this_one_waits_for(one, tmp_path):
    pool, _ = one
    result = pool.apply_async(tasks.double, (1,))
    timer = threading.Timer(0.05, result.cancel)
    timer.start()
    assert is_cancelled(result)
    timer.join()
    tasks.arrive(tmp_path / "busy.go")


def test_a_map_that_is_queued_is_never_run(one, tmp_path):
    pool, busy = one
    runs = str(tmp_path / "runs")
    result = pool.map_async(late_tasks.count_and_nap, [(number, 0, runs) for number in range(500)], 3)
    assert result.cancel() and is_cancelled(result)
    tasks.arrive(tmp_path / "busy.go")
    assert busy.get(10) == "done"
    assert pool.map_async(tasks.double, [1, 2]).get(10) == [2, 4]
    assert noted(runs) == []


def test_what_a_thread_runs_cannot_be_cancelled(tmp_path):
    with ThreadPool(1) as pool:
        running = pool.apply_async(tasks.arrive_and_wait, (str(tmp_path / "here"), "value"))
        wait_until((tmp_path / "here").exists)
        assert not running.cancel() and not running.cancelled()
        tasks.arrive(tmp_path / "here.go")
        assert running.get(10) == "value"
    pool.join()


@pytest.mark.parametrize("method", ["fork", "forkserver"])
@pytest.mark.parametrize("way", ["sleep", "clean up", "go on whatever comes", "hold the interpreter in a loop"])
def test_what_runs_is_ended(pool, tmp_path, way):
    path = str(tmp_path / "here")
    neighbours = [pool.apply_async(late_tasks.nap, (0.02,)) for i in range(10)]
    result = pool.apply_async(late_tasks.be_late, (way, path))
    wait_until((tmp_path / "here.began").exists)
    pid = int((tmp_path / "here.began").read_text())
    assert result.cancel() and is_cancelled(result)
    wait_until(lambda: not is_running(pid), "the end of its worker", 3)
    assert [neighbour.get(10) for neighbour in neighbours] == [0.02] * 10
    assert (tmp_path / "here").exists() == (way == "clean up")
    goes_on(pool)


def test_what_a_cancelled_task_has_started_is_ended(pool, tmp_path):
    result = pool.apply_async(late_tasks.start_family, (str(tmp_path / "family"), "plainly"))
    wait_until((tmp_path / "family").exists)
    pids = [int(pid) for pid in (tmp_path / "family").read_text().split()]
    assert result.cancel()
    wait_until(lambda: not any(map(is_running, pids)), "the end of its children", 3)
    goes_on(pool)


def test_what_is_claimed_behind_a_long_task_is_never_run(ctx, tmp_path):
    runs = str(tmp_path / "runs")
    with ctx.Pool(1) as pool:
        pool.map(tasks.double, range(3000))  # so that it claims several short ones at once
        (worker,) = pool._pool
        os.kill(worker.pid, signal.SIGSTOP)
        first = pool.apply_async(tasks.arrive_and_wait, (str(tmp_path / "first"), "value"))
        behind = [pool.apply_async(late_tasks.note, (runs, number)) for number in range(6)]
        os.kill(worker.pid, signal.SIGCONT)
        wait_until((tmp_path / "first").exists)
        assert [result.cancel() for result in behind[:4]] == [True] * 4
        tasks.arrive(tmp_path / "first.go")
        assert first.get(10) == "value"
        assert [result.get(10) for result in behind[4:]] == [None, None]
        assert all(is_cancelled(result) for result in behind[:4])
        assert noted(runs) == ["4", "5"]
        assert pool._pool == [worker]
    pool.join()


def test_a_map_that_runs_is_ended_and_no_other(pool, tmp_path):
    runs = str(tmp_path / "runs")
    result = pool.map_async(late_tasks.count_and_nap, [(number, 0.05, runs) for number in range(200)])
    other = pool.map_async(tasks.double, range(300))
    wait_until(lambda: len(noted(runs)) > 3)
    assert result.cancel() and is_cancelled(result)
    assert other.get(10) == [2 * i for i in range(300)]
    goes_on(pool)
    assert len(noted(runs)) < 100


def test_cancel_at_the_moment_of_the_end_has_one_outcome(ctx, method):
    """Whoever is first; and nobody else is ended."""
    rounds = {"fork": 200, "forkserver": 80, "spawn": 20}[method]
    told = []
    with ctx.Pool(3) as pool:
        for number in range(rounds):
            result = pool.apply_async(
                late_tasks.nap, (number % 4 * 0.0005,), callback=told.append, error_callback=told.append
            )
            neighbour = pool.apply_async(tasks.double, (number,))
            was_cancelled = result.cancel() if number % 2 else (result.ready(), result.cancel())[1]
            if was_cancelled:
                assert is_cancelled(result)
            else:
                assert result.get(10) == number % 4 * 0.0005
            assert neighbour.get(10) == 2 * number
        goes_on(pool)
        wait_until(lambda: len(told) == rounds, "all callbacks")
    pool.join()


def test_calls_that_are_cancelled_as_they_end_stay_cancelled(ctx):
    with ctx.Pool(2) as pool:
        for _ in range(20):
            calls = [pool.apply_async(time.sleep, (0.0003,)) for _ in range(60)]
            calls[10].get(10)
            cancelled = [call.cancel() for call in calls[::3]]
            for call in calls:
                call.wait(10)
            for call, is_so in zip(calls[::3], cancelled, strict=True):
                assert is_cancelled(call) if is_so else call.get() is None
        goes_on(pool)
    pool.join()
