"""Locks, semaphores, conditions, events and barriers: the standard library's ``multiprocessing.synchronize`` in the arena.

All of them can be sent anywhere.  None has to be given back, and none is left in a bad state by a process that is killed.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable

from procession import _core
from procession.engine import memory, waiting
from procession.engine.clock import clock_ns, deadline_after, seconds_until
from procession.errors import OwnerDied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "Semaphore"]

SEM_VALUE_MAX = 2**31 - 1  # of a semaphore without a bound of its own
_EVERYBODY = 2**32 - 1


class Lock(_core.Lock):
    """Like multiprocessing.Lock; can be sent anywhere, and raises OwnerDied if the process that held it was killed."""

    _recursive = False

    def __init__(self, *, ctx: Any = None) -> None:
        memory.ensure()
        self._create(self._recursive)

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, (type(self), self.block)

    def _holder(self) -> str:
        """Who holds it, in words."""
        if not self.locked():
            return "None"
        if self._is_mine():
            return _own_name()
        return "SomeOtherThread" if self._is_this_process() else "SomeOtherProcess"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(owner={self._holder()})>"


class RLock(Lock):
    """Like multiprocessing.RLock: its owner can take it again."""

    _recursive = True

    def __repr__(self) -> str:
        depth: object = "nonzero"
        if not self.locked() or self._is_mine():
            depth = self._depth()
        return f"<{type(self).__name__}({self._holder()}, {depth})>"


def _own_name() -> str:
    from procession.process import current_process

    thread = threading.current_thread()
    name = current_process().name
    return name if thread is threading.main_thread() else f"{name}|{thread.name}"


class Semaphore(_core.Semaphore):
    """Like multiprocessing.Semaphore; permits that a killed process had come back, and one waiter gets OwnerDied."""

    def __init__(self, value: int = 1, *, ctx: Any = None) -> None:
        self._start(value, SEM_VALUE_MAX)

    def _start(self, value: int, limit: int) -> None:
        if not 0 <= value <= SEM_VALUE_MAX:
            raise ValueError(f"a semaphore's value must be between 0 and {SEM_VALUE_MAX}, got {value}")
        memory.ensure()
        self._create(value, limit)

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, (type(self), self.block)

    def locked(self) -> bool:
        """Whether acquire() would wait."""
        return self.get_value() == 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={self.get_value()})>"

    # The queue of concurrent.futures is the standard library's own, made with our semaphore; it looks into it.

    @property
    def _semlock(self) -> Semaphore:
        return self

    _is_zero = locked

    def _get_value(self) -> int:
        return self.get_value()


class BoundedSemaphore(Semaphore):
    """Like multiprocessing.BoundedSemaphore: a release beyond the value it was made with is a ValueError, on every system."""

    def __init__(self, value: int = 1, *, ctx: Any = None) -> None:
        self._start(value, value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={self.get_value()}, maxvalue={self.limit})>"


class Condition(_core.Condition):
    """Like multiprocessing.Condition; a waiter that is killed takes no notification from the others."""

    _lock: Any

    def __init__(self, lock: Any = None, *, ctx: Any = None) -> None:
        memory.ensure()
        self._create()
        self._bind(RLock(ctx=ctx) if lock is None else lock)

    def _bind(self, lock: Any) -> None:
        self._lock = lock
        self.acquire: Callable[..., bool] = lock.acquire
        self.release: Callable[[], None] = lock.release

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_condition, (type(self), self.block, self._lock)

    def __enter__(self) -> Any:
        return self._lock.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._lock.__exit__(*error)

    def _check_held(self, what: str) -> None:
        if not self._lock._is_mine():
            raise AssertionError(f"must acquire() condition before using {what}()")

    def wait(self, timeout: float | None = None) -> bool:
        """Let go of the lock, wait to be notified, and take the lock again; False if `timeout` seconds passed first.

        The lock is held afterwards whatever happens, also if this raises.

        Raises:
            OwnerDied: a process was killed while it held the lock.
        """
        self._check_held("wait")
        deadline = deadline_after(timeout)
        waiter = _core.Waiter(self)
        depth = self._lock._depth()
        for _ in range(depth):
            self.release()
        is_interrupted = True  # then a notification is left to another
        try:
            waiter.wait(deadline)
            is_interrupted = False
        finally:
            try:
                self._take_back(depth)
            finally:
                # A notification that came before the lock did counts, if late.
                is_notified = waiter.leave(is_interrupted)
        return is_notified

    def _take_back(self, depth: int) -> None:
        """Take the lock as often as it was held; a death or an interrupt meanwhile is told once it is."""
        death: OwnerDied | None = None
        interrupt: BaseException | None = None
        while depth:
            try:
                depth -= bool(self._lock.acquire())
            except OwnerDied as error:
                death = error
            except BaseException as error:
                if interrupt is not None:
                    raise  # asked for twice: better out without the lock than not out
                interrupt = error
        if interrupt or death:
            raise interrupt or death  # type: ignore[misc]

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """wait() until `predicate` is true or `timeout` seconds have passed; the predicate's last value."""
        return waiting.wait_for(self.wait, predicate, timeout)

    def notify(self, n: int = 1) -> None:
        """Let `n` of those go on who wait; they do so once the lock is free."""
        self._check_held("notify")
        if n < 0:
            raise ValueError(f"n must not be negative, got {n}")
        self._notify(min(n, _EVERYBODY))

    def notify_all(self) -> None:
        """Let all go on who wait."""
        self.notify(_EVERYBODY)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({self._lock}, {self._waiting()})>"

    # What the standard library counts with semaphores of these names; programs' tests look at them.

    @property
    def _sleeping_count(self) -> _Count:
        return _Count(self._waiting())

    @property
    def _woken_count(self) -> _Count:
        return _Count(0)

    @property
    def _wait_semaphore(self) -> _Count:
        return _Count(0)


