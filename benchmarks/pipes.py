"""Pipes: bytes from this process to another, one way until all have arrived, and there and back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from .measure import US_PER_MESSAGE, Goal, Measure, Setting, expect, like_multiprocessing, seconds_per_item

STOP = b"stop"
SYNC = b"sync"


def drain(end: Any, other: Any) -> None:
    """Receive everything; answer only where the sender asks whether all has arrived."""
    other.close()
    receive = end.recv_bytes
    while (message := receive()) != STOP:
        if message == SYNC:
            end.send_bytes(SYNC)


def echo(end: Any, other: Any) -> None:
    """Send everything back."""
    other.close()
    receive, send = end.recv_bytes, end.send_bytes
    while (message := receive()) != STOP:
        send(message)


def echo_objects(end: Any, other: Any) -> None:
    """As `echo`, pickled."""
    other.close()
    receive, send = end.recv, end.send
    while (message := receive()) != STOP:
        send(message)


def one_way(setting: Setting, *, size: int, count: int) -> float:
    """The time of one of `count` messages, until all have been received."""
    count = setting.count(count)
    message = b"m" * size
    here, there = setting.context.Pipe()
    process = setting.context.Process(target=drain, args=(there, here), daemon=True)
    process.start()
    there.close()
    send = here.send_bytes

    def send_all() -> None:
        for _ in range(count):
            send(message)
        send(SYNC)
        expect(here.recv_bytes() == SYNC, "the pipe gave back something else than the receiver sent")

    send_all()
    message_s = seconds_per_item(send_all, items=count, least_s=setting.seconds(0.3))
    send(STOP)
    process.join()
    return message_s


def round_trip(setting: Setting, *, message: Any) -> float:
    """The time of one message there and back."""
    here, there = setting.context.Pipe()
    target: Callable[[Any, Any], None] = echo if isinstance(message, bytes) else echo_objects
    process = setting.context.Process(target=target, args=(there, here), daemon=True)
    process.start()
    there.close()
    send, receive = (here.send_bytes, here.recv_bytes) if isinstance(message, bytes) else (here.send, here.recv)
    calls = setting.count(500, least=500)

    def ping() -> None:
        for _ in range(calls):
            send(message)
            receive()

    send(message)
    expect(receive() == message, "another message came back than was sent")
    ping()
    trip_s = seconds_per_item(ping, items=calls, least_s=setting.seconds(0.4))
    send(STOP)
    process.join()
    return trip_s


def row(name: str, work: str, run: Callable[[Setting], float], figure: float | None) -> Measure:
    """Against the standard library's pipe; the others have the same one."""
    goals = [] if figure is None else [Goal(figure, ("stdlib",))]
    return Measure(f"pipes.{name}", f"Pipe, {work}", US_PER_MESSAGE, like_multiprocessing(run), goals)


MEASURES = [
    row("small", "one way, 100 B", partial(one_way, size=100, count=20_000), 1.5),
    row("large", "one way, 1 MB", partial(one_way, size=1_000_000, count=200), 5),
    row("round_trip", "round trip, 100 B", partial(round_trip, message=b"m" * 100), 1),
    row("objects", "round trip, an int", partial(round_trip, message=7), None),
]
