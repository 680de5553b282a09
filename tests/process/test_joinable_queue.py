"""JoinableQueue and SimpleQueue, and queues that others wait for as if they were pipes."""

import selectors
import threading

import pytest

import procession
import tasks
import waiting_tasks
from conftest import start
from procession.errors import CannotEncode
from procession.queues import Queue

# ---- JoinableQueue ----


def test_join_returns_when_all_that_was_put_is_done(ctx):
    queue = ctx.JoinableQueue()
    workers = [start(ctx, waiting_tasks.work_off, queue) for _ in range(3)]
    for number in range(300):
        queue.put(number)
    queue.join()
    assert queue.empty()
    for _ in workers:
        queue.put(None)
    queue.join()
    for worker in workers:
        worker.join(10)
        assert worker.exitcode == 0


def test_join_waits_for_what_was_taken_and_is_not_done():
    queue, joined = procession.JoinableQueue(), threading.Event()
    queue.put("work")
    thread = threading.Thread(target=lambda: (queue.join(), joined.set()))
    thread.start()
    assert queue.get() == "work"
    assert not joined.wait(0.05)
    queue.task_done()
    thread.join(10)
    assert joined.is_set()


def test_more_done_than_was_put_is_a_mistake():
    queue = procession.JoinableQueue()
    with pytest.raises(ValueError, match="too many times"):
        queue.task_done()
    queue.put(1)
    queue.get()
    queue.task_done()
    with pytest.raises(ValueError, match="too many times"):
        queue.task_done()


def test_what_could_not_be_put_need_not_be_done():
    queue = procession.JoinableQueue(1)
    queue.put(1)
    with pytest.raises(procession.queues.Full):
        queue.put_nowait(2)
    with pytest.raises(CannotEncode):
        queue.put(threading.Lock())
    queue.get()
    queue.task_done()
    queue.join()


# ---- SimpleQueue ----


def test_a_simple_queue_gives_what_was_put_in_order(ctx):
    queue = ctx.SimpleQueue()
    items = [1, "two", None, b"x" * 100_000]
    process = start(ctx, tasks.put_all, queue, items)
    assert [queue.get() for _ in items] == items
    process.join(10)
    assert queue.empty()


def test_a_closed_queue_says_so():
    queue = procession.SimpleQueue()
    queue.close()
    queue.close()
    for use in (queue.get, queue.empty, lambda: queue.put(1), queue._reader.fileno):
        with pytest.raises(OSError, match="is closed"):
            use()
    assert queue._reader.closed and queue._writer.closed
    joinable = procession.JoinableQueue()
    joinable.close()
    for use in (joinable.get, lambda: joinable.put(1)):
        with pytest.raises(ValueError, match="is closed"):
            use()
    assert joinable.empty()
    used = procession.Queue()
    used.put(1)
    used.close()
    with pytest.raises(OSError, match="is closed"):
        used.empty()


def test_one_end_of_a_queue_can_be_closed_as_a_pipes_can():
    queue = procession.Queue()
    queue._writer.send("there")
    queue._reader.close()
    for use in (queue._reader.recv, queue._reader.poll, queue._reader.fileno):
        with pytest.raises(OSError, match=r"receiving end of .* is closed"):
            use()
    queue.put("more")
    queue._writer.close()
    with pytest.raises(OSError, match=r"sending end of .* is closed"):
        queue._writer.send(1)
    assert [queue.get(), queue.get()] == ["there", "more"]
    assert queue._reader.closed and queue._writer.closed


# ---- a hook for what cannot be pickled ----


class _Collecting(Queue):
    failures: list[tuple[BaseException, object]] = []

    @staticmethod
    def _on_queue_feeder_error(e, obj):
        _Collecting.failures.append((e, obj))


def test_a_class_may_see_to_what_cannot_be_pickled_itself():
    queue, lock = _Collecting(ctx=procession.get_context()), threading.Lock()
    queue.put(lock)
    queue.put("whole")
    assert queue.get(timeout=5) == "whole"
    assert [(type(error), thing) for error, thing in _Collecting.failures] == [(TypeError, lock)]
    _Collecting.failures.clear()


# ---- waiting for queues beside other things ----


@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue", "SimpleQueue"])
def test_a_queues_descriptor_is_readable_exactly_while_something_is_in_it(kind):
    queue = getattr(procession, kind)()
    with selectors.DefaultSelector() as selector:
        selector.register(queue._reader, selectors.EVENT_READ)
        for round_ in range(3):
            assert not selector.select(0)
            queue.put(round_)
            queue.put(round_ + 1)
            assert selector.select(5)
            assert queue._reader.recv() == round_
            assert selector.select(5)
            assert queue.get() == round_ + 1
    queue.close()


def test_a_queue_that_fills_in_another_process_wakes_who_selects(ctx):
    queue = ctx.SimpleQueue()
    with selectors.DefaultSelector() as selector:
        selector.register(queue._reader, selectors.EVENT_READ)
        process = start(ctx, tasks.put_all, queue, [1, 2])
        assert selector.select(20)
        assert [queue.get(), queue.get()] == [1, 2]
    process.join(10)
    queue.close()


def test_wait_tells_which_queues_have_something(ctx):
    from procession.connection import wait

    queues = [ctx.Queue(), ctx.SimpleQueue(), ctx.JoinableQueue()]
    assert wait(queues, 0.01) == []
    process = start(ctx, tasks.put_all, queues[1], ["here"])
    assert wait([*queues, process.sentinel], 20) in ([queues[1]], [queues[1], process.sentinel])
    process.join(10)
    queues[2].put(1)
    assert wait(queues, 0) == [queues[1], queues[2]]
    assert queues[1].get() == "here"


def test_many_may_wait_for_the_same_queue_at_once():
    from procession.connection import wait

    queue, found = procession.Queue(), []
    threads = [threading.Thread(target=lambda: found.append(wait([queue], 20) == [queue])) for _ in range(8)]
    for thread in threads:
        thread.start()
    queue.put(1)
    for thread in threads:
        thread.join(10)
    assert found == [True] * 8
    assert queue.get() == 1
