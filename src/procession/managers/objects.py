"""What a SyncManager makes for its clients to meet at: locks, events and the like, as `threading` has them.

Their difference: who waits for a client that is killed stops waiting, and what a killed client had taken is free again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from procession._core import NOT_NOW
from procession.engine import waiting
from procession.managers.callers import LOOK as _LOOK
from procession.managers.callers import Caller, CallerGone, Member, caller, patiently

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "Lock",
    "Patient",
    "RLock",
    "Semaphore",
]


def _limit(blocking: bool, timeout: float | None) -> float | None:
    """How long a lock's arguments allow to wait, as threading.Lock reads them."""
    if timeout is None or timeout == -1:
        return None if blocking else 0.0
    if not blocking:
        raise ValueError("can't specify a timeout for a non-blocking call")
    if timeout < 0:
        raise ValueError(f"timeout value must be a non-negative number, got {timeout}")
    return timeout


class Lock:
    """Like threading.Lock."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._depth = 0
        self._owner: Caller | None = None

    def _may_take(self, client: Caller) -> bool:
        return self._depth == 0

    def _check_release(self) -> None:
        if self._depth == 0:
            raise RuntimeError("release unlocked lock")

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """Take it; whether that was done."""
        limit = _limit(blocking, timeout)
        client = caller()
        with self._changed:
            if not patiently(self._changed, lambda: self._may_take(client), limit):
                return False
            self._take(client, 1)
            return True

    def acquire_soon(self) -> object:
        """acquire(), but NOT_NOW if it is held."""
        client = caller()
        with self._changed:
            if not self._may_take(client):
                return NOT_NOW
            self._take(client, 1)
        return True

    def _take(self, client: Caller, depth: int) -> None:
        self._depth += depth
        self._owner = client
        if client.member is not None:
            client.member.hold(self, depth)

    def release(self) -> None:
        """Give it back."""
        with self._changed:
            self._check_release()
            self._give(1)

    def _give(self, depth: int) -> None:
        owner = self._owner
        self._depth -= depth
        if owner is not None and owner.member is not None:
            owner.member.hold(self, -depth)
        if self._depth == 0:
            self._owner = None
            self._changed.notify()

    def locked(self) -> bool:
        """Whether somebody has it."""
        return self._depth > 0

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()

    def _free_after(self, member: Member, count: int) -> None:
        with self._changed:
            if self._owner is not None and self._owner.member is member:
                self._depth = 0
                self._owner = None
                self._changed.notify()

    # ---- for Condition ----

    def _is_mine(self) -> bool:
        return self._depth > 0

    def _give_all(self) -> int:
        with self._changed:
            depth = self._depth
            self._give(depth)
            return depth

    def _take_again(self, depth: int) -> None:
        client = caller()
        with self._changed:
            patiently(self._changed, lambda: self._depth == 0)
            self._take(client, depth)


class RLock(Lock):
    """Like threading.RLock; its owner is a thread of a client."""

    def _may_take(self, client: Caller) -> bool:
        return self._owner is None or self._owner.key == client.key

    def _check_release(self) -> None:
        if not self._is_mine():
            raise RuntimeError("cannot release un-acquired lock")

    def _is_mine(self) -> bool:
        return self._owner is not None and self._owner.key == caller().key


class Semaphore:
    """Like threading.Semaphore."""

    def __init__(self, value: int = 1) -> None:
        if value < 0:
            raise ValueError(f"semaphore initial value must be >= 0, got {value}")
        self._changed = threading.Condition(threading.Lock())
        self._value = self._initial = value
        self._taken: dict[Member | None, int] = {}

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take a permit; whether that was done."""
        limit = _limit(blocking, timeout)
        member = caller().member
        with self._changed:
            if not patiently(self._changed, lambda: self._value > 0, limit):
                return False
            self._grant(member)
            return True

    def acquire_soon(self) -> object:
        """acquire(), but NOT_NOW if there is no permit."""
        member = caller().member
        with self._changed:
            if self._value <= 0:
                return NOT_NOW
            self._grant(member)
        return True

    def _grant(self, member: Member | None) -> None:
        self._value -= 1
        self._taken[member] = self._taken.get(member, 0) + 1
        if member is not None:
            member.hold(self)

    def release(self, n: int = 1) -> None:
        """Give `n` permits."""
        if n < 1:
            raise ValueError(f"n must be one or more, got {n}")
        with self._changed:
            self._check_release(n)
            self._value += n
            for _ in range(n):
                self._forget_one(caller().member)
            self._changed.notify(n)

    def _check_release(self, n: int) -> None: ...

    def _forget_one(self, member: Member | None) -> None:
        """Somebody gives a permit: its own if it has one, else another's."""
        if member not in self._taken:
            if not self._taken:
                return
            member = next(iter(self._taken))
        self._taken[member] -= 1
        if not self._taken[member]:
            del self._taken[member]
        if member is not None:
            member.hold(self, -1)

    def get_value(self) -> int:
        """Permits that are left."""
        return self._value

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()

    def _free_after(self, member: Member, count: int) -> None:
        with self._changed:
            # Who counts something else than what is taken and left does not want it back.
            guards = self._value + sum(self._taken.values()) == self._initial
            taken = self._taken.pop(member, 0)
            if guards and taken:
                self._value += taken
                self._changed.notify(taken)


