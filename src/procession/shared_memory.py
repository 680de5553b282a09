"""Shared memory with a name: the standard library's ``multiprocessing.shared_memory``, whose programs can take part.

A segment lives until somebody unlinks it or the program that has made it ends, however it ends; who attaches and goes takes
nothing away.
"""

from __future__ import annotations

import os
import secrets
import struct
from collections.abc import Iterable, Iterator
from functools import partial
from types import GenericAlias

from procession.engine import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

    from procession._core import Mapping

__all__ = ["ShareableList", "SharedMemory"]

# Under the standard library's names, which its tests know.
_USE_POSIX = True
_SHM_NAME_PREFIX = "/psm_"


def _make_filename() -> str:
    return _SHM_NAME_PREFIX + secrets.token_hex(4)


class SharedMemory:
    """Like multiprocessing.shared_memory.SharedMemory; close() never fails, the memory stays for the views that are left.

    All of a new segment is there once it is made: if there is too little memory, it is not made.  Unless `track`, a segment
    that this makes outlives the program if nobody unlinks it.
    """

    _flags = os.O_RDWR
    _mode = 0o600
    _prepend_leading_slash = True
    _name: str | None = None
    _fd = -1  # none is needed
    _mmap: Mapping | None = None
    _buf: memoryview | None = None
    _size = 0

    def __init__(self, name: str | None = None, create: bool = False, size: int = 0, *, track: bool = True) -> None:
        if size < 0:
            raise ValueError(f"'size' must be a positive integer, got {size}")
        if create and size == 0:
            raise ValueError("'size' must be a positive number different from zero")
        if name is None and not create:
            raise ValueError("'name' can only be None if create=True")
        self._track = track
        if name is None:
            while self._mmap is None:
                self._name = _make_filename()
                try:
                    self._mmap = self._create(size)
                except FileExistsError:
                    pass  # another name
        else:
            self._name = "/" + name if self._prepend_leading_slash else name
            self._mmap = self._create(size) if create else self._attach(size)
        self._size = len(self._mmap)
        self._buf = memoryview(self._mmap)

    def _create(self, size: int) -> Mapping:
        assert self._name is not None
        return names.create(self._name, size, self._mode, is_tracked=self._track)

    def _attach(self, size: int) -> Mapping:
        assert self._name is not None
        try:
            return names.attach(self._name)
        except FileNotFoundError:
            if not size or not self._flags & os.O_CREAT:  # which a subclass may have set
                raise
            return self._create(size)

    def __del__(self) -> None:
        """Nothing: the memory goes when neither this nor a view of it is there; subclasses may call it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return self.__class__, (self.name, False, self.size)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.name!r}, size={self.size})"

    @property
    def buf(self) -> memoryview | None:
        """The memory; None after close()."""
        return self._buf

    @property
    def name(self) -> str | None:
        """The name under which any program can attach it."""
        name = self._name
        if name is not None and self._prepend_leading_slash and name.startswith("/"):
            return name[1:]
        return name

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self._size

    def close(self) -> None:
        """Let go of it here.  Views of its memory stay valid, and the memory with them; the segment is as it was."""
        buf, self._buf, self._mmap = self._buf, None, None
        if buf is not None:
            try:
                buf.release()
            except BufferError:
                pass  # a view of it, an array say, is still used

    def unlink(self) -> None:
        """Take the name away: nobody can attach any more; the memory goes with its last user.

        Raises:
            FileNotFoundError: somebody has done so.
        """
        if self._name:
            names.unlink(self._name)


# ---- lists ----

# The layout is the standard library's: the number of items; where each begins in the data, and where that ends; the data, each
# item on a multiple of 8; for each item 8 bytes with its struct format; for each a byte that says what becomes of the value.
_WORD = 8
_INT = struct.Struct("q")
_FORMATS = {int: "q", float: "d", bool: "xxxxxxx?", type(None): "xxxxxx?x"}
_PLAIN, _STR, _BYTES, _NONE = range(4)
_CODES = {str: _STR, bytes: _BYTES, type(None): _NONE}


def _format_of(value: Any, encoded: Any, room: int) -> tuple[str, int]:
    """How a value is packed where there is `room` for a string or bytes, and the code for what becomes of it.

    Zeros at the end are taken for filling by the standard library.  What ends with zeros is given its exact length, marked
    by an "x" behind it; bytes come out whole there too.
    """
    if not isinstance(value, (str, bytes)):
        return _FORMATS[type(value)], _CODES.get(type(value), _PLAIN)
    code = _CODES[str if isinstance(value, str) else bytes]
    if not encoded.endswith(b"\0"):
        form = f"{room}s"
    else:
        form = f"{len(encoded)}sx"
        code = _STR if code == _STR else _PLAIN
    if len(form) > _WORD:
        raise ValueError(f"an item of {len(encoded):,} bytes is too long for a ShareableList")
    return form, code


def _encode(value: Any) -> Any:
    """What is packed for a value.

    Raises:
        TypeError, ValueError: it cannot be in a list.
    """
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, int) and type(value) is int and not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"an int in a ShareableList has 64 bits, got {value}")
    if not isinstance(value, bytes) and type(value) not in _FORMATS:
        raise TypeError(f"a ShareableList holds int, float, bool, str, bytes and None, not {type(value).__name__}")
    return value


class ShareableList:
    """Like multiprocessing.shared_memory.ShareableList; strings and bytes come back as they were, whatever is in them."""

    _allocated_offsets: list[int]

    def __init__(self, sequence: Iterable[Any] | None = None, *, name: str | None = None) -> None:
        if sequence is None and name is not None:
            self.shm = SharedMemory(name)
            self._list_len = len(self)
            try:
                self._allocated_offsets = list(struct.unpack_from(f"{self._list_len + 1}q", self._buffer, _WORD))
                struct.unpack_from(f"{self._list_len}b", self._buffer, self._offset_back_transform_codes)
            except struct.error:
                self.shm.close()
                raise ValueError(f"the shared memory {name!r} is no ShareableList") from None
            return
        # All of it is put together first: nothing is made if an item cannot be in it.
        values = [(value, _encode(value)) for value in (() if sequence is None else sequence)]
        self._list_len = len(values)
        self._allocated_offsets = [0]
        data, forms, codes = bytearray(), bytearray(), bytearray()
        for value, encoded in values:
            room = _WORD
            if isinstance(encoded, bytes):
                # As much as the standard library gives, which counts characters, and enough for the bytes.
                room = max(_WORD * (len(value) // _WORD + 1), -(-len(encoded) // _WORD) * _WORD)
            form, code = _format_of(value, encoded, room)
            data += struct.pack(form, encoded).ljust(room, b"\0")[:room]
            forms += form.encode().ljust(_WORD, b"\0")
            codes.append(code)
            self._allocated_offsets.append(len(data))
        head = struct.pack(f"{self._list_len + 2}q", self._list_len, *self._allocated_offsets)
        content = head + data + forms + codes
        self.shm = SharedMemory(name, create=True, size=len(content))
        self._buffer[: len(content)] = content

    @property
    def _buffer(self) -> memoryview:
        if (buffer := self.shm.buf) is None:
            raise ValueError("the shared memory of the list is closed")
        return buffer

    def _place(self, position: int) -> int:
        place = position + self._list_len if position < 0 else position
        if not 0 <= place < self._list_len:
            raise IndexError("index out of range")
        return place

    def _get_packing_format(self, position: int) -> str:
        at = self._offset_packing_formats + self._place(position) * _WORD
        return bytes(self._buffer[at : at + _WORD]).rstrip(b"\0").decode()

    def __getitem__(self, position: int) -> Any:
        place = self._place(position)
        form = self._get_packing_format(place)
        code = self._buffer[self._offset_back_transform_codes + place]
        value = struct.unpack_from(form, self._buffer, self._offset_data_start + self._allocated_offsets[place])[0]
        if code == _NONE:
            return None
        if code in (_STR, _BYTES):
            # A length that is no multiple of 8 is exact, too: who fills up fills words.
            value = value.rstrip(b"\0") if form[-1] == "s" and len(value) % _WORD == 0 else value
            return value.decode() if code == _STR else value
        return value

    def __setitem__(self, position: int, value: Any) -> None:
        try:
            place = self._place(position)
        except IndexError:
            raise IndexError("assignment index out of range") from None
        begin, end = self._allocated_offsets[place : place + 2]
        encoded = _encode(value)
        if isinstance(encoded, bytes) and len(encoded) > end - begin:
            raise ValueError(
                f"bytes/str item exceeds available storage: it has {len(encoded)} bytes, there is room for {end - begin}"
            )
        form, code = _format_of(value, encoded, end - begin)
        at = self._offset_packing_formats + place * _WORD
        packed = struct.pack(form, encoded)[: end - begin]
        self._buffer[at : at + _WORD] = form.encode().ljust(_WORD, b"\0")
        self._buffer[self._offset_back_transform_codes + place] = code
        at = self._offset_data_start + begin
        self._buffer[at : at + len(packed)] = packed

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(self.__class__, name=self.shm.name), ()

    def __len__(self) -> int:
        length: int = _INT.unpack_from(self._buffer)[0]
        return length

    def __iter__(self) -> Iterator[Any]:
        return (self[place] for place in range(self._list_len))

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({list(self)}, name={self.shm.name!r})"

    @property
    def format(self) -> str:
        """The struct formats of all items, one behind the other."""
        return "".join(self._get_packing_format(place) for place in range(self._list_len))

    @property
    def _offset_data_start(self) -> int:
        return (self._list_len + 2) * _WORD

    @property
    def _offset_packing_formats(self) -> int:
        return self._offset_data_start + self._allocated_offsets[-1]

    @property
    def _offset_back_transform_codes(self) -> int:
        return self._offset_packing_formats + self._list_len * _WORD

    def count(self, value: Any) -> int:
        """How many items equal `value`."""
        return sum(1 for item in self if value == item)

    def index(self, value: Any) -> int:
        """The place of the first item that equals `value`.

        Raises:
            ValueError: none does.
        """
        for place, item in enumerate(self):
            if value == item:
                return place
        raise ValueError("ShareableList.index(x): x not in list")

    __class_getitem__: ClassVar[Any] = classmethod(GenericAlias)
