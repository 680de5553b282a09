"""Functions travel once: each lies in the arena as long as the pool may need it, and tasks carry its handle."""

from __future__ import annotations

import types
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from procession.engine import codec, memory, wire
from procession.engine.scheduler import Estimate

__all__ = ["FunctionTable", "SentFunction", "describe_task"]

_KEPT = 64
# Functions that pickle by reference and cannot change under their name; all others are encoded for each call.
_STABLE = (types.FunctionType, types.BuiltinFunctionType, type)


class SentFunction:
    """A function in the arena, and what its calls have taken so far."""

    __slots__ = ("block", "by_value", "estimate", "function", "heads")

    def __init__(self, function: Callable[..., Any], *, main_by_value: bool) -> None:
        self.function = function
        self.by_value = main_by_value
        self.estimate = Estimate()
        self.block: memory.Block
        self.heads: tuple[bytes, ...]  # of messages that call it, by how they do
        self._send()

    def _send(self) -> None:
        payload = codec.encode(self.function, main_by_value=self.by_value)
        if not isinstance(payload, bytes):
            # With buffers or handles; a worker reads it many times, so it must not be a message that one reader owns.
            payload = codec.encode_in_band(self.function)
        self.block = memory.new_block(len(payload))
        self.block.fill(payload)
        self.heads = wire.heads(self.block.offset, self.block.generation)

    def resend_by_value(self, generation: int) -> bool:
        """A worker could not load what it was sent with this generation of the function: send ``__main__``'s part whole.

        False if that has been tried.
        """
        if self.block.generation == generation:
            if self.by_value:
                return False
            self.by_value = True
            self._send()
        return True

    def __repr__(self) -> str:
        name = getattr(self.function, "__qualname__", None)
        return f"{getattr(self.function, '__module__', '')}.{name}" if name else repr(self.function)[:80]


class FunctionTable:
    """The functions that a pool has sent lately."""

    def __init__(self, *, main_by_value: bool) -> None:
        self._main_by_value = main_by_value
        self.sent: OrderedDict[Any, SentFunction] = OrderedDict()

    def send(self, function: Callable[..., Any]) -> SentFunction:
        """`function` in the arena.

        Raises:
            CannotEncode: it cannot be pickled.
        """
        if type(function) not in _STABLE or getattr(function, "__closure__", None):
            return SentFunction(function, main_by_value=self._main_by_value)
        sent = self.sent.get(function)
        if sent is None:
            sent = SentFunction(function, main_by_value=self._main_by_value)
            self.sent[function] = sent
            if len(self.sent) > _KEPT:
                self.sent.popitem(last=False)
        return sent


def describe_task(batch: Any, index: int) -> str:
    """The call on item number `index` of a batch, in short."""
    item = batch.items[index]
    if batch.mode == wire.ITEM:
        arguments = _short(item)
    elif batch.mode == wire.STAR:
        arguments = ", ".join(map(_short, item))
    else:
        arguments = ", ".join([*map(_short, item[0]), *(f"{name}={_short(value)}" for name, value in item[1].items())])
    return f"{batch.function!r}({arguments})"


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else text[:57] + "..."
