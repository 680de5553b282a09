"""Semaphores, conditions, events and barriers whose users are killed: whoever is left goes on, or learns why not."""

import os
import random
import signal
import threading
import time

import pytest

import procession
import waiting_tasks
from conftest import start, wait_until
from procession.errors import ConsumerDied, OwnerDied


def test_the_permit_of_a_killed_process_comes_back(ctx, tmp_path):
    semaphore, release = ctx.BoundedSemaphore(1), ctx.Event()
    holder = start(ctx, waiting_tasks.hold_permit, semaphore, str(tmp_path / "here"), release)
    wait_until((tmp_path / "here").exists)
    holder.kill()
    holder.join()
    with pytest.raises(OwnerDied, match=str(holder.pid)):
        semaphore.acquire(timeout=5)
    assert semaphore.acquire(timeout=5)
    semaphore.release()


def test_a_notification_reaches_the_waiter_that_is_left(ctx):
    condition, arrived, out = ctx.Condition(), ctx.Semaphore(0), ctx.Queue()
    waiters = []
    for who in range(3):
        waiters.append(start(ctx, waiting_tasks.wait_notified, condition, arrived, out, who))
        assert arrived.acquire(timeout=20)
    with condition:
        pass  # the last one waits by now
    for victim in waiters[:2]:
        victim.kill()
        victim.join()
    with condition:
        condition.notify()
    assert out.get(timeout=10) == (2, True)
    waiters[2].join(10)
    assert condition._waiting() == 0


def test_a_notification_reaches_the_waiter_that_is_left_of_many(tmp_path):
    ctx, many = procession.get_context("fork"), 40
    condition, arrived, out = ctx.Condition(), ctx.Semaphore(0), ctx.Queue()
    victims = [start(ctx, waiting_tasks.wait_notified, condition, arrived, out, who) for who in range(many)]
    for _ in victims:
        assert arrived.acquire(timeout=20)
    survivor = start(ctx, waiting_tasks.wait_notified, condition, arrived, out, many)
    assert arrived.acquire(timeout=20)
    wait_until(lambda: condition._waiting() == many + 1)
    for victim in victims:
        victim.kill()
        victim.join()
    assert condition._waiting() == 1
    with condition:
        condition.notify()
    assert out.get(timeout=10) == (many, True)
    survivor.join(10)


def test_killing_waiters_at_random_moments_never_holds_up_those_who_notify():
    chance, ctx = random.Random(5), procession.get_context("fork")
    condition, arrived, out = ctx.Condition(), ctx.Semaphore(0), ctx.Queue()
    for who in range(40):
        waiter = start(ctx, waiting_tasks.wait_notified, condition, arrived, out, who)
        end = time.monotonic() + chance.uniform(0, 0.006)
        while time.monotonic() < end:
            try:
                with condition:
                    condition.notify(chance.choice([1, 2]))
            except OwnerDied:
                pass
        waiter.kill()
        waiter.join()
    try:
        assert condition.acquire(timeout=5)
    except OwnerDied:
        assert condition.acquire(timeout=5)
    assert condition._waiting() == 0
    condition.notify_all()
    assert not condition.wait(0.01)
    condition.release()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_who_waits_at_a_condition_learns_that_its_lock_died_and_holds_it(ctx, tmp_path):
    condition, outcome = ctx.Condition(), []

    def wait():
        with condition:
            try:
                condition.wait(20)
            except OwnerDied:
                outcome.append(repr(condition._lock))

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: condition._waiting() == 1)
    holder = start(ctx, waiting_tasks.notify_and_hold, condition, str(tmp_path / "here"))
    wait_until((tmp_path / "here").exists)
    holder.kill()
    holder.join()
    thread.join(10)
    assert outcome and outcome[0].startswith("<RLock(MainProcess|")
    with condition:
        pass


def test_an_event_is_set_for_those_who_are_left(ctx):
    event, arrived, out = ctx.Event(), ctx.Semaphore(0), ctx.Queue()
    waiters = [start(ctx, waiting_tasks.wait_for_event, event, arrived, out) for _ in range(2)]
    for _ in waiters:
        assert arrived.acquire(timeout=20)
    waiters[0].kill()
    waiters[0].join()
    event.set()
    assert out.get(timeout=10) is True
    waiters[1].join(10)


