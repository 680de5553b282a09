"""Proving to each other that both sides know one key, without telling it: the standard library's two dialogues.

    listener → client   #CHALLENGE# + message          client → listener   response
    listener → client   #WELCOME# or #FAILURE#         and the same with changed parts

Since Python 3.12 a message begins with the name of a digest in braces, and so does the response; the response is an HMAC of
the whole message.  An older peer's message has no name, and its response to ours is an HMAC-MD5 without one.

Nothing here reads or writes: a dialogue is a generator that yields what is to be sent, or None for the next message.
"""

from __future__ import annotations

import os
from collections.abc import Generator

from procession.errors import AuthenticationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["CHALLENGE", "LONGEST", "Dialogue", "answer", "create_response", "deliver", "over", "verify"]

CHALLENGE = b"#CHALLENGE#"
_WELCOME = b"#WELCOME#"
_FAILURE = b"#FAILURE#"
LONGEST = 256  # bytes of any message before both are known
_RANDOM = 40
_OLD_MESSAGE = 20  # bytes of a message without a digest's name, at least
_OLD_RESPONSE = 16
# What may stand in braces, and no other: the sender of a message does not choose what we compute.
_DIGESTS = ("md5", "sha256", "sha384", "sha3_256", "sha3_384")

Dialogue = Generator[bytes | None, bytes, None]


def _digest_of(message: bytes) -> str:
    """The digest that a message names; empty if it names none."""
    if not message.startswith(b"{"):
        return ""
    name, found, _ = message[1:].partition(b"}")
    if not found:
        return ""
    for digest in _DIGESTS:
        if name == digest.encode():
            return digest
    # Random bytes of an old peer may begin with a brace.
    if len(message) == _OLD_MESSAGE:
        return ""
    raise AuthenticationError(f"the other side asks for the digest {name[:20]!r}; this one knows {', '.join(_DIGESTS)}")


def _hmac(authkey: bytes, message: bytes, digest: str) -> bytes:
    import hmac

    return hmac.new(authkey, message, digest).digest()


def create_response(authkey: bytes, message: bytes) -> bytes:
    """What proves that one knows the key, for the message of a challenge."""
    digest = _digest_of(message)
    if not digest:
        try:
            return _hmac(authkey, message, "md5")
        except ValueError:  # this Python may not use MD5
            digest = "sha256"
    return b"{%s}" % digest.encode() + _hmac(authkey, message, digest)


def verify(authkey: bytes, message: bytes, response: bytes) -> None:
    """Look whether a response to our message proves that its sender knows the key.

    Raises:
        AuthenticationError: it does not.
    """
    import hmac

    # Sixteen bytes are an old peer's, whatever they begin with.
    digest = "" if len(response) == _OLD_RESPONSE else _digest_of(response)
    mac = response[len(digest) + 2 :] if digest else response
    try:
        expected = _hmac(authkey, message, digest or "md5")
    except ValueError as error:
        raise AuthenticationError(
            f"the other side used the digest {digest or 'md5'}, which this Python has not"
        ) from error
    if not hmac.compare_digest(expected, mac):
        raise AuthenticationError("digest received was wrong: the other side has another authkey")


def deliver(authkey: bytes, digest: str = "sha256") -> Dialogue:
    """Have the other side prove that it knows the key."""
    message = b"{%s}" % digest.encode() + os.urandom(_RANDOM)
    yield CHALLENGE + message
    response = yield None
    try:
        verify(authkey, message, response)
    except AuthenticationError:
        yield _FAILURE
        raise
    yield _WELCOME


def answer(authkey: bytes) -> Dialogue:
    """Prove to the other side that this one knows the key."""
    message = yield None
    if not message.startswith(CHALLENGE):
        raise AuthenticationError(
            f"expected a challenge, got {message[:40]!r}: the other side does not ask for an authkey"
        )
    message = message[len(CHALLENGE) :]
    if len(message) < _OLD_MESSAGE:
        raise AuthenticationError(f"the challenge is too short: {len(message)} bytes")
    yield create_response(authkey, message)
    verdict = yield None
    if verdict != _WELCOME:
        raise AuthenticationError("digest sent was rejected: the other side has another authkey")


def over(connection: Any, dialogue: Dialogue) -> None:
    """Lead a dialogue over a connection, waiting as long as it takes."""
    received = b""
    try:
        step = next(dialogue)
        while True:
            if step is None:
                received = connection.recv_bytes(LONGEST)
                step = dialogue.send(received)
            else:
                connection.send_bytes(step)
                step = next(dialogue)
    except StopIteration:
        pass
