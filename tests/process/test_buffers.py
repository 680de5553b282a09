"""Arrays that crossed without a copy are nevertheless the receiver's own, also after a fork."""

import os

import numpy as np

import procession
import tasks
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
