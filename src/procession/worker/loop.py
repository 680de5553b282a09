"""What a pool's worker does all its life: take messages, call, send results.

    receive → decode → call → encode → send

A message's claim is in this process's slot before the message leaves the channel, and the running item before it runs, so
that the parent can tell after our death what was lost.  Results of small tasks travel together; none waits for another
longer than about a millisecond, unless that one is a single long call.
"""

from __future__ import annotations

import os
import signal
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from procession import _core
from procession._core import claim_nothing, claim_running, clock_ns, run_items
from procession.engine import codec, wire
from procession.engine.codec import Payload
from procession.engine.wire import Piece, RunnerSpec
from procession.errors import CannotDecode, Closed

__all__ = ["main"]

FLUSH_NS = 1_000_000  # results wait no longer for company
_SPIN_US = 50
_FUNCTIONS_KEPT = 64


def main(spec: RunnerSpec) -> None:
    """Work until the tasks channel is closed and empty, or the limit of tasks is reached."""
    # The parent deals with Ctrl-C.  A handler, not SIG_IGN: programs that a task starts must not inherit it.
    signal.signal(signal.SIGINT, _ignore)
    if spec.initializer is not None:
        try:
            spec.initializer(*spec.initargs)
        except Exception as error:
            spec.results.put(wire.encode_error(error), tag=wire.INITIALIZER_FAILED)
            return
    spec.results.put(_identity(), tag=wire.READY)
    _Runner(spec).run()


def _ignore(number: int, frame: object) -> None: ...


def _identity() -> bytes:
    return _core.process_identity().to_bytes(4, "little")


class _Runner:
    def __init__(self, spec: RunnerSpec) -> None:
        self.spec = spec
        self.pid = os.getpid()
        self.functions: OrderedDict[int, Callable[..., Any]] = OrderedDict()
        self.message_ns = 0.0  # a message's mean duration, lately
        self.pieces: list[Piece] = []
        self.values: list[Any] = []
        self.failures: list[tuple[int, BaseException]] = []
        self.oldest_ns = 0  # when the first of the unsent results came

    def run(self) -> None:
        spec = self.spec
        left = spec.task_limit or (1 << 62)
        while True:
            try:
                first, messages = spec.tasks.take(self.wanted(left), spin_us=_SPIN_US, claim=True)
            except Closed:
                return
            began = clock_ns()
            for position, (_, payload) in enumerate(messages, first):
                claim_running(position)
                self.run_message(position, payload)
                if os.getpid() != self.pid:
                    os._exit(0)  # a task forked, and its child came back here: it has no part in the pool
            taken = len(messages)
            del messages, payload
            if self.pieces:
                self.flush()
            claim_nothing()
            self.message_ns += 0.3 * ((clock_ns() - began) / taken - self.message_ns)
            left -= taken
            if left <= 0:
                spec.results.put(_identity(), tag=wire.LEAVING)
                return

    def wanted(self, left: int) -> int:
        """Messages to take: about a millisecond's worth, and no more than a fair share of what is queued."""
        if self.message_ns >= FLUSH_NS:
            return 1
        fair = len(self.spec.tasks) // self.spec.share + 1
        return max(1, min(int(FLUSH_NS / max(self.message_ns, 1000.0)), fair, left))

    def run_message(self, position: int, payload: Payload) -> None:
        """Run one batch, sending results on the way if it takes long."""
        handle, mode, body = wire.decode_tasks(payload)
        try:
            function = self.function(handle)
        except Exception as error:
            self.flush()
            self.spec.results.put(codec.encode((position, wire.encode_error(error))), tag=wire.FUNCTION_LOST)
            return
        try:
            items, broken = wire.unpack(*body)
        except Exception as error:
            # Only a batch of one, or one with buffers, is a single pickle.
            self.add(position, 0, [None], [(0, _undecoded(error))], 0)
            return
        if mode == wire.STAR_KEYWORDS:
            (arguments, keywords), *_ = items
            plain = function
            function = _Call(plain, arguments, keywords)
            mode = wire.ITEM
        at = 0
        while at < len(items):
            values: list[Any] = []
            failures: list[tuple[int, BaseException]] = []
            began = clock_ns()
            if at in broken:
                values.append(None)
                failures.append((at, _undecoded(broken[at])))
                end = at + 1
            elif broken:
                end = run_items(function, items[: at + 1], at, mode == wire.STAR, FLUSH_NS, values, failures)
            else:
                end = run_items(function, items, at, mode == wire.STAR, FLUSH_NS, values, failures)
            now = clock_ns()
            self.add(position, at, values, [(index - at, error) for index, error in failures], now - began)
            at = end
            if now - self.oldest_ns >= FLUSH_NS:
                self.flush()

    def add(
        self, position: int, first: int, values: list[Any], failures: list[tuple[int, BaseException]], elapsed_ns: int
    ) -> None:
        if not self.pieces:
            self.oldest_ns = clock_ns() - elapsed_ns
        self.pieces.append(Piece(position, first, len(values), elapsed_ns))
        base = len(self.values)
        self.failures += [(base + index, error) for index, error in failures]
        self.values += values

    def flush(self) -> None:
        """Send what has been done so far."""
        if not self.pieces:
            return
        try:
            payload = wire.encode_results(self.pieces, self.values, self.failures)
        finally:
            self.pieces, self.values, self.failures = [], [], []
        self.spec.results.put(payload)

    def function(self, handle: tuple[int, int]) -> Callable[..., Any]:
        """The function behind a handle; loaded at first use."""
        generation = handle[1]
        function = self.functions.get(generation)
        if function is None:
            block = _core.block_open(*handle)
            function = codec.decode(bytes(memoryview(block)))
            self.functions[generation] = function
            if len(self.functions) > _FUNCTIONS_KEPT:
                self.functions.popitem(last=False)
        return function


class _Call:
    """A call whose arguments are known, so that it takes an item like any other."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        self.function, self.arguments, self.keywords = function, arguments, keywords

    def __call__(self, _: Any) -> Any:
        return self.function(*self.arguments, **self.keywords)


def _undecoded(error: Exception) -> CannotDecode:
    lost = CannotDecode(f"the arguments arrived but cannot be unpickled in the worker: {type(error).__name__}: {error}")
    lost.__cause__ = error
    return lost


