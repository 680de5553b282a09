"""Arrays that crossed without a copy are nevertheless the receiver's own, also after a fork."""

import os
import resource

import numpy as np

import procession
import tasks
from conftest import wait_until
from procession import _core


def received(ctx):
    queue = ctx.Queue()
    queue.put(np.arange(100_000))
    return queue.get()


def overwrite(array, queue):
    array[:] = 7
    queue.put(int(array.sum()))


def test_what_a_forked_child_writes_into_a_received_array_stays_there():
    ctx = procession.get_context("fork")
    array, queue = received(ctx), ctx.Queue()
    children = [ctx.Process(target=overwrite, args=(array, queue)) for _ in range(2)]
    for child in children:
        child.start()
    assert [queue.get(timeout=10), queue.get(timeout=10)] == [700_000, 700_000]
    for child in children:
        child.join()
    assert np.array_equal(array, np.arange(100_000))


def test_what_is_written_after_a_fork_stays_on_this_side():
    array = received(procession)
    reader, writer = os.pipe()
    said, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(reader, 1)  # the parent has written
        os.write(say, b"old" if array[5] == 5 else b"new")
        os._exit(0)
    array[5] = -1
    os.write(writer, b"x")
    os.waitpid(pid, 0)
    assert os.read(said, 3) == b"old"
    assert array[5] == -1
    for fd in (reader, writer, said, say):
        os.close(fd)
    _core.process_sweep_dead()  # a child that nobody else knows of


def test_memory_that_was_a_copy_is_everybodys_again_when_it_is_free(ctx):
    array = received(ctx)
    child = ctx.Process(target=tasks.double, args=(1,))
    child.start()
    child.join()
    array[:] = -1
    del array
    again = ctx.Queue()
    again.put(np.full(100_000, 3))
    with ctx.Pool(1) as pool:
        assert pool.apply(np.sum, (again.get(),)) == 300_000


def limited_array(length):
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    return np.arange(length)


def test_a_limit_of_files_does_not_limit_what_a_worker_returns(ctx):
    with ctx.Pool(1) as pool:
        result = pool.apply(limited_array, (3_000_000,))
    assert np.array_equal(result, np.arange(3_000_000))


def test_memory_of_large_arrays_is_given_back_while_the_pool_is_idle():
    with procession.Pool(2) as pool:
        assert pool.apply(np.sum, (np.ones(4_000_000),)) == 4_000_000
        wait_until(lambda: _core.arena_facts()["warm"] >= 32_000_000)  # the worker has let go
        wait_until(lambda: _core.arena_facts()["warm"] < 5_000_000, within_s=20)
        assert pool.apply(np.sum, (np.ones(4_000_000),)) == 4_000_000


def test_arrays_that_grow_use_the_same_memory():
    queue = procession.Queue()
    used = set()
    for length in range(1_000_000, 1_500_000, 100_000):
        queue.put(np.ones(length))
        assert queue.get().sum() == length
        used.add(_core.arena_facts()["used"])
    assert max(used) - min(used) <= 8 * 500_000
