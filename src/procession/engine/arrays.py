"""NumPy arrays in the arena, which all processes read and write that are given them.

Such an array travels as a handle: its block, and where in it the array lies; so do its slices, reshapes and transposes.  What
is computed from it is an ordinary array.  Needs NumPy, so whoever wants this module imports it when it is asked for.
"""

from __future__ import annotations

import numpy

from procession._core import address_of, block_clear, block_is_own
from procession.engine import memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["SharedArray", "empty", "of", "zeros"]

_NDArray: Any = numpy.ndarray
_IS_OLD = numpy.lib.NumpyVersion(numpy.__version__) < "2.0.0"


class SharedArray(_NDArray):  # type: ignore[misc]
    """An array in shared memory: whoever is sent it, or a view of it, has the same elements.

    The memory lasts as long as any process has an array or view of it, or one is on its way.  What NumPy makes of it by copying
    (``a[a > 0]``, ``numpy.sort(a)``) may be of this class too, but lies in ordinary memory and travels as ordinary arrays do;
    `is_shared` tells.
    """

    __slots__ = ()

    @property
    def is_shared(self) -> bool:
        """Whether its elements are in shared memory."""
        return _block_of(self) is not None

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        if array is self or (type(array) is SharedArray and array.is_shared):
            return array  # it was the place for the result
        if return_scalar or (_IS_OLD and array.shape == ()):
            return array[()]
        return array.view(numpy.ndarray)

    def copy(self, order: Any = "C") -> Any:
        """An ordinary array with the same elements."""
        return self.view(numpy.ndarray).copy(order)

    def __copy__(self) -> Any:
        return self.view(numpy.ndarray).copy("K")

    def __deepcopy__(self, memo: Any) -> Any:
        return self.view(numpy.ndarray).copy("K")

    def __reduce_ex__(self, protocol: Any) -> Any:
        block = _block_of(self)
        if block is None:
            return self.view(numpy.ndarray).__reduce_ex__(protocol)
        place = self.__array_interface__["data"][0] - address_of(block)
        strides = None if self.flags.c_contiguous else self.strides
        return _open, (block, place, self.shape, strides, self.dtype, self.flags.writeable)

    def __reduce__(self) -> Any:
        return self.__reduce_ex__(2)


def _block_of(array: Any) -> memory.Block | None:
    """The block that an array lies in; None if that is none of the shared ones."""
    base = array.base
    while isinstance(base, numpy.ndarray):
        base = base.base
    if type(base) is memoryview:
        base = base.obj
    return base if type(base) is memory.Block and not block_is_own(base) else None


def _open(block: memory.Block, place: int, shape: Any, strides: Any, dtype: Any, is_writable: bool) -> SharedArray:
    view = memoryview(block)
    return SharedArray(shape, dtype, view if is_writable else view.toreadonly(), place, strides)


def empty(shape: Any, dtype: Any, order: Any) -> SharedArray:
    """An array with elements of any value."""
    return _make(shape, dtype, order)[0]


def zeros(shape: Any, dtype: Any, order: Any) -> SharedArray:
    """An array of zeros; it takes no memory until it is written to."""
    array, block = _make(shape, dtype, order)
    block_clear(block)
    return array


def of(source: Any) -> SharedArray:
    """An array with the elements of `source`, an array."""
    is_fortran = source.flags.f_contiguous and not source.flags.c_contiguous
    array, block = _make(source.shape, source.dtype, "F" if is_fortran else "C")
    source = source.view(numpy.ndarray)
    if source.nbytes and (is_fortran or source.flags.c_contiguous):
        block.fill((source.T if is_fortran else source).reshape(-1).view(numpy.uint8))
    else:
        array[...] = source
    return array


def _make(shape: Any, dtype: Any, order: Any) -> tuple[SharedArray, memory.Block]:
    dtype = numpy.dtype(dtype)
    if dtype.hasobject:
        raise TypeError(
            f"an array of {dtype} cannot be shared: its elements refer to objects of one process; "
            "procession.share() takes any object"
        )
    # As NumPy sees it: what is wrong with the shape is said by it, and nothing is touched.
    like = numpy.broadcast_to(numpy.empty((), dtype), shape)
    block = memory.new_block(like.size * dtype.itemsize)
    return SharedArray(like.shape, dtype, memoryview(block), order=order), block
