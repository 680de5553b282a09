"""Queue, Lock and Value under every start method."""

import ctypes
import threading
import time
from queue import Empty, Full

import numpy as np
import pytest

import procession
import tasks
from conftest import join_all, start
from procession.errors import CannotEncode

# ---- Queue ----


def test_objects_come_out_in_the_order_they_went_in(ctx):
    queue = ctx.Queue()
    items = [1, "two", None, [3, {"four": 5.0}], b"x" * 100, "y" * 100_000, np.arange(50_000)]
    process = start(ctx, tasks.put_all, queue, items)
    for item in items:
        assert np.array_equal(queue.get(timeout=10), item)
    join_all([process])


def test_many_writers_and_many_readers_lose_and_double_nothing(ctx):
    queue, out, count = ctx.Queue(), ctx.Queue(), 500
    readers = [start(ctx, tasks.take_until_none, queue, out) for _ in range(3)]
    writers = [start(ctx, tasks.put_numbered, queue, who, count) for who in range(3)]
    join_all(writers)
    for _ in readers:
        queue.put(None)
    got, ends = [], 0
    while ends < len(readers):
        item = out.get(timeout=10)
        ends += item is None
        got += [] if item is None else [item]
    assert sorted(got) == [(who, i) for who in range(3) for i in range(count)]
    join_all(readers)


def test_one_writers_objects_stay_in_order_for_one_reader(ctx):
    queue = ctx.Queue(5)
    process = start(ctx, tasks.put_numbered, queue, 0, 1000)
    assert [queue.get(timeout=10)[1] for _ in range(1000)] == list(range(1000))
    join_all([process])


def test_put_has_delivered_when_it_returns():
    queue = procession.Queue()
    for i in range(1000):
        queue.put(i)
        assert not queue.empty()
        assert queue.get_nowait() == i
        assert queue.empty()


def test_counts_are_exact(ctx):
    queue = ctx.Queue(3)
    assert (queue.qsize(), queue.empty(), queue.full()) == (0, True, False)
    for i in range(3):
        queue.put(i)
        assert queue.qsize() == i + 1
    assert queue.full() and not queue.empty()
    queue.get()
    assert (queue.qsize(), queue.full()) == (2, False)


@pytest.mark.parametrize("maxsize", [0, -1])
def test_a_queue_without_a_limit_is_never_full(maxsize):
    queue = procession.Queue(maxsize)
    for i in range(5000):
        queue.put_nowait(i)
    assert not queue.full() and queue.qsize() == 5000


def test_a_full_queue_says_so_in_time():
    queue = procession.Queue(1)
    queue.put(1)
    with pytest.raises(Full):
        queue.put_nowait(2)
    with pytest.raises(Full):
        queue.put(2, False)
    began = time.monotonic()
    with pytest.raises(Full):
        queue.put(2, timeout=0.1)
    assert 0.09 < time.monotonic() - began < 1
    assert queue.get() == 1


def test_an_empty_queue_says_so_in_time():
    queue = procession.Queue()
    with pytest.raises(Empty):
        queue.get_nowait()
    with pytest.raises(Empty):
        queue.get(False)
    with pytest.raises(Empty):
        queue.get(timeout=-1)
    began = time.monotonic()
    with pytest.raises(Empty):
        queue.get(timeout=0.1)
    assert 0.09 < time.monotonic() - began < 1


def test_a_put_waits_for_room(ctx):
    queue = ctx.Queue(1)
    process = start(ctx, tasks.put_all, queue, list(range(20)))
    assert [queue.get(timeout=10) for _ in range(20)] == list(range(20))
    join_all([process])


