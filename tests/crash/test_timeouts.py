"""A task that is late is ended with all that it has started, however it resists; and nothing else is."""

import os
import signal
import time
from pathlib import Path

import pytest

import late_tasks
import procession
import tasks
from conftest import is_running, wait_until
from late_tasks import WAYS, noted
from procession.errors import TaskTimeout, WorkerDied

LIMIT_S = 0.2
FORKED = (
    "fork",
    "forkserver",
)  # a worker that is up is the same whatever it came from; starting one is cheap with these
GONE_S = 3.0  # limit, grace, and what a busy machine takes


@pytest.fixture
def pool(ctx):
    with ctx.Pool(2, late_tasks.get_ready) as pool:
        yield pool
    pool.join()


def late(pool, function, *arguments, timeout=LIMIT_S):
    """The error of a call that is late, in time."""
    began = time.monotonic()
    with pytest.raises(TaskTimeout) as caught:
        pool.apply_async(function, arguments, timeout=timeout).get(10)
    assert timeout <= time.monotonic() - began < timeout + GONE_S
    error = caught.value
    assert error.timeout == timeout and f"{timeout:g} s" in str(error)
    assert error.pid != os.getpid() and not is_running(error.pid)
    assert isinstance(error, TimeoutError) and isinstance(error, procession.TimeoutError)
    return error


def goes_on(pool):
    assert pool.map_async(tasks.double, range(20), 1).get(10) == [2 * i for i in range(20)]


@pytest.mark.parametrize("method", FORKED)
@pytest.mark.parametrize("way", WAYS)
def test_a_late_task_is_ended_however_it_resists(pool, tmp_path, way):
    path = str(tmp_path / "here")
    neighbours = [pool.apply_async(tasks.double, (i,)) for i in range(10)]
    error = late(pool, late_tasks.be_late, way, path)
    assert "be_late" in error.function and way in error.arguments and error.task in str(error)
    assert error.pid == int((tmp_path / "here.began").read_text())
    assert [result.get(10) for result in neighbours] == [2 * i for i in range(10)]
    assert (tmp_path / "here").exists() == (way == "clean up")
    goes_on(pool)


@pytest.mark.parametrize("method", FORKED)
@pytest.mark.parametrize(
    "how", ["plainly", "in a session of its own", "with the default action", "deaf", "holding the interpreter"]
)
def test_what_a_late_task_has_started_is_ended_as_well(pool, tmp_path, how):
    path = tmp_path / "family"
    late(pool, late_tasks.start_family, str(path), how, timeout=0.8)
    pids = [int(pid) for pid in path.read_text().split()]
    wait_until(lambda: not any(map(is_running, pids)), "the end of its children", 2)
    goes_on(pool)


@pytest.mark.parametrize(
    ("method", "door", "chunksize"),
    [(method, door, size) for method in FORKED for door in ("map", "imap") for size in (1, 3, 12)]
    + [("fork", "imap_unordered", 3), ("fork", "starmap", 3), ("spawn", "map", 3), ("spawn", "imap", 12)],
)
def test_neighbours_of_a_late_task_have_their_values_and_run_no_more_than_they_must(pool, tmp_path, door, chunksize):
    path = str(tmp_path / "runs")
    items = [(number, late_tasks.SECONDS if number == 5 else 0.0, path) for number in range(12)]
    terms = {"timeout": LIMIT_S, "on_error": "return"}
    if door == "starmap":
        outcomes = pool.starmap_async(late_tasks.count_and_nap, [(item,) for item in items], chunksize, **terms).get(10)
    elif door == "map":
        outcomes = pool.map_async(late_tasks.count_and_nap, items, chunksize, **terms).get(10)
    else:
        outcomes = list(getattr(pool, door)(late_tasks.count_and_nap, items, chunksize, **terms))
    (error,) = [outcome for outcome in outcomes if not isinstance(outcome, int)]
    assert type(error) is TaskTimeout and error.timeout == LIMIT_S and "5, 600" in error.arguments
    if door != "imap_unordered":
        assert outcomes.index(error) == 5
    assert sorted(outcome for outcome in outcomes if outcome is not error) == [n for n in range(12) if n != 5]
    assert [noted(path).count(str(number)) for number in range(12)] == [1] * 12
    goes_on(pool)


