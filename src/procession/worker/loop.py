"""What a pool's worker does all its life: take messages, call, send results.

    receive → decode → call → encode → send

A message's claim is in this process's slot before the message leaves the channel, and the running item before it runs, so
that the parent can tell after our death what was lost.  Results of small tasks travel together; none waits for another
longer than about a millisecond, unless that one is a single long call.

SIGTERM is the soft signal: what a task has opened is closed on the way out, what it has started is killed, and the worker
ends of the signal.  One that is meant for a task that is done already ends nothing.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable

from procession import _core
from procession._core import (
    claim_begin,
    claim_item,
    claim_nothing,
    claim_value,
    clock_ns,
    is_dismissed,
    run_calls,
    run_items,
)
from procession.engine import codec, launch, lifetime, opened, wire
from procession.engine.codec import Payload
from procession.engine.exceptions import Ended, describe, encode_error
from procession.engine.wire import RunnerSpec
from procession.errors import CannotDecode, Closed, OutOfMemory
from procession.worker import cores, streams
from procession.worker.growth import Growth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

__all__ = ["Runner", "main"]

FLUSH_NS = 1_000_000  # results wait no longer for company
_SPIN_US = 50
_SMALL_NS = 20_000  # messages that take less are worth spinning for
_FUNCTIONS_KEPT = 64
_LOOK_NS = 500_000_000  # a worker without work looks this often whether it is to leave


def main(spec: RunnerSpec) -> None:
    """Work until the tasks channel is closed and empty, or a limit is reached."""
    # The parent deals with Ctrl-C.  A handler, not SIG_IGN: programs that a task starts must not inherit it.
    signal.signal(signal.SIGINT, _ignore)
    streams.scatter()
    cores.take_share(spec.share)
    opened.begin()
    runner = Runner(spec, _core.process_identity())
    sys.unraisablehook = _Quiet(sys.unraisablehook)
    try:
        signal.signal(signal.SIGTERM, runner.told_to_end)
        launch.hear_interrupts(and_ends=True)
        runner.live()
        runner.is_over = True
    except Ended:
        runner.save()
        _end()


def _ignore(number: int, frame: object) -> None: ...


class _Quiet:
    """What cannot be raised is reported as it was before, but not that a task was ended within some ``__del__``."""

    def __init__(self, report: Callable[[Any], object]) -> None:
        self._report = report

    def __call__(self, unraisable: Any) -> None:
        if unraisable.exc_type is not Ended:
            self._report(unraisable)


def _end() -> NoReturn:
    """End of the soft signal, and leave nothing behind that a task has started."""
    _core.kill_descendants(os.getpid())
    _core.end_by_signal(signal.SIGTERM)


class Runner:
    """The life of a worker; ``threads`` has that of one that is a thread."""

    encode_error: Callable[[BaseException], Any] = staticmethod(encode_error)
    decode_tasks: Callable[..., Any] = staticmethod(wire.decode_tasks)
    encode_results: Callable[..., list[Any]] = staticmethod(wire.encode_results)
    run_items: Callable[..., tuple[int, int]] = staticmethod(run_items)
    claim_begin: Callable[[int], bool] = staticmethod(claim_begin)
    claim_running: Callable[[int], None] = staticmethod(_core.claim_running)
    claim_nothing: Callable[[], None] = staticmethod(claim_nothing)
    is_dismissed: Callable[[], bool] = staticmethod(is_dismissed)

    def __init__(self, spec: RunnerSpec, identity: int) -> None:
        self.spec = spec
        self.name = identity.to_bytes(4, "little")
        lifetime.on_fork_in_child(self, Runner.forked)
        self.functions: dict[bytes, tuple[int, Callable[..., Any]]] = {}  # by a task's header
        self.message_ns = float(FLUSH_NS)  # a message's mean duration, lately; long until known
        self.pieces: list[int] = []
        self.values: list[Any] = []
        self.failures: list[tuple[int, BaseException]] = []
        self.is_foreign = False
        self.is_over = False  # it has left the pool: no task runs any more
        # Not empty: told to end, when there were so many values; or in a forked child, which has no part in the pool.
        self.stop: list[int] = []
        self.at = 0, 0  # position and item from which on the values are that belong to no piece yet
        self.oldest_ns = 0  # when the first of the unsent results came
        self.growth = Growth(spec.memory_limit) if spec.memory_limit else None

    def live(self) -> None:
        """Call the initializer, then work."""
        spec = self.spec
        if spec.initializer is not None:
            self.claim_running(_core.INITIALIZING)
            try:
                spec.initializer(*spec.initargs)
            except Ended:
                raise
            except BaseException as error:
                data = self.encode_error(error)
                self.end_if_told()
                spec.results.put(data, tag=wire.INITIALIZER_FAILED)
                return
            self.end_if_told()
            self.claim_running(_core.NOT_RUNNING)
        spec.results.put(self.name, tag=wire.READY)
        self.run()

    def run(self) -> None:
        spec = self.spec
        left = spec.task_limit or (1 << 62)
        began = clock_ns()
        while not self.is_dismissed():
            try:
                spin_us = _SPIN_US if self.message_ns < _SMALL_NS else 0
                first, messages = spec.tasks.take(self.wanted(left), began + _LOOK_NS, spin_us=spin_us, claim=True)
            except Closed:
                return
            began = clock_ns()
            if not messages:
                opened.let_go()
                continue
            taken = len(messages)
            self.run_messages(first, messages)
            del messages
            if self.pieces:
                self.flush()
            self.claim_nothing()
            self.message_ns += 0.5 * ((clock_ns() - began) / taken - self.message_ns)
            left -= taken
            if left <= 0 or (self.growth is not None and self.growth.is_over()):
                break
        spec.results.put(self.name, tag=wire.LEAVING)

    def run_messages(self, first: int, messages: list[tuple[int, Payload]]) -> None:
        """Run all of what was taken."""
        at, taken = 0, len(messages)
        while (at := self.run_calls(first, messages, at)) < taken:
            tag, payload = messages[at]
            if tag != wire.TAKEN_BACK and self.claim_begin(first + at):
                self.run_message(first + at, payload)
            at += 1

    def run_calls(self, first: int, messages: list[tuple[int, Payload]], at: int) -> int:
        """Run messages from number `at` on, up to one that is not as simple as that; its number."""
        while True:
            if not self.pieces:
                self.oldest_ns = clock_ns()
            at, elapsed_ns, error = run_calls(
                messages, at, first, self.functions, self.pieces, self.values, self.failures, self.stop, FLUSH_NS, Ended
            )
            self.end_if_told()
            is_late = elapsed_ns >= FLUSH_NS or clock_ns() - self.oldest_ns >= FLUSH_NS
            if error is not None:
                payload = messages[at][1]
                self.lost(wire.BATCH_LOST, first + at, codec.header_of(payload), _undecoded(error))
                at += 1
            elif not is_late:
                return at
            self.flush()

    def told_to_end(self, number: int, frame: object) -> None:
        """The handler of the soft signal."""
        if self.is_over:
            _end()
        if self.stop:
            return
        if _core.is_condemned() is False:
            _core.process_condemn(_core.process_identity(), _core.NOT_RUNNING, 0)  # the next one is for whatever runs
            return
        self.stop.append(len(self.values))
        raise Ended

    def save(self) -> None:
        """Told to end: what was done is sent, so that nobody has to do it again."""
        try:
            values = self.values[: self.stop[0]]
            failures = [failure for failure in self.failures if failure[0] < len(values)]
            rest = len(values) - sum(self.pieces[2::4])
            pieces = [*self.pieces, *self.at, rest, 0] if rest > 0 else self.pieces
            if rest >= 0 and pieces:
                # The claim goes on naming the task that this is the end of.
                for payload in self.encode_results(pieces, values, failures, lambda position, item: None):
                    self.spec.results.put(payload)
        except BaseException:
            pass  # it is done again

    def end_if_told(self) -> None:
        """Before anything is said: what was raised for the soft signal may have been caught, or come out as something else."""
        if self.stop:
            if self.is_foreign:
                os._exit(0)
            raise Ended

    def forked(self) -> None:
        """A task has forked, and its child goes on here: it has no part in the pool."""
        self.is_foreign = True
        self.stop.append(0)
        if signal.getsignal(signal.SIGTERM) == self.told_to_end:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def wanted(self, left: int) -> int:
        """Messages to take: about a millisecond's worth, and no more than a fair share of what is queued."""
        if self.message_ns >= FLUSH_NS:
            return 1
        fair = len(self.spec.tasks) // self.spec.share
        return max(1, min(int(FLUSH_NS / max(self.message_ns, 1000.0)), fair, left))

    def run_message(self, position: int, payload: Payload) -> None:
        """Run one batch, sending results on the way if it takes long."""
        try:
            header, items, broken = self.decode_tasks(payload, claim_item)
        except Ended:
            raise
        except BaseException as error:
            # Only a batch of one, or one with buffers, cannot be told apart.
            self.lost(wire.BATCH_LOST, position, codec.header_of(payload), _undecoded(error))
            return
        try:
            mode, function = self.load(header)
        except Ended:
            raise
        except BaseException as error:
            self.lost(wire.FUNCTION_LOST, position, header, error)
            return
        self.end_if_told()  # by code that unpickling runs
        calling, is_timed = wire.calling_of(mode), bool(mode & wire.TIMED)
        if calling == wire.CALL:
            calling = wire.STAR
        if calling == wire.STAR_KEYWORDS:
            arguments, keywords = items[0]
            function = functools.partial(function, *arguments, **keywords)
            items, calling = [()], wire.STAR
        if broken:
            function = _Careful(function, calling, broken, items)
            calling = wire.ITEM
        at = 0
        while at < len(items):
            if not self.pieces:
                self.oldest_ns = clock_ns()
            self.at = position, at
            end, elapsed_ns = self.run_items(
                *(function, items, at, calling == wire.STAR, is_timed, FLUSH_NS),
                *(self.values, self.failures, self.stop, Ended),
            )
            self.end_if_told()
            self.pieces += (position, at, end - at, elapsed_ns)
            at = end
            if elapsed_ns >= FLUSH_NS or clock_ns() - self.oldest_ns >= FLUSH_NS:
                self.flush()

    def flush(self) -> None:
        """Send what has been done so far."""
        if not self.pieces:
            return
        pieces, values, failures = self.pieces, self.values, self.failures
        self.pieces, self.values, self.failures = [], [], []
        sent = 0
        try:
            payloads = self.encode_results(pieces, values, failures, claim_value)
            self.end_if_told()
            for payload in payloads:
                self.spec.results.put(payload)
                sent += 1
        except MemoryError as error:
            self.end_if_told()
            self.send_singly(pieces, values, failures, sent, error)

    def send_singly(
        self,
        pieces: list[int],
        values: list[Any],
        failures: list[tuple[int, BaseException]],
        sent: int,
        error: MemoryError,
    ) -> None:
        """There was no memory for all results but the first `sent` at once: only those that do not fit alone fail."""
        faults = dict(failures)
        is_alone = len(values) == 1
        for index, fields in enumerate(wire.singly(pieces)):
            if index < sent:
                continue
            piece = list(fields)
            fault = [(0, faults[index])] if index in faults else []
            try:
                if is_alone:
                    raise error
                self.spec.results.put(self.encode_results(piece, [values[index]], fault, claim_value)[0])
            except MemoryError as reason:
                fault = [(0, _unsent(values[index], reason))]
                values[index] = None
                self.spec.results.put(self.encode_results(piece, [None], fault, claim_value)[0])

    def lost(self, tag: int, position: int, header: bytes, error: BaseException) -> None:
        """A batch cannot be begun."""
        self.end_if_told()
        self.flush()
        self.spec.results.put(wire.encode_lost(position, header, error), tag=tag)

    def load(self, header: bytes) -> tuple[int, Callable[..., Any]]:
        """How to call, and the function that a task's header names; each is loaded once."""
        loaded = self.functions.get(header)
        if loaded is not None:
            return loaded
        mode, *handle = wire.decode_head(header)
        block = _core.block_open(*handle)
        function: Callable[..., Any] = codec.decode(bytes(memoryview(block)))
        self.functions[header] = mode, function
        if len(self.functions) > _FUNCTIONS_KEPT:
            del self.functions[next(iter(self.functions))]
        return mode, function


class _Careful:
    """Calls a function on the items that could be decoded, and raises for the others."""

    def __init__(self, function: Callable[..., Any], mode: int, broken: dict[int, BaseException], items: Any) -> None:
        self.function, self.star, self.broken = function, mode == wire.STAR, broken
        items[:] = enumerate(items)

    def __call__(self, numbered: tuple[int, Any]) -> Any:
        index, item = numbered
        if index in self.broken:
            raise _undecoded(self.broken[index])
        return self.function(*item) if self.star else self.function(item)


def _undecoded(error: BaseException) -> CannotDecode:
    lost = CannotDecode(f"the arguments arrived but cannot be unpickled in the worker: {describe(error)}")
    lost.__cause__ = error
    return lost


def _unsent(value: object, reason: MemoryError) -> OutOfMemory:
    size = f" of {len(value):,} bytes" if isinstance(value, (bytes, bytearray)) else ""
    why = str(reason) or "this process has no more memory (ulimit -v, or the system's)"
    lost = OutOfMemory(f"the task has returned a {type(value).__name__}{size}, which cannot be sent: {why}")
    lost.__cause__ = reason
    return lost
