"""What a manager's server and its clients say to each other; the standard library's words.

request    (ident, method, args, kwds)     ident is None for the server's own functions
answer     ("#RETURN", value)  ("#ERROR", exception)  ("#TRACEBACK", text)  ("#UNSERIALIZABLE", text)
           ("#PROXY", (exposed methods, token))       for a result that stays in the server
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from procession import listener
from procession.engine import codec
from procession.engine.exceptions import RemoteTraceback
from procession.errors import CannotEncode

__all__ = [
    "SERIALIZERS",
    "RemoteError",
    "Serializer",
    "Token",
    "all_methods",
    "convert_to_error",
    "dispatch",
    "encode_whole",
    "note_traceback",
    "public_methods",
]

_NOTE = "in the manager's process:\n"


class Token:
    """Names an object of a server.

    Attributes:
        typeid: the name that its type was registered with.
        address: of the server.
        id: of the object, unique in the life of the server.
    """

    __slots__ = ("address", "id", "typeid")

    def __init__(self, typeid: str, address: Any, id: str) -> None:
        self.typeid, self.address, self.id = typeid, address, id

    def __getstate__(self) -> tuple[str, Any, str]:
        return self.typeid, self.address, self.id

    def __setstate__(self, state: tuple[str, Any, str]) -> None:
        self.typeid, self.address, self.id = state

    def __repr__(self) -> str:
        return f"{type(self).__name__}(typeid={self.typeid!r}, address={self.address!r}, id={self.id!r})"


class Serializer:
    """How messages become bytes: `dumps` gives them and what must live until they are read."""

    def __init__(
        self,
        dumps: Callable[[Any], tuple[bytes, Any]],
        loads: Callable[[bytes], Any],
        *,
        has_objects: bool,
    ) -> None:
        self.dumps = dumps
        self.loads = loads
        self.has_objects = has_objects  # whether an exception arrives as one


def _pickle(value: Any) -> tuple[bytes, Any]:
    return _with_own_errors(codec.encode_with_blocks, value)  # type: ignore[no-any-return]


def encode_whole(value: Any) -> codec.Payload:
    """What a channel takes."""
    return _with_own_errors(codec.encode, value)  # type: ignore[no-any-return]


def _with_own_errors(encode: Callable[[Any], Any], value: Any) -> Any:
    """What the object's own code raised, and not pickle, comes as it is."""
    try:
        return encode(value)
    except CannotEncode as error:
        complaint = codec.own_error(error)
        if complaint is None:
            raise
    raise complaint


SERIALIZERS = {
    "pickle": Serializer(_pickle, codec.decode, has_objects=True),
    "xmlrpclib": Serializer(lambda value: (listener._xml_dumps(value), None), listener._xml_loads, has_objects=False),
}


class RemoteError(Exception):
    """What went wrong in the server; its text is the traceback there."""

    def __str__(self) -> str:
        rule = "-" * 75
        return f"\n{rule}\n{self.args[0]}{rule}"


def dispatch(c: Any, ident: str | None, methodname: str, args: Sequence[Any] = (), kwds: Mapping[str, Any] = {}) -> Any:
    """Send a request over a connection, and give what is answered or raise it."""
    c.send((ident, methodname, args, kwds))
    kind, result = c.recv()
    if kind == "#RETURN":
        return result
    try:
        raise convert_to_error(kind, result)
    finally:
        del result  # the exception would refer to itself through this frame


def convert_to_error(kind: str, result: Any) -> BaseException:
    """The exception that an answer stands for; the server's traceback is its cause or its text."""
    if kind == "#ERROR":
        if not isinstance(result, BaseException):
            return RemoteError(f"{result!r}\n")
        notes = getattr(result, "__notes__", None)
        if notes and isinstance(notes[-1], str) and notes[-1].startswith(_NOTE):
            result.__cause__ = RemoteTraceback(f'\n"""\n{notes.pop()[len(_NOTE) :]}"""')
            if not notes:
                del result.__notes__
        return result
    if kind in ("#TRACEBACK", "#UNSERIALIZABLE"):
        if not isinstance(result, str):
            return TypeError(f"result {result!r} (kind {kind!r}) is of type {type(result)}, not str")
        return RemoteError(result if kind == "#TRACEBACK" else f"Unserializable message: {result}\n")
    return ValueError(f"unrecognized message type {kind!r}")


def note_traceback(error: BaseException) -> Callable[[], object]:
    """Let an exception carry its traceback as a note, which any peer can show; gives what takes it off again."""
    inner = error.__traceback__.tb_next if error.__traceback__ is not None else None
    text = "".join(traceback.format_exception(type(error), error, inner))
    try:
        error.add_note(_NOTE + text)
    except Exception:
        return lambda: None
    return lambda: error.__notes__.pop()


def all_methods(obj: Any) -> list[str]:
    """The names of an object's methods."""
    return [name for name in dir(obj) if callable(getattr(obj, name))]


def public_methods(obj: Any) -> list[str]:
    """The names of an object's methods that do not begin with an underscore."""
    return [name for name in all_methods(obj) if not name.startswith("_")]
