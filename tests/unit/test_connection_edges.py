"""At their edges the methods of Connection do what the standard library's do, with the same errors in at least its words."""

import array
import os
import socket
from multiprocessing.connection import Connection as StockConnection

import pytest

from procession.connection import Connection, Pipe


def over_socket(kind):
    return [kind(end.detach()) for end in socket.socketpair()]


def outcome(function):
    """What it returns; of an error the kind and text."""
    try:
        return function()
    except Exception as error:
        return type(error).__name__, str(error)


def echo(sender, receiver, *what):
    sender.send_bytes(*what)
    return receiver.recv_bytes()


def into(sender, receiver, buffer, offset=0):
    sender.send_bytes(b"abcd")
    return outcome(lambda: receiver.recv_bytes_into(buffer, offset)), bytes(buffer)


def receive(sender, receiver, limit):
    sender.send_bytes(b"abc")
    first = outcome(lambda: receiver.recv_bytes(limit))
    return first, receiver.closed, receiver.readable


def after_close(name, *arguments):
    def use(ours, _):
        ours.close()
        return getattr(ours, name)(*arguments)

    return use


def look_at_the_end(ours, theirs):
    theirs.send(1)
    theirs.close()
    return [ours.poll(), ours.recv(), ours.poll(), outcome(ours.recv), outcome(ours.recv_bytes), ours.poll(None)]


def write_to_nobody(ours, theirs):
    theirs.close()
    return ours.send_bytes(b"x")


CASES = {
    "all": lambda a, b: echo(a, b, b"abc"),
    "from the end": lambda a, b: echo(a, b, b"abc", 3),
    "a part": lambda a, b: echo(a, b, b"abcdef", 2, 3),
    "a part of words": lambda a, b: echo(a, b, array.array("i", [1, 2, 3]), 4, 4),
    "negative offset": lambda a, b: a.send_bytes(b"abc", -1),
    "large offset": lambda a, b: a.send_bytes(b"abc", 4),
    "negative size": lambda a, b: a.send_bytes(b"abc", 1, -1),
    "large size": lambda a, b: a.send_bytes(b"abc", 1, 3),
    "text": lambda a, b: a.send_bytes("abc"),
    "no buffer": lambda a, b: a.send_bytes(None),
    "limit": lambda a, b: receive(b, a, 3),
    "limit passed": lambda a, b: receive(b, a, 2),
    "limit of nothing": lambda a, b: receive(b, a, 0),
    "negative limit": lambda a, b: receive(b, a, -1),
    "into": lambda a, b: into(b, a, bytearray(6), 2),
    "into one too small": lambda a, b: into(b, a, bytearray(2)),
    "into one with too little left": lambda a, b: into(b, a, bytearray(5), 3),
    "into, negative offset": lambda a, b: into(b, a, bytearray(5), -1),
    "into, large offset": lambda a, b: into(b, a, bytearray(5), 6),
    "into words": lambda a, b: into(b, a, array.array("h", [0, 0, 0]), 2),
    "into no buffer": lambda a, b: a.recv_bytes_into(5),
    "poll of nothing": lambda a, b: [a.poll(), a.poll(0), a.poll(-1), a.poll(0.001)],
    "poll at the end": look_at_the_end,
    "nobody reads": write_to_nobody,
    "closed, send": after_close("send", 1),
    "closed, send_bytes": after_close("send_bytes", None),
    "closed, recv": after_close("recv"),
    "closed, recv_bytes": after_close("recv_bytes", -1),
    "closed, recv_bytes_into": after_close("recv_bytes_into", 5),
    "closed, poll": after_close("poll"),
    "closed, fileno": after_close("fileno"),
    "closed, close": after_close("close"),
    "with": lambda a, b: [a.__enter__() is a, a.__exit__(None, None, None), a.closed, a.readable, a.writable],
}


def is_alike(ours, stock):
    """The same; texts, of errors, may go on after the standard library's words."""
    if isinstance(stock, str) and isinstance(ours, str):
        return ours.startswith(stock)
    if isinstance(stock, (list, tuple)):
        return type(ours) is type(stock) and len(ours) == len(stock) and all(map(is_alike, ours, stock))
    return type(ours) is type(stock) and ours == stock


@pytest.mark.parametrize("make", [lambda: over_socket(Connection), Pipe], ids=["socket", "pipe"])
@pytest.mark.parametrize("case", CASES)
def test_an_edge_is_where_the_standard_library_has_it(case, make):
    found = []
    for pair in (make(), over_socket(StockConnection)):
        found.append(outcome(lambda: CASES[case](*pair)))  # noqa: B023
        for end in pair:
            end.close()
    assert is_alike(*found), f"procession: {found[0]!r}, the standard library: {found[1]!r}"


@pytest.mark.parametrize("name", ["send", "send_bytes", "recv", "recv_bytes", "recv_bytes_into", "poll"])
def test_an_end_of_one_direction_says_so_in_the_standard_librarys_words(name):
    found = []
    for kind in (Connection, StockConnection):
        reader, writer = os.pipe()
        with kind(reader, writable=False) as receiver, kind(writer, readable=False) as sender:
            end = receiver if name.startswith("send") else sender
            found.append(outcome(lambda: getattr(end, name)(*([] if name in ("recv", "poll") else [b"abc"]))))  # noqa: B023
    assert found[0] == found[1]
