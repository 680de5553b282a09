"""Feeds read an input as far ahead as the reader's pace asks for, and no further; the engine is a fake."""

import itertools
import threading

import pytest

from conftest import wait_until
from procession.engine.batches import Estimate
from procession.engine.feeds import Feed
from procession.engine.tickets import MapTicket, OrderedStream


class Function:
    def __init__(self):
        self.estimate = Estimate()


class Engine:
    """Keeps what it is fed; `work` gives the results of some batches."""

    def __init__(self, size=2):
        self.size = size
        self.batches = []
        self.ended = None
        self.lock = threading.RLock()

    def queue(self, batch):
        with self.lock:
            batch.lane.batches += 1
            self.batches.append(batch)

    def advance(self, feed):
        with self.lock:
            feed.advance()

    def deliver(self, ticket, start, values, errors):
        ticket.deliver(start, values, errors)

    def input_ended(self, ticket, total, error):
        self.ended = (total, error)
        if hasattr(ticket, "input_ended"):
            ticket.input_ended(total, error)

    def work(self, feed, count=1, item_ns=1000):
        for _ in range(count):
            with self.lock:
                batch = self.batches.pop(0)
                batch.lane.batches -= 1
            batch.function.estimate.learn(len(batch.items), len(batch.items) * item_ns)
            batch.ticket.deliver(batch.start, list(batch.items), {})
            feed.advance()


class Counted:
    """An input that counts what was read of it, and may end with an error."""

    def __init__(self, items, error=None):
        self.items, self.error, self.read = iter(items), error, 0

    def __iter__(self):
        return self

    def __next__(self):
        try:
            item = next(self.items)
        except StopIteration:
            if self.error:
                raise self.error from None
            raise
        self.read += 1
        return item


def feed_of(engine, items, ticket=None, **options):
    feed = Feed(engine, ticket or OrderedStream(), Function(), 0, items, **{"chunk": None, **options})
    feed.begin()
    return feed


def finish(engine, feed, item_ns=1000):
    while engine.batches or not feed.ended:
        wait_until(lambda: engine.batches or feed.ended, within_s=2)
        while engine.batches:
            engine.work(feed, item_ns=item_ns)
            feed.ticket.ready.clear() if hasattr(feed.ticket, "ready") else None


@pytest.mark.parametrize("kind", [list, tuple, iter, Counted, lambda r: {i: i for i in r}])
@pytest.mark.parametrize("length", [0, 1, 5, 300])
@pytest.mark.parametrize("chunk", [None, 1, 7])
def test_every_item_is_sent_once_and_in_order(kind, length, chunk):
    engine, ticket = Engine(), OrderedStream()
    feed = feed_of(engine, kind(range(length)), ticket, chunk=chunk)
    got = []
    while not ticket.ended:
        wait_until(lambda: engine.batches or ticket.ended, within_s=2)
        while engine.batches:
            engine.work(feed)
            got += ticket.ready
            ticket.ready.clear()
        feed.advance()
    assert got == list(range(length))
    assert engine.ended == (length, None)


def test_an_infinite_input_is_read_a_few_items_per_worker_ahead():
    engine, source = Engine(2), Counted(itertools.count())
    feed = feed_of(engine, source)
    wait_until(lambda: len(engine.batches) >= 6)
    feed._thread.join(0.05)  # it has had time to go on if it were to
    assert source.read <= 20
    feed.stop()
    feed._thread.join(2)


def test_the_window_moves_with_the_reader():
    engine, source, ticket = Engine(2), Counted(itertools.count()), OrderedStream()
    feed = feed_of(engine, source, ticket, buffersize=10)
    for _ in range(5):
        wait_until(lambda: engine.batches)
        while engine.batches:
            engine.work(feed)
        assert source.read <= ticket.consumed() + 10
        ticket.ready.clear()
        feed.advance()
    assert source.read > 10
    feed.stop()
    feed._thread.join(2)


def test_a_reader_that_stops_stops_the_reading():
    engine, source = Engine(2), Counted(itertools.count())
    feed = feed_of(engine, source, buffersize=5)
    wait_until(lambda: source.read == 5)
    while engine.batches:
        engine.work(feed)
    assert source.read == 5  # nothing was taken out of `ready`
    feed.stop()
    feed._thread.join(2)
    assert not feed._thread.is_alive()


def test_an_input_that_raises_ends_with_its_error_after_its_items():
    engine, error = Engine(), ValueError("bad input")
    feed = feed_of(engine, Counted(range(3), error))
    wait_until(lambda: engine.ended)
    assert engine.ended == (3, error)
    assert [item for batch in engine.batches for item in batch.items] == [0, 1, 2]
    feed._thread.join(2)


def test_a_slow_input_does_not_hold_back_what_it_has_given():
    engine, gate = Engine(), threading.Event()

    def slow():
        yield 1
        yield 2
        gate.wait(10)
        yield 3

    feed = feed_of(engine, slow(), chunk=None)
    feed._function.estimate.learn(1000, 1000)  # batches could be large
    wait_until(lambda: sum(len(batch.items) for batch in engine.batches) == 2 or len(engine.batches) == 1, within_s=2)
    gate.set()
    finish(engine, feed)
    feed._thread.join(2)


def test_an_input_that_blocks_until_its_results_are_read_is_fed_item_by_item():
    engine, ticket, permits = Engine(), OrderedStream(), threading.Semaphore(2)

    def throttled():
        for i in range(20):
            permits.acquire()
            yield i

    feed = feed_of(engine, throttled(), ticket)
    feed._function.estimate.learn(10_000, 10_000)
    for i in range(20):
        wait_until(lambda: ticket.ready or engine.batches, f"item {i}", within_s=2)
        while not ticket.ready:
            engine.work(feed)
        assert ticket.ready.popleft() == i
        permits.release()
        feed.advance()
    feed._thread.join(2)


def test_a_map_that_has_failed_is_fed_no_further():
    engine, ticket = Engine(), MapTicket(1000, None, None)
    feed = feed_of(engine, list(range(1000)), ticket, length=1000)
    ticket.fail(ValueError())
    before = len(engine.batches)
    feed.advance()
    assert len(engine.batches) == before
    assert feed.ended


def test_an_item_that_cannot_be_sent_fails_in_its_place():
    engine, ticket = Engine(), OrderedStream()
    refuse = ValueError("cannot encode")

    def queue(batch):
        raise refuse

    engine.queue = queue
    feed_of(engine, [1], ticket, chunk=1)
    assert ticket.ready[0].error is refuse


def test_batches_in_flight_are_a_few_per_worker():
    engine = Engine(2)
    feed_of(engine, list(range(10_000)), MapTicket(10_000, None, None), length=10_000, chunk=10)
    assert 4 <= len(engine.batches) <= 12
