"""Value: ctypes objects in the arena."""

from __future__ import annotations

import ctypes
from typing import Any

from procession.engine import memory
from procession.synchronize import RLock

__all__ = ["RawValue", "Synchronized", "Value"]

_TYPECODES: dict[str, Any] = {
    "c": ctypes.c_char,
    "u": ctypes.c_wchar,
    "b": ctypes.c_byte,
    "B": ctypes.c_ubyte,
    "h": ctypes.c_short,
    "H": ctypes.c_ushort,
    "i": ctypes.c_int,
    "I": ctypes.c_uint,
    "l": ctypes.c_long,
    "L": ctypes.c_ulong,
    "q": ctypes.c_longlong,
    "Q": ctypes.c_ulonglong,
    "f": ctypes.c_float,
    "d": ctypes.c_double,
}


def RawValue(typecode_or_type: Any, *args: Any) -> Any:
    """A ctypes object in shared memory, without a lock."""
    kind = _TYPECODES.get(typecode_or_type, typecode_or_type) if isinstance(typecode_or_type, str) else typecode_or_type
    if isinstance(kind, str):
        raise TypeError(f"bad typecode {kind!r} (must be one of {', '.join(_TYPECODES)})")
    block = memory.new_block(ctypes.sizeof(kind))
    value = _open_raw(kind, block)
    ctypes.memset(ctypes.addressof(value), 0, ctypes.sizeof(value))
    value.__init__(*args)
    return value


_shared_kinds: dict[Any, Any] = {}


def _shared_kind(kind: Any) -> Any:
    """A ctypes type like `kind` whose objects travel as what they are: the same memory, not a copy of the value."""
    shared = _shared_kinds.get(kind)
    if shared is None:
        shared = type(kind)(kind.__name__, (kind,), {"__reduce__": _reduce_raw, "__module__": kind.__module__})
        _shared_kinds[kind] = shared
    return shared


def _reduce_raw(value: Any) -> tuple[Any, ...]:
    return _open_raw, (type(value).__base__, value._block)


def _open_raw(kind: Any, block: memory.Block) -> Any:
    value = _shared_kind(kind).from_buffer(memoryview(block)[: ctypes.sizeof(kind)])
    value._block = block
    return value


class Synchronized:
    """A ctypes object with a lock; its ``value`` is read and written under the lock."""

    def __init__(self, obj: Any, lock: Any = None, ctx: Any = None) -> None:
        self._obj = obj
        self._lock = lock if lock is not None else RLock(ctx=ctx)
        self.acquire = self._lock.acquire
        self.release = self._lock.release

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_synchronized, (self._obj, self._lock)

    def __enter__(self) -> Any:
        return self._lock.__enter__()

    def __exit__(self, *args: Any) -> None:
        self._lock.__exit__(*args)

    def get_obj(self) -> Any:
        """The ctypes object itself."""
        return self._obj

    def get_lock(self) -> Any:
        """The lock."""
        return self._lock

    @property
    def value(self) -> Any:
        with self._lock:
            return self._obj.value

    @value.setter
    def value(self, value: Any) -> None:
        with self._lock:
            self._obj.value = value

    def __repr__(self) -> str:
        return f"<{type(self).__name__} wrapper for {self._obj}>"


def _open_synchronized(obj: Any, lock: Any, ctx: Any = None) -> Synchronized:
    fields = [field[0] for field in getattr(type(obj), "_fields_", ())]
    if not fields:
        return Synchronized(obj, lock, ctx)
    # A structure's wrapper has its fields, each read and written under the lock.
    name = "Synchronized" + type(obj).__name__
    kind: Any = type(name, (Synchronized,), {field: _locked_field(field) for field in fields})
    wrapper: Synchronized = kind(obj, lock, ctx)
    return wrapper


def _locked_field(name: str) -> property:
    def read(self: Synchronized) -> Any:
        with self._lock:
            return getattr(self._obj, name)

    def write(self: Synchronized, value: Any) -> None:
        with self._lock:
            setattr(self._obj, name, value)

    return property(read, write)


def Value(typecode_or_type: Any, *args: Any, lock: Any = True, ctx: Any = None) -> Any:
    """A shared ctypes value; with a lock of its own, or `lock`, or none if that is False."""
    obj = RawValue(typecode_or_type, *args)
    if lock is False:
        return obj
    if lock is True or lock is None:
        lock = None
    elif not hasattr(lock, "acquire"):
        raise AttributeError(f"{lock!r} has no method 'acquire'")
    return _open_synchronized(obj, lock, ctx)
