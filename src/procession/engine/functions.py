"""Functions travel once: each lies in the arena as long as the pool may need it, and tasks carry its handle.

Workers that are threads get the function itself, and their tasks as they are.
"""

from __future__ import annotations

import types
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice

from procession.engine import codec, descriptors, memory, wire
from procession.engine.batches import Estimate
from procession.engine.brief import brief

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["FunctionTable", "LocalFunction", "SentFunction", "complaint_of", "describe_call"]

_KEPT = 64
_SHOWN = 20  # arguments of a call, in messages
# Functions that pickle by reference and cannot change under their name; all others are encoded for each call.
_STABLE = (types.FunctionType, types.BuiltinFunctionType, type)


class LocalFunction:
    """A function that workers can call as it is, and what its calls have taken so far.

    Attributes:
        call_head: the beginning of a message with a single call of it; None if that is not what its messages are.
    """

    __slots__ = ("call_head", "estimate", "function")

    def __init__(self, function: Callable[..., Any]) -> None:
        self.call_head: bytes | None = None
        self.function = function
        self.estimate = Estimate()

    def encode(self, mode: int, items: Sequence[Any]) -> Any:
        """The message that has a worker call it on `items`; None if they must go one by one."""
        return mode, self.function, items

    def resend_by_value(self, generation: int) -> bool:
        """A worker could not load what it was sent with this generation of the function; whether it was sent anew."""
        return False

    def __repr__(self) -> str:
        name = getattr(self.function, "__qualname__", None)
        return f"{getattr(self.function, '__module__', '')}.{name}" if name else brief(self.function, 80)


class SentFunction(LocalFunction):
    """A function in the arena.

    Raises:
        CannotEncode: it cannot be pickled.
    """

    __slots__ = ("block", "by_value", "descriptors", "heads")

    def __init__(self, function: Callable[..., Any], *, main_by_value: bool) -> None:
        super().__init__(function)
        self.by_value = main_by_value
        self.block: memory.Block
        self.heads: tuple[bytes, ...]  # of messages that call it, by how they do
        self._send()

    def _send(self) -> None:
        with descriptors.lasting() as self.descriptors:
            payload = wire.encode_argument(self.function, main_by_value=self.by_value)
            if not isinstance(payload, bytes):
                # With buffers or handles; every worker reads it, so it must not be a message that one reader owns.
                payload = codec.encode_in_band(self.function)
        self.block = memory.new_block(len(payload))
        self.block.fill(payload)
        self.heads = wire.heads(self.block.offset, self.block.generation)
        self.call_head = self.heads[wire.CALL]

    def encode(self, mode: int, items: Sequence[Any]) -> codec.Payload | None:
        return wire.encode_tasks(self, mode, items)

    def resend_by_value(self, generation: int) -> bool:
        """Send it anew with ``__main__``'s part whole, unless that has been tried."""
        if self.block.generation == generation:
            if self.by_value:
                return False
            self.by_value = True
            self._send()
        return True


class FunctionTable:
    """The functions that a pool has sent lately.

    Args:
        make: LocalFunction, or what makes a SentFunction.
    """

    def __init__(self, make: Callable[[Callable[..., Any]], LocalFunction]) -> None:
        self._make = make
        self.sent: OrderedDict[Any, LocalFunction] = OrderedDict()

    def send(self, function: Callable[..., Any]) -> LocalFunction:
        """`function`, ready to be called by workers.

        Raises:
            CannotEncode: it cannot be pickled.
        """
        if type(function) not in _STABLE or getattr(function, "__closure__", None):
            return self._make(function)
        sent = self.sent.get(function)
        if sent is None:
            sent = self._make(function)
            self.sent[function] = sent
            if len(self.sent) > _KEPT:
                self.sent.popitem(last=False)
        return sent


def complaint_of(
    function: LocalFunction, generation: int, reason: BaseException, *, is_its_own: bool
) -> BaseException | None:
    """Why a batch that a worker could not begin fails; None if the function was sent anew, and it may go again.

    Args:
        generation: of the function that the worker was sent.
        is_its_own: it was the function that could not be loaded, and not an argument.
    """
    try:
        if function.resend_by_value(generation):
            return None
        return wire.function_error(function, reason) if is_its_own else reason
    except Exception as complaint:
        return complaint


def describe_call(batch: Any, index: int) -> tuple[str, str]:
    """The function and the arguments of item number `index` of a batch, in short."""
    item = batch.items[index]
    calling = wire.calling_of(batch.mode)
    function: LocalFunction = batch.function
    keywords: dict[str, Any] = {}
    if calling == wire.ITEM:
        arguments: Iterable[Any] = (item,)
    elif calling in (wire.STAR, wire.CALL):
        arguments = item
    else:
        arguments, keywords = item
    call_behind = getattr(function.function, "call_behind", None)  # of one that adds something to a function's calls
    if call_behind is not None:
        behind, arguments, keywords = call_behind(*arguments)
        function = LocalFunction(behind)
    shown = chain(map(_short, arguments), (f"{name}={_short(value)}" for name, value in keywords.items()))
    return repr(function), _joined(shown)


def _short(value: Any) -> str:
    return brief(value, 60)


def _joined(arguments: Iterable[str]) -> str:
    shown = list(islice(arguments, _SHOWN + 1))
    return ", ".join(shown if len(shown) <= _SHOWN else [*shown[:_SHOWN], "..."])
