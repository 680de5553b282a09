"""The engine of one pool: work in, results out.

    submit, map, stream     put batches into the tasks channel; workers pull from it, so nobody hands work out
    drive                   takes results, looks after the workers, feeds inputs; never blocks longer than it is asked to

Who drives is a matter of need: the thread that waits for a result (no hand-over between threads, the shortest way), or, while
work is out and nobody waits, a keeper thread.  All sleep in one place: on the results channel, which also carries a nudge
for whoever must look at something else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from procession.engine import lifetime, memory, wire
from procession.engine.batches import Batch, Terms
from procession.engine.clock import FOREVER, clock_ns
from procession.engine.crew import Crew
from procession.engine.delivery import Delivery, call_back, cancelled, initializer_failed
from procession.engine.feeds import Feed
from procession.engine.functions import FunctionTable, complaint_of
from procession.engine.keeper import Keeper
from procession.engine.overseer import Overseer
from procession.engine.scheduler import Scheduler, StartWorker, WorkerLeaving, WorkerReady
from procession.engine.sending import Sender
from procession.engine.tickets import CallTicket, Drained, MapTicket, UnorderedStream
from procession.engine.turns import Turns
from procession.errors import Closed, PoolClosed, TaskCancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Workers"]

_SPIN_US = 50
_SOON_NS = 100_000  # who waited no longer will rather spin the next time; it is less than twice a slow wake-up
_TAKE = 64


class Workers:
    """The engine of a pool.

    Args:
        size: workers.
        start: starts one worker process; see crew.Crew.
        functions: the table of functions that fits the workers.
        channel: makes the channels to and from them.
        task_limit: batches after which a worker is replaced; 0 is none.
        memory_limit: bytes of its own after which a worker is replaced; 0 is none.
        grace: seconds between the soft and the hard signal, wherever a worker is ended.
        can_kill: terminate() ends what runs; if not, nobody waits for it longer than a moment.
    """

    is_let_go = False  # the pool is gone, and work was out

    def __init__(
        self,
        size: int,
        start: Callable[[wire.RunnerSpec, bool], Any],
        *,
        functions: FunctionTable,
        channel: Callable[[], Any] = memory.channel,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        task_limit: int = 0,
        memory_limit: int = 0,
        grace: float = 1.0,
        can_kill: bool = True,
    ) -> None:
        self.size, self.batching = size, not task_limit  # a limit counts tasks: then each travels alone
        self._tasks = channel()
        self._results = channel()
        spec = wire.RunnerSpec(self._tasks, self._results, initializer, initargs, task_limit, size, memory_limit)
        self._crew = Crew(start, spec)
        self._functions = functions
        self._can_kill, self._grace = can_kill, grace
        self._scheduler = Scheduler(size)
        self._delivery = Delivery(self._scheduler, self.queue_again)
        self._sender = Sender(self._tasks, self._scheduler, self.queue_again)
        self._overseer = Overseer(self, self._scheduler, self._crew, self._tasks, grace)
        self._feeds: list[Feed] = []
        self._lock = threading.RLock()  # all of the above
        self.turns = Turns(self.drive, self._nudge)
        self.submitted = 0  # calls; the keeper sees by it whether a thread is busy submitting
        self._failure: BaseException | None = None
        self.is_foreign = False  # another process's, of which this one was forked
        self._closed = False  # to submissions
        self._ended = False
        self._keeper: Keeper | None = None
        self._look_at = 0
        self._spin_us = _SPIN_US
        lifetime.on_fork_in_child(self, Workers._forked)
        lifetime.at_exit(self, Workers.terminate)
        with self._lock:
            self._overseer.perform([StartWorker() for _ in range(size)])
            if self._failure is not None:
                raise self._failure

    # ---- submitting ----

    def submit(
        self, ticket: CallTicket, function: Callable[..., Any], arguments: tuple[Any, ...], keywords: Any
    ) -> None:
        """One call."""
        with self._lock:
            self._check_usable()
            keeper = self._keeper or self._start_keeper(must=ticket.has_callback)
            try:
                sent = self._functions.sent[function]
            except (KeyError, TypeError):
                sent = self._functions.send(function)
            self._sender.call(ticket, sent, arguments, keywords)
            self.submitted += 1
            if keeper is not None and (keeper.is_idle or ticket.has_callback):
                keeper.wake(ticket.has_callback)

    def map(
        self,
        ticket: MapTicket,
        function: Callable[..., Any],
        mode: int,
        items: Any,
        chunk: int | None,
        terms: Terms | None = None,
    ) -> None:
        """As many calls as there are items in a sequence."""
        self._check_usable()
        sent = self._functions.send(function)
        self._begin(Feed(self, ticket, sent, mode, items, chunk=chunk, length=len(items), terms=terms))

    def stream(
        self,
        ticket: UnorderedStream,
        function: Callable[..., Any],
        mode: int,
        items: Iterable[Any],
        chunk: int | None,
        buffersize: int | None,
        terms: Terms | None = None,
    ) -> Feed:
        """Calls on the items of any input, which is read as the results are."""
        self._check_usable()
        if chunk is None and not self.batching:
            chunk = 1
        sent = self._functions.send(function)
        length = len(items) if type(items) in (list, tuple, range) else None  # type: ignore[arg-type]
        return self._begin(
            Feed(self, ticket, sent, mode, items, chunk=chunk, length=length, buffersize=buffersize, terms=terms)
        )

    def _begin(self, feed: Feed) -> Feed:
        with self._lock:
            if self._keeper is None:
                self._start_keeper(must=feed.ticket.has_callback)
            self._feeds.append(feed)
            try:
                feed.begin()
            except BaseException:
                feed.stop()  # nobody will have the results
                raise
            if self._keeper is not None:
                self._keeper.wake(feed.ticket.has_callback)
        return feed

    def advance(self, feed: Feed) -> None:
        """Its reader has read: send what there is room for."""
        with self._lock:
            feed.advance()

    def _check_usable(self) -> None:
        if self.is_foreign:
            raise PoolClosed("this pool belongs to the parent process: a forked child must make its own")
        if self._ended or self._closed:
            raise PoolClosed("Pool not running")
        if self._failure is not None:
            raise self._failure

    def queue(self, batch: Batch) -> None:
        """Put a batch into the tasks channel; it can be taken when this returns."""
        with self._lock:
            if self._failure is not None:
                raise self._failure
            self._sender.put(batch)

    def queue_again(self, batch: Any) -> None:
        """The same for what its caller does not put himself: if it cannot be put now, its ticket gets the error."""
        try:
            self.queue(batch)
        except Exception as error:
            self._deliver_errors(batch, error)

    def deliver(self, ticket: Any, start: int, values: list[Any], errors: dict[int, BaseException]) -> None:
        """Hand results to a ticket, and tell those who wait for it."""
        with self._lock:
            self._delivery.deliver(ticket, start, values, errors)
        self.turns.tell()

    def input_ended(self, ticket: Any, total: int, error: BaseException | None) -> None:
        """A feed has sent all of its items."""
        with self._lock:
            self._delivery.input_ended(ticket, total, error)
            self._feeds = [feed for feed in self._feeds if not feed.ended]
        self._nudge()

    # ---- waiting ----

    def wait(self, ticket: Any, deadline: int = FOREVER) -> bool:
        """Wait until `ticket` is done; False if `deadline` came first."""
        while not ticket.done:
            if self.is_foreign:
                raise PoolClosed("this pool belongs to the parent process: its results do not come here")
            self.turns.wait(ticket, deadline)
            if not ticket.done and clock_ns() >= deadline:
                return False
        return True

    def look(self, ticket: Any) -> None:
        """Take what has arrived, without waiting."""
        if not ticket.done and not self.is_foreign:
            self.turns.look()

    def _nudge(self) -> None:
        try:
            self._results.put(b"", tag=wire.NUDGE)
        except Closed:
            pass

    # ---- driving; by one thread at a time ----

    def drive(self, deadline: int) -> None:
        """Take results, waiting for them until `deadline` or the next look at the workers, and act on them."""
        now = clock_ns()
        changed = False
        if now >= self._look_at:
            changed = self.look_at_workers()
            self._look_at = now + self._overseer.pause_ns
        if self._ended:
            return
        if len(self._tasks):
            self._tasks.rouse()
        if not changed:
            changed = self._take_arrived(min(deadline, self._look_at), _SPIN_US if deadline else 0)
        if changed:
            with self._lock:
                for feed in tuple(self._feeds):
                    feed.advance()
                    if feed.ended and feed in self._feeds:
                        self._feeds.remove(feed)
            self.turns.tell()
        if self._delivery.due:
            with self._lock:
                due = self._delivery.take_due()
            call_back(due)

    def _take_arrived(self, deadline: int, spin_us: int) -> bool:
        """Take messages, waiting for one until `deadline`; False if none came."""
        began = clock_ns()
        _, messages = self._results.take(_TAKE, deadline, spin_us and self._spin_us)
        self._spin_us = _SPIN_US if clock_ns() - began < _SOON_NS else 0
        with self._lock:
            for tag, payload in messages:
                if tag == wire.RESULTS:
                    self._delivery.results(payload)
                elif tag != wire.NUDGE:
                    self._take_message(tag, payload)
        return bool(messages)

    def _take_message(self, tag: int, payload: Any) -> None:
        if tag == wire.READY:
            self._overseer.handle(WorkerReady(int.from_bytes(payload, "little")))
        elif tag == wire.LEAVING:
            self._overseer.handle(WorkerLeaving(int.from_bytes(payload, "little")))
        elif tag == wire.INITIALIZER_FAILED:
            self.give_up(initializer_failed(payload))
        elif tag in (wire.FUNCTION_LOST, wire.BATCH_LOST):
            position, generation, reason = wire.decode_lost(payload)
            batch = self._scheduler.forget(position)
            if batch is None:
                return
            error = complaint_of(batch.function, generation, reason, is_its_own=tag == wire.FUNCTION_LOST)
            if error is None:
                self.queue_again(batch)
            else:
                self._deliver_errors(batch, error)

    def _deliver_errors(self, batch: Batch, error: BaseException) -> None:
        self.deliver(
            batch.ticket, batch.start, [None] * len(batch.items), dict.fromkeys(range(len(batch.items)), error)
        )

    # ---- workers ----

    def look_at_workers(self) -> bool:
        """Replace workers that have ended, and end those that must be; whether any had ended."""
        with self._lock:
            return self._overseer.look()

    def take_all_arrived(self) -> None:
        """Take what is there, without waiting."""
        while self._take_arrived(0, 0):
            pass

    def resize(self, size: int) -> None:
        """Have `size` workers from now on: more are started at once, fewer leave when they have done what they run."""
        with self._lock:
            self._check_usable()
            self.size = size
            self._overseer.resize(size)
        self._nudge()

    def cancel(self, ticket: Any) -> bool:
        """Have a call or a map not done, or ended where it runs; False if it is done, or runs and cannot be ended."""
        if self.is_foreign:
            return False
        with self._lock:
            if ticket.done:
                return False
            for feed in self._feeds:
                if feed.ticket is ticket:
                    feed.stop()
            error = cancelled(ticket)  # before it forgets its arguments
            if not self._overseer.abandon_ticket(ticket, must_end=self._can_kill):
                return False
            self._delivery.fail(ticket, error)
            self._look_at = 0
        self._nudge()
        self.turns.tell()
        return True

    def give_up(self, error: BaseException) -> None:
        """The pool cannot go on: every ticket gets `error`."""
        with self._lock:
            if self._failure is None:
                self._failure = error
            self._scheduler.closing = True
            self._drop_all(error)
            self._tasks.close()
            self._crew.kill()
        self.turns.tell()

    def fail_all(self, error: BaseException) -> None:
        """Every ticket gets `error`, and nothing of it is run later; the pool goes on with what is submitted from now on."""
        with self._lock:
            for position in self._scheduler.in_flight:
                self._tasks.withdraw(position, self._crew.identities, wire.TAKEN_BACK)
            self._drop_all(error)
        self.turns.tell()

    def _drop_all(self, error: BaseException) -> None:
        feeds, self._feeds = self._feeds, []
        tickets = [batch.ticket for batch in self._scheduler.in_flight.values()] + [feed.ticket for feed in feeds]
        for feed in feeds:
            feed.stop()
        self._scheduler.forget_all()
        for ticket in tickets:
            self._delivery.fail(ticket, error)

    # ---- the keeper ----

    def _start_keeper(self, *, must: bool) -> Keeper | None:
        """Where no thread can be started, those who wait for results drive, but nobody would call back."""
        try:
            self._keeper = Keeper(self)
        except RuntimeError:
            if must:
                raise
        return self._keeper

    def has_work(self) -> bool:
        if self._scheduler.in_flight or self._delivery.due:
            return True
        return any(not feed.ended for feed in self._feeds)

    # ---- the end ----

    def close(self) -> None:
        """No more submissions; what is out will be done."""
        if self.is_foreign:
            return
        self._closed = True

    def let_go(self) -> None:
        """The pool is gone: end when what is out is done, or nobody can have it any more."""
        self.close()
        self.is_let_go = self.has_work() and bool(self._keeper or self._start_keeper(must=False))
        if not self.is_let_go:
            self.terminate()

    def __del__(self) -> None:
        if self.is_let_go and not self.is_over and not lifetime.is_ending():
            self.terminate()

    @property
    def is_over(self) -> bool:
        """Whether it was terminated, or is another process's."""
        return self._ended or self.is_foreign

    def join(self) -> None:
        """After close(): wait until all work is done and all workers have ended."""
        if self.is_foreign:
            return
        with self._lock:
            for feed in tuple(self._feeds):
                feed.read_all()
                feed.advance()
        self.wait(Drained(self))
        with self._lock:
            self._scheduler.closing = True
            self._tasks.close()
        self._end_workers(self._grace if self._ended else None)

    def terminate(self) -> None:
        """Kill the workers now; what is out fails.  Bounded in time from any state."""
        if self.is_foreign:
            return
        with self._lock:
            if not self._ended:
                self._ended = True
                self._scheduler.closing = True
                self._drop_all(TaskCancelled("the pool was terminated before the task was done"))
                self._tasks.close()
                self._crew.terminate()
        self._nudge()
        self.turns.tell()
        if self._can_kill:
            self._end_workers(self._grace)
        elif self._keeper is not None:
            self._keeper.wake(True)

    def _end_workers(self, grace: float | None) -> None:
        self._crew.end(grace)
        self._ended = True
        if self._keeper is not None:
            self._keeper.wake(True)
        memory.trim()

    @property
    def processes(self) -> list[Any]:
        """The worker processes, as the door made them."""
        return list(self._crew.handles.values())

    def _forked(self) -> None:
        """In a forked child: the pool is the parent's."""
        self.is_foreign = True
        self._crew.forget()
        self._feeds = []
        self._lock = threading.RLock()
        self.turns = Turns(self.drive, self._nudge)
