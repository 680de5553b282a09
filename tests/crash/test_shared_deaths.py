"""Shared objects and arrays whose makers and users are killed."""

import random
import time

import numpy as np
import pytest

import array_tasks
import procession
from conftest import join_all, start, wait_until
from procession import _core


@pytest.mark.parametrize("kill", [False, True], ids=["ended", "killed"])
def test_what_was_sent_outlives_its_maker(ctx, kill):
    queue = ctx.Queue()
    maker = start(ctx, array_tasks.share_and_end, queue, kill)
    maker.join(20)
    assert maker.exitcode == (-9 if kill else 0)
    handle, array = queue.get(timeout=10)
    assert handle.get()[-1] == 99_999 and (array == 7).all()


def test_views_outlive_a_killed_maker(ctx):
    queue = ctx.Queue()
    maker = start(ctx, array_tasks.make_and_wait, queue, [], ctx.Event())
    handle, array = queue.get(timeout=20)
    view, part = handle.get()[3:5], array[:2]
    maker.kill()
    maker.join()
    del handle, array
    assert view.tolist() == [3, 4] and part.tolist() == [7, 7]


def test_what_only_the_killed_had_is_free(ctx):
    queue = ctx.Queue()
    before = _core.arena_facts()["blocks"]
    maker = start(ctx, array_tasks.make_and_wait, queue, [], ctx.Event())
    handle, array = queue.get(timeout=20)
    del handle, array
    maker.kill()
    maker.join()
    del maker
    wait_until(lambda: _core.arena_facts()["blocks"] <= before, "the end of the blocks")


@pytest.mark.deadline(60)
def test_kills_at_random_moments_leave_what_is_whole():
    """Those who share, open, write and send are killed forty times; whoever remains reads what was written."""
    chance = random.Random(5)
    ctx = procession.get_context("fork")
    numbers = np.arange(50_000)
    for _ in range(40):
        road, started = ctx.Queue(), ctx.Event()
        handle, array = procession.share(numbers), procession.zeros(50_000)
        users = [start(ctx, array_tasks.use_until_killed, road, started) for _ in range(2)]
        for _ in range(3):
            road.put((handle, array))
        assert started.wait(20)
        time.sleep(chance.uniform(0, 0.01))
        for user in users:
            user.kill()
            user.join()
        assert np.array_equal(handle.get(), numbers)
        array[7] = 5
        while not road.empty():
            other, values = road.get(timeout=5)
            assert other.get()[11] == 11 and values.shape in ((50_000,), (20_000,))
        assert array[7] == 5
        assert _core.arena_check() is None


def test_a_worker_that_is_killed_with_its_result_half_built_leaves_nothing(ctx):
    with ctx.Pool(1) as pool:
        pool.map(len, ["x"])
        before = _core.arena_facts()["blocks"]
        task = pool.apply_async(build_and_wait)
        (worker,) = pool._pool
        wait_until(lambda: _core.arena_facts()["blocks"] > before + 1)
        worker.kill()
        with pytest.raises(procession.errors.WorkerDied):
            task.get(20)
        wait_until(lambda: _core.arena_facts()["blocks"] <= before + 1, "the end of the blocks")
    pool.join()


def build_and_wait():
    arrays = [procession.zeros(1000) for _ in range(100)]
    while arrays:
        time.sleep(1)


def test_a_process_that_ends_in_order_takes_along_what_only_it_had(ctx):
    before = _core.arena_facts()["blocks"]
    join_all([start(ctx, array_tasks.share_and_end, ctx.Queue(), False)])
    wait_until(lambda: _core.arena_facts()["blocks"] <= before, "the end of the blocks")
