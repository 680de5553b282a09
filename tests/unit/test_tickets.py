"""Tickets: what was delivered comes out once, in place, and `done` is true only then."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession.engine.tickets import CallTicket, Failure, MapTicket, OrderedStream, UnorderedStream
from procession.errors import WorkerDied


def values_of(stream):
    return [entry.error if isinstance(entry, Failure) else entry for entry in stream.ready]


def test_a_call_is_done_with_its_value():
    got = []
    ticket = CallTicket(got.append, None)
    assert not ticket.done
    ticket.deliver(0, [5], {})
    assert ticket.done and got == []
    ticket.finish()
    assert got == [5]


def test_callbacks_are_called_once():
    got = []
    ticket = CallTicket(got.append, got.append)
    ticket.deliver(0, [5], {})
    ticket.finish()
    ticket.finish()
    assert got == [5]


@pytest.mark.parametrize("make", [lambda *c: CallTicket(*c), lambda *c: MapTicket(1, *c)])
def test_an_error_goes_to_the_error_callback(make):
    values, errors = [], []
    ticket = make(values.append, errors.append)
    error = ValueError("no")
    ticket.deliver(0, [None], {0: error})
    ticket.finish()
    assert (values, errors) == ([], [error])


def test_the_first_end_of_a_ticket_counts():
    ticket = CallTicket(None, None)
    ticket.deliver(0, [1], {})
    ticket.fail(ValueError())
    assert ticket._success and ticket._value == 1


def test_an_empty_map_is_done_at_once():
    assert MapTicket(0, None, None).done


@given(st.lists(st.integers(1, 4), max_size=12), st.randoms())
def test_a_maps_parts_may_come_in_any_order(sizes, chance: random.Random):
    total = sum(sizes)
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    ticket = MapTicket(total, None, None)
    order = list(zip(starts, sizes, strict=True))
    chance.shuffle(order)
    for start, size in order:
        assert not ticket.done
        ticket.deliver(start, list(range(start, start + size)), {})
    assert ticket.done
    assert ticket._value == list(range(total))


def test_a_map_gives_its_first_error_when_all_calls_are_done():
    ticket = MapTicket(4, None, None)
    error = ValueError("first")
    ticket.deliver(0, [1, None], {1: error})
    assert not ticket.done
    ticket.deliver(2, [3, None], {1: ValueError("second")})
    assert ticket.done and ticket._value is error


def test_a_dead_worker_ends_a_map_at_once_and_later_parts_are_ignored():
    ticket = MapTicket(4, None, None)
    error = WorkerDied("killed")
    ticket.deliver(0, [1, None], {1: error})
    assert ticket.done
    ticket.deliver(2, [3, None], {1: ValueError("second")})
    assert ticket._value is error


def test_a_stream_gives_values_as_they_come():
    stream = UnorderedStream()
    stream.deliver(2, [2], {})
    stream.deliver(0, [0, None], {1: ValueError("x")})
    assert stream.ready.popleft() == 2
    assert stream.consumed() == 1
    assert [type(entry).__name__ for entry in stream.ready] == ["int", "Failure"]


def test_an_ordered_stream_keeps_back_what_is_early():
    stream = OrderedStream()
    stream.deliver(2, [2, 3], {})
    assert not stream.done and stream.waiting() == 2
    stream.deliver(0, [0, 1], {})
    assert list(stream.ready) == [0, 1, 2, 3]
    assert stream.waiting() == 0


@given(st.lists(st.integers(1, 4), max_size=12), st.randoms())
def test_an_ordered_stream_is_in_order_whatever_comes_first(sizes, chance: random.Random):
    stream = OrderedStream()
    order = [(sum(sizes[:i]), size) for i, size in enumerate(sizes)]
    chance.shuffle(order)
    for start, size in order:
        stream.deliver(start, list(range(start, start + size)), {})
    stream.input_ended(sum(sizes), None)
    assert list(stream.ready) == list(range(sum(sizes)))
    assert stream.ended


@pytest.mark.parametrize("kind", [UnorderedStream, OrderedStream])
def test_a_stream_is_done_when_its_input_has_ended_and_all_came(kind):
    stream = kind()
    assert not stream.done
    stream.input_ended(1, None)
    assert not stream.done
    stream.deliver(0, ["a"], {})
    assert stream.done and stream.ended


@pytest.mark.parametrize("kind", [UnorderedStream, OrderedStream])
def test_a_failed_stream_ends(kind):
    stream = kind()
    error = RuntimeError("the pool ended")
    stream.deliver(3 if kind is OrderedStream else 0, ["later"], {})
    stream.fail(error)
    assert stream.ended and stream.end is error


def test_an_empty_stream_is_done_when_its_input_has_ended():
    stream = OrderedStream()
    stream.input_ended(0, None)
    assert stream.done