def test_a_reader_in_another_thread_is_woken():
    queue, got = procession.Queue(), []
    threads = [threading.Thread(target=lambda: got.append(queue.get(timeout=10))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for i in range(4):
        queue.put(i)
    for thread in threads:
        thread.join()
    assert sorted(got) == [0, 1, 2, 3]


def test_what_cannot_be_pickled_raises_in_put():
    queue = procession.Queue()
    with pytest.raises(CannotEncode):
        queue.put(threading.Lock())
    assert queue.empty()
    queue.put(1)
    assert queue.get() == 1


def test_a_closed_queue_takes_and_gives_nothing_here(ctx):
    queue = ctx.Queue()
    with pytest.raises(AssertionError):
        queue.join_thread()
    queue.close()
    queue.join_thread()
    queue.cancel_join_thread()
    with pytest.raises(ValueError, match="closed"):
        queue.put(1)
    with pytest.raises(ValueError, match="closed"):
        queue.get()


def test_a_child_that_put_10_megabytes_unread_can_be_joined(ctx):
    queue = ctx.Queue()
    process = start(ctx, tasks.put_all, queue, [b"x" * (1 << 20)] * 10)
    join_all([process])
    assert [len(queue.get_nowait()) for _ in range(10)] == [1 << 20] * 10


def test_a_child_that_reads_nothing_is_no_hindrance(ctx):
    queue = ctx.Queue()
    for _ in range(10):
        queue.put(b"x" * (1 << 20))
    join_all([start(ctx, tasks.nothing, queue)])
    assert queue.qsize() == 10


def test_a_queue_and_a_lock_travel_through_a_queue(ctx):
    carrier, out = ctx.Queue(), ctx.Queue()
    queue, lock = ctx.Queue(), ctx.Lock()
    readers = [start(ctx, tasks.send_back, carrier, out) for _ in range(2)]
    carrier.put(queue)
    carrier.put(lock)
    assert queue.get(timeout=10) == "through"
    assert out.get(timeout=10) == "locked"
    join_all(readers)


def test_a_queue_that_only_travels_lives_on():
    carrier = procession.Queue()
    inner = procession.Queue()
    inner.put("kept")
    carrier.put(inner)
    del inner
    assert carrier.get().get() == "kept"


def test_an_array_from_a_queue_is_writable_and_private(ctx):
    queue = ctx.Queue()
    process = start(ctx, tasks.put_all, queue, [np.arange(100_000)])
    array = queue.get(timeout=10)
    join_all([process])
    array[0] = 5
    assert array.sum() == 5 + sum(range(100_000))


# ---- many ----


def test_ten_thousand_queues_and_a_hundred_thousand_locks_need_no_descriptors(script):
    script.write(
        "import os, procession as P\n"
        "fds = len(os.listdir('/proc/self/fd'))\n"
        "queues = [P.Queue() for _ in range(10_000)]\n"
        "locks = [P.Lock() for _ in range(100_000)]\n"
        "queues[-1].put(locks[-1])\n"
        "with queues[-1].get(): assert not locks[-1].acquire(False)\n"
        "print(len(os.listdir('/proc/self/fd')) - fds <= 2, os.listdir('/dev/shm') == before if 0 else 'ok')\n"
        "del queues, locks\n"
        "from procession import _core\n"
        "print(_core.arena_facts()['blocks'])\n"
    )
    done = script.run("program.py", preexec_fn=_few_descriptors)
    assert (done.stdout, done.stderr) == ("True ok\n0\n", "")


def _few_descriptors():
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))


# ---- Lock ----


def test_a_lock_excludes_other_processes(ctx):
    lock, value = ctx.Lock(), ctx.Value("i", 0, lock=False)
    counter = ctx.Value("i", 0)
    del value
    processes = [start(ctx, tasks.count_up_under, lock, _Unlocked(counter), 2000) for _ in range(3)]
    join_all(processes)
    assert counter.value == 6000


class _Unlocked:
    """The value without its own lock, so that only the lock under test guards it."""

    def __init__(self, synchronized):
        self.synchronized = synchronized

    @property
    def value(self):
        return self.synchronized.get_obj().value

    @value.setter
    def value(self, number):
        self.synchronized.get_obj().value = number