class BoundedSemaphore(Semaphore):
    """Like threading.BoundedSemaphore."""

    def _check_release(self, n: int) -> None:
        if self._value + n > self._initial:
            raise ValueError("Semaphore released too many times")


class _Waiter:
    def __init__(self) -> None:
        self.changed = threading.Condition(threading.Lock())
        self.is_told = False
        self.caller = caller()


class Condition:
    """Like threading.Condition; `lock` is a Lock or RLock of the same manager."""

    def __init__(self, lock: Any = None) -> None:
        lock = getattr(lock, "_referent", lock)
        if lock is not None and not isinstance(lock, Lock):
            raise TypeError(f"lock must be a manager's Lock or RLock, got {lock!r}")
        self._lock: Lock = RLock() if lock is None else lock
        self._waiters: deque[_Waiter] = deque()

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """Take the lock; whether that was done."""
        return self._lock.acquire(blocking, timeout)

    def acquire_soon(self) -> object:
        """acquire(), but NOT_NOW if it is held."""
        return self._lock.acquire_soon()

    def release(self) -> None:
        """Give the lock back."""
        self._lock.release()

    def locked(self) -> bool:
        """Whether somebody has the lock."""
        return self._lock.locked()

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Give the lock back until notified; whether that was so."""
        if not self._lock._is_mine():
            raise RuntimeError("cannot wait on un-acquired lock")
        waiter = _Waiter()
        self._waiters.append(waiter)
        depth = self._lock._give_all()
        try:
            with waiter.changed:
                told = patiently(waiter.changed, lambda: waiter.is_told, timeout)
        except CallerGone:
            if waiter.is_told:
                self._tell(1)
            raise
        finally:
            try:
                self._waiters.remove(waiter)
            except ValueError:
                told = waiter.is_told
        self._lock._take_again(depth)
        return told

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until ``predicate()`` is true; what it gave last."""
        return waiting.wait_for(self.wait, predicate, timeout)

    def notify(self, n: int = 1) -> None:
        """Wake `n` that wait."""
        if not self._lock._is_mine():
            raise RuntimeError("cannot notify on un-acquired lock")
        self._tell(n)

    def notify_all(self) -> None:
        """Wake all that wait."""
        self.notify(len(self._waiters))

    def _tell(self, n: int) -> None:
        while n > 0 and self._waiters:
            try:
                waiter = self._waiters.popleft()
            except IndexError:
                return
            if waiter.caller.is_gone():
                continue
            with waiter.changed:
                waiter.is_told = True
                waiter.changed.notify()
            n -= 1


class Event:
    """Like threading.Event."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._flag = False

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._flag

    def set(self) -> None:
        """Let all pass."""
        with self._changed:
            self._flag = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Let nobody pass."""
        with self._changed:
            self._flag = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set; whether it is."""
        with self._changed:
            return patiently(self._changed, lambda: self._flag, timeout)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x} {'set' if self._flag else 'unset'}>"


class Patient(threading.Condition):
    """For loops that look again after each wait: it looks for its client, too, and may come back before its time."""

    def wait(self, timeout: float | None = None) -> bool:
        told = super().wait(_LOOK if timeout is None else min(timeout, _LOOK))
        if caller().is_gone():
            self.notify()
            raise CallerGone
        return told


class Barrier(threading.Barrier):
    """Like threading.Barrier; broken if a client that waits at it is killed."""

    def __init__(self, parties: int, action: Callable[[], Any] | None = None, timeout: float | None = None) -> None:
        super().__init__(parties, action, timeout)
        self._cond = Patient(threading.Lock())

    def wait(self, timeout: float | None = None) -> int:
        """Wait until all parties are here; a number from 0 to parties - 1, another one for each."""
        try:
            return super().wait(timeout)
        except CallerGone:
            self.abort()
            raise
