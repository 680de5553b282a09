"""Objects in shared memory: share() for what is only read, empty(), zeros() and their kin for arrays that are written to.

Neither is copied when it is sent, however large it is and by whatever road: what crosses is a handle.  The memory is there as
long as any process has the object or a view of it, or one is on its way, and no longer.
"""

from __future__ import annotations

import importlib
import pickle
import weakref
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from procession.engine import clock, codec, descriptors, memory, opened

if TYPE_CHECKING:
    from procession.engine.arrays import SharedArray as SharedArray

__all__ = [
    "Shared",
    "SharedArray",
    "array",
    "asarray",
    "empty",
    "empty_like",
    "full",
    "full_like",
    "ones",
    "ones_like",
    "share",
    "zeros",
    "zeros_like",
]

T = TypeVar("T")
_UNOPENED: Any = object()

# ---- what is only read ----


class Shared(Generic[T]):
    """The handle of an object that share() has put into shared memory; the same one wherever it arrives in a process."""

    __slots__ = ("__weakref__", "_block", "_lasting", "_value")

    def __init__(self, block: memory.Block) -> None:
        self._block = block
        self._lasting: Any = None
        self._value: T = _UNOPENED

    def get(self) -> T:
        """The object.  Its arrays are read-only views of the shared memory, which they keep, even without this handle.

        It is put together at the first call, and is this process's: all that is not in a buffer (lists, strings) is a copy,
        and what is changed in it nobody else sees.  Later calls give the same object, for as long as a handle is there; a
        pool's worker keeps a few that took long, until it is without work for half a second.
        """
        if self._value is _UNOPENED:
            began = clock.clock_ns()
            self._value = codec.open_shared(self._block)
            if clock.clock_ns() - began > opened.WORTH_NS:
                opened.keep(self)
        return self._value

    def __reduce__(self) -> tuple[Any, ...]:
        return _handle_of, (self._block,)

    def __copy__(self) -> Shared[T]:
        return self

    def __deepcopy__(self, memo: Any) -> Shared[T]:
        return self

    def __repr__(self) -> str:
        what = "not opened here" if self._value is _UNOPENED else type(self._value).__name__
        return f"<Shared {what}, {self._block.generation:x}>"


# Those that this process has, by their blocks.
_handles: weakref.WeakValueDictionary[tuple[int, int], Shared[Any]] = weakref.WeakValueDictionary()


def _handle_of(block: memory.Block) -> Shared[Any]:
    return _handles.setdefault((block.offset, block.generation), Shared(block))


def share(obj: T) -> Shared[T]:
    """Put an object into shared memory, once, and get a handle that is sent in constant time: its get() gives the object.

    Arrays, dataframes and all else that hands its buffers to pickle are not copied when they are opened, but read-only; bytes,
    bytearrays and memoryviews are opened as memoryviews.  Shared arrays, locks and queues in it stay what they are.

    Raises:
        CannotEncode: the object cannot be pickled.
        OutOfMemory: there is no room for it.
    """
    memory.ensure()
    value: Any = obj
    if isinstance(value, bytes | bytearray | memoryview):
        is_simple = not isinstance(value, memoryview) or value.contiguous
        value = pickle.PickleBuffer(value if is_simple else bytes(value))
    with descriptors.lasting() as lasting:
        handle = _handle_of(codec.put_shared(value))
    handle._lasting = lasting
    return handle


# ---- what is written to ----


def empty(shape: Any, dtype: Any = float, order: Any = "C") -> SharedArray:
    """A NumPy array in shared memory, with elements of any value.

    It can be sent to any process, which then reads and writes the same elements; so can its views: slices, reshapes,
    transposes.  After a fork both sides have it.  What is computed from it is an ordinary array.
    """
    return _arrays("empty").empty(shape, dtype, order)  # type: ignore[no-any-return]


def zeros(shape: Any, dtype: Any = float, order: Any = "C") -> SharedArray:
    """As empty(), of zeros; memory is taken only as elements are written to."""
    return _arrays("zeros").zeros(shape, dtype, order)  # type: ignore[no-any-return]


def ones(shape: Any, dtype: Any = float, order: Any = "C") -> SharedArray:
    """As empty(), of ones."""
    return full(shape, 1, dtype, order)


def full(shape: Any, fill_value: Any, dtype: Any = None, order: Any = "C") -> SharedArray:
    """As empty(), with `fill_value` everywhere; of its type, unless told."""
    arrays = _arrays("full")
    new: SharedArray = arrays.empty(shape, arrays.numpy.asarray(fill_value).dtype if dtype is None else dtype, order)
    new[...] = fill_value
    return new


def array(object: Any, dtype: Any = None) -> SharedArray:
    """A new array in shared memory with the elements of `object`, which is anything that NumPy makes an array of."""
    arrays = _arrays("array")
    return arrays.of(arrays.numpy.asarray(object, dtype))  # type: ignore[no-any-return]


def asarray(object: Any, dtype: Any = None) -> SharedArray:
    """`object` itself if it is an array in shared memory of that type, else array() of it."""
    is_it = type(object) is _arrays("asarray").SharedArray and object.is_shared and dtype in (None, object.dtype)
    return object if is_it else array(object, dtype)


def empty_like(prototype: Any, dtype: Any = None) -> SharedArray:
    """As empty(), of the shape and the type of another array."""
    return empty(*_like(prototype, dtype))


def zeros_like(prototype: Any, dtype: Any = None) -> SharedArray:
    """As zeros(), of the shape and the type of another array."""
    return zeros(*_like(prototype, dtype))


def ones_like(prototype: Any, dtype: Any = None) -> SharedArray:
    """As ones(), of the shape and the type of another array."""
    return ones(*_like(prototype, dtype))


def full_like(prototype: Any, fill_value: Any, dtype: Any = None) -> SharedArray:
    """As full(), of the shape and the type of another array."""
    shape, dtype, order = _like(prototype, dtype)
    return full(shape, fill_value, dtype, order)


def _like(prototype: Any, dtype: Any) -> tuple[Any, Any, str]:
    prototype = _arrays("empty_like").numpy.asarray(prototype)
    is_fortran = prototype.flags.f_contiguous and not prototype.flags.c_contiguous
    return prototype.shape, prototype.dtype if dtype is None else dtype, "F" if is_fortran else "C"


def _arrays(name: str) -> Any:
    try:
        return importlib.import_module("procession.engine.arrays")
    except ModuleNotFoundError as error:
        if error.name != "numpy":
            raise
        raise ModuleNotFoundError(
            f"procession.{name} is of NumPy's arrays, and NumPy is not installed: pip install numpy "
            "(Array() and share() do without it)",
            name="numpy",
        ) from None


def __getattr__(name: str) -> Any:
    if name == "SharedArray":
        return _arrays(name).SharedArray
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
