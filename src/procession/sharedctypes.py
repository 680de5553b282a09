"""Value and Array: ctypes objects in the arena, the standard library's ``multiprocessing.sharedctypes``.

They can be sent anywhere and arrive as the same memory, which lasts as long as anything refers to it: the object, a part of
it, or a view of it, in any process.
"""

from __future__ import annotations

import ctypes
import operator
import sys
import weakref
from collections.abc import Callable
from itertools import islice
from typing import Any

from procession import _core
from procession.engine import memory
from procession.synchronize import Lock, RLock

__all__ = ["Array", "RawArray", "RawValue", "Value", "copy", "synchronized"]

typecode_to_type: dict[str, Any] = {
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
_CDATA: Any = ctypes.Structure.__mro__[1]  # the base of all ctypes objects, which has no public name
_SIMPLE: Any = ctypes.c_int.__mro__[1]
# How ctypes names the numbers that can be added to.
_INTEGERS, _FLOATS = frozenset("bBhHiIlLqQ"), frozenset("fdg")
# Those that the core adds to: of this machine's byte order, and just these types, not what is derived from them.
_NUMBERS = frozenset(kind for code, kind in typecode_to_type.items() if code in _INTEGERS | _FLOATS)
# How struct, array and ctypes name elements that lie in memory alike, if they are of one size.
_ALIKE = [frozenset(codes) for codes in ("bhilq", "BHILQ", "fd", "cB")]
_NATIVE = "<" if sys.byteorder == "little" else ">"
_AT_A_TIME = 1 << 16  # elements of an initializer


# ---- without a lock ----


def RawValue(typecode_or_type: Any, *args: Any) -> Any:
    """A ctypes object in shared memory, without a lock; zero, unless `args` for its constructor say otherwise."""
    value = _zeroed(_type_of(typecode_or_type))
    value.__init__(*args)
    return value


def RawArray(typecode_or_type: Any, size_or_initializer: Any) -> Any:
    """A ctypes array in shared memory, without a lock: that many zeros, or the elements of a sequence."""
    kind = _type_of(typecode_or_type)
    if isinstance(size_or_initializer, int):
        return _zeroed(kind * size_or_initializer)
    if hasattr(size_or_initializer, "__len__"):
        array = _zeroed(kind * len(size_or_initializer))
        _fill(array, size_or_initializer)
        return array
    try:
        size = operator.index(size_or_initializer)
    except TypeError:
        raise TypeError(
            f"an array needs its size or a sequence with its elements, got {size_or_initializer!r}; "
            "make a list of what can only be iterated"
        ) from None
    return _zeroed(kind * size)


def copy(obj: Any) -> Any:
    """A ctypes object in shared memory, without a lock, of the same type and content as `obj`."""
    if not isinstance(obj, _CDATA):
        raise TypeError(f"only ctypes objects can be copied, got {obj!r}; of a wrapper with a lock, copy its get_obj()")
    kind = _plain_kind(type(obj))
    _check_shareable(kind)
    new = _open(kind, memory.new_block(ctypes.sizeof(kind)))
    ctypes.memmove(ctypes.addressof(new), ctypes.addressof(obj), ctypes.sizeof(kind))
    return new


def _type_of(typecode_or_type: Any) -> Any:
    if isinstance(typecode_or_type, str):
        kind = typecode_to_type.get(typecode_or_type)
        if kind is None:
            raise TypeError(f"bad typecode {typecode_or_type!r} (must be one of {', '.join(typecode_to_type)})")
        return kind
    if not (isinstance(typecode_or_type, type) and issubclass(typecode_or_type, _CDATA)):
        raise TypeError(f"{typecode_or_type!r} is neither a typecode ({', '.join(typecode_to_type)}) nor a ctypes type")
    kind = _plain_kind(typecode_or_type)
    _check_shareable(kind)
    return kind


def _check_shareable(kind: Any) -> None:
    """Pointers may be shared by those who know where they lead; a reference to a Python object leads nowhere elsewhere."""
    if issubclass(kind, ctypes.Array):
        _check_shareable(kind._type_)
    elif issubclass(kind, ctypes.py_object):
        raise TypeError("a py_object cannot be shared: it refers to an object of one process; send objects by a Queue")
    for field in _fields_of(kind):
        _check_shareable(field[1])


def _fields_of(kind: Any) -> list[tuple[Any, ...]]:
    """Of a structure or union, with those that it inherits."""
    return [field for base in reversed(kind.__mro__) for field in vars(base).get("_fields_", ())]


def _zeroed(kind: Any) -> Any:
    value = _open(kind, memory.new_block(ctypes.sizeof(kind)))
    ctypes.memset(ctypes.addressof(value), 0, ctypes.sizeof(value))
    return value


def _fill(array: Any, elements: Any) -> None:
    """Set all elements; at once if `elements` lie in memory as they do in the array."""
    if not _copy_alike(array, elements):
        rest = iter(elements)
        for start in range(0, len(array), _AT_A_TIME):
            part = list(islice(rest, min(_AT_A_TIME, len(array) - start)))
            array[start : start + len(part)] = part


def _copy_alike(array: Any, elements: Any) -> bool:
    try:
        source, target = memoryview(elements), memoryview(array)
    except (TypeError, ValueError, BufferError):
        return False
    with source, target:
        if source.ndim != 1 or not source.c_contiguous or not source.nbytes or source.nbytes != target.nbytes:
            return False
        code, their_code = getattr(array._type_, "_type_", None), source.format.removeprefix(_NATIVE).removeprefix("@")
        if not any(code in alike and their_code in alike for alike in _ALIKE):
            return False
        with source.cast("B") as from_bytes, target.cast("B") as to_bytes:
            to_bytes[:] = from_bytes
    return True


# ---- how they travel ----

# A ctypes type -> one like it whose objects travel as what they are: the same memory, not a copy of the value.
_shared_kinds: weakref.WeakValueDictionary[Any, Any] = weakref.WeakValueDictionary()


def _shared_kind(kind: Any) -> Any:
    shared = _shared_kinds.get(kind)
    if shared is None:
        members = {
            "__module__": kind.__module__,
            "__qualname__": kind.__qualname__,
            "__plain__": kind,
            "__reduce__": reduce_ctype,
            "__copy__": _private_copy,
            "__deepcopy__": _private_copy,
        }
        if kind.__base__ is _SIMPLE:
            members["__repr__"] = _repr_of_simple
            members["add"] = _no_add
        shared = _shared_kinds[kind] = type(kind)(kind.__name__, (kind,), members)
    return shared


def _plain_kind(kind: Any) -> Any:
    return vars(kind).get("__plain__", kind)


def _open(kind: Any, block: memory.Block) -> Any:
    value = _shared_kind(kind).from_buffer(block)
    vars(value)["block"] = block  # not an attribute: a structure may have a field of any name
    return value


def reduce_ctype(obj: Any) -> tuple[Any, ...]:
    """How a raw value or array is pickled."""
    kind = _plain_kind(type(obj))
    lengths = []
    while issubclass(kind, ctypes.Array) and kind is kind._type_ * kind._length_:  # pickle would look for its name
        lengths.append(kind._length_)
        kind = kind._type_
    return rebuild_ctype, (kind, vars(obj)["block"], *reversed(lengths))


def rebuild_ctype(type_: Any, wrapper: memory.Block, *lengths: int) -> Any:
    """The raw value in that block; with lengths, an array of arrays, the innermost length first."""
    for length in lengths:
        type_ = type_ * length
    return _open(type_, wrapper)


def _private_copy(obj: Any, memo: Any = None) -> Any:
    """What copy.copy() and copy.deepcopy() give: the content, not shared."""
    return _plain_kind(type(obj)).from_buffer_copy(obj)


def _repr_of_simple(obj: Any) -> str:
    return f"{type(obj).__name__}({obj.value!r})"


def _refuse_to_add(obj: Any) -> Any:
    raise AttributeError(f"{obj!r} cannot add: only a number with a lock can, as made by Value('i') or Value('d')")


_no_add = property(_refuse_to_add)


# ---- with a lock ----


def Value(typecode_or_type: Any, *args: Any, lock: Any = True, ctx: Any = None) -> Any:
    """A shared ctypes value; with a lock of its own, or `lock`, or none if that is False."""
    return _with_lock(RawValue(typecode_or_type, *args), lock, ctx)


def Array(typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True, ctx: Any = None) -> Any:
    """A shared ctypes array; with a lock of its own, or `lock`, or none if that is False."""
    return _with_lock(RawArray(typecode_or_type, size_or_initializer), lock, ctx)


def _with_lock(obj: Any, lock: Any, ctx: Any) -> Any:
    if lock is False:
        return obj
    if lock is True or lock is None:
        return synchronized(obj, None, ctx)
    if not hasattr(lock, "acquire"):
        raise AttributeError(f"{lock!r} has no method 'acquire'; lock must be a lock, True or False")
    return synchronized(obj, lock, ctx)


def synchronized(obj: Any, lock: Any = None, ctx: Any = None) -> Any:
    """`obj`, a ctypes object, wrapped so that it is used under a lock; without one given, under a new RLock."""
    if isinstance(obj, SynchronizedBase):
        raise AssertionError(f"{obj!r} has a lock already; to use another, wrap its get_obj()")
    if isinstance(obj, _SIMPLE):
        return Synchronized(obj, lock, ctx)
    if isinstance(obj, ctypes.Array):
        kind = SynchronizedString if obj._type_ is ctypes.c_char else SynchronizedArray
        return kind(obj, lock, ctx)
    if isinstance(obj, ctypes.Structure | ctypes.Union):
        return _wrapper_kind(_plain_kind(type(obj)))(obj, lock, ctx)
    raise TypeError(f"{obj!r} has neither a value nor elements nor fields that a lock could guard")


class SynchronizedBase:
    """A ctypes object with a lock."""

    def __init__(self, obj: Any, lock: Any = None, ctx: Any = None) -> None:
        self._obj = obj
        self._lock = lock if lock is not None else RLock(ctx=ctx)
        self.acquire: Callable[..., bool] = self._lock.acquire
        self.release: Callable[[], None] = self._lock.release

    def __reduce__(self) -> tuple[Any, ...]:
        return synchronized, (self._obj, self._lock)

    def __enter__(self) -> Any:
        return self._lock.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._lock.__exit__(*error)

    def get_obj(self) -> Any:
        """The ctypes object itself, to be used without the lock or with the lock held."""
        return self._obj

    def get_lock(self) -> Any:
        """The lock."""
        return self._lock

    add: Any = _no_add  # a structure may have a field of that name; a single value can

    def __repr__(self) -> str:
        return f"<{type(self).__name__} wrapper for {self._obj}>"


def make_property(name: str) -> property:
    """An attribute of the ctypes object, read and written under the lock."""

    def read(self: SynchronizedBase) -> Any:
        self.acquire()
        try:
            return getattr(self._obj, name)
        finally:
            self.release()

    def write(self: SynchronizedBase, value: Any) -> None:
        self.acquire()
        try:
            setattr(self._obj, name, value)
        finally:
            self.release()

    return property(read, write)


class Synchronized(_core.Number, SynchronizedBase):
    """A single value."""

    def __init__(self, obj: Any, lock: Any = None, ctx: Any = None) -> None:
        super().__init__(obj, lock, ctx)
        kind = _plain_kind(type(obj))
        if kind in _NUMBERS and type(self._lock) in (Lock, RLock) and "block" in vars(obj):
            self._bind_number(vars(obj)["block"], self._lock, kind._type_)

    @property
    def value(self) -> Any:
        """The value, read and written under the lock; the two of ``+=`` are two: see add()."""
        self.acquire()
        try:
            return self._obj.value
        finally:
            self.release()

    @value.setter
    def value(self, value: Any) -> None:
        self.acquire()
        try:
            self._obj.value = value
        finally:
            self.release()

    def _add_by_value(self, amount: Any) -> Any:
        """What add() does where the core cannot."""
        obj = self._obj
        code = obj._type_
        if code in _INTEGERS:
            amount = operator.index(amount)
        elif code not in _FLOATS:
            raise TypeError(
                f"add() is for integers and floats, and this is {obj!r}; use its lock: with value.get_lock()"
            )
        self.acquire()
        try:
            obj.value += amount
            return obj.value
        finally:
            self.release()


class SynchronizedArray(SynchronizedBase):
    """An array; iterating takes the lock for each element."""

    def __len__(self) -> int:
        return len(self._obj)

    def __getitem__(self, index: Any) -> Any:
        self.acquire()
        try:
            return self._obj[index]
        finally:
            self.release()

    def __setitem__(self, index: Any, value: Any) -> None:
        self.acquire()
        try:
            self._obj[index] = value
        finally:
            self.release()


class SynchronizedString(SynchronizedArray):
    """An array of bytes."""

    value = make_property("value")
    raw = make_property("raw")


# A structure or union -> its wrapper, which has its fields.
_wrapper_kinds: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def _wrapper_kind(kind: Any) -> Any:
    wrapper = _wrapper_kinds.get(kind)
    if wrapper is None:
        # The wrapper's own names go before fields, which are to be had from get_obj().
        own = {*dir(SynchronizedBase), "_obj", "_lock", "acquire", "release"} - {"add"}
        fields = {name: make_property(name) for name in _names_of(kind) if name not in own}
        wrapper = type("Synchronized" + kind.__name__, (SynchronizedBase,), fields)
        _wrapper_kinds[kind] = wrapper
    return wrapper


def _names_of(kind: Any) -> list[str]:
    """Of the fields that an object of that type has, with those of its anonymous parts."""
    anonymous = {name for base in kind.__mro__ for name in vars(base).get("_anonymous_", ())}
    names = []
    for field in _fields_of(kind):
        names.append(field[0])
        if field[0] in anonymous:
            names += _names_of(field[1])
    return names
