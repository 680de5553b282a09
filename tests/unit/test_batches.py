"""Batches of plain values in one piece of bytes, and runs of single calls."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession import _core
from procession._core import RUN, Call, deliver_run, pack_batch, pack_results, unpack_batch, unpack_results
from procession.engine import codec, memory, wire
from procession.engine.delivery import Delivery
from procession.engine.functions import LocalFunction
from procession.engine.scheduler import CancelAsked, Scheduler
from procession.engine.tickets import CallTicket
from procession.errors import TaskCancelled

memory.ensure()

PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False)
)
SAME = st.one_of(
    *(
        st.lists(kind, max_size=50)
        for kind in (
            st.integers(),
            st.integers(-(2**63), 2**63 - 1),
            st.floats(allow_nan=False),
            st.text(),
            st.binary(),
        )
    )
)


def same(left, right):
    """Equal, and of equal types."""
    return left == right and list(map(type, left)) == list(map(type, right))


@given(SAME | st.lists(PLAIN, max_size=20))
def test_values_arrive_as_they_were(values):
    packed = pack_batch(b"prefix", values)
    assert packed[:6] == b"prefix"
    assert same(unpack_batch(packed, 6), values)
    assert same(unpack_batch(codec.as_message(packed), 6), values)


@pytest.mark.parametrize(
    "values",
    [
        [2**63 - 1, -(2**63)],
        [1, 2**63],
        [1, True],
        [True, False],
        [0.0, -0.0, float("inf")],
        ["", "a", "\x00", "\x7f", "\xe9", "\U0001f600"],
        ["a", "\ud800"],  # half of a pair: it is no UTF-8
        ["x" * 1000, "y"],
        [b"", b"\x00", b"x" * 63],
        [None, None],
        [],
    ],
    ids=repr,
)
def test_the_edges_of_each_kind(values):
    assert same(unpack_batch(pack_batch(b"", values), 0), values)


def test_a_range_costs_the_same_however_long_it_is():
    assert len(pack_batch(b"", range(1_000_000))) < 100
    assert unpack_batch(pack_batch(b"", range(5, 50, 7)), 0) == list(range(5, 50, 7))


def test_a_tuple_arrives_as_the_same_items():
    assert unpack_batch(pack_batch(b"", (1, 2)), 0) == [1, 2]
    assert unpack_batch(pack_batch(b"", (1, "2")), 0) == [1, "2"]


def test_a_long_text_that_is_there_many_times_is_sent_once():
    text = "x" * 10_000
    assert len(pack_batch(b"", [text] * 100)) < 15_000


@pytest.mark.parametrize("values", [[object()], [1, []], [(1, 2)], {1: 2}, "text"], ids=repr)
def test_what_is_not_plain_goes_another_way(values):
    assert pack_batch(b"", values) is None


def test_a_subclass_is_not_taken_for_its_base():
    class Number(int): ...

    assert pack_batch(b"", [1, Number(2)]) is None


@given(SAME, st.lists(st.tuples(*[st.integers(0, 2**64 - 1)] * 4), max_size=64))
def test_results_arrive_with_their_pieces(values, pieces):
    flat = [number for piece in pieces for number in piece]
    assert unpack_results(pack_results(flat, values)) == (flat, values)


def test_results_of_too_many_pieces_go_another_way():
    assert pack_results([0, 0, 1, 5] * 65, [1] * 65) is None
    (payload,) = wire.encode_results([0, 0, 1, 5] * 65, [1] * 65, [], begin=lambda position, item: None)
    assert wire.decode_results(payload) == ([0, 0, 1, 5] * 65, [1] * 65, {})


@pytest.mark.parametrize("payload", [b"", b"\x80\x05N.", b"\x02\x00", b"\x01"])
def test_what_is_no_results_is_seen(payload):
    assert unpack_results(payload) is None


def test_a_batch_of_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="unknown kind"):
        unpack_batch(b"\x77\x00\x00\x00\x00\x00\x00\x00", 0)


@pytest.mark.parametrize("cut", [3, 8, 12])
def test_a_batch_that_is_cut_off_is_refused(cut):
    for values in ([1, 2, 3], [1.5, 2.5], ["ab", "cd"], [b"ab", b"cd"]):
        with pytest.raises(ValueError, match="cut off"):
            unpack_batch(pack_batch(b"", values)[:cut], 0)
    with pytest.raises(ValueError, match="cut off"):
        unpack_results(pack_results([1, 2, 3, 4], [1])[:10])


# ---- single calls ----


def calls_in_flight(*terms):
    calls = [Call(None, None, each) for each in terms]
    return calls, dict(enumerate(calls, 7))


def test_a_run_is_delivered_to_its_calls():
    calls, in_flight = calls_in_flight(None, None, None)
    assert deliver_run(in_flight, 7, 3, ["before", "a", "b", "c"], 1, []) == 3
    assert [call.get() for call in calls] == ["a", "b", "c"]
    assert not in_flight


def test_a_run_stops_before_a_call_that_may_be_tried_again():
    calls, in_flight = calls_in_flight(None, object(), None)
    assert deliver_run(in_flight, 7, 3, ["a", "b", "c"], 0, []) == 1
    assert [call.done for call in calls] == [True, False, False]


def test_a_run_leaves_out_what_nobody_waits_for():
    calls, in_flight = calls_in_flight(None, None)
    del in_flight[7]
    assert deliver_run(in_flight, 7, 2, ["a", "b"], 0, []) == 2
    assert [call.done for call in calls] == [False, True]


def test_a_run_leaves_calls_that_were_cancelled_as_they_are():
    calls = [Call(), Call(), Call()]
    in_flight = dict(enumerate(calls, 7))
    error = KeyError()
    calls[1].fail(error)
    due = []
    assert deliver_run(in_flight, 7, 3, ["a", "b", "c"], 0, due) == 1, "the scheduler is to forget that it is cancelled"
    assert not calls[1].succeed("b")
    assert (calls[1]._success, calls[1]._value, due) == (False, error, [])


def test_a_cancelled_call_that_has_come_to_its_end_is_forgotten():
    scheduler = Scheduler(1)
    delivery = Delivery(scheduler, lambda batch: None)
    tickets = [CallTicket(), CallTicket()]
    for position, ticket in enumerate(tickets):
        ticket.function, ticket.mode, ticket.arguments = LocalFunction(len), wire.CALL, ("abc",)
        scheduler.queued(position, ticket)
    scheduler.handle(CancelAsked(0))
    delivery.fail(tickets[0], TaskCancelled("it was"))
    delivery.results(([0, RUN, 2, 100], ["late", 3], {}))
    assert scheduler.in_flight == {} and scheduler.cancelled == set()
    assert isinstance(tickets[0]._value, TaskCancelled)
    assert tickets[1].get() == 3


def test_those_that_want_to_call_back_are_due():
    call = Call(print, None)
    due = []
    deliver_run({7: call}, 7, 1, [5], 0, due)
    assert due == [call]


def test_a_piece_of_a_run_is_one_for_each_position():
    assert list(wire.singly([5, RUN, 2, 100, 9, 3, 2, 10])) == [
        (5, 0, 1, 50),
        (6, 0, 1, 50),
        (9, 3, 1, 5),
        (9, 4, 1, 5),
    ]


class Messages:
    """What a worker has taken: calls of functions by name, with what run_calls() makes of them."""

    def __init__(self, *messages):
        self.functions = {}
        self.taken = []
        for function, arguments in messages:
            header = wire.heads(id(function) % 1000, 1)[wire.CALL]
            self.functions[header[2:]] = wire.CALL, function
            self.taken.append((0, header + pickle.dumps(arguments, 5)))
        self.pieces, self.values, self.failures, self.stop = [], [], [], []

    def run(self, at=0, budget_ns=10**12):
        return _core.run_calls(
            *(self.taken, at, 0, self.functions),
            *(self.pieces, self.values, self.failures, self.stop, budget_ns, ZeroDivisionError),
        )


stopping = []


def stop():
    stopping.append(1)


class Stopping:
    def __reduce__(self):
        return stop, ()


@pytest.fixture
def claim():
    """This process's slot names positions 0 to 3 as its own, as a worker's does that has taken them."""
    channel = memory.channel()
    for _ in range(4):
        channel.put(b"x")
    channel.take(4, claim=True)
    yield
    _core.claim_nothing()
    _core.claim_running(_core.NOT_RUNNING)


def add(left, right):
    return left + right


def test_calls_are_run_one_after_the_other(claim):
    messages = Messages((add, (1, 2)), (add, ("a", "b")), (len, ("abc",)))
    at, elapsed_ns, error = messages.run()
    assert (at, error) == (3, None)
    assert elapsed_ns > 0
    assert messages.values == [3, "ab", 3]
    assert messages.pieces[:3] == [0, RUN, 3]


def test_a_call_that_raises_is_a_failure_in_its_place(claim):
    messages = Messages((add, (1, 2)), (add, (1, "b")), (add, (3, 4)))
    assert messages.run()[0] == 3
    assert messages.values == [3, None, 7]
    assert [(index, type(error)) for index, error in messages.failures] == [(1, TypeError)]


def test_what_is_no_simple_call_is_left(claim):
    messages = Messages((add, (1, 2)), (add, (3, 4)))
    messages.taken[1] = 1, b""
    assert messages.run()[0] == 1
    assert messages.values == [3]


def test_arguments_that_cannot_be_unpickled_are_told(claim):
    messages = Messages((add, (1, 2)), (add, (3, 4)))
    messages.taken[0] = 0, messages.taken[0][1][:-1]
    at, _, error = messages.run()
    assert (at, type(error)) == (0, pickle.UnpicklingError)
    assert messages.run(at=1)[0] == 2
    assert messages.values == [7]


def test_the_end_comes_out_with_a_piece_of_what_is_done(claim):
    messages = Messages((add, (1, 2)), (divmod, (1, 0)), (add, (3, 4)))
    with pytest.raises(ZeroDivisionError):
        messages.run()
    assert messages.values == [3]
    assert messages.pieces[:3] == [0, RUN, 1]


def test_a_call_that_is_told_to_stop_has_no_value(claim):
    messages = Messages((add, (1, 2)), (add, (3, 4)))
    messages.functions = dict.fromkeys(messages.functions, (wire.CALL, lambda *_: messages.stop.append(1)))
    at, _, error = messages.run()
    assert (at, error, messages.values, messages.pieces) == (0, None, [], [])


def test_a_call_is_not_begun_if_unpickling_its_arguments_has_said_to_stop(claim):
    messages = Messages((add, (1, 2)), (print, (Stopping(),)), (add, (3, 4)))
    stopping.clear()
    messages.stop = stopping
    assert messages.run()[0] == 1
    assert (messages.values, stopping) == ([3], [1])


def test_a_run_ends_when_its_time_is_over(claim):
    messages = Messages((add, (1, 2)), (add, (3, 4)))
    assert messages.run(budget_ns=0)[0] == 1
