"""Plain data, written as a dataclass with slots is, for what a pool or a worker imports as it starts.

`dataclasses` itself, and `typing` for its NamedTuple, take longer to import than all that is here.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, Self, dataclass_transform
else:

    def dataclass_transform(**_):
        return lambda kind: kind


__all__ = ["Record"]


@dataclass_transform(eq_default=True, frozen_default=True)
class _RecordType(type):
    """Makes slots of what the class annotates, and defaults of the values that stand there."""

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
        fields = tuple(namespace.get("__annotations__", ()))
        defaults = {field: namespace.pop(field) for field in fields if field in namespace}
        slots = {"__slots__": fields, "__match_args__": fields, "_defaults": defaults} if bases else {}
        return super().__new__(cls, name, bases, namespace | slots)


class Record(metaclass=_RecordType):
    """The fields that a subclass annotates are given by position or by name; it is compared, shown and matched by them.

    Nobody but a type checker keeps them from being assigned.
    """

    __slots__ = ()
    if TYPE_CHECKING:
        __match_args__: ClassVar[tuple[str, ...]]
        _defaults: ClassVar[dict[str, object]]
    else:

        def __init__(self, *values, **named):
            fields = self.__match_args__
            given = {**self._defaults, **dict(zip(fields, values, strict=False)), **named}
            if len(given) != len(fields) or len(values) + len(named) > len(fields):
                raise TypeError(f"{type(self).__name__} takes {', '.join(fields)}")
            for field in fields:
                setattr(self, field, given[field])

    @property
    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, field) for field in self.__match_args__)

    def replace(self, **changes: object) -> Self:
        """The same but for these fields."""
        return type(self)(**{**dict(zip(self.__match_args__, self._values, strict=True)), **changes})

    def __eq__(self, other: object) -> bool:
        return self._values == other._values if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values)

    def __repr__(self) -> str:
        values = zip(self.__match_args__, self._values, strict=True)
        return f"{type(self).__name__}({', '.join(f'{field}={value!r}' for field, value in values)})"

    def __reduce__(self) -> Any:
        return type(self), self._values
