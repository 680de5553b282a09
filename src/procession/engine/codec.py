"""Objects to bytes and back; the one place that pickles.

    plain pickle (protocol 5)  →  pickle with the reducers that others registered  →  cloudpickle, by value

Buffers that pickle hands out of band (NumPy's arrays) do not go through the pickle: large ones cross in blocks of their own,
which the receiver gets writable and without a further copy; small ones lie beside the pickle.  A message can begin with a
short header, which is read without unpickling anything.

    0x80 ...                                       a pickle, and no header
    0x02 | length | header | pickle                a header of up to 255 bytes, no buffers
    0x01 | count | length | table | header | small buffers | pickle
                                                   the table has (size, place, what it is like) for each buffer

A large buffer that nobody can write to (a read-only array) stays in its block if it is sent on: what crosses is where it lies.
"""

from __future__ import annotations

import functools
import io
import pickle
import struct
import sys
from collections.abc import Callable

from procession import _os
from procession._core import (
    Block,
    Message,
    address_of,
    block_new,
    block_set_own,
    dump_plain,
    exported,
    has_long,
    is_plain,
    message_in,
    message_new,
    message_share,
    take_exported,
)
from procession._stdlib import has_extra_reducers, make_pickler
from procession.engine import descriptors
from procession.engine.brief import brief
from procession.errors import CannotEncode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "LARGE",
    "SHORT",
    "Payload",
    "as_message",
    "decode",
    "decode_pickle",
    "dump_plain",
    "encode",
    "encode_as_bytes",
    "encode_in_band",
    "encode_with_blocks",
    "header_of",
    "is_plain",
    "open_shared",
    "own_error",
    "put_shared",
    "short_head",
]

Payload = bytes | Message
LARGE = 1 << 16  # bytes from which a buffer gets a block of its own

_dumps = pickle.dumps
_loads = pickle.loads
_FRAME, SHORT, _PICKLE = 0x01, 0x02, 0x80
_HEAD = struct.Struct("<BxxxII")
_ENTRY = struct.Struct("<QqQ")
_INSIDE = -1
_READONLY, _OFFSET_SHIFT = 1, 1  # what a buffer is like: a flag, and where in its block it begins
_LONGEST_FRAME = 1 << 18  # bytes of a pickle that is written in pieces: no piece of more but what is long by itself
_ALIGNMENT = 16


def encode(value: Any, header: bytes = b"", *, main_by_value: bool = False) -> Payload:
    """Turn `value` into what a channel takes.

    With `main_by_value` functions and classes of ``__main__`` go by value: for receivers that cannot import it.

    Raises:
        CannotEncode: neither pickle nor cloudpickle can; ``__cause__`` is pickle's own complaint.
    """
    if not header and (plain := dump_plain(value)) is not None:
        return plain
    buffers: list[pickle.PickleBuffer] = []
    if has_long(value):
        parts = _dump_in_parts(value, buffers, descriptors.mark(), main_by_value)
        return _frame(parts, header, buffers, take_exported())
    data = _dump(value, buffers, descriptors.mark(), main_by_value)
    if buffers or exported or len(header) > 255:
        return _frame([data], header, buffers, take_exported())
    return short_head(header) + data if header else data


def encode_as_bytes(value: Any, *, main_by_value: bool = False) -> bytes | None:
    """The same, or None if it wants a message of its own: buffers or handles belong to it, or it is long.  Copies none of that.

    Raises:
        CannotEncode: as encode() does.
    """
    if (plain := dump_plain(value)) is not None:
        return plain
    if has_long(value):
        return None
    buffers: list[pickle.PickleBuffer] = []
    before = descriptors.mark()
    data = _dump(value, buffers, before, main_by_value)
    if buffers or exported:
        _forget(buffers, before)
        return None
    return data


def _dump(value: Any, buffers: list[pickle.PickleBuffer], before: int, main_by_value: bool) -> bytes:
    if exported:
        take_exported()  # what somebody pickled without sending it
    try:
        if has_extra_reducers():
            data = _dump_with_reducers(value, buffers.append)
        else:
            data = _dumps(value, 5, buffer_callback=buffers.append)
        if main_by_value and b"__main__" in data:
            data = _dump_by_value(value, buffers, before)
    except Exception as error:
        data = _dump_otherwise(value, buffers, error, before)
    return data


