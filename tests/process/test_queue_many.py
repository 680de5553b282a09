"""put_many and get_many: as put and get for each, only faster."""

import time
from queue import Empty, Full

import numpy as np
import pytest

import procession
import tasks
from conftest import join_all, start
from procession.errors import CannotEncode, NotAllPut


class Broken:
    """Cannot be put together again."""

    def __reduce__(self):
        return int, ("no number",)


def test_many_come_out_in_the_order_they_went_in():
    queue = procession.Queue()
    items = [
        1,
        "two",
        None,
        *range(200),
        [3, {"four": 5.0}],
        "y" * 100_000,
        *"many",
        np.arange(50_000),
        (1, 2),
        b"x" * 200,
    ]
    queue.put_many(items)
    assert queue.qsize() == len(items)
    got = []
    while not queue.empty():
        got += queue.get_many()
    assert len(got) == len(items)
    assert all(np.array_equal(a, b) and type(a) is type(b) for a, b in zip(got, items, strict=True))


def test_many_and_single_ones_keep_their_order():
    queue = procession.JoinableQueue()
    queue.put(0)
    queue.put_many(iter(range(1, 150)))
    queue.put(150)
    assert queue.get() == 0
    assert queue.get_many(100) == list(range(1, 101))
    assert queue.get() == 101
    assert queue.get_many(None) == list(range(102, 151))
    for _ in range(151):
        queue.task_done()
    queue.join()


def test_no_more_are_given_than_asked_for():
    queue = procession.Queue()
    queue.put_many(range(600))
    assert len(queue.get_many(1)) == 1
    assert len(queue.get_many(130)) == 130
    assert len(queue.get_many()) == 256
    assert len(queue.get_many(None)) == 213
    with pytest.raises(Empty):
        queue.get_many(5, False)
    began = time.monotonic()
    with pytest.raises(Empty):
        queue.get_many(timeout=0.1)
    assert 0.09 < time.monotonic() - began < 1


@pytest.mark.parametrize("count", [0, -1])
def test_to_ask_for_none_is_an_error(count):
    with pytest.raises(ValueError, match="max_items"):
        procession.Queue().get_many(count)


def test_none_may_be_put():
    queue = procession.Queue(1)
    queue.put_many([])
    assert queue.empty()


@pytest.mark.parametrize("item", [7, "y" * 1000, np.zeros(3)], ids=["packed", "pickled", "array"])
def test_a_full_queue_says_how_many_are_in_it(item):
    queue = procession.Queue(100)
    queue.put(item)
    for wait in ({"block": False}, {"timeout": 0.05}):
        with pytest.raises(NotAllPut) as caught:
            queue.put_many([item] * 150, **wait)
        assert isinstance(caught.value, Full)
        assert caught.value.items_put == queue.qsize() - 1 == 99
        queue.get_many(None)
        queue.put(item)


def test_what_comes_before_an_error_is_in_the_queue():
    queue = procession.Queue()
    with pytest.raises(CannotEncode):
        queue.put_many([*range(70), (i for i in ()), 5])
    assert queue.get_many() == list(range(70))

    def raising():
        yield from range(70)
        raise LookupError("the input")

    with pytest.raises(LookupError, match="the input"):
        queue.put_many(raising())
    assert queue.get_many() == list(range(70))


def test_what_cannot_be_unpickled_costs_no_other():
    queue = procession.Queue()
    queue.put_many([Broken(), 1, 2, Broken(), Broken(), "last"])
    with pytest.raises(ValueError, match="no number"):
        queue.get_many()
    assert queue.get_many() == [1, 2]
    assert queue.qsize() == 2
    with pytest.raises(ValueError, match="no number"):
        queue.get()
    with pytest.raises(ValueError, match="no number"):
        queue.get_many()
    assert queue.get() == "last"


def test_a_closed_queue_takes_and_gives_none():
    queue = procession.Queue()
    queue.close()
    with pytest.raises(ValueError, match="closed"):
        queue.put_many([1])
    with pytest.raises(ValueError, match="closed"):
        queue.get_many()


@pytest.mark.parametrize("maxsize", [0, 5])
def test_many_writers_and_readers_of_many_lose_and_double_nothing(ctx, maxsize):
    queue, out, count = ctx.Queue(maxsize), ctx.Queue(), 500
    readers = [start(ctx, tasks.take_many_until_none, queue, out) for _ in range(2)]
    writers = [start(ctx, tasks.put_many_numbered, queue, who, count, 90) for who in range(2)]
    join_all(writers)
    for _ in readers:
        queue.put(None)
    join_all(readers)
    got = [item for items in out.get_many(None) for item in items]
    assert sorted(got) == [(who, i) for who in range(2) for i in range(count)]


def test_a_writer_that_is_killed_leaves_none_half_put(ctx):
    queue = ctx.Queue()
    for _ in range(10):
        writer = start(ctx, tasks.put_many_for_ever, queue)
        first = queue.get_many(timeout=30)
        writer.kill()
        writer.join()
        got = first + queue.get_many(None, False) if not queue.empty() else first
        assert got == list(range(len(got)))
        assert queue.empty() and queue._channel.check() is None
