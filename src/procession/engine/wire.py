"""What a pool and its workers say to each other.

    tasks      header: how to call, the function's handle; body: the items.  One that was taken back has a tag and is empty
    results    plain values: as _core/batches.pxi has them.  Others: pieces in the header, so that they are known
               whatever becomes of the values; body: the values, or (values, failures)
               tag: which kind of message

A piece is four integers: the batch's position, its first item, items, nanoseconds.  With RUN in the place of the first item
it is about single calls at that position and those after it, as many as there are items.  A worker that is a thread sends
objects: what is decoded from them is they themselves.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pickle import dumps, loads

from procession._core import CALL, RUN, call_arguments, pack_batch, pack_results, unpack_batch, unpack_results
from procession.engine import codec
from procession.engine.codec import (
    SHORT,
    Payload,
    decode,
    dump_plain,
    encode,
    encode_as_bytes,
    header_of,
    is_plain,
    own_error,
)
from procession.engine.exceptions import Ended, MaybeEncodingError, decode_error, describe, encode_error
from procession.engine.records import Record
from procession.errors import CannotDecode, CannotEncode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from procession.engine.functions import SentFunction

    Results = tuple[list[int], list[Any], dict[int, BaseException]]

__all__ = [
    "BATCH_LOST",
    "CALL",
    "FUNCTION_LOST",
    "INITIALIZER_FAILED",
    "ITEM",
    "LEAVING",
    "NUDGE",
    "READY",
    "RESULTS",
    "STAR",
    "STAR_KEYWORDS",
    "TAKEN_BACK",
    "TIMED",
    "RunnerSpec",
    "calling_of",
    "decode_head",
    "decode_lost",
    "decode_results",
    "decode_tasks",
    "encode_argument",
    "encode_lost",
    "encode_results",
    "encode_tasks",
    "function_error",
    "heads",
    "singly",
]

# Tags of what workers send.
RESULTS, READY, LEAVING, INITIALIZER_FAILED, FUNCTION_LOST, BATCH_LOST, NUDGE = range(7)

# The tag of a task that was taken back before anybody took it.
TAKEN_BACK = 1

# How a function is called on an item; flags beside it.
ITEM, STAR, STAR_KEYWORDS = range(3)  # f(item), f(*item), f(*item[0], **item[1]); CALL is one f(*item)
_CALLING = 0x03
_PACKED = 0x04  # each item is pickled alone
TIMED = 0x08  # items have a time limit
_MODES = 0x10
_TASK = struct.Struct("<BQQ")
_HEAD_END = 2 + _TASK.size
_NONE = pickle.dumps(None, 5)
_NO_ERRORS: dict[int, BaseException] = {}
# Flags in a result's header.
_VALUES_PACKED, _FAILED = 0x04, 0x08


class RunnerSpec(Record):
    """What a worker must know to begin; pickled for a fresh interpreter.

    Attributes:
        tasks, results: the pool's channels.
        initializer, initargs: called once before the first task.
        task_limit: messages after which the worker leaves; 0 is none.
        share: workers of the pool, so that none takes more than its part of what is queued.
        memory_limit: bytes of its own after which the worker leaves; 0 is none.
    """

    tasks: Any
    results: Any
    initializer: Any
    initargs: tuple[Any, ...]
    task_limit: int
    share: int
    memory_limit: int = 0


# ---- tasks ----


def heads(offset: int, generation: int) -> tuple[bytes, ...]:
    """The beginnings of messages that call the function in this block, by mode and flags."""
    return tuple(codec.short_head(_TASK.pack(mode, offset, generation)) for mode in range(_MODES))


def encode_tasks(function: SentFunction, mode: int, items: Sequence[Any]) -> Payload | None:
    """A batch as a message; an item that could spoil others on arrival is pickled alone.

    None if the items must travel in messages of their own, because more than bytes belongs to them (buffers, handles).
    """
    calling = mode & _CALLING
    if calling == ITEM:
        packed_plain = pack_batch(function.heads[mode], items)
        if packed_plain is not None:
            return packed_plain
        plain = False
        items = list(items)
    elif calling == CALL:
        if is_plain(items[0]):
            return function.heads[mode] + dumps(items[0], 5)
        return encode_argument(items[0], function.heads[mode][2:], main_by_value=function.by_value)
    elif len(items) == 1:
        plain = calling == STAR and is_plain(items[0])
    else:
        plain = all(map(_is_plain_tuple, items))
    if plain:
        return function.heads[mode] + dumps(items, 5)
    if len(items) == 1:
        return encode_argument(items, function.heads[mode][2:], main_by_value=function.by_value)
    packed = _pack(items, function.by_value)
    return None if packed is None else function.heads[mode | _PACKED] + dumps(packed, 5)


def _is_plain_tuple(value: Any) -> bool:
    return type(value) is tuple and is_plain(value)


def _pack(values: Sequence[Any], main_by_value: bool) -> list[bytes] | None:
    """Each value pickled alone, or None if one needs more than bytes (buffers, handles)."""
    packed: list[bytes] = []
    for value in values:
        try:
            data = encode_as_bytes(value, main_by_value=main_by_value)
        except CannotEncode as error:
            complaint = own_error(error) or error
        else:
            if data is None:
                return None
            packed.append(data)
            continue
        raise complaint
    return packed


def encode_argument(value: Any, header: bytes = b"", *, main_by_value: bool = False) -> Payload:
    """codec.encode(), but what the object's own code raised, and not pickle, comes as it is."""
    try:
        return encode(value, header, main_by_value=main_by_value)
    except CannotEncode as error:
        complaint = own_error(error)
        if complaint is None:
            raise
    raise complaint


