"""What a pool and its workers say to each other: messages with a header that can be read whatever the body holds.

    tasks      header: flags, function (offset, generation)              body: the items
    results    header: flags, then (position, first item, items, nanoseconds) for each piece; body: the values
               tag: which kind of message
"""

from __future__ import annotations

import pickle
import struct
import traceback
from dataclasses import dataclass
from typing import Any

from procession.engine import codec
from procession.engine.codec import Payload
from procession.errors import CannotDecode, CannotEncode

__all__ = [
    "FUNCTION_LOST",
    "INITIALIZER_FAILED",
    "ITEM",
    "LEAVING",
    "NUDGE",
    "READY",
    "RESULTS",
    "STAR",
    "STAR_KEYWORDS",
    "MaybeEncodingError",
    "Piece",
    "RemoteTraceback",
    "RunnerSpec",
    "decode_error",
    "decode_function_lost",
    "decode_results",
    "decode_tasks",
    "encode_error",
    "encode_results",
    "encode_tasks",
    "function_error",
    "unpack",
]

# Tags of what workers send.
RESULTS, READY, LEAVING, INITIALIZER_FAILED, FUNCTION_LOST, NUDGE = range(6)

# How a function is called on an item.
ITEM, STAR, STAR_KEYWORDS = range(3)  # f(item), f(*item), f(*item[0], **item[1])

_MODE, _PACKED, _FAILED = 0x03, 0x04, 0x08
_TASK = struct.Struct("<BQQ")
_PIECE = struct.Struct("<QIIQ")


class MaybeEncodingError(CannotEncode):
    """A task's result or exception cannot be pickled; carries their representations."""

    def __init__(self, exc: object, value: object) -> None:
        self.exc = repr(exc)
        self.value = repr(value)
        super().__init__(self.exc, self.value)

    def __str__(self) -> str:
        return f"Error sending result: '{self.value}'. Reason: '{self.exc}'"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_encoding_error, (self.exc, self.value)


def _rebuild_encoding_error(exc: str, value: str) -> MaybeEncodingError:
    error = MaybeEncodingError.__new__(MaybeEncodingError)
    error.exc, error.value = exc, value
    error.args = (exc, value)
    return error


class RemoteTraceback(Exception):
    """The traceback of a worker, as the cause of the exception that it sent."""

    def __init__(self, tb: str) -> None:
        self.tb = tb

    def __str__(self) -> str:
        return self.tb


