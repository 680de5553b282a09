"""What children do in the tests of semaphores, conditions, events, barriers and queues that are joined."""

from __future__ import annotations

import threading
from typing import Any

import tasks


def hold_permit(semaphore: Any, path: str, release: Any) -> None:
    """Take a permit, say so, and give it back when told."""
    semaphore.acquire()
    tasks.arrive(path)
    release.wait(20)
    semaphore.release()


def wait_notified(condition: Any, arrived: Any, out: Any, who: int, timeout: float | None = 20) -> None:
    """Wait at a condition; `out` gets (who, whether it was notified)."""
    with condition:
        arrived.release()
        out.put((who, condition.wait(timeout)))


def wait_without_a_lock(condition: Any, out: Any) -> None:
    for call in (condition.wait, condition.notify):
        try:
            call()
        except AssertionError as error:
            out.put(str(error))


def wait_for_event(event: Any, arrived: Any, out: Any) -> None:
    arrived.release()
    out.put(event.wait(20))


def meet(barrier: Any, rounds: int, out: Any) -> None:
    """Go through a barrier `rounds` times."""
    for number in range(rounds):
        out.put((number, barrier.wait(20)))


def meet_once(barrier: Any, out: Any) -> None:
    try:
        out.put(barrier.wait())
    except threading.BrokenBarrierError as error:
        out.put(str(error))


def produce(queue: Any, condition: Any, count: int) -> None:
    """Append to a shared counter under a condition, one at a time."""
    for _ in range(count):
        with condition:
            queue.value += 1
            condition.notify_all()


def work_off(queue: Any) -> None:
    """Take from a joinable queue until None comes."""
    while True:
        item = queue.get()
        queue.task_done()
        if item is None:
            return


def use_one_of_each(things: dict[str, Any]) -> None:
    """Touch all that was sent, so that the sender sees that it is the same thing."""
    things["lock"].acquire()
    things["rlock"].acquire()
    things["semaphore"].acquire()
    things["bounded"].acquire()
    with things["condition"]:
        things["condition"].notify_all()
    things["event"].set()
    things["joinable"].put("joinable")
    things["simple"].put("simple")
    things["barrier"].wait(20)


def use_from(road: Any) -> None:
    """use_one_of_each() with what comes out of a queue or a connection."""
    use_one_of_each(road.get() if hasattr(road, "get") else road.recv())


def notify_and_hold(condition: Any, path: str) -> None:
    """Notify all, and keep the lock until killed."""
    condition.acquire()
    condition.notify_all()
    tasks.arrive(path)
    threading.Event().wait(20)


def put_until_killed(queue: Any) -> None:
    number = 0
    while True:
        queue.put(number)
        number += 1


def take_and_hang(queue: Any, takes: int, done: int, path: str) -> None:
    """Take so many, say of so many that they are done, and wait to be killed."""
    for _ in range(takes):
        queue.get()
    for _ in range(done):
        queue.task_done()
    tasks.arrive_and_hang(path)


def take_and_do(queue: Any, count: int) -> None:
    for _ in range(count):
        queue.get()
        queue.task_done()


def take_and_leave(queue: Any, count: int) -> None:
    for _ in range(count):
        queue.get()


def take_and_raise(queue: Any) -> None:
    queue.get()
    raise LookupError("on purpose")


class DieIn:
    """An action of a barrier that says that it was reached, and waits to be killed."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(self) -> None:
        tasks.arrive_and_hang(self.path)
