"""Values in messages: their repr, cut before it is made, so that it costs no more for a gigabyte than for a line."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from itertools import islice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["brief"]

_DEEPEST = 6
_MORE_DIGITS = 1 << 12  # bits of an int from which on its digits take time


def brief(value: object, limit: int) -> str:
    """The repr of `value`, or `limit` characters of it, whatever its own code does."""
    try:
        text = repr(_Cutter(limit).cut(value, 0))
    except Exception as error:
        return f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"[:limit]
    return text if len(text) <= limit else text[: max(0, limit - 3)] + "..."


class _As:
    """Has this text as its repr."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


_REST = _As("...")


class _Cutter:
    """Makes of a value one whose repr begins in the same way, and is not much longer than the limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = limit  # members that may be looked at: each is a character at least

    def cut(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind in (str, bytes, bytearray):
            return value if len(value) <= self._limit else value[: self._limit]
        if kind is int:
            return value if value.bit_length() <= _MORE_DIGITS else _As(f"<int of {value.bit_length()} bits>")
        if kind in (list, tuple, set, frozenset, dict):
            if depth == _DEEPEST:
                return _REST
            if kind is dict:
                return self._cut_dict(value, depth)
            if len(value) > self._left and kind in (set, frozenset):
                return _As(f"<{kind.__name__} of {len(value)}>")
            cut = self._members(value, len(value), depth)
            return _Members(kind, cut)
        if kind is functools.partial and depth < _DEEPEST:
            parts = self._members((value.func, *value.args), 1 + len(value.args), depth)
            return _As(f"functools.partial({', '.join(map(repr, [*parts, *self._named(value.keywords, depth)]))})")
        # Its repr is the one that was made for it.
        if hasattr(kind, "__dataclass_fields__") and hasattr(kind.__repr__, "__wrapped__") and depth < _DEEPEST:
            import dataclasses

            shown = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.repr}
            return _As(f"{kind.__qualname__}({', '.join(map(repr, self._named(shown, depth)))})")
        return value

    def _members(self, values: Iterable[Any], length: int, depth: int) -> list[Any]:
        count = min(length, self._left)
        self._left -= count
        members = [self.cut(member, depth + 1) for member in islice(values, count)]
        return members if count == length else [*members, _REST]

    def _cut_dict(self, value: dict[Any, Any], depth: int) -> Any:
        count = min(len(value), self._left)
        self._left -= count
        pairs = [f"{self.cut(k, depth + 1)!r}: {self.cut(v, depth + 1)!r}" for k, v in islice(value.items(), count)]
        return _As("{" + ", ".join(pairs if count == len(value) else [*pairs, "..."]) + "}")

    def _named(self, values: dict[str, Any], depth: int) -> list[_As]:
        return [_As(f"{name}={self.cut(value, depth + 1)!r}") for name, value in islice(values.items(), self._limit)]


class _Members:
    """Has the repr of a list, tuple, set or frozenset with these members."""

    __slots__ = ("_kind", "_members")

    def __init__(self, kind: type, members: list[Any]) -> None:
        self._kind = kind
        self._members = members

    def __repr__(self) -> str:
        inside = ", ".join(map(repr, self._members))
        if self._kind is list:
            return f"[{inside}]"
        if self._kind is tuple:
            return f"({inside},)" if len(self._members) == 1 else f"({inside})"
        if not self._members:
            return f"{self._kind.__name__}()"
        return f"{{{inside}}}" if self._kind is set else f"frozenset({{{inside}}})"
