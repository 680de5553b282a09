"""What a pool's worker does all its life: take messages, call, send results.

    receive → decode → call → encode → send

A message's claim is in this process's slot before the message leaves the channel, and the running item before it runs, so
that the parent can tell after our death what was lost.  Results of small tasks travel together; none waits for another
longer than about a millisecond, unless that one is a single long call.
"""

from __future__ import annotations

import functools
import os
import signal
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from procession import _core
from procession._core import claim_item, claim_nothing, claim_running, clock_ns, run_items
from procession.engine import codec, launch, lifetime, wire
from procession.engine.codec import Payload
from procession.engine.wire import RunnerSpec
from procession.errors import CannotDecode, Closed

__all__ = ["Runner", "main"]

FLUSH_NS = 1_000_000  # results wait no longer for company
_SPIN_US = 50
_SMALL_NS = 20_000  # messages that take less are worth spinning for
_FUNCTIONS_KEPT = 64


def main(spec: RunnerSpec) -> None:
    """Work until the tasks channel is closed and empty, or the limit of tasks is reached."""
    # The parent deals with Ctrl-C.  A handler, not SIG_IGN: programs that a task starts must not inherit it.
    signal.signal(signal.SIGINT, _ignore)
    launch.hear_interrupts()
    Runner(spec, _core.process_identity()).live()


def _ignore(number: int, frame: object) -> None: ...


class Runner:
    """The life of a worker; ``threads`` has that of one that is a thread."""

    encode_error: Callable[[BaseException], Any] = staticmethod(wire.encode_error)
    decode_tasks: Callable[..., Any] = staticmethod(wire.decode_tasks)
    encode_results: Callable[..., list[Any]] = staticmethod(wire.encode_results)
    run_items: Callable[..., tuple[int, int]] = staticmethod(run_items)
    claim_running: Callable[[int], None] = staticmethod(claim_running)
    claim_nothing: Callable[[], None] = staticmethod(claim_nothing)

    def __init__(self, spec: RunnerSpec, identity: int) -> None:
        self.spec = spec
        self.name = identity.to_bytes(4, "little")
        lifetime.on_fork_in_child(self, Runner.forked)
        self.functions: OrderedDict[bytes, tuple[int, Callable[..., Any]]] = OrderedDict()  # by a task's header
        self.message_ns = float(FLUSH_NS)  # a message's mean duration, lately; long until known
        self.pieces: list[int] = []
        self.values: list[Any] = []
        self.failures: list[tuple[int, BaseException]] = []
        self.is_foreign = False
        self.oldest_ns = 0  # when the first of the unsent results came

    def live(self) -> None:
        """Call the initializer, then work."""
        spec = self.spec
        if spec.initializer is not None:
            try:
                spec.initializer(*spec.initargs)
            except BaseException as error:
                spec.results.put(self.encode_error(error), tag=wire.INITIALIZER_FAILED)
                return
        spec.results.put(self.name, tag=wire.READY)
        self.run()

    def run(self) -> None:
        spec = self.spec
        left = spec.task_limit or (1 << 62)
        while True:
            try:
                spin_us = _SPIN_US if self.message_ns < _SMALL_NS else 0
                first, messages = spec.tasks.take(self.wanted(left), spin_us=spin_us, claim=True)
            except Closed:
                return
            began = clock_ns()
            for position, (_, payload) in enumerate(messages, first):
                self.claim_running(position)
                self.run_message(position, payload)
                if self.is_foreign:
                    os._exit(0)
            taken = len(messages)
            del messages, payload
            if self.pieces:
                self.flush()
            self.claim_nothing()
            self.message_ns += 0.5 * ((clock_ns() - began) / taken - self.message_ns)
            left -= taken
            if left <= 0:
                spec.results.put(self.name, tag=wire.LEAVING)
                return

    def forked(self) -> None:
        """A task has forked, and its child goes on here: it has no part in the pool."""
        self.is_foreign = True

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
        except Exception as error:
            # Only a batch of one, or one with buffers, cannot be told apart.
            self.lost(wire.BATCH_LOST, position, codec.header_of(payload), _undecoded(error))
            return
        try:
            mode, function = self.load(header)
        except Exception as error:
            self.lost(wire.FUNCTION_LOST, position, header, error)
            return
        if mode == wire.STAR_KEYWORDS:
            arguments, keywords = items[0]
            function = functools.partial(function, *arguments, **keywords)
            items, mode = [()], wire.STAR
        if broken:
            function = _Careful(function, mode, broken, items)
            mode = wire.ITEM
        at = 0
        while at < len(items):
            if not self.pieces:
                self.oldest_ns = clock_ns()
            end, elapsed_ns = self.run_items(
                function, items, at, mode == wire.STAR, FLUSH_NS, self.values, self.failures
            )
            self.pieces += (position, at, end - at, elapsed_ns)
            at = end
            if elapsed_ns >= FLUSH_NS or clock_ns() - self.oldest_ns >= FLUSH_NS:
                self.flush()

    def flush(self) -> None:
        """Send what has been done so far."""
        if not self.pieces:
            return
        try:
            payloads = self.encode_results(self.pieces, self.values, self.failures)
        finally:
            self.pieces, self.values, self.failures = [], [], []
        for payload in payloads:
            self.spec.results.put(payload)

    def lost(self, tag: int, position: int, header: bytes, error: BaseException) -> None:
        """A batch cannot be begun."""
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
            self.functions.popitem(last=False)
        return mode, function


class _Careful:
    """Calls a function on the items that could be decoded, and raises for the others."""

    def __init__(self, function: Callable[..., Any], mode: int, broken: dict[int, Exception], items: Any) -> None:
        self.function, self.star, self.broken = function, mode == wire.STAR, broken
        items[:] = enumerate(items)

    def __call__(self, numbered: tuple[int, Any]) -> Any:
        index, item = numbered
        if index in self.broken:
            raise _undecoded(self.broken[index])
        return self.function(*item) if self.star else self.function(item)


def _undecoded(error: Exception) -> CannotDecode:
    lost = CannotDecode(f"the arguments arrived but cannot be unpickled in the worker: {type(error).__name__}: {error}")
    lost.__cause__ = error
    return lost
