"""What children do in the tests of promises."""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from typing import Any

import tasks
from procession.errors import OwnerDied


def put_and_die(queue: Any, items: list[Any]) -> None:
    """Put, and be killed the moment that the last put has returned."""
    for item in items:
        queue.put(item)
    os.kill(os.getpid(), signal.SIGKILL)


def take_twice_and_hang(thing: Any, path: str) -> None:
    """Acquire two times, say so, and wait to be killed."""
    thing.acquire()
    thing.acquire()
    tasks.arrive_and_hang(path)


def take_and_hang(thing: Any, arrived: Any) -> None:
    """Acquire, say so, and wait to be killed."""
    thing.acquire()
    arrived.release()
    signal.pause()


def take_twice_and_leave(thing: Any) -> None:
    """Acquire two times and end in order."""
    thing.acquire()
    thing.acquire()


def add_one(value: Any) -> None:
    with value.get_lock():
        value.value += 1


def queue_work_and_stand_still(value: Any, count: int, pids: Any) -> None:
    """Submit calls to a pool of two and stop at once, with all threads, until told to go on."""
    from procession import get_context

    with get_context("fork").Pool(2) as pool:
        pool.apply(tasks.nothing)  # the workers are up
        results = [pool.apply_async(add_one, (value,)) for _ in range(count)]
        pids.put(os.getpid())
        os.kill(os.getpid(), signal.SIGSTOP)
        for result in results:
            result.get(20)
        pool.close()
        pool.join()


def nap(seconds: float) -> None:
    """A task so long that what was done by its end is sent at once."""
    time.sleep(seconds)


def say_and_take_one(queue: Any, arrived: Any) -> None:
    arrived.release()
    queue.get()


def take_and_die(lock: Any) -> None:
    lock.acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def take_again_and_again(lock: Any, stop: Any, out: Any) -> None:
    """Acquire without waiting until told to stop; how often one was told of a death."""
    told = 0
    while not stop.is_set():
        try:
            if lock.acquire(False):
                lock.release()
        except OwnerDied:
            told += 1
    out.put(told)


def take_and_end(thing: Any, end: int) -> None:
    """Acquire, and end by a signal, or with a code but out of order."""
    faulthandler.disable()  # the dump of a wanted end would only be in the way
    thing.acquire()
    if isinstance(end, signal.Signals):
        os.kill(os.getpid(), end)
    os._exit(end)


def say_how_the_holder_ended(thing: Any, out: Any) -> None:
    """Acquire again and again until told of a death."""
    out.put("here")
    while True:
        try:
            thing.acquire()
            thing.release()
        except OwnerDied as error:
            out.put((error.pid, error.exitcode))
            return