class _Parts:
    """As a file, it keeps the pieces of a pickle; long bytes are pieces of their own, and not copied."""

    __slots__ = ("write",)

    def __init__(self, parts: list[bytes]) -> None:
        self.write = parts.append


def _dump_in_parts(value: Any, buffers: list[pickle.PickleBuffer], before: int, main_by_value: bool) -> list[bytes]:
    if exported:
        take_exported()
    parts: list[bytes] = []
    try:
        if has_extra_reducers():
            make_pickler(_Parts(parts), buffers.append).dump(value)
        else:
            pickle.Pickler(_Parts(parts), 5, buffer_callback=buffers.append).dump(value)
        if main_by_value and any(b"__main__" in part for part in parts if len(part) < _LONGEST_FRAME):
            parts = [_dump_by_value(value, buffers, before)]
    except Exception as error:
        parts = [_dump_otherwise(value, buffers, error, before)]
    return parts


def short_head(header: bytes) -> bytes:
    """What comes before a pickle, so that the message has this header of at most 255 bytes."""
    return bytes((SHORT, len(header))) + header


def encode_in_band(value: Any) -> bytes:
    """Turn `value` into bytes that any number of readers can decode; its buffers are part of them."""
    before = descriptors.mark()
    try:
        return _dumps(value, 5)
    except Exception as error:
        try:
            return _dump_by_value(value, None, before)
        except Exception:
            return _dump_otherwise(value, None, error, before)
    finally:
        take_exported()


def encode_with_blocks(value: Any) -> tuple[bytes, list[Block]]:
    """Turn `value` into one pickle, its buffers part of it, and the blocks that it mentions.

    Raises:
        CannotEncode: as encode() does.
    """
    if exported:
        take_exported()
    before = descriptors.mark()
    try:
        data = _dump_with_reducers(value, None) if has_extra_reducers() else _dumps(value, 5)
    except Exception as error:
        data = _dump_otherwise(value, None, error, before)
    return data, take_exported() if exported else []


def decode_pickle(data: bytes) -> Any:
    """The value of a pickle: of encode_with_blocks(), or of a peer of which nothing else is known."""
    return _loads(data)


_Buffers = list[pickle.PickleBuffer] | None  # None: in band


def _dump_with_reducers(value: Any, keep: Callable[[pickle.PickleBuffer], Any] | None) -> bytes:
    file = io.BytesIO()
    make_pickler(file, keep).dump(value)
    return file.getvalue()


def _dump_by_value(value: Any, buffers: _Buffers, before: int) -> bytes:
    _forget(buffers, before)
    file = io.BytesIO()
    _by_value_pickler()(file, 5, None if buffers is None else buffers.append).dump(value)
    return file.getvalue()


@functools.cache
def _by_value_pickler() -> Any:
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            # It would send what is in the file in its place.
            if isinstance(obj, io.TextIOWrapper) and obj not in (sys.stdout, sys.stderr):
                raise TypeError(f"cannot pickle an open file: {obj!r}")
            return super().reducer_override(obj)

    return Pickler


def own_error(error: CannotEncode) -> BaseException | None:
    """What the object's own code raised when it was pickled; None if it was pickle that refused."""
    complaint = error.__cause__
    return None if isinstance(complaint, (pickle.PicklingError, TypeError, AttributeError)) else complaint


def _forget(buffers: _Buffers, before: int) -> None:
    """What was pickled since `before` is not sent."""
    take_exported()
    descriptors.take_back(before)
    if buffers is not None:
        buffers.clear()


def _dump_otherwise(value: Any, buffers: _Buffers, complaint: Exception, before: int) -> bytes:
    """Plain pickle has refused."""
    _forget(buffers, before)
    if isinstance(complaint, MemoryError) or (isinstance(complaint, OSError) and _os.limit_hint(complaint.errno)):
        raise complaint  # something ran out: there is nothing wrong with the object
    try:
        return _dump_with_reducers(value, None if buffers is None else buffers.append)
    except Exception:
        try:
            return _dump_by_value(value, buffers, before)
        except Exception:
            _forget(buffers, before)
            raise CannotEncode(
                f"cannot pickle {type(value).__name__} {brief(value, 120)}: {complaint}; "
                "leave out what belongs to this process alone (locks of threads, open files, sockets, generators)"
            ) from complaint


