"""concurrent.futures works with procession's contexts: its own queues are the standard library's, the rest is ours."""

import concurrent.futures.process
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest

import procession
import procession.queues
import tasks

# Its own thread is what newer Pythons warn of at a fork.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def executor(ctx):
    with ProcessPoolExecutor(2, mp_context=ctx) as executor:
        yield executor


def test_submit_and_map_give_results(executor):
    assert executor.submit(tasks.add, 1, 2, scale=10).result(timeout=20) == 30
    assert list(executor.map(tasks.add, range(20), range(20), chunksize=3)) == [2 * x for x in range(20)]
    assert executor.submit(os.getpid).result(timeout=20) != os.getpid()


def test_an_exception_comes_out_of_the_result(executor):
    with pytest.raises(ValueError, match="bad value 5"):
        executor.submit(tasks.raise_value_error, 5).result(timeout=20)


def test_workers_are_our_processes_and_have_ended_after_shutdown(executor, method):
    executor.submit(tasks.nothing).result(timeout=20)
    processes = list(executor._processes.values())
    assert {type(process) for process in processes} == {procession.get_context(method).Process}
    executor.shutdown()
    assert all(process.exitcode == 0 for process in processes)


def _remember(value):
    sys.remembered = value


def _recall(_):
    return sys.remembered


def test_the_initializer_runs_in_each_worker(ctx):
    with ProcessPoolExecutor(2, mp_context=ctx, initializer=_remember, initargs=("it",)) as executor:
        assert set(executor.map(_recall, range(10))) == {"it"}


class _OurQueue(procession.queues.Queue):
    def __init__(self, max_size, *, ctx, **what_is_told_of_errors):
        super().__init__(max_size, ctx=ctx)


def test_an_executor_in_a_program_that_has_only_us_notices_a_killed_worker(ctx, monkeypatch):
    monkeypatch.setattr(concurrent.futures.process, "_SafeQueue", _OurQueue)
    with ProcessPoolExecutor(2, mp_context=ctx) as executor:
        assert list(executor.map(tasks.add, range(9), range(9))) == [2 * x for x in range(9)]
        with pytest.raises(BrokenProcessPool):
            executor.submit(tasks.kill_self, signal.SIGKILL).result(timeout=20)


def test_a_killed_worker_breaks_the_executor(executor):
    with pytest.raises(BrokenProcessPool):
        executor.submit(tasks.kill_self, signal.SIGKILL).result(timeout=20)
    with pytest.raises(BrokenProcessPool):
        executor.submit(tasks.nothing)


def test_what_cannot_be_pickled_fails_alone(executor):
    with pytest.raises(Exception, match="pickle"):
        executor.submit(tasks.nothing, lambda: 1).result(timeout=20)
    assert executor.submit(tasks.add, 1).result(timeout=20) == 1


def test_shutdown_can_cancel_what_has_not_begun(ctx):
    executor = ProcessPoolExecutor(1, mp_context=ctx)
    futures = [executor.submit(tasks.add, number) for number in range(50)]
    executor.shutdown(cancel_futures=True)
    assert all(future.done() for future in futures)