def test_a_barrier_breaks_when_one_who_waits_at_it_is_killed(ctx):
    barrier, out = ctx.Barrier(3), ctx.Queue()
    parties = [start(ctx, waiting_tasks.meet_once, barrier, out) for _ in range(2)]
    wait_until(lambda: barrier.n_waiting == 2)
    parties[0].kill()
    parties[0].join()
    assert "has ended" in out.get(timeout=10)
    assert barrier.broken
    parties[1].join(10)
    barrier.reset()
    party = start(ctx, waiting_tasks.meet, barrier, 1, out)
    others = [threading.Thread(target=barrier.wait, args=(20,)) for _ in range(2)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert out.get(timeout=10)[0] == 0
    party.join(10)


def test_a_joinable_queue_is_joined_though_producers_were_killed(ctx):
    queue = ctx.JoinableQueue()
    producer = start(ctx, waiting_tasks.put_until_killed, queue)
    wait_until(lambda: queue.qsize() > 50)
    producer.kill()
    producer.join()
    queue.put(None)
    worker = start(ctx, waiting_tasks.work_off, queue)
    queue.join()
    worker.join(10)
    assert worker.exitcode == 0 and queue.empty()


def test_join_names_the_consumer_that_was_killed_and_then_waits_for_the_rest_only(ctx, tmp_path):
    queue = ctx.JoinableQueue()
    for number in range(5):
        queue.put(number)
    consumer = start(ctx, waiting_tasks.take_and_hang, queue, 3, 1, str(tmp_path / "here"))
    wait_until((tmp_path / "here").exists)
    consumer.kill()
    consumer.join()
    with pytest.raises(ConsumerDied, match=f"process {consumer.pid} was killed by SIGKILL .* lost 2") as caught:
        queue.join()
    assert (caught.value.pid, caught.value.exitcode, caught.value.lost) == (consumer.pid, -9, 2)
    rest = start(ctx, waiting_tasks.take_and_do, queue, 2)
    queue.join()
    rest.join(10)
    with pytest.raises(ValueError, match="too many times"):
        queue.task_done()


def test_who_waits_in_join_learns_of_a_consumers_death_though_nobody_collects_it(ctx, tmp_path):
    queue, outcome = ctx.JoinableQueue(), []
    queue.put(1)
    consumer = start(ctx, waiting_tasks.take_and_hang, queue, 1, 0, str(tmp_path / "here"))
    wait_until((tmp_path / "here").exists)

    def join():
        try:
            outcome.append(queue.join())
        except ConsumerDied as error:
            outcome.append((error.pid, error.lost, time.monotonic()))

    joiner = threading.Thread(target=join)
    joiner.start()
    killed = time.monotonic()
    os.kill(consumer.pid, signal.SIGKILL)
    joiner.join(10)
    assert outcome and outcome[0][:2] == (consumer.pid, 1)
    assert outcome[0][2] - killed < 1.5
    consumer.join()
    queue.join()


def test_what_a_consumer_had_taken_that_raised_is_lost(ctx, capfd):
    queue = ctx.JoinableQueue()
    queue.put(1)
    consumer = start(ctx, waiting_tasks.take_and_raise, queue)
    with pytest.raises(ConsumerDied, match=f"process {consumer.pid} exited with code 1 .* lost 1"):
        queue.join()
    queue.join()
    consumer.join(10)


def test_one_process_may_take_and_another_say_that_it_is_done(ctx):
    queue = ctx.JoinableQueue()
    for number in range(3):
        queue.put(number)
    taker = start(ctx, waiting_tasks.take_and_leave, queue, 3)
    taker.join(20)
    for _ in range(3):
        queue.task_done()
    queue.join()
    with pytest.raises(ValueError, match="too many times"):
        queue.task_done()


def test_a_barrier_breaks_though_the_last_to_arrive_was_killed_before_he_let_the_others_go(ctx, tmp_path):
    barrier, out = ctx.Barrier(2, waiting_tasks.DieIn(str(tmp_path / "here"))), ctx.Queue()
    first = start(ctx, waiting_tasks.meet_once, barrier, out)
    wait_until(lambda: barrier.n_waiting == 1)
    last = start(ctx, waiting_tasks.meet_once, barrier, out)  # it runs the action, and holds the lock
    wait_until((tmp_path / "here").exists)
    last.kill()
    last.join()
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait(10)
    assert "barrier" in out.get(timeout=10)
    first.join(10)