def _frame(parts: list[bytes], header: bytes, buffers: list[pickle.PickleBuffer], exported: list[Block]) -> Message:
    """A message with a pickle, its buffers and the blocks that it mentions."""
    refs = list(exported)
    entries: list[tuple[int, int, int]] = []
    small: list[memoryview] = []
    room = _HEAD.size + _ENTRY.size * len(buffers) + len(header)
    for buffer in buffers:
        raw = buffer.raw()
        place, offset = _INSIDE, 0
        if raw.nbytes >= LARGE:
            frozen = _frozen_block(raw)
            if frozen is None:
                block = block_new(raw.nbytes)
                block.fill(raw)
            else:
                block, offset = frozen, address_of(raw) - address_of(frozen)
            place = len(refs)
            refs.append(block)
        else:
            room = _aligned(room) + raw.nbytes
            small.append(raw)
        entries.append((raw.nbytes, place, raw.readonly | offset << _OFFSET_SHIFT))
    message = message_new(refs, room + sum(map(len, parts)))
    body = memoryview(message)
    _HEAD.pack_into(body, 0, _FRAME, len(buffers), len(header))
    at = _HEAD.size
    for entry in entries:
        _ENTRY.pack_into(body, at, *entry)
        at += _ENTRY.size
    body[at : at + len(header)] = header
    at += len(header)
    for raw in small:
        at = _aligned(at)
        body[at : at + raw.nbytes] = raw
        at += raw.nbytes
    for part in parts:
        message.fill(at, part)
        at += len(part)
    return message


def _frozen_block(raw: memoryview) -> Block | None:
    """The block in which these bytes lie, if nobody can write to them there."""
    if not raw.readonly:
        return None
    owner: Any = raw.obj
    numpy: Any = sys.modules.get("numpy")
    while True:
        if type(owner) is memoryview:
            owner = owner.obj
        elif numpy is not None and isinstance(owner, numpy.ndarray):
            owner = owner.base
        else:
            return owner if type(owner) is Block and owner.is_frozen else None


def as_message(payload: Payload) -> Message:
    """`payload` as a message block, whatever its size."""
    if isinstance(payload, Message):
        return payload
    message = message_new([], len(payload))
    message.fill(0, payload)
    return message


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT


def header_of(payload: Payload) -> bytes:
    """The header that it was encoded with."""
    if type(payload) is bytes and payload[0] == _PICKLE:
        return b""
    body = memoryview(payload)
    if body[0] == SHORT:
        return bytes(body[2 : 2 + body[1]])
    if body[0] != _FRAME:
        return b""
    _, count, length = _HEAD.unpack_from(body, 0)
    start = _HEAD.size + _ENTRY.size * count
    return bytes(body[start : start + length])


def put_shared(value: Any) -> Block:
    """Put `value` into shared memory, for any number of processes to open with open_shared().

    Raises:
        CannotEncode: as encode() does.
    """
    return message_share(as_message(encode(value)))


def open_shared(block: Block) -> Any:
    """What put_shared() has put there; its buffers are read-only views of it."""
    return decode(message_in(block), is_shared=True)


def decode(payload: Payload | memoryview, *, is_shared: bool = False) -> Any:
    """The value that was encoded.  Its large buffers are the blocks themselves, writable, and this process's alone.

    With `is_shared` all of them are views, and read-only.
    """
    if type(payload) is bytes and payload[0] == _PICKLE:
        return _loads(payload)
    body = memoryview(payload)
    if body[0] == SHORT:
        return _loads(body[2 + body[1] :])
    if body[0] != _FRAME:
        return _loads(body)
    refs = payload.refs if isinstance(payload, Message) else []
    _, count, length = _HEAD.unpack_from(body, 0)
    at = _HEAD.size + _ENTRY.size * count + length
    buffers: list[Any] = []
    for i in range(count):
        size, place, like = _ENTRY.unpack_from(body, _HEAD.size + _ENTRY.size * i)
        readonly = is_shared or like & _READONLY
        if place == _INSIDE:
            at = _aligned(at)
            buffer = body[at : at + size]
            if not is_shared:
                buffer = memoryview(bytearray(buffer))
            at += size
        else:
            block, offset = refs[place], like >> _OFFSET_SHIFT
            if readonly:
                block.is_frozen = True
            else:
                block_set_own(block)
            buffer = memoryview(block)[offset : offset + size]
        buffers.append(buffer.toreadonly() if readonly else buffer)
    return _loads(body[at:], buffers=buffers)
