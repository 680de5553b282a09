"""Queues: the time of one small object from producers to consumers that are processes of their own.

    parent      gate open . . . . . . . . . . . . all consumers done
    producer    ready | put put put put ...       exit
    consumer    ready | get get get get get ... | done

The clock runs from the moment when all are ready until the last consumer has its share.  The gate is a plain socket:
nothing of either side takes part in the start and the end.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from itertools import cycle, islice
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

from .measure import US_PER_ITEM, Measure, Setting

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

Address: TypeAlias = tuple[str, int]
Item: TypeAlias = int | dict[str, Any]

READY_LIMIT_S = 20
PRODUCER = b"p"
CONSUMER = b"c"
GO = b"g"
DONE = b"d"
WRONG = b"w"


def pass_gate(address: Address, role: bytes) -> socket.socket:
    """Say that this process is ready and wait until all are."""
    gate = socket.create_connection(address)
    gate.sendall(role)
    if gate.recv(1) != GO:
        raise ConnectionError("the gate closed before it opened: another process of this measurement failed")
    return gate


def make_items(kind: str, count: int) -> Iterable[Item]:
    """What a producer puts: ints, or dicts made beforehand, so that their making is not measured."""
    if kind == "int":
        return range(count)
    dicts: list[Item] = [{"id": number, "name": "item", "size": 1.5} for number in range(1000)]
    return islice(cycle(dicts), count)


def produce(queue: Queue[Item], kind: str, count: int, address: Address) -> None:
    """Put `count` items, in a process of its own."""
    items = make_items(kind, count)
    put = queue.put
    with pass_gate(address, PRODUCER):
        for item in items:
            put(item)


def consume(queue: Queue[Item], kind: str, count: int, address: Address) -> None:
    """Get `count` items, in a process of its own."""
    get = queue.get
    with pass_gate(address, CONSUMER) as gate:
        for _ in range(count):
            item = get()
        gate.sendall(DONE if type(item).__name__ == kind else WRONG)


def transfer(setting: Setting, *, kind: str, pairs: int) -> float:
    """The time of one of the items that `pairs` producers send to as many consumers through one queue."""
    context = setting.context
    share = setting.count(200_000) // pairs
    queue: Queue[Item] = context.Queue()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(READY_LIMIT_S)
        address: Address = server.getsockname()[:2]
        processes = [
            context.Process(target=target, args=(queue, kind, share, address), daemon=True)
            for target in (produce, consume)
            for _ in range(pairs)
        ]
        for process in processes:
            process.start()
        gates = [server.accept()[0] for _ in processes]
        consumer_gates = [gate for gate in gates if gate.recv(1) == CONSUMER]
        started = perf_counter()
        for gate in gates:
            gate.sendall(GO)
        answers = [gate.recv(1) for gate in consumer_gates]
        elapsed_s = perf_counter() - started
    if answers != [DONE] * pairs:
        raise ValueError(f"consumers ended with {answers} instead of {DONE!r}: an item was wrong or a consumer died")
    for gate in gates:
        gate.close()
    for process in processes:
        process.join()
    return elapsed_s / (share * pairs)


def one_to_one_ints(setting: Setting) -> float:
    """One producer, one consumer."""
    return transfer(setting, kind="int", pairs=1)


def one_to_one_dicts(setting: Setting) -> float:
    """One producer, one consumer."""
    return transfer(setting, kind="dict", pairs=1)


def two_to_two_ints(setting: Setting) -> float:
    """Two producers, two consumers."""
    return transfer(setting, kind="int", pairs=2)


def two_to_two_dicts(setting: Setting) -> float:
    """Two producers, two consumers."""
    return transfer(setting, kind="dict", pairs=2)


MEASURES = [
    Measure("queues.int_1_1", "Queue, 1 to 1, ints", US_PER_ITEM, one_to_one_ints, goal=5),
    Measure("queues.dict_1_1", "Queue, 1 to 1, small dicts", US_PER_ITEM, one_to_one_dicts, goal=5),
    Measure("queues.int_2_2", "Queue, 2 to 2, ints", US_PER_ITEM, two_to_two_ints, goal=5),
    Measure("queues.dict_2_2", "Queue, 2 to 2, small dicts", US_PER_ITEM, two_to_two_dicts, goal=5),
]
