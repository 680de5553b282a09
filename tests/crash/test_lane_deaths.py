"""Clients of managers that are killed within their calls through the arena, and servers."""

import os
import random
import signal
import threading
import time

import pytest

import procession
from conftest import start, wait_until
from manager_tasks import acquire_for_ever, mix, take_for_ever, wait_for_an_item
from procession.managers.lanes import ClientLane


def stop_while_it_waits(client, offer, is_taken, settle):
    """Stop a client, and offer it what it waits for; try again if it was not waiting just then."""
    for _ in range(100):
        os.kill(client.pid, signal.SIGSTOP)
        offer()
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            if is_taken():
                return
        os.kill(client.pid, signal.SIGCONT)
        settle()
    raise AssertionError("it never waited")


def test_an_item_that_a_killed_client_has_not_read_is_back_in_the_queue(forked_manager):
    inbox, arrived = forked_manager.Queue(), forked_manager.Event()
    client = start(procession.get_context("fork"), take_for_ever, inbox, arrived)
    assert arrived.wait(10)
    stop_while_it_waits(client, lambda: inbox.put("mine"), inbox.empty, lambda: wait_until(inbox.empty))
    client.kill()
    client.join()
    assert inbox.get(True, 10) == "mine"


def test_a_lock_of_which_a_killed_client_has_not_heard_is_free(forked_manager):
    lock, arrived = forked_manager.Lock(), forked_manager.Event()
    assert lock.acquire()
    client = start(procession.get_context("fork"), acquire_for_ever, lock, arrived)
    assert arrived.wait(10)
    stop_while_it_waits(client, lock.release, lock.locked, lambda: wait_until(lambda: lock.acquire(True, 1)))
    client.kill()
    client.join()
    assert lock.acquire(True, 10)


def test_killed_clients_leave_all_others_what_they_need(ctx, manager):
    numbers, inbox, lock, table = manager.list(), manager.Queue(), manager.Lock(), manager.dict(count=0)
    dice = random.Random(7)
    rounds = 12 if ctx.get_start_method() == "fork" else 5
    for _ in range(rounds):
        arrived = manager.Event()
        clients = [start(ctx, mix, numbers, inbox, lock, table, arrived) for _ in range(2)]
        assert arrived.wait(20)
        end = time.monotonic() + dice.random() * 0.03
        while time.monotonic() < end:
            table["mine"] = table["count"]  # beside them
        for client in clients:
            client.kill()
        for client in clients:
            client.join()
        assert lock.acquire(True, 10)
        lock.release()
    before = table["count"]
    numbers.append("end")
    assert numbers.pop() == "end" and table["count"] == before > 0
    del arrived
    wait_until(lambda: manager._number_of_objects() == 4)


def test_a_killed_server_is_an_error_for_all_that_wait_at_once(ctx, manager):
    inbox = manager.Queue()
    ends = []
    for _ in range(3):
        here, there = ctx.Pipe()
        ends.append((here, start(ctx, wait_for_an_item, inbox, there)))
        assert here.recv() == "waiting"
    mine = []

    def wait():
        with pytest.raises((EOFError, OSError)):
            inbox.get()
        mine.append("an error")

    waiter = threading.Thread(target=wait)
    waiter.start()
    manager._process.kill()
    killed = time.monotonic()
    for here, client in ends:
        assert here.poll(10) and "ended" in here.recv()
        client.join()
    waiter.join()
    assert mine and time.monotonic() - killed < 3


class Enough(Exception):
    pass


def interrupt(*_):
    raise Enough


def test_a_get_that_is_interrupted_takes_nothing_later(forked_manager):
    inbox = forked_manager.Queue()
    former = signal.signal(signal.SIGALRM, interrupt)
    try:
        for number in range(20):
            with pytest.raises(Enough):
                signal.setitimer(signal.ITIMER_REAL, 0.02 + number * 0.0005)  # it waits by then
                inbox.get()
            inbox.put(number)
            assert inbox.get(timeout=10) == number
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


def interrupted(call, delay):
    """What `call` gives, or nothing if the signal comes first: in a list.  Between its return and the list nothing can come."""
    found = []
    try:
        signal.setitimer(signal.ITIMER_REAL, delay)
        found.extend(map(call, (True,)))
        signal.setitimer(signal.ITIMER_REAL, 0)
    except Enough:
        pass
    signal.setitimer(signal.ITIMER_REAL, 0)
    return found


@pytest.fixture
def delays():
    """Some that end at any moment of a call, as calls last here."""
    former = signal.signal(signal.SIGALRM, interrupt)
    dice = random.Random(11)

    def draw(call, number):
        lasted = []
        for _ in range(200):
            start_ns = time.perf_counter_ns()
            call()
            lasted.append((time.perf_counter_ns() - start_ns) / 1e9)
        return [sorted(lasted)[100] * 2 ** dice.uniform(-3, 5) for _ in range(number)]

    yield draw
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, former)


def test_an_item_is_given_or_still_there_whenever_its_get_is_interrupted(forked_manager, delays):
    inbox = forked_manager.Queue()
    given = 0
    for number, delay in enumerate(delays(inbox.qsize, 2000)):
        item = number if number % 2 else [number, "x" * 200, {None}]  # packed, and pickled
        inbox.put(item)
        found = interrupted(inbox.get, delay)
        given += len(found)
        if not found:
            found = [inbox.get(True, 10)]
        assert found == [item]
    assert 0 < given < 2000


def test_a_lock_is_had_or_free_whenever_its_acquire_is_interrupted(forked_manager, delays):
    lock = forked_manager.Lock()
    had = 0
    for delay in delays(lock.locked, 2000):
        found = interrupted(lock.acquire, delay)
        had += len(found)
        assert found or lock.acquire(True, 10)
        lock.release()
    assert 0 < had < 2000


def test_an_item_that_arrives_with_an_interrupt_is_still_there(forked_manager, monkeypatch):
    inbox = forked_manager.Queue()

    def call_and_interrupt(lane, *request, call=ClientLane.call):
        call(lane, *request)
        raise KeyboardInterrupt

    inbox.put("first")
    inbox.put("second")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(ClientLane, "call", call_and_interrupt)
        inbox.get()
    assert [inbox.get(), inbox.get()] == ["first", "second"]


class Fragile:
    """Raises when it is unpickled in the process that has set `errors`, as long as there are any."""

    errors = []

    def __reduce__(self):
        return put_together, ()


def put_together():
    if Fragile.errors:
        raise Fragile.errors.pop()
    return Fragile()


@pytest.mark.parametrize("error", [KeyboardInterrupt, Enough])
def test_an_item_whose_unpickling_is_interrupted_is_still_there(forked_manager, monkeypatch, error):
    inbox = forked_manager.Queue()
    inbox.put(Fragile())
    monkeypatch.setattr(Fragile, "errors", [error()])
    with pytest.raises(error):
        inbox.get()
    assert type(inbox.get()) is Fragile


def test_an_item_that_cannot_be_unpickled_is_not_given_again(forked_manager, monkeypatch):
    inbox = forked_manager.Queue()
    inbox.put(Fragile())
    monkeypatch.setattr(Fragile, "errors", [ValueError("no"), ValueError("no")])
    with pytest.raises(ValueError, match="no"):
        inbox.get()
    assert inbox.empty()
