"""What a pool's threads put in the place of what processes share: a channel, a runner, a worker that looks like a process."""

import ctypes
import threading

import pytest

import tasks
from conftest import wait_until
from procession.engine import exceptions, wire
from procession.engine.clock import FOREVER, deadline_after
from procession.engine.functions import FunctionTable, LocalFunction
from procession.engine.scheduler import NOT_RUNNING
from procession.errors import Closed
from procession.pool import ThreadPool
from procession.worker.threads import TaskReader, ThreadChannel, ThreadWorker


@pytest.fixture
def channel():
    return ThreadChannel()


# ---- the channel ----


def test_messages_come_in_order_with_their_positions(channel):
    things = [object() for _ in range(5)]
    for tag, thing in enumerate(things):
        assert channel.tail == tag and channel.put(thing, tag=tag)
    assert len(channel) == 5
    assert channel.take(2) == (0, [(0, things[0]), (1, things[1])])
    assert channel.take(64) == (2, [(2, things[2]), (3, things[3]), (4, things[4])])
    assert len(channel) == 0 and channel.tail == 5


def test_one_of_many_readers_takes_one_and_has_it_until_it_is_done(channel):
    for i in range(3):
        channel.put(i)
    reader = TaskReader(channel)
    assert reader.claim == (0, 0, NOT_RUNNING, 0)
    for i in range(2):
        assert reader.take(64) == (i, [(0, i)])
        assert reader.claim == (i, i + 1, NOT_RUNNING, 0)
        reader.inbox.clear()
    assert len(reader) == 1
    channel.drop()
    with pytest.raises(Closed):
        reader.take(1)
    assert reader.claim == (0, 0, NOT_RUNNING, 0)


def test_a_take_waits_no_longer_than_its_deadline(channel):
    assert channel.take(1, 0) == (0, [])
    assert channel.take(1, deadline_after(0.01)) == (0, [])


def test_a_take_waits_for_a_put(channel):
    timer = threading.Timer(0.01, channel.put, ["here"])
    timer.start()
    assert channel.take(5, FOREVER)[1] == [(0, "here")]
    timer.join()


def test_a_closed_channel_gives_what_is_left(channel):
    channel.put(1)
    channel.put(2)
    channel.close()
    channel.close()
    with pytest.raises(Closed):
        channel.put(3)
    assert channel.take(1)[1] == [(0, 1)]
    assert channel.take(64)[1] == [(0, 2)]
    for _ in range(2):
        with pytest.raises(Closed):
            channel.take(1)


def test_closing_wakes_all_who_wait(channel):
    ended = []

    def wait():
        try:
            channel.take(1)
        except Closed:
            ended.append(1)

    threads = [threading.Thread(target=wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    channel.close()
    for thread in threads:
        thread.join(10)
    assert len(ended) == 5


def test_a_dropped_channel_gives_nothing_more(channel):
    for i in range(100):
        channel.put(i)
    channel.drop()
    with pytest.raises(Closed):
        channel.take(1)


def test_many_readers_get_each_message_once(channel):
    got = []

    def read():
        reader = TaskReader(channel)
        try:
            while True:
                first, messages = reader.take(8)
                reader.inbox.clear()
                got.append((first, messages[0][1]))
        except Closed:
            pass

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for i in range(5000):
        channel.put(i)
    channel.close()
    for thread in threads:
        thread.join(20)
    assert sorted(got) == [(i, i) for i in range(5000)]


# ---- functions and messages ----


def test_a_local_function_is_itself():
    table = FunctionTable(LocalFunction)
    sent = table.send(tasks.double)
    assert table.send(tasks.double) is sent and sent.function is tasks.double
    assert repr(sent) == "tasks.double"
    items = [object()]
    assert sent.encode(wire.ITEM, items) == (wire.ITEM, tasks.double, items)
    assert not sent.resend_by_value(1)


def test_a_closure_is_not_kept():
    table = FunctionTable(LocalFunction)
    thing = object()
    table.send(lambda: thing)
    assert not table.sent


def test_results_and_errors_of_threads_are_decoded_as_they_are():
    error = ValueError("x")
    results = ([0, 0, 1, 5], [None], {0: error})
    assert wire.decode_results(results) is results
    assert exceptions.decode_error(error) is error


# ---- the worker ----


def test_a_worker_looks_like_a_process():
    tasks_channel, results = ThreadChannel(), ThreadChannel()
    spec = wire.RunnerSpec(tasks_channel, results, None, (), 0, 1)
    worker = ThreadWorker(spec)
    assert worker.exitcode is None and worker.pid == 0 and worker.sentinel == -1
    worker.start()
    assert worker.poll() is None and worker.wait(deadline_after(0.01)) is None
    tasks_channel.close()
    assert worker.wait(deadline_after(10)) == 0 and worker.poll() == 0
    assert worker.claim == (0, 0, NOT_RUNNING, 0)
    assert results.take(1)[1] == [(wire.READY, worker.identity.to_bytes(4, "little"))]


def test_nobody_waits_for_a_worker_that_was_killed_and_still_runs():
    event = threading.Event()
    tasks_channel, results = ThreadChannel(), ThreadChannel()
    worker = ThreadWorker(wire.RunnerSpec(tasks_channel, results, None, (), 0, 1))
    worker.start()
    tasks_channel.put(LocalFunction(event.wait).encode(wire.STAR, [(20,)]))
    wait_until(lambda: worker.claim[1] == 1)
    worker.send_signal(9)
    assert worker.wait() == -9
    event.set()
    worker.join(10)
    assert worker.wait() == 0


def test_a_thread_that_ends_outside_of_a_task_is_replaced(monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
    with ThreadPool(1) as pool:
        assert pool.apply(tasks.double, (1,)) == 2
        (worker,) = pool._pool
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(worker.ident), ctypes.py_object(SystemError))
        # It notices when a call wakes it, which it has taken by then.
        results = [pool.apply_async(tasks.double, (i,)) for i in range(20)]
        assert [result.get(10) for result in results] == [2 * i for i in range(20)]
        wait_until(lambda: not worker.is_alive())
        assert pool.apply(tasks.double, (3,)) == 6
        assert len(pool._pool) == 1 and pool._pool != [worker]
    pool.join()