def calling_of(mode: int) -> int:
    """ITEM, STAR, STAR_KEYWORDS or CALL, without the flags."""
    return mode & _CALLING


def decode_tasks(
    payload: Payload, begin: Callable[[int], None]
) -> tuple[bytes, list[Any] | tuple[Any, ...], dict[int, BaseException]]:
    """The header, the items, and the errors of those that could not be decoded.

    Calls `begin` with the index of each item that is decoded alone, before it is.

    Raises:
        BaseException: whatever decoding raised, where the items cannot be told apart.
    """
    body = memoryview(payload)
    if body[0] == SHORT:
        header = bytes(body[2:_HEAD_END])
        if header[0] & (_CALLING | _PACKED) == ITEM:
            return header, unpack_batch(payload, _HEAD_END), {}
        if header[0] & _CALLING == CALL and type(payload) is bytes:
            return header, (call_arguments(payload, _HEAD_END),), {}
        items = loads(body[_HEAD_END:])
    else:
        header = header_of(payload)
        items = decode(payload)
    errors: dict[int, BaseException] = {}
    if header[0] & _CALLING == CALL:
        items = (items,)
    elif header[0] & _PACKED:
        for i, item in enumerate(items):
            begin(i)
            try:
                items[i] = decode(item)
            except Ended:
                raise
            except BaseException as error:  # also SystemExit: no task of others may end with it
                items[i] = None
                errors[i] = error
    return header, items, errors


def decode_head(header: bytes) -> tuple[int, int, int]:
    """How to call, and the handle of the function: offset and generation."""
    mode, offset, generation = _TASK.unpack(header)
    return mode & ~_PACKED, offset, generation


# ---- results ----


def encode_results(
    pieces: list[int],
    values: list[Any],
    failures: list[tuple[int, BaseException]],
    begin: Callable[[int, int], None],
) -> list[Payload]:
    """Results of one or more batches as one message, or one for each where more than bytes belongs to them.

    A value that cannot be pickled becomes a failure of its own.  Calls `begin` with the position and the item that each value
    belongs to, before it is pickled alone.

    Raises:
        MemoryError: there is not enough for all of them at once.
    """
    if not failures and (plain := pack_results(pieces, values)) is not None:
        return [plain]
    sent: list[tuple[int, bytes]] = []
    for index, error in failures:
        _begin_value(pieces, index, begin)
        sent.append((index, encode_error(error)))
    packed = _pack_results(values, sent, pieces, begin)
    if packed is not None:
        header = struct.pack(f"<B{len(pieces)}Q", _VALUES_PACKED | (_FAILED if sent else 0), *pieces)
        return [encode((packed, sent) if sent else packed, header)]
    messages: list[Payload] = []
    faults = dict(failures)
    for index, piece in enumerate(singly(pieces)):
        begin(piece[0], piece[1])
        messages.append(_encode_single(piece, values[index], faults.get(index)))
    return messages


