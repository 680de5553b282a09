"""What victims and survivors do in the tests of random kills.

Each has a row of its own in an array in shared memory and notes there, word by word, what it is about to do and what it has
done, so that the test knows after a kill how far it was.  What is noted *after* a step may be missing if the kill came right
behind it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import Any

from procession.errors import OwnerDied

STOP, INSIDE, BROKEN, MENDED = (
    0,
    1,
    2,
    3,
)  # of the first row: all are to end; who is in; a rule that was broken; a count
STATE, PROGRESS, TOLD, PIDS = 0, 1, 2, 3  # of every other row; then the pids of the dead that one was told of
WIDTH = 256
STARTED, TRYING, HOLDING, LEAVING, IDLE = 1, 2, 3, 4, 5
PATIENCE = 20.0  # seconds after which something stands still


class StandsStill(Exception):
    pass


class Notes:
    """One process's row, and the one that all share."""

    def __init__(self, array: Any, row: int) -> None:
        self.array, self.row = array, row * WIDTH
        self.state(STARTED)

    def state(self, state: int) -> None:
        self.array[self.row + STATE] = state

    def progress(self) -> None:
        self.array[self.row + PROGRESS] += 1

    def told(self, error: OwnerDied) -> None:
        self.must(error.exitcode in (-signal.SIGKILL, None), 7)
        count = self.array[self.row + TOLD]
        self.array[self.row + PIDS + count] = error.pid
        self.array[self.row + TOLD] = count + 1

    def must(self, is_true: bool, code: int) -> None:
        """A rule that is broken is noted by its number."""
        if not is_true:
            self.array[BROKEN] = code

    @property
    def is_over(self) -> bool:
        return bool(self.array[STOP])

    @contextlib.contextmanager
    def telling(self) -> Any:
        try:
            yield
        except OwnerDied as error:
            self.told(error)


def hold_again_and_again(thing: Any, array: Any, row: int, depth: int, alone: bool) -> None:
    """Acquire `depth` times and release, until it is over."""
    notes = Notes(array, row)
    while not notes.is_over:
        notes.state(TRYING)
        try:
            if not thing.acquire(timeout=PATIENCE):
                raise StandsStill
        except OwnerDied as error:
            notes.told(error)
            continue
        notes.state(HOLDING)
        for _ in range(depth - 1):
            thing.acquire()
        if alone:
            array[INSIDE] = row
            for _ in range(os.getpid() % 50):
                notes.must(array[INSIDE] == row, 1)
        for _ in range(depth - 1):
            thing.release()
        notes.state(LEAVING)
        thing.release()
        notes.state(IDLE)
        notes.progress()


def take(thing: Any, notes: Notes | None = None) -> None:
    """Acquire, whoever died meanwhile."""
    while True:
        try:
            if not thing.acquire(timeout=PATIENCE):
                raise StandsStill
            return
        except OwnerDied as error:
            if notes is not None:
                notes.told(error)


def pass_the_turn(condition: Any, turn: Any, array: Any, row: int, me: int) -> None:
    """Two survivors hand a turn to each other under a condition; nobody else touches it."""
    notes = Notes(array, row)
    while not notes.is_over:
        take(condition, notes)
        try:
            while turn[0] % 2 != me and not notes.is_over:
                with notes.telling():  # the lock is held after it, also if its last holder was killed
                    if not condition.wait(PATIENCE):
                        raise StandsStill
            turn[0] += 1
            condition.notify_all()
        finally:
            condition.release()
        notes.progress()


def wait_and_notify(condition: Any, array: Any, row: int) -> None:
    """A victim: waits a moment, notifies one or two, and again."""
    notes = Notes(array, row)
    number = row
    while not notes.is_over:
        number += 1
        take(condition, notes)
        try:
            with notes.telling():
                condition.wait(0.001 * (number % 4))
            condition.notify(number % 3)
        finally:
            condition.release()


def await_event(event: Any, array: Any, row: int) -> None:
    notes = Notes(array, row)
    while not notes.is_over:
        notes.must(event.wait(PATIENCE), 2)
        notes.progress()


def set_clear_and_wait(event: Any, array: Any, row: int) -> None:
    Notes(array, row)
    while True:
        event.wait(0.0005)
        event.set()
        event.clear()
        event.set()


def meet_again_and_again(barrier: Any, array: Any, row: int) -> None:
    """Go through a barrier; once it is broken, wait for the test to mend it and to count the mendings."""
    notes = Notes(array, row)
    while not notes.is_over:
        mended = array[MENDED]
        try:
            barrier.wait(PATIENCE)
        except threading.BrokenBarrierError:
            notes.state(LEAVING)
            while array[MENDED] == mended and not notes.is_over:
                time.sleep(0.0005)
            notes.state(IDLE)
        notes.progress()


# ---- queues and pipes ----

SIZES = (4, 60, 400, 3000, 20, 9, 150_000, 40, 7, 30)  # bytes of what goes along with a number
LIMIT = 4000  # messages of one producer


class Ledger:
    """What was put and what was received: a word for each producer, and a byte for each of its messages."""

    def __init__(self, ctx: Any, producers: int) -> None:
        self.begun = ctx.RawArray("Q", producers)  # puts that were begun
        self.put = ctx.RawArray("Q", producers)  # puts that have returned
        self.received = ctx.RawArray("B", producers * LIMIT)

    def receive(self, notes: Notes, last: dict[int, int], message: Any) -> None:
        who, number, body = message
        notes.must(len(body) == SIZES[(who + number) % len(SIZES)], 3)
        notes.must(number > last.get(who, -1), 4)
        notes.must(self.received[who * LIMIT + number] == 0, 5)
        notes.must(self.begun[who] > number, 6)
        last[who] = number
        self.received[who * LIMIT + number] += 1


def put_numbers(put: Any, ledger: Ledger, array: Any, row: int, who: int, pause: float = 0.0) -> None:
    """A producer."""
    notes = Notes(array, row)
    for number in range(LIMIT):
        if notes.is_over:
            return
        ledger.begun[who] = number + 1
        put((who, number, b"x" * SIZES[(who + number) % len(SIZES)]))
        ledger.put[who] = number + 1
        notes.progress()
        time.sleep(pause)
    while not notes.is_over:
        time.sleep(0.001)


def take_numbers(get: Any, ledger: Ledger, array: Any, row: int, done: Any = None) -> None:
    """A consumer, until None comes."""
    notes = Notes(array, row)
    last: dict[int, int] = {}
    while True:
        notes.state(TRYING)
        message = get()
        if message is not None:
            ledger.receive(notes, last, message)
        notes.state(HOLDING)
        if done is not None:
            done()
        notes.state(IDLE)
        notes.progress()
        if message is None:
            return
