"""The dialogue by which two sides prove that they know one key."""

import hmac

import pytest

from procession.engine import challenge
from procession.errors import AuthenticationError

KEY = b"a key"


def talk(first, second):
    """Lead two dialogues with each other, to their ends."""
    sides = [first, second]
    steps = [next(first), next(second)]
    over = [False, False]

    def advance(side, word=None):
        try:
            steps[side] = sides[side].send(word)
        except StopIteration:
            over[side] = True

    while not all(over):
        for side in (0, 1):
            if not over[side] and steps[side] is not None:
                word = steps[side]
                advance(side)
                advance(1 - side, word)
    return True


def test_two_that_know_the_key_come_to_terms():
    assert talk(challenge.deliver(KEY), challenge.answer(KEY))


@pytest.mark.parametrize("side", ["deliver", "answer"])
def test_another_key_is_refused(side):
    keys = (KEY, b"another") if side == "deliver" else (b"another", KEY)
    with pytest.raises(AuthenticationError, match=r"wrong|rejected"):
        talk(challenge.deliver(keys[0]), challenge.answer(keys[1]))


@pytest.mark.parametrize("digest", ["md5", "sha256", "sha384", "sha3_256"])
def test_a_message_is_answered_with_the_digest_that_it_names(digest):
    message = b"{%s}" % digest.encode() + b"x" * 40
    response = challenge.create_response(KEY, message)
    assert response == b"{%s}" % digest.encode() + hmac.new(KEY, message, digest).digest()
    challenge.verify(KEY, message, response)


def test_an_older_peer_is_understood():
    message = b"is-twenty-bytes-long"
    assert challenge.create_response(KEY, message) == hmac.new(KEY, message, "md5").digest()
    ours = b"{sha256}" + b"y" * 40
    challenge.verify(KEY, ours, hmac.new(KEY, ours, "md5").digest())


@pytest.mark.parametrize("response", [b"", b"{sha256}", b"{sha256}short", b"x" * 16, b"{md4}" + b"x" * 16, b"{" * 200])
def test_what_is_no_response_is_refused(response):
    with pytest.raises(AuthenticationError):
        challenge.verify(KEY, b"{sha256}" + b"y" * 40, response)


@pytest.mark.parametrize("message", [b"", b"#CHALLENGE#", b"hello", b"#CHALLENGE#{md4}" + b"x" * 40])
def test_what_is_no_challenge_is_not_answered(message):
    dialogue = challenge.answer(KEY)
    next(dialogue)
    with pytest.raises(AuthenticationError):
        dialogue.send(message)
