"""What a SyncManager makes for its clients to put something in: queues as `queue` has them, values, namespaces, arrays.

As with `objects`, who waits for a client that is killed stops waiting.
"""

from __future__ import annotations

import queue
from typing import Any

from procession._core import NOT_NOW
from procession.dummy import Array, Namespace
from procession.managers.objects import Condition, Lock, Patient, Semaphore

__all__ = ["Array", "JoinableQueue", "Namespace", "Queue", "Value", "loses_results", "take_back"]


class Queue(queue.Queue[Any]):
    """Like queue.Queue."""

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(maxsize)
        self.not_empty = Patient(self.mutex)
        self.not_full = Patient(self.mutex)
        self.all_tasks_done = Patient(self.mutex)

    def put_soon(self, item: Any) -> object:
        """put(), but NOT_NOW if there is no room."""
        with self.mutex:
            if 0 < self.maxsize <= len(self.queue):
                return NOT_NOW
            self.queue.append(item)
            self.unfinished_tasks += 1
            self.not_empty.notify()
        return None

    def get_soon(self) -> object:
        """get(), but NOT_NOW if nothing is there."""
        with self.mutex:
            if not self.queue:
                return NOT_NOW
            item = self.queue.popleft()
            if self.maxsize > 0:
                self.not_full.notify()
        return item


class JoinableQueue(Queue):
    """The same: a Queue has task_done() and join()."""


def loses_results(obj: Any) -> bool:
    """Whether it is as if something was lost if a result of a method of `obj` does not arrive."""
    return isinstance(obj, (queue.Queue, Lock, Semaphore, Condition))


def take_back(obj: Any, method: str, result: Any) -> None:
    """The client that this was done for has not got the answer: as if it had not been done, as far as that can be."""
    if isinstance(obj, queue.Queue) and method in ("get", "get_nowait"):
        with obj.mutex:
            if type(obj) in (queue.Queue, Queue, JoinableQueue):
                obj.queue.appendleft(result)
            else:
                obj._put(result)
            obj.not_empty.notify()
    elif isinstance(obj, (Lock, Semaphore, Condition)) and method == "acquire" and result is True:
        obj.release()


class Value:
    """A place for one value."""

    def __init__(self, typecode: Any, value: Any, lock: Any = True) -> None:
        self._typecode = typecode
        self._value = value

    def get(self) -> Any:
        """What it is."""
        return self._value

    def set(self, value: Any) -> None:
        """Change it."""
        self._value = value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._typecode!r}, {self._value!r})"

    value = property(get, set)