@dataclass(frozen=True, slots=True)
class RunnerSpec:
    """What a worker must know to begin; pickled for a fresh interpreter.

    Attributes:
        tasks, results: the pool's channels.
        initializer, initargs: called once before the first task.
        task_limit: messages after which the worker leaves; 0 is none.
        share: workers of the pool, so that none takes more than its part of what is queued.
    """

    tasks: Any
    results: Any
    initializer: Any
    initargs: tuple[Any, ...]
    task_limit: int
    share: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive results of one batch."""

    position: int
    first: int
    count: int
    elapsed_ns: int


# ---- tasks ----


def encode_tasks(function: tuple[int, int], mode: int, items: list[Any], *, main_by_value: bool) -> Payload:
    """A batch as a message; an item that another can spoil on arrival is pickled alone."""
    flags = mode
    body: Any = items
    if len(items) > 1 and not codec.is_plain(items):
        # One by one only where decoding runs code of the user's; pickling all at once shares what they have in common.
        if all(map(_is_simple, items)):
            pass
        else:
            packed = _pack(items, main_by_value)
            if packed is not None:
                flags |= _PACKED
                body = packed
    return codec.encode(body, _TASK.pack(flags, *function), main_by_value=main_by_value)


def _is_simple(value: Any) -> bool:
    return type(value) is tuple and codec.is_plain(value)  # type: ignore[arg-type]


def _pack(values: list[Any], main_by_value: bool) -> list[bytes] | None:
    """Each value pickled alone, or None if one needs more than bytes (buffers, handles)."""
    packed: list[bytes] = []
    for value in values:
        payload = codec.encode(value, main_by_value=main_by_value)
        if type(payload) is not bytes:
            return None
        packed.append(payload)
    return packed


def decode_tasks(payload: Payload) -> tuple[tuple[int, int], int, Any]:
    """Function, mode, and a callable that gives (items, {index: error})."""
    flags, offset, generation = _TASK.unpack(codec.header_of(payload))
    return (offset, generation), flags & _MODE, (payload, bool(flags & _PACKED))


def unpack(payload: Payload, packed: bool) -> tuple[list[Any], dict[int, Exception]]:
    """The values of a body, and the errors of those that could not be decoded."""
    values = codec.decode(payload)
    errors: dict[int, Exception] = {}
    if packed:
        for i, value in enumerate(values):
            try:
                values[i] = codec.decode(value)
            except Exception as error:
                values[i] = None
                errors[i] = error
    return values, errors


# ---- results ----


def encode_results(pieces: list[Piece], values: list[Any], failures: list[tuple[int, BaseException]]) -> Payload:
    """Results of one or more batches as one message; what cannot be pickled becomes a failure of its own."""
    flags = _FAILED if failures else 0
    sent = [(index, encode_error(error)) for index, error in failures]
    body: Any = values
    if len(values) > 1 and not codec.is_plain(values):
        packed = _pack_results(values, sent)
        if packed is not None:
            flags |= _PACKED | (_FAILED if sent else 0)
            body = packed
    header = bytes((flags,)) + b"".join(
        [_PIECE.pack(piece.position, piece.first, piece.count, piece.elapsed_ns) for piece in pieces]
    )
    try:
        return codec.encode((body, sent) if flags & _FAILED else body, header)
    except Exception as error:
        # One value alone, or values with buffers: find those that spoil it.
        for index, value in enumerate(values):
            try:
                codec.encode(value)
            except Exception as reason:
                sent.append((index, encode_error(MaybeEncodingError(reason.__cause__ or reason, value))))
                values[index] = None
        if not sent:
            raise error
        return codec.encode((values, sent), bytes((_FAILED,)) + header[1:])


def _pack_results(values: list[Any], sent: list[tuple[int, bytes]]) -> list[bytes] | None:
    packed: list[bytes] = []
    for index, value in enumerate(values):
        try:
            payload = codec.encode(value)
        except Exception as reason:
            sent.append((index, encode_error(MaybeEncodingError(reason.__cause__ or reason, value))))
            payload = b"\x80\x05N."
        if type(payload) is not bytes:
            return None
        packed.append(payload)
    return packed


def decode_results(payload: Payload) -> tuple[list[Piece], list[Any], dict[int, BaseException]]:
    """Pieces, their values one after the other, and {index: exception} of those that failed."""
    header = codec.header_of(payload)
    flags = header[0]
    pieces = [Piece(*fields) for fields in _PIECE.iter_unpack(header[1:])]
    try:
        body = codec.decode(payload)
    except Exception as error:
        total = sum(piece.count for piece in pieces)
        lost = CannotDecode(f"the result arrived but cannot be unpickled here: {type(error).__name__}: {error}")
        lost.__cause__ = error
        return pieces, [None] * total, dict.fromkeys(range(total), lost)
    sent: list[tuple[int, bytes]] = []
    if flags & _FAILED:
        body, sent = body
    errors: dict[int, BaseException] = {}
    if flags & _PACKED:
        for i, value in enumerate(body):
            try:
                body[i] = codec.decode(value)
            except Exception as error:
                body[i] = None
                errors[i] = CannotDecode(
                    f"the result arrived but cannot be unpickled here: {type(error).__name__}: {error}"
                )
                errors[i].__cause__ = error
    for index, data in sent:
        errors[index] = decode_error(data)
    return pieces, body, errors


# ---- errors ----


def encode_error(error: BaseException) -> bytes:
    """An exception and its traceback; one that would not survive the way is replaced by one that says what it was."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__)) if error.__traceback__ else ""
    try:
        data = pickle.dumps((error, text), 5)
        pickle.loads(data)
    except Exception as reason:
        substitute = MaybeEncodingError(reason, error)
        data = pickle.dumps((substitute, text), 5)
    return data


def decode_error(data: bytes) -> BaseException:
    """The exception, with the worker's traceback as its cause."""
    try:
        error, text = pickle.loads(data)
    except Exception as reason:
        lost = CannotDecode(f"a task raised an exception that cannot be unpickled here: {type(reason).__name__}: {reason}")
        lost.__cause__ = reason
        return lost
    if text:
        error.__cause__ = RemoteTraceback(f'\n"""\n{text}"""')
    return error  # type: ignore[no-any-return]


def decode_function_lost(payload: Payload) -> tuple[int, BaseException]:
    """The position of a batch whose function could not be loaded, and why not."""
    position, data = codec.decode(payload)
    return position, decode_error(data)


def function_error(function: object, reason: BaseException) -> CannotDecode:
    """A worker could not load the function."""
    error = CannotDecode(
        f"the function {function!r} cannot be loaded in the worker: {type(reason).__name__}: {reason}. "
        "Define it in a module that workers can import, before the pool is made"
    )
    error.__cause__ = reason
    return error