def singly(pieces: list[int]) -> Iterator[tuple[int, int, int, int]]:
    """The pieces that there would be if each value had one of its own."""
    fields = iter(pieces)
    for position, first, count, elapsed_ns in zip(fields, fields, fields, fields, strict=True):
        for i in range(count):
            yield (
                (position + i, 0, 1, elapsed_ns // count)
                if first == RUN
                else (position, first + i, 1, elapsed_ns // count)
            )


def _begin_value(pieces: list[int], index: int, begin: Callable[[int, int], None]) -> None:
    """Say which position and item value number `index` belongs to."""
    position, item, _, _ = next(islice(singly(pieces), index, None))
    begin(position, item)


def _encode_single(piece: tuple[int, int, int, int], value: Any, error: BaseException | None) -> Payload:
    if error is None:
        try:
            return encode([value], struct.pack("<B4Q", 0, *piece))
        except (Ended, MemoryError):
            raise
        except BaseException as reason:
            error = MaybeEncodingError(reason.__cause__ or reason, value)
    return encode(([None], [(0, encode_error(error))]), struct.pack("<B4Q", _FAILED, *piece))


def _pack_results(
    values: list[Any],
    sent: list[tuple[int, bytes]],
    pieces: list[int],
    begin: Callable[[int, int], None],
) -> list[bytes] | None:
    """Each value pickled alone; one that cannot be is a failure.  None if one needs more than bytes."""
    packed: list[bytes] = []
    for index, value in enumerate(values):
        plain = dump_plain(value)
        if plain is not None:
            packed.append(plain)
            continue
        _begin_value(pieces, index, begin)
        try:
            data = encode_as_bytes(value)
        except (Ended, MemoryError):
            raise
        except BaseException as reason:
            sent.append((index, encode_error(MaybeEncodingError(reason.__cause__ or reason, value))))
            data = _NONE
        if data is None:
            return None
        packed.append(data)
    return packed


def decode_results(payload: Payload | Results) -> Results:
    """Pieces, their values one after the other, and {index: exception} of those that failed."""
    if isinstance(payload, tuple):
        return payload
    plain = unpack_results(payload)
    if plain is not None:
        return *plain, _NO_ERRORS
    header = header_of(payload)
    flags, *pieces = struct.unpack(f"<B{len(header) // 8}Q", header)
    errors: dict[int, BaseException] = {}
    sent: list[tuple[int, bytes]] = []
    try:
        values = decode(payload)
        if flags & _FAILED:
            values, sent = values
    except BaseException as error:  # whatever a value's own code does here, it is that task's result
        total = sum(pieces[2::4])
        return pieces, [None] * total, dict.fromkeys(range(total), _lost_result(error))
    if flags & _VALUES_PACKED:
        for i, value in enumerate(values):
            try:
                values[i] = decode(value)
            except BaseException as error:
                values[i] = None
                errors[i] = _lost_result(error)
    for index, data in sent:
        errors[index] = decode_error(data)
    return pieces, values, errors


def _lost_result(error: BaseException) -> CannotDecode:
    lost = CannotDecode(f"the result arrived but cannot be unpickled here: {describe(error)}")
    lost.__cause__ = error
    return lost


# ---- what could not be begun ----


def encode_lost(position: int, header: bytes, error: BaseException) -> Payload:
    """A batch that could not be begun."""
    return encode((position, header, encode_error(error)))


def decode_lost(payload: Payload) -> tuple[int, int, BaseException]:
    """The position of a batch that could not be begun, the generation of its function, and why not."""
    position, header, data = decode(payload)
    return position, decode_head(header)[2], decode_error(data)


def function_error(function: object, reason: BaseException) -> CannotDecode:
    """A worker could not load the function."""
    error = CannotDecode(
        f"the function {function!r} cannot be loaded in the worker: {describe(reason)}. "
        "Define it in a module that workers can import, before the pool is made"
    )
    error.__cause__ = reason
    return error
