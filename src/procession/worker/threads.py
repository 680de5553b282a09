"""A pool's workers that are threads: what they do otherwise than processes.

Nothing is pickled: messages are the objects themselves, in channels of this process.  A thread cannot be killed, so one that
is told to end does so after the call that it runs, and nobody waits for it longer than a moment.
"""

from __future__ import annotations

import functools
import itertools
import queue
import threading
from collections.abc import Callable, Sequence

from procession.engine.clock import FOREVER, clock_ns, seconds_until
from procession.engine.scheduler import NOT_RUNNING
from procession.engine.wire import RunnerSpec
from procession.errors import Closed
from procession.worker.loop import Runner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["TaskReader", "ThreadChannel", "ThreadWorker", "start"]

_KILLED = 9
_LOOK_S = 0.5  # one without work looks this often whether it is to leave
_identities = itertools.count(1)
_CLOSED = object()
_TAKEN_BACK = object()


class ThreadChannel:
    """Messages between threads: what the pool needs of a channel, without copies.

    Attributes:
        tail: position of the next message.  If a put is interrupted its position may be left out, but never names another.
    """

    def __init__(self) -> None:
        # Its put() may be called from a signal handler that interrupts another; a lock of our own could not be had twice.
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._closed = False
        self._fates: dict[int, object] = {}  # position -> who has begun it or taken it back, whoever came first
        self.tail = 0
        self.is_dropped = False

    def __len__(self) -> int:
        return self._queue.qsize()

    def put(self, payload: Any, deadline: int = FOREVER, tag: int = 0) -> bool:
        """Deliver an object.

        Raises:
            Closed: the channel is closed.
        """
        if self._closed:
            raise Closed("the channel is closed")
        position = self.tail
        self.tail = position + 1
        self._queue.put((position, (tag, payload)))
        return True

    def take(self, wanted: int, deadline: int = FOREVER, spin_us: int = 0) -> tuple[int, list[tuple[int, Any]]]:
        """Up to `wanted` messages: the position of the first, and a list; for the only reader.  See also TaskReader.

        Raises:
            Closed: the channel is closed and nothing is left.
        """
        waiting = self._queue
        taken: list[Any] = []
        try:
            item = waiting.get(deadline != 0, seconds_until(deadline) if deadline else None)
            while item is not _CLOSED:
                taken.append(item)
                if len(taken) == wanted:
                    break
                item = waiting.get_nowait()
            else:
                waiting.put(_CLOSED)  # for the next take
                if not taken:
                    raise Closed("the channel is closed")
        except queue.Empty:
            pass
        return taken[0][0] if taken else 0, [message for _, message in taken]

    def begin(self, position: int, who: object) -> bool:
        """`who` runs the message at `position`, or takes it back; False if it belongs to another already."""
        return self._fates.setdefault(position, who) is who

    def withdraw(self, position: int, readers: object, tag: int) -> bool:
        """Take a message back; False if it is begun or done."""
        return self.begin(position, _TAKEN_BACK)

    def is_done(self, position: int) -> None:
        """Nobody asks for it any more."""
        self._fates.pop(position, None)

    def rouse(self) -> None:
        """Nobody sleeps while there are messages."""

    def close(self) -> None:
        """No more puts; takes go on until nothing is left."""
        if not self._closed:
            self._closed = True
            self._queue.put(_CLOSED)

    def drop(self) -> None:
        """Close it and forget what nobody has taken."""
        self.is_dropped = True
        self.close()
        try:
            while True:
                self._queue.get_nowait()
        except queue.Empty:
            self._queue.put(_CLOSED)


class TaskReader:
    """The end of a channel that one of several readers takes from, a message at a time.

    Attributes:
        inbox: what was taken and is not done; a thread that is made to end at any moment has not lost it.
    """

    def __init__(self, channel: ThreadChannel) -> None:
        self.channel = channel
        self.inbox: list[Any] = []
        # Taking and keeping are one step: there is no bytecode in between.
        self._steps = map(self.inbox.append, iter(functools.partial(channel._queue.get, True, _LOOK_S), None))

    def __len__(self) -> int:
        return len(self.channel)

    def take(
        self, wanted: int, deadline: int = FOREVER, *, spin_us: int = 0, claim: bool = True
    ) -> tuple[int, list[tuple[int, Any]]]:
        """The next message: its position, and a list of it; an empty list if none came for a moment.

        Raises:
            Closed: the channel is closed and nothing is left.
        """
        try:
            next(self._steps)
        except queue.Empty:
            return 0, []
        item = self.inbox[0]
        if item is _CLOSED:
            self.inbox.clear()
            self.channel._queue.put(_CLOSED)  # for the next reader
            raise Closed("the channel is closed")
        position, message = item
        return position, [message]

    @property
    def claim(self) -> tuple[int, int, int, int]:
        """What was taken and is not done, as a scheduler.WorkerExited tells it."""
        if not self.inbox or self.inbox[0] is _CLOSED:
            return 0, 0, NOT_RUNNING, 0
        position = self.inbox[0][0]
        return position, position + 1, NOT_RUNNING, 0