class _Count(int):
    """A number that is read as a semaphore's value is."""

    def get_value(self) -> int:
        return int(self)


class Event(_core.Event):
    """Like multiprocessing.Event; whoever waits goes on when it is set, also if it is cleared at once."""

    def __init__(self, *, ctx: Any = None) -> None:
        memory.ensure()
        self._create()

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, (type(self), self.block)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x} {'set' if self.is_set() else 'unset'}>"


_BARRIER = struct.Struct("=QQ")  # round << 32 | state << 31 | arrived, outcomes: see Barrier
_OPEN, _BROKEN = 0, 1
_LOOK = 0.25  # seconds between two looks whether those who wait at a barrier still live


class Barrier(threading.Barrier):
    """Like multiprocessing.Barrier; if a process ends while it waits, the barrier breaks for the others.

    The state lies in a block: one word with the number of this round, whether it is broken and how many have arrived; a bit
    for each of the last 64 rounds (set: it was broken off); then who has arrived.  A round ends for all at one instant, by
    the store of that word, when the last one arrives or it is broken off; nobody has to be seen leaving.  So nobody who
    dies holds the others up, wherever he is, and a holder of the lock who dies leaves nothing half changed.
    """

    def __init__(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        ctx: Any = None,
    ) -> None:
        if parties < 1:
            raise ValueError(f"parties must be at least 1, got {parties}")
        block = memory.new_block(_BARRIER.size + 4 * parties)
        memoryview(block)[:] = bytes(block.size)
        self._bind(parties, action, timeout, Condition(Lock(ctx=ctx), ctx=ctx), block)

    def _bind(
        self,
        parties: int,
        action: Callable[[], object] | None,
        timeout: float | None,
        condition: Condition,
        block: memory.Block,
    ) -> None:
        self._parties, self._action, self._timeout = parties, action, timeout
        self._cond, self._block = condition, block
        self._words = memoryview(block)[: _BARRIER.size].cast("Q")
        self._arrived = memoryview(block)[_BARRIER.size : _BARRIER.size + 4 * parties].cast("I")

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_barrier, (type(self), self._parties, self._action, self._timeout, self._cond, self._block)

    def _read(self) -> tuple[int, int, int]:
        """State, how many have arrived, and the number of the round."""
        word = self._words[0]
        return word >> 31 & 1, word & 0x7FFFFFFF, word >> 32

    def _write(self, state: int, arrived: int, round_: int) -> None:
        self._words[0] = (round_ & 0xFFFFFFFF) << 32 | state << 31 | arrived  # commit

    def _end_round(self, state: int, is_broken_off: bool) -> None:
        round_ = self._read()[2]
        bit = 1 << round_ % 64
        self._words[1] = self._words[1] | bit if is_broken_off else self._words[1] & ~bit
        self._write(state, 0, round_ + 1)
        self._cond.notify_all()

    def _take(self) -> None:
        """Take the lock, whether or not its last holder was killed."""
        while True:
            try:
                self._cond.acquire()
                return
            except OwnerDied:
                pass

    def wait(self, timeout: float | None = None) -> int:
        """Wait until all parties are here; a number from 0 to parties - 1, another one for each.

        Raises:
            threading.BrokenBarrierError: it was broken or reset, `timeout` seconds passed, or one who waited has ended.
        """
        deadline = deadline_after(self._timeout if timeout is None else timeout)
        self._take()
        try:
            state, index, round_ = self._read()
            if state == _BROKEN:
                raise threading.BrokenBarrierError("the barrier is broken; reset() mends it")
            if index == self._parties:  # the last one to arrive was killed before he let the others go
                self._end_round(_BROKEN, True)
                raise threading.BrokenBarrierError("the barrier broke: a process that waited at it has ended")
            self._arrived[index] = _core.process_identity()
            self._write(state, index + 1, round_)
            if index + 1 == self._parties:
                self._release_all()
            else:
                self._await_round(round_, deadline)
            return index
        finally:
            self._cond.release()

    def _release_all(self) -> None:
        try:
            if self._action is not None:
                self._action()
        except BaseException:
            self._end_round(_BROKEN, True)
            raise
        self._end_round(_OPEN, False)

    def _await_round(self, round_: int, deadline: int) -> None:
        while self._read()[2] == round_:
            left = seconds_until(deadline)
            try:
                self._cond.wait_for(lambda: self._read()[2] != round_, _LOOK if left is None else min(left, _LOOK))
            except OwnerDied:
                pass  # the lock is held; whether the dead one is missed here is seen below
            except BaseException:
                if self._read()[2] == round_:
                    self._end_round(_BROKEN, True)
                raise
            _, arrived, now = self._read()
            if now == round_:
                gone = not all(map(_core.process_is_alive, self._arrived[:arrived]))
                if gone or clock_ns() >= deadline:
                    self._end_round(_BROKEN, True)
                    why = "a process that waited at it has ended" if gone else "not all arrived in time"
                    raise threading.BrokenBarrierError(f"the barrier broke: {why}")
        if self._words[1] >> round_ % 64 & 1:
            raise threading.BrokenBarrierError("the barrier was broken or reset while this one waited at it")

    def reset(self) -> None:
        """Make it as new; those who wait at it get BrokenBarrierError."""
        self._take()
        try:
            _, arrived, round_ = self._read()
            if arrived:
                self._end_round(_OPEN, True)
            else:
                self._write(_OPEN, 0, round_)
        finally:
            self._cond.release()

    def abort(self) -> None:
        """Break it: those who wait at it, and whoever comes, get BrokenBarrierError, until it is reset."""
        self._take()
        try:
            self._end_round(_BROKEN, True)
        finally:
            self._cond.release()

    @property
    def parties(self) -> int:
        """How many it waits for."""
        return self._parties

    @property
    def n_waiting(self) -> int:
        """How many wait at it."""
        return self._read()[1]

    @property
    def broken(self) -> bool:
        """Whether it is broken."""
        return self._read()[0] == _BROKEN


def _open_barrier(kind: type[Barrier], *parts: Any) -> Barrier:
    barrier = kind.__new__(kind)
    barrier._bind(*parts)
    return barrier


def _open(kind: Any, block: memory.Block) -> Any:
    opened = kind.__new__(kind)
    opened._open(block)
    return opened


def _open_condition(kind: type[Condition], block: memory.Block, lock: Any) -> Condition:
    condition: Condition = _open(kind, block)
    condition._bind(lock)
    return condition
