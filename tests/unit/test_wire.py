"""What pools and workers say to each other, in one process."""

import threading

import numpy as np
import pytest

import tasks
from procession.engine import memory, wire
from procession.engine.functions import SentFunction
from procession.errors import CannotDecode

memory.ensure()


def tasks_of(items, mode=wire.ITEM):
    """Items, and the errors of those that did not arrive; through as many messages as it takes."""
    function = SentFunction(tasks.double, main_by_value=False)
    payload = wire.encode_tasks(function, mode, items)
    if payload is None:
        assert len(items) > 1
        parts = [tasks_of([item], mode) for item in items]
        return [part[0][0] for part in parts], {i: part[1][0] for i, part in enumerate(parts) if part[1]}
    try:
        header, got, errors = wire.decode_tasks(payload, begin=lambda index: None)
    except Exception as error:
        assert len(items) == 1, "one item has spoilt its neighbours"
        return [None], {0: error}
    assert wire.decode_head(header) == (mode, function.block.offset, function.block.generation)
    return list(got), errors


def results_of(values, failures=(), pieces=None):
    pieces = pieces or [0, 0, len(values), 5]
    got_values, got_errors, got_pieces = [], {}, []
    for payload in wire.encode_results(pieces, list(values), list(failures)):
        piece, part, errors = wire.decode_results(payload)
        got_errors |= {len(got_values) + index: error for index, error in errors.items()}
        got_values += part
        got_pieces += piece
    assert sum(got_pieces[2::4]) == len(values)
    return got_values, got_errors


@pytest.mark.parametrize("items", [[1], [1, "a", None], [[1], {2: 3}], [np.float64(1), 2]])
def test_items_arrive(items):
    assert tasks_of(items) == (items, {})


@pytest.mark.parametrize("mode", [wire.ITEM, wire.STAR])
def test_tuples_arrive_in_every_mode(mode):
    assert tasks_of([(1, 2), (3, [4])], mode) == ([(1, 2), (3, [4])], {})


def test_a_call_with_keywords_arrives():
    assert tasks_of([((1,), {"scale": 2})], wire.STAR_KEYWORDS) == ([((1,), {"scale": 2})], {})


def test_one_item_that_cannot_be_decoded_does_not_spoil_the_others():
    items, errors = tasks_of([[1], tasks.RaisesWhenUnpickled(anywhere=True), [3]])
    assert (items[0], items[2]) == ([1], [3])
    assert list(errors) == [1]


def test_one_item_with_a_buffer_does_not_make_a_bad_neighbour_spoil_the_batch():
    items, errors = tasks_of([np.ones(3), tasks.RaisesWhenUnpickled(anywhere=True), [3]])
    assert list(errors) == [1]
    assert items[2] == [3]


def test_results_arrive_with_their_pieces():
    assert results_of([1, 2, 3], pieces=[9, 0, 2, 50, 10, 0, 1, 60]) == ([1, 2, 3], {})


def test_failures_arrive_in_their_places():
    values, errors = results_of([1, None, [3]], [(1, ValueError("two"))])
    assert (values[0], values[2]) == (1, [3])
    assert repr(errors[1]) == "ValueError('two')"


@pytest.mark.parametrize(
    "neighbours", [[1, 2], [[1], [2]], [np.ones(3), np.ones(100_000)]], ids=["plain", "lists", "arrays"]
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_result_that_cannot_be_pickled_does_not_spoil_the_others(neighbours, place):
    sent = list(neighbours)
    sent.insert(place, threading.Lock())
    values, errors = results_of(sent)
    assert list(errors) == [place]
    assert isinstance(errors[place], wire.MaybeEncodingError)
    del values[place]
    for got, expected in zip(values, neighbours, strict=True):
        assert np.array_equal(got, expected)


@pytest.mark.parametrize(
    "neighbours", [[1, 2], [[1], [2]], [np.ones(3), np.ones(100_000)]], ids=["plain", "lists", "arrays"]
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_result_that_cannot_be_unpickled_does_not_spoil_the_others(neighbours, place):
    sent = list(neighbours)
    sent.insert(place, tasks.RaisesWhenUnpickled(anywhere=True))
    _, errors = results_of(sent)
    assert list(errors) == [place]
    assert isinstance(errors[place], CannotDecode)


def raised(function, *arguments):
    try:
        function(*arguments)
    except BaseException as error:
        return error


def test_an_exception_carries_the_workers_traceback_as_its_cause():
    error = wire.decode_error(wire.encode_error(raised(tasks.raise_value_error, 5)))
    assert repr(error) == "ValueError('bad value 5')"
    assert isinstance(error.__cause__, wire.RemoteTraceback)
    assert "in raise_value_error" in str(error.__cause__)


@pytest.mark.parametrize("function", [tasks.raise_two_arguments, tasks.raise_with_lock])
def test_an_exception_that_cannot_travel_is_replaced_by_one_that_says_what_it_was(function):
    error = wire.decode_error(wire.encode_error(raised(function)))
    assert isinstance(error, wire.MaybeEncodingError)
    assert "one-two" in str(error) or "holds a lock" in str(error)
    assert function.__name__ in str(error.__cause__)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_exceptions_outside_of_exception_travel_too(kind):
    assert type(wire.decode_error(wire.encode_error(kind("x")))) is kind
