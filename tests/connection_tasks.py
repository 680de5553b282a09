"""What the children of the tests of connections run: importable by name from a fresh interpreter."""

from __future__ import annotations

import os
import random
import socket
import stat
from collections.abc import Iterable
from typing import Any

from procession.connection import Connection

END = b"no more"


def pattern(who: int, number: int, size: int) -> bytes:
    """A message that says by itself whether it is whole."""
    head = b"%d %d %d " % (who, number, size)
    return head + bytes([(who * 31 + number) % 256]) * max(0, size - len(head))


def is_whole(message: bytes) -> bool:
    who, number, size, _ = message.split(b" ", 3)
    return message == pattern(int(who), int(number), int(size))


def echo(conn: Connection) -> None:
    """Send back what comes before END."""
    for message in iter(conn.recv_bytes, END):
        conn.send_bytes(message)


def write_patterns(conn: Connection, who: int, count: int, largest: int) -> None:
    chance = random.Random(who)
    for number in range(count):
        conn.send_bytes(pattern(who, number, int(largest ** chance.random())))


def write_patterns_for_ever(conn: Connection, who: int, size: int) -> None:
    number = 0
    while True:
        conn.send_bytes(pattern(who, number, size))
        number += 1


def read_patterns(conn: Connection, report: Any) -> None:
    """Report (who, number) of each message, None for a torn one, until an empty message comes."""
    seen: list[tuple[int, int] | None] = []
    while message := conn.recv_bytes():
        who, number, *_ = message.split(b" ", 3)
        seen.append((int(who), int(number)) if is_whole(message) else None)
    report.put(seen)


def read_for_ever(conn: Connection) -> None:
    while True:
        conn.recv_bytes()


def say(conn: Connection, what: Any) -> None:
    conn.send(what)
    conn.close()


def say_over_socket(sock: socket.socket, what: bytes) -> None:
    sock.sendall(what)
    sock.close()


def say_by_number(conns: Iterable[Connection]) -> None:
    for number, conn in enumerate(conns):
        conn.send(number)
        conn.close()


def send_over(conn: Connection, thing: Any) -> None:
    """Send `thing` and wait until the other side has said that it came."""
    conn.send(thing)
    conn.recv()


def put_and_wait(queue: Any, thing: Any, conn: Connection) -> None:
    queue.put(thing)
    try:
        conn.recv()
    except EOFError:
        pass


def pipe_to(queue: Any, conn: Connection) -> None:
    """Put the one end of a new pipe, and say hello through the other."""
    from procession import Pipe

    ours, theirs = Pipe()
    queue.put(theirs)
    theirs.close()
    ours.send("hello")
    assert ours.recv() == "hello yourself"
    conn.send("done")


def open_sockets(conn: Connection) -> None:
    """Send how many sockets this process has."""
    names = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if stat.S_ISSOCK(os.stat(f"/proc/self/fd/{name}").st_mode):
                names.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            pass
    conn.send(len(names))


def talk(conn: Connection) -> str:
    """Of a pool's worker: ask, and give the answer."""
    conn.send(os.getpid())
    answer: str = conn.recv()
    return answer


def receive_from(conns: list[Connection]) -> list[Any]:
    return [conn.recv() for conn in conns]


def new_pipe_with(what: Any) -> Connection:
    """Of a pool's worker: an end of a pipe in which `what` lies."""
    from procession import Pipe

    reader, writer = Pipe(duplex=False)
    writer.send(what)
    return reader
