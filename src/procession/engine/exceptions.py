"""Exceptions on their way from a worker: with their traceback, and whatever they are made of.

Most travel as they are.  One that pickle cannot carry, or cannot put together again (a constructor with two arguments is
enough), is taken apart: its class, its arguments and those of its attributes that can travel.  Beside it goes what it was in
words, for a receiver that cannot have even that.
"""

from __future__ import annotations

import pickle
import types

from procession.engine import codec
from procession.engine.brief import brief
from procession.errors import CannotDecode, CannotEncode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "Ended",
    "ExceptionWithTraceback",
    "MaybeEncodingError",
    "RemoteTraceback",
    "decode_error",
    "encode_error",
    "rebuild_exc",
]


_TEXT_LIMIT = 2000  # characters of what a message says of a value or of another error


class Ended(BaseException):
    """Raised in a worker by the soft signal: what a task has opened is closed on the way out, and then the worker ends."""


class MaybeEncodingError(CannotEncode):
    """A task's result or exception cannot be pickled; carries their representations."""

    def __init__(self, exc: object, value: object) -> None:
        self.exc = _text(exc)
        self.value = _text(value)
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


class ExceptionWithTraceback:
    """An exception on its way to another process, where its traceback becomes its cause."""

    def __init__(self, exc: BaseException, tb: types.TracebackType | None) -> None:
        self.exc = exc
        self.tb = _format(exc, tb) if tb else ""

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild_exc, (self.exc, self.tb)


def rebuild_exc(exc: BaseException, tb: str) -> BaseException:
    """The exception as it comes out of the pickle of an ExceptionWithTraceback."""
    if tb:
        exc.__cause__ = RemoteTraceback(f'\n"""\n{tb}"""')
    return exc


def _text(value: object) -> str:
    """Its repr or the beginning of it, whatever that does."""
    return brief(value, _TEXT_LIMIT)


def _format(error: BaseException, tb: types.TracebackType | None) -> str:
    import traceback

    try:
        return "".join(traceback.format_exception(type(error), error, tb))
    except Exception:  # its own __str__ raises, say
        return "".join(traceback.format_tb(tb)) + describe(error)


def describe(error: BaseException) -> str:
    """Its type and text, in one line, whatever its own code does."""
    try:
        text = str(error)
    except Exception as reason:
        text = f"(its text cannot be had: {type(reason).__name__})"
    if len(text) > _TEXT_LIMIT:
        text = text[:_TEXT_LIMIT] + "..."
    return f"{type(error).__qualname__}: {text}"


# ---- sending ----


def encode_error(error: BaseException) -> bytes:
    """An exception and its traceback; see decode_error()."""
    try:
        tb = _format(error, error.__traceback__) if error.__traceback__ or error.__cause__ else ""
    except Ended:
        raise
    except BaseException:
        tb = ""
    data: bytes | None = None
    for attempt in (_whole, _apart):
        try:
            data = attempt(error)
            break
        except Ended:
            raise
        except BaseException as reason:
            complaint = reason
    if data is None:
        data = pickle.dumps(MaybeEncodingError(complaint, error), 5)
    return pickle.dumps((data, describe(error), tb), 5)


def _whole(error: BaseException) -> bytes:
    data = codec.encode_in_band(error)
    if type(pickle.loads(data)) is not type(error):
        raise TypeError(f"a pickled {type(error).__name__} comes out as something else")
    return data


def _apart(error: BaseException) -> bytes:
    attributes = {}
    for name, value in getattr(error, "__dict__", {}).items():
        kept = _travels(value)
        if kept is not None:
            attributes[name] = kept
    arguments = [_travels(argument) or codec.encode_in_band(_text(argument)) for argument in error.args]
    data = codec.encode_in_band((_put_together, type(error), arguments, attributes))
    put_together, *parts = pickle.loads(data)
    put_together(*parts)
    return codec.encode_in_band(_Apart(type(error), arguments, attributes))


def _travels(value: object) -> bytes | None:
    """`value`, pickled, if it can be and comes out again."""
    try:
        data = codec.encode_in_band(value)
        pickle.loads(data)
    except Exception:
        return None
    return data


class _Apart:
    """An exception in its parts; out of the pickle comes the exception."""

    def __init__(self, kind: type[BaseException], arguments: list[bytes], attributes: dict[str, bytes]) -> None:
        self.parts = kind, arguments, attributes

    def __reduce__(self) -> tuple[Any, ...]:
        return _put_together, self.parts


def _put_together(kind: type[BaseException], arguments: list[bytes], attributes: dict[str, bytes]) -> BaseException:
    """Without its constructor, which may want what cannot be had."""
    error = kind.__new__(kind)
    error.args = tuple(map(pickle.loads, arguments))
    for name, data in attributes.items():
        error.__dict__[name] = pickle.loads(data)
    return error


# ---- receiving ----


def decode_error(data: bytes | BaseException) -> BaseException:
    """The exception, with the worker's traceback as its cause; CannotDecode that says what it was if it cannot be had."""
    if isinstance(data, BaseException):
        return data
    parts: tuple[bytes, str, str] = pickle.loads(data)
    whole, description, tb = parts
    try:
        error: BaseException = pickle.loads(whole)
    except BaseException as reason:
        error = CannotDecode(f"a task raised {description}; it cannot be unpickled here: {describe(reason)}")
    return rebuild_exc(error, tb)