@pytest.mark.parametrize("chunksize", [1, 12])
@pytest.mark.parametrize("method", FORKED)
def test_what_was_done_before_a_late_task_is_not_done_again_whatever_its_results_are(pool, tmp_path, chunksize):
    path = str(tmp_path / "runs")
    items = [(number, late_tasks.SECONDS if number == 5 else 0.0, path) for number in range(12)]
    function = late_tasks.count_and_nap_with_path
    outcomes = pool.map_async(function, items, chunksize, timeout=LIMIT_S, on_error="return").get(10)
    assert type(outcomes.pop(5)) is TaskTimeout
    assert outcomes == [Path(path, str(number)) for number in range(12) if number != 5]
    assert [noted(path).count(str(number)) for number in range(12)] == [1] * 12


@pytest.mark.parametrize("method", FORKED)
def test_map_raises_a_timeout_at_once(pool, tmp_path):
    items = [(number, late_tasks.SECONDS, str(tmp_path / "runs")) for number in range(3)]
    with pytest.raises(TaskTimeout):
        pool.map(late_tasks.count_and_nap, items, timeout=LIMIT_S)
    assert len(noted(tmp_path / "runs")) <= 3
    goes_on(pool)


@pytest.mark.parametrize("door", ["map", "imap"])
@pytest.mark.parametrize("method", FORKED)
def test_the_limit_is_for_each_item_and_not_for_a_chunk(pool, door):
    naps = [0.2] * 5
    assert list(getattr(pool, door)(late_tasks.nap, naps, 5, timeout=0.8)) == naps


@pytest.mark.parametrize("method", FORKED)
def test_the_time_before_a_task_begins_does_not_count(ctx):
    with ctx.Pool(1) as pool:
        results = [pool.apply_async(late_tasks.nap, (0.1,), timeout=0.5) for _ in range(9)]
        assert [result.get(10) for result in results] == [0.1] * 9
    pool.join()


@pytest.mark.parametrize("method", FORKED)
def test_the_limit_holds_while_arguments_are_unpickled(pool):
    error = late(pool, tasks.identity, late_tasks.LateWhenUnpickled())
    assert "identity" in error.function
    items = [0, 1, late_tasks.LateWhenUnpickled(), 3]
    for chunksize in (1, 4):
        outcomes = pool.map_async(tasks.double, items, chunksize, timeout=LIMIT_S, on_error="return").get(10)
        assert type(outcomes.pop(2)) is TaskTimeout
        assert outcomes == [0, 2, 6]
    goes_on(pool)


@pytest.mark.parametrize("method", FORKED)
def test_the_limit_holds_while_the_function_is_unpickled(pool):
    assert "LateFunction" in late(pool, late_tasks.LateFunction(), 1).function
    goes_on(pool)


@pytest.mark.parametrize("method", FORKED)
def test_the_limit_holds_while_the_result_is_pickled(pool):
    late(pool, late_tasks.identity_or_late, "late")
    for chunksize in (1, 4):
        terms = {"timeout": LIMIT_S, "on_error": "return"}
        outcomes = pool.map_async(late_tasks.identity_or_late, [0, 1, "late", 3], chunksize, **terms).get(10)
        assert type(outcomes.pop(2)) is TaskTimeout
        assert outcomes == [0, 1, 3]
    goes_on(pool)