class _Runner(Runner):
    """The life of a worker that is a thread."""

    encode_error = staticmethod(lambda error: error)
    encode_results = staticmethod(lambda pieces, values, failures, begin: [(pieces, values, dict(failures))])

    def __init__(self, spec: RunnerSpec, worker: ThreadWorker) -> None:
        super().__init__(spec, worker.identity)
        self.worker = worker
        self.reader: TaskReader = spec.tasks

    def decode_tasks(
        self, payload: Any, begin: Callable[[int], None]
    ) -> tuple[Any, Sequence[Any], dict[int, BaseException]]:
        mode, function, items = payload
        return (mode, function), items, {}

    def load(self, header: Any) -> tuple[int, Callable[..., Any]]:
        mode, function = header
        return mode, function

    def claim_begin(self, position: int) -> bool:
        if self.reader.channel.begin(position, self):
            return True
        self.reader.channel.is_done(position)
        return False

    def run_calls(self, first: int, messages: list[tuple[int, Any]], at: int) -> int:
        return at

    def claim_running(self, position: int) -> None:
        pass

    def claim_nothing(self) -> None:
        if self.reader.inbox:
            self.reader.channel.is_done(self.reader.inbox[0][0])
            self.reader.inbox.clear()

    def is_dismissed(self) -> bool:
        return self.worker.is_dismissed

    def run_items(
        self,
        function: Callable[..., Any],
        items: Sequence[Any],
        start: int,
        unpack: bool,
        timed: bool,
        budget_ns: int,
        values: list[Any],
        failures: list[tuple[int, BaseException]],
        stop: list[Any],
        ends: type[BaseException],
    ) -> tuple[int, int]:
        """As ``_core.run_items``, which notes in shared memory how far it has come."""
        began = now = clock_ns()
        at, end, size = start, len(items), 1
        while at < end and now - began < budget_ns:
            if self.reader.channel.is_dropped:
                raise Closed("the pool was terminated")
            done = len(values) - at
            try:
                if unpack:
                    for item in items[at : at + size]:
                        values.append(function(*item))
                else:
                    for item in items[at : at + size]:
                        values.append(function(item))
            except BaseException as error:
                if error.__traceback__ is not None:
                    error.__traceback__ = (
                        error.__traceback__.tb_next
                    )  # not this frame, which would keep all of them alive
                values.append(None)
                failures.append((len(values) - 1, error))
            at = len(values) - done
            now = clock_ns()
            # A look at the clock costs as much as an empty call.
            mean = (now - began) / (at - start)
            size = 64 if mean < 1000 else 8 if mean < 10_000 else 1
        return at, now - began


class ThreadWorker(threading.Thread):
    """A worker of a pool, and what the crew sees of it: see crew.Member."""

    pid = 0
    sentinel = -1
    head = 1 << 62  # what it claims, it has taken
    tasks: Any = None

    def __init__(self, spec: RunnerSpec) -> None:
        self.identity = next(_identities)
        super().__init__(name=f"ThreadPoolWorker-{self.identity}", daemon=True)
        self._channel = spec.tasks
        self._reader = TaskReader(spec.tasks)
        self._spec = spec.replace(tasks=self._reader)
        self._code = 1
        self._is_given_up = False
        self.is_dismissed = False

    def run(self) -> None:
        try:
            _Runner(self._spec, self).live()
        except Closed:
            pass  # terminated between two calls
        self._code = 0

    @property
    def claim(self) -> tuple[int, int, int, int]:
        """What it had taken and not done."""
        return self._reader.claim

    @property
    def _child(self) -> ThreadWorker:
        return self

    @property
    def exitcode(self) -> int | None:
        """None while it runs or before it starts."""
        return self._code if self.ident is not None and not self.is_alive() else None

    def poll(self) -> int | None:
        code = self.exitcode
        if code is None and self._is_given_up:
            return -_KILLED
        return code

    def wait(self, deadline: int = FOREVER) -> int | None:
        if not self._is_given_up and self is not threading.current_thread():
            self.join(seconds_until(deadline))
        return self.poll()

    def kill(self) -> None:
        """Nobody waits for it any more."""
        self.send_signal(_KILLED)

    def dismiss(self) -> None:
        """Have it leave when it has done what it has taken."""
        self.is_dismissed = True

    def send_signal(self, number: int) -> None:
        """Have it end after the call that it runs; with SIGKILL nobody waits for that any more."""
        self._channel.drop()
        if number == _KILLED:
            self._is_given_up = True


def start(spec: RunnerSpec, quiet: bool) -> ThreadWorker:
    """Start a worker."""
    worker = ThreadWorker(spec)
    worker.start()
    return worker
