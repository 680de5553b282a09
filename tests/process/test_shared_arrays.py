"""Shared objects and arrays between processes: by every road, under every start method, and no copy on the way."""

import os

import numpy as np
import pytest

import array_tasks
import procession
from conftest import join_all, start, wait_until
from procession import _core

SIZE = 100_000


def test_an_array_is_the_same_memory_in_a_process_that_it_is_an_argument_of(ctx):
    array, done = procession.zeros(SIZE), ctx.Event()
    child = start(ctx, array_tasks.add_one_and_say, array[::2], done)
    assert done.wait(20)
    join_all([child])
    assert array[::2].all() and not array[1::2].any()


def test_an_array_is_the_same_memory_through_a_queue(ctx):
    array, queue, done = procession.zeros((300, 400)), ctx.Queue(), ctx.Event()
    child = start(ctx, array_tasks.add_one_to_what_comes, queue, done)
    queue.put(array.T[5:])
    join_all([child])
    assert array[:, 5:].all() and not array[:, :5].any()


def test_an_array_is_the_same_memory_through_a_pipe(ctx):
    array, (here, there), done = procession.zeros(SIZE), ctx.Pipe(), ctx.Event()
    child = start(ctx, array_tasks.add_one_to_what_comes, there, done)
    here.send(array)
    join_all([child])
    assert array.all()
    here.close()
    there.close()


def test_an_array_is_the_same_memory_in_tasks(pool):
    array = procession.zeros((10, SIZE))
    assert set(pool.map(array_tasks.add_one, list(array))) == {"SharedArray"}
    assert pool.apply(array_tasks.add_one, (array.T,)) == "SharedArray"
    assert (array == 2).all()


def test_a_result_that_was_built_in_place_crosses_without_a_copy_and_lives_on(ctx):
    with ctx.Pool(1) as pool:
        result = pool.apply(array_tasks.build_and_sign, (50_000, 3))
    pool.join()
    assert result.is_shared and result.flags.writeable
    assert result[0, :2].tolist() == array_tasks.place_of(result)
    assert result.shape == (50_000, 3) and (result[1:] == [0, 1, 2]).all()
    result[0] = 9
    assert result.base is not None


def test_an_array_is_shared_after_a_fork_where_a_received_one_is_parted():
    queue = procession.Queue()
    shared = procession.zeros(SIZE)
    queue.put((shared, np.zeros(SIZE)))
    again, received = queue.get()
    pid = os.fork()
    if pid == 0:
        again[5] = received[5] = 1
        os._exit(0)
    os.waitpid(pid, 0)
    _core.process_sweep_dead()
    assert shared[5] == 1 and received[5] == 0


def test_a_handle_opens_in_tasks_as_a_read_only_view(pool):
    handle = procession.share(np.arange(SIZE))
    assert pool.map(array_tasks.facts_of, [handle] * 6, chunksize=1) == [(sum(range(SIZE)), False, True)] * 6


@pytest.mark.parametrize("road", ["queue", "pipe", "argument"])
def test_a_handle_opens_by_every_road(ctx, road):
    handle, answers = procession.share(np.arange(SIZE)), ctx.Queue()
    if road == "argument":
        child = start(ctx, array_tasks.facts_into, handle, answers)
    else:
        here, there = ctx.Pipe() if road == "pipe" else (None, ctx.Queue())
        child = start(ctx, array_tasks.facts_of_what_comes, there, answers)
        here.send(handle) if here else there.put(handle)
    assert answers.get(timeout=20) == (sum(range(SIZE)), False, True)
    join_all([child])
    if road == "pipe":
        here.close()
        there.close()


def test_a_handle_goes_through_a_manager(ctx):
    with ctx.Manager() as manager:
        things = manager.dict()
        things["handle"], things["array"] = procession.share([1, 2]), procession.zeros(5)
        things["array"][2] = 5
        assert things["handle"].get() == [1, 2] and things["array"].tolist() == [0, 0, 5, 0, 0]


def test_what_is_opened_uses_no_memory_of_its_own(ctx):
    handle, array = procession.share(np.ones(4_000_000)), procession.ones(4_000_000)
    with ctx.Pool(1) as pool:
        assert pool.apply(array_tasks.growth_with, (array,)) < 1 << 20
        assert pool.apply(array_tasks.growth_with, (handle.get(),)) < 1 << 20
    pool.join()


def test_a_part_of_an_opened_object_is_given_to_tasks_as_it_lies(pool):
    array = procession.share(np.arange(SIZE)).get()
    before = array_tasks.used_bytes()
    parts = [array[start:] for start in range(20)]
    assert pool.map(array_tasks.used_after, parts) == [(start, False) for start in range(20)]
    assert array_tasks.used_bytes() - before < array.nbytes


def test_views_keep_the_memory_when_all_others_have_let_go(ctx):
    road, answers = ctx.Queue(), ctx.Queue()
    ready, go_on = ctx.Event(), ctx.Event()
    child = start(ctx, array_tasks.keep_a_view, road, ready, go_on, answers)
    road.put((procession.share(np.arange(SIZE)), procession.array(np.arange(SIZE))))
    assert ready.wait(20)
    go_on.set()
    assert answers.get(timeout=20) == ([5, 6], [10, 11])
    join_all([child])


def test_what_nobody_reads_is_kept_by_its_queue_and_goes_with_it():
    before = _core.arena_facts()["blocks"]
    queue = procession.Queue()
    queue.put((procession.share(np.arange(SIZE)), procession.full(SIZE, 5)))
    handle, array = queue.get()
    queue.put((handle, array))
    del handle, array
    assert _core.arena_facts()["blocks"] > before
    handle, array = queue.get()
    assert handle.get()[7] == 7 and array[7] == 5
    queue.put((handle, array))
    del handle, array, queue
    assert _core.arena_facts()["blocks"] == before


def test_a_worker_puts_a_costly_object_together_once_and_lets_it_go_when_idle(ctx):
    with ctx.Pool(1) as pool:
        pool.apply(len, ("",))
        before = _core.arena_facts()["blocks"]
        handle = procession.share(array_tasks.Costly())
        assert [pool.apply(array_tasks.times_opened, (handle,)) for _ in range(3)] == [1, 1, 1]
        del handle
        wait_until(lambda: _core.arena_facts()["blocks"] <= before + 1, "the end of the object")
    pool.join()
