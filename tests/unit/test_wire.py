"""What pools and workers say to each other, in one process."""

import os
import threading

import numpy as np
import pytest

import tasks
from procession.engine import codec, exceptions, memory, wire
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
    for payload in wire.encode_results(pieces, list(values), list(failures), begin=lambda position, item: None):
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
    assert isinstance(errors[place], exceptions.MaybeEncodingError)
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
    error = exceptions.decode_error(exceptions.encode_error(raised(tasks.raise_value_error, 5)))
    assert repr(error) == "ValueError('bad value 5')"
    assert isinstance(error.__cause__, exceptions.RemoteTraceback)
    assert "in raise_value_error" in str(error.__cause__)


@pytest.mark.parametrize(
    ("function", "kind", "text"),
    [(tasks.raise_two_arguments, tasks.TwoArguments, "one-two"), (tasks.raise_with_lock, ValueError, "holds a lock")],
)
def test_an_exception_that_cannot_travel_whole_arrives_with_its_type_text_and_traceback(function, kind, text):
    error = exceptions.decode_error(exceptions.encode_error(raised(function)))
    assert type(error) is kind
    assert text in str(error)
    assert function.__name__ in str(error.__cause__)


class Local(Exception):
    """Cannot be made without its constructor's help, nor be pickled."""

    def __new__(cls, *, key):
        return super().__new__(cls, key)

    def __init__(self, *, key):
        super().__init__(f"the key is {key}")

    def __reduce__(self):
        raise RuntimeError("no")


def test_an_exception_of_which_nothing_can_travel_is_replaced_by_one_that_says_what_it_was():
    error = exceptions.decode_error(exceptions.encode_error(raised(lambda: (_ for _ in ()).throw(Local(key=3)))))
    assert isinstance(error, exceptions.MaybeEncodingError)
    assert "the key is 3" in str(error)


def test_an_exception_of_a_local_class_travels():
    class Here(Exception):
        pass

    error = exceptions.decode_error(exceptions.encode_error(Here(1, 2)))
    assert type(error).__name__ == "Here" and error.args == (1, 2)


def test_an_exception_keeps_what_can_travel_of_it():
    error = tasks.TwoArguments("one", "two")
    error.code, error.lock = 7, threading.Lock()
    got = exceptions.decode_error(exceptions.encode_error(error))
    assert got.code == 7 and not hasattr(got, "lock")


def fail_where_it_is_loaded(place):
    if os.environ.get("PLACE") == place:
        raise LookupError("not here")
    return OnlyThere(place)


class OnlyThere(Exception):
    def __reduce__(self):
        return fail_where_it_is_loaded, (self.args[0],)


def test_an_exception_that_only_the_worker_can_load_says_here_what_it_was(monkeypatch):
    data = exceptions.encode_error(raised(lambda: (_ for _ in ()).throw(OnlyThere("here"))))
    monkeypatch.setenv("PLACE", "here")
    error = exceptions.decode_error(data)
    assert isinstance(error, CannotDecode)
    assert "OnlyThere: here" in str(error) and "not here" in str(error)
    assert "Traceback" in str(error.__cause__)


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("mute")

    __repr__ = __str__


def test_an_exception_whose_text_cannot_be_had_travels():
    error = exceptions.decode_error(exceptions.encode_error(raised(lambda: (_ for _ in ()).throw(Mute()))))
    assert type(error) is Mute


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_exceptions_outside_of_exception_travel_too(kind):
    assert type(exceptions.decode_error(exceptions.encode_error(kind("x")))) is kind


@pytest.mark.parametrize("count", [1, 3])
def test_an_array_is_copied_once(monkeypatch, count):
    framed = []

    def frame(*args):
        framed.append(args)
        return original(*args)

    original = codec._frame
    monkeypatch.setattr(codec, "_frame", frame)
    arrays = [np.arange(100_000) for _ in range(count)]
    messages = wire.encode_results([7, 0, count, 1000], list(arrays), [], lambda *_: None)
    assert len(messages) == len(framed) == count