def test_a_lock_may_be_asked_without_waiting_and_with_a_timeout():
    lock = procession.Lock()
    assert lock.acquire()
    assert not lock.acquire(False)
    assert not lock.acquire(block=False)
    began = time.monotonic()
    assert not lock.acquire(timeout=0.1)
    assert not lock.acquire(True, 0.01)
    assert 0.1 < time.monotonic() - began < 1
    lock.release()
    assert lock.acquire(timeout=0)
    lock.release()


def test_releasing_a_free_lock_is_an_error():
    with pytest.raises(ValueError):
        procession.Lock().release()


def test_a_lock_is_a_context_manager():
    lock = procession.Lock()
    with lock:
        assert not lock.acquire(False)
    assert lock.acquire(False)
    lock.release()


def test_another_thread_may_release_a_lock():
    lock = procession.Lock()
    lock.acquire()
    thread = threading.Thread(target=lock.release)
    thread.start()
    thread.join()
    assert lock.acquire(False)
    lock.release()


def test_another_process_may_release_a_lock(ctx):
    lock = ctx.Lock()
    lock.acquire()
    join_all([start(ctx, tasks.release, lock)])
    assert lock.acquire(timeout=5)
    lock.release()


def test_a_lock_that_a_process_left_held_in_order_is_held_until_released(ctx):
    lock = ctx.Lock()
    join_all([start(ctx, tasks.acquire_and_leave, lock)])
    assert not lock.acquire(timeout=0.05)
    lock.release()
    assert lock.acquire(False)
    lock.release()


# ---- Value ----


@pytest.mark.parametrize(
    ("kind", "start_value", "end_value"),
    [
        ("i", 3, -7),
        ("d", 0.5, 2.25),
        ("c", b"a", b"z"),
        ("L", 0, 2**40),
        ("f", 0.0, 1.5),
        (ctypes.c_short, 5, 6),
        ("u", "a", "é"),
    ],
)
def test_a_value_is_shared(ctx, kind, start_value, end_value):
    value = ctx.Value(kind, start_value)
    assert value.value == start_value
    join_all([start(ctx, tasks.set_raw, value, end_value)])
    assert value.value == end_value


def test_a_value_without_a_lock_is_shared_too(ctx):
    value = ctx.Value("i", 3, lock=False)
    assert not hasattr(value, "get_lock")
    join_all([start(ctx, tasks.set_raw, value, 9)])
    assert value.value == 9


def test_a_value_counts_under_its_lock(ctx):
    value = ctx.Value("i", 0)
    with value.get_lock():
        pass
    join_all([start(ctx, _count_with_raw, value, 1000) for _ in range(3)])
    assert value.value == 3000


def _count_with_raw(value, times):
    for _ in range(times):
        with value.get_lock():
            value.get_obj().value += 1


def test_the_idiom_of_the_manual_works(ctx):
    """``with value.get_lock(): value.value += 1``: the lock of a Value is recursive in the standard library."""
    value = ctx.Value("i", 0)
    process = start(ctx, tasks.count_up, value, 10)
    process.join(2)
    was = process.exitcode
    process.kill()
    process.join()
    assert was == 0
    assert value.value == 10


def test_a_value_may_have_a_lock_of_the_users():
    lock = procession.Lock()
    value = procession.Value("i", 1, lock=lock)
    assert value.get_lock() is lock
    with value:
        assert not lock.acquire(False)


def test_a_value_starts_at_zero():
    assert procession.Value("i").value == 0
    assert procession.Value("d").value == 0.0


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_double)]


def test_a_value_may_be_a_structure_with_fields():
    point = procession.Value(Point, 1, 2.5)
    assert (point.x, point.y) == (1, 2.5)
    point.x = 9
    assert point.get_obj().x == 9


@pytest.mark.parametrize(("kind", "error"), [("?!", TypeError), ("i", AttributeError)])
def test_misuse_of_value_says_so(kind, error):
    with pytest.raises(error):
        procession.Value(kind, lock=5 if kind == "i" else True)