def test_a_task_that_is_done_just_at_the_limit_has_one_outcome(ctx, method):
    """As a value or as a timeout, whichever comes first; and it is never somebody else who is ended."""
    rounds = {"fork": 200, "forkserver": 80, "spawn": 20}[method]
    told = []
    with ctx.Pool(4) as pool:
        results, neighbours = [], []
        for number in range(rounds):
            limit = 0.02 + (number % 5) * 0.002
            results.append(
                pool.apply_async(
                    late_tasks.nap, (0.022,), callback=told.append, error_callback=told.append, timeout=limit
                )
            )
            neighbours.append(pool.apply_async(tasks.double, (number,)))
        outcomes = []
        for result in results:
            try:
                outcomes.append(result.get(20))
            except TaskTimeout as error:
                outcomes.append(error)
        assert all(outcome == 0.022 or type(outcome) is TaskTimeout for outcome in outcomes)
        assert [result.get(20) for result in neighbours] == [2 * i for i in range(rounds)]
        streamed = list(pool.imap(late_tasks.nap, [0.022] * (rounds // 4), 5, timeout=0.024, on_error="return"))
        assert all(outcome == 0.022 or type(outcome) is TaskTimeout for outcome in streamed)
        assert len(streamed) == rounds // 4
        goes_on(pool)
        wait_until(lambda: len(told) >= rounds, "all callbacks")
        assert sorted(map(id, told)) == sorted(map(id, outcomes))
    pool.join()


def test_a_signal_that_comes_after_the_late_task_ends_nothing(ctx, tmp_path):
    with ctx.Pool(1, late_tasks.get_ready, grace=10) as pool:
        (worker,) = pool._pool
        result = pool.apply_async(late_tasks.let_the_signal_wait, ("",), timeout=0.05)
        following = pool.apply_async(late_tasks.hear_the_signal, (str(tmp_path / "next"),))
        assert result.get(10) == 5
        wait_until((tmp_path / "next").exists)
        for _ in range(10):  # whoever waits looks at what the worker is at
            with pytest.raises(procession.TimeoutError):
                following.get(0.02)
        tasks.arrive(tmp_path / "next.go")
        assert following.get(10) == worker.pid
        goes_on(pool)
        assert pool._pool == [worker]
        # And it hears one that somebody else sends.
        os.kill(worker.pid, signal.SIGTERM)
        wait_until(lambda: not is_running(worker.pid))
        goes_on(pool)
    pool.join()


def test_a_late_task_is_run_again_if_asked(pool, tmp_path):
    path = str(tmp_path / "runs")
    terms = {"timeout": LIMIT_S, "retry_on": TaskTimeout}
    assert pool.apply_async(late_tasks.hang_once, (path,), retries=1, **terms).get(10) == "done"
    assert len(noted(path)) == 2
    path = str(tmp_path / "map")
    items = [path, *(str(tmp_path / f"{number}") for number in range(3))]
    for item in items[1:]:
        tasks.arrive(item + ".once")  # these are not late
    assert pool.map_async(late_tasks.hang_once, items, 4, retries=1, **terms).get(10) == ["done"] * 4
    assert [len(noted(item)) for item in items] == [2, 1, 1, 1]
    goes_on(pool)


@pytest.mark.parametrize("method", FORKED)
def test_a_late_task_is_run_again_no_more_often_than_asked(pool, tmp_path):
    for number, (retries, retry_on, runs) in enumerate([(2, TaskTimeout, 3), (1, TimeoutError, 2), (2, WorkerDied, 1)]):
        path = str(tmp_path / str(number))
        with pytest.raises(TaskTimeout):
            pool.apply_async(
                late_tasks.hang_and_count, (path,), timeout=LIMIT_S, retries=retries, retry_on=retry_on
            ).get(10)
        assert len(noted(path)) == runs
    goes_on(pool)


def test_a_timeout_is_told_though_nobody_waits(pool):
    told = []
    pool.apply_async(late_tasks.sleep, ("",), error_callback=told.append, timeout=LIMIT_S)
    wait_until(lambda: told, "the error callback", 5)
    assert type(told[0]) is TaskTimeout


def test_a_task_that_is_ended_within_a_del_says_nothing_on_stderr(fresh_fork_server, ctx, tmp_path, capfd):
    with ctx.Pool(1, late_tasks.get_ready, grace=0.2) as pool:
        late(pool, late_tasks.drop_slowly, str(tmp_path / "here"), timeout=0.5)
        assert (tmp_path / "here").exists()
        goes_on(pool)
    pool.join()
    assert capfd.readouterr().err == ""
