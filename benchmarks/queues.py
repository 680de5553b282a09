"""Queues: the time of one small object from producers to consumers that are processes of their own, and of a round trip."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, TypeAlias

from .gate import DONE, HELPER, WAITED_FOR, WRONG, Address, pass_gate, seconds_together
from .measure import (
    MODULES,
    OURS,
    US_PER_ITEM,
    US_PER_MESSAGE,
    Goal,
    Measure,
    Setting,
    Side,
    Skipped,
    expect,
    one_busy_process,
    seconds_per_item,
)

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

Item: TypeAlias = int | dict[str, Any]

AT_ONCE = 1000
"""Items that a producer gives to one put_many."""

STOP = b""


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
    with pass_gate(address, HELPER):
        for item in items:
            put(item)


def consume(queue: Queue[Item], kind: str, count: int, address: Address) -> None:
    """Get `count` items, in a process of its own."""
    get = queue.get
    with pass_gate(address, WAITED_FOR) as gate:
        for _ in range(count):
            item = get()
        gate.sendall(DONE if type(item).__name__ == kind else WRONG)


def produce_many(queue: Any, kind: str, count: int, address: Address) -> None:
    """As `produce`, many at a time."""
    items = list(make_items(kind, AT_ONCE))
    with pass_gate(address, HELPER):
        for _ in range(count // AT_ONCE):
            queue.put_many(items)


def consume_many(queue: Any, kind: str, count: int, address: Address) -> None:
    """As `consume`, as many at a time as there are."""
    left = count // AT_ONCE * AT_ONCE
    with pass_gate(address, WAITED_FOR) as gate:
        while left > 0:
            items = queue.get_many()
            left -= len(items)
        gate.sendall(DONE if left == 0 and type(items[-1]).__name__ == kind else WRONG)


def transfer(setting: Setting, *, kind: str, pairs: int) -> float:
    """The time of one of the items that `pairs` producers send to as many consumers through one queue."""
    share = setting.count(200_000) // pairs
    queue = MAKERS[setting.side](setting)
    works = [(role, (queue, kind, share)) for role in (produce, consume) for _ in range(pairs)]
    return seconds_together(setting.context, works) / (share * pairs)


def transfer_many(setting: Setting, *, kind: str) -> float:
    """As `transfer` from one to one, by put_many and get_many."""
    count = setting.count(2_000_000, least=200_000)
    count = max(count, AT_ONCE)
    queue = MAKERS[setting.side](setting)
    if not hasattr(queue, "put_many"):
        raise Skipped("its Queue has no put_many")
    works = [(produce_many, (queue, kind, count)), (consume_many, (queue, kind, count))]
    return seconds_together(setting.context, works) / count


def answer(receive: Callable[[], bytes], send: Callable[[bytes], object], before: Callable[[], object]) -> None:
    """Send back what comes."""
    before()
    while (message := receive()) != STOP:
        send(message)


def answer_queue(there: Queue[bytes], back: Queue[bytes]) -> None:
    """The other side of a round trip through two queues."""
    answer(there.get, back.put, lambda: None)


def answer_pipe(there: Any, back: Any, *unneeded: Any) -> None:
    """The other side of a round trip through two one-way pipes."""
    answer(there.recv, back.send, lambda: [end.close() for end in unneeded])


def round_trip(setting: Setting) -> float:
    """One object there and back between two processes, again and again."""
    context = setting.context
    if setting.side == "stdlib Pipe":
        there_out, there_in = context.Pipe(duplex=False)
        back_out, back_in = context.Pipe(duplex=False)
        send, receive = there_in.send, back_out.recv
        process = context.Process(target=answer_pipe, args=(there_out, back_in, there_in, back_out), daemon=True)
    else:
        there, back = MAKERS[setting.side](setting), MAKERS[setting.side](setting)
        send, receive = there.put, back.get
        process = context.Process(target=answer_queue, args=(there, back), daemon=True)
    process.start()
    calls = setting.count(500, least=500)

    def ping() -> None:
        for number in range(calls):
            send(number)
            receive()

    send(7)
    expect(receive() == 7, "another object came back than was sent")
    ping()
    trip_s = seconds_per_item(ping, items=calls, least_s=setting.seconds(0.4))
    send(STOP)
    process.join()
    return trip_s


def round_trip_beside_a_busy_process(setting: Setting) -> float:
    """As `round_trip`."""
    with one_busy_process():
        return round_trip(setting)


def faster_fifo(_: Setting) -> Any:
    """Its queue has a size in bytes, a megabyte unless told."""
    from faster_fifo import Queue

    return Queue()


MAKERS: dict[str, Callable[[Setting], Any]] = {
    **dict.fromkeys(MODULES, lambda setting: setting.context.Queue()),
    "stdlib Queue": lambda setting: setting.context.Queue(),
    "stdlib SimpleQueue": lambda setting: setting.context.SimpleQueue(),
    "faster-fifo": faster_fifo,
}
BEST = ("stdlib Queue", "stdlib SimpleQueue", "faster-fifo")
FASTEST_ROUND = ("stdlib Pipe", "stdlib SimpleQueue")


def sides(run: Callable[[Setting], float], *names: str) -> dict[str, Side]:
    """Processes of all sides come from the module that the name begins with; of the standard library, if from none."""
    return {name: Side(run, MODULES.get(name.split()[0])) for name in names}


def rows(name: str, work: str, figure: float, *, kind: str) -> list[Measure]:
    """From one to one and from two to two."""
    return [
        Measure(
            f"queues.{name}_{pairs}_{pairs}",
            f"Queue, {pairs} to {pairs}, {work}",
            US_PER_ITEM,
            sides(partial(transfer, kind=kind, pairs=pairs), OURS, *BEST, "billiard", "multiprocess"),
            [Goal(figure, BEST)],
        )
        for pairs in (1, 2)
    ]


MEASURES = [
    *rows("int", "ints", 8, kind="int"),
    *rows("dict", "small dicts", 6, kind="dict"),
    *(
        Measure(
            f"queues.many_{kind}",
            f"put_many and get_many, 1 to 1, {work}",
            US_PER_ITEM,
            sides(partial(transfer_many, kind=kind), OURS, "faster-fifo"),
            [Goal(8, ("faster-fifo",))],
        )
        for kind, work in (("int", "ints"), ("dict", "small dicts"))
    ),
    Measure(
        "queues.round_trip",
        "Queue, round trip",
        US_PER_MESSAGE,
        sides(round_trip, OURS, *FASTEST_ROUND, "stdlib Queue", "faster-fifo", "billiard", "multiprocess"),
        [Goal(3, FASTEST_ROUND)],
    ),
    Measure(
        "queues.round_trip_busy",
        "Queue, round trip, one busy process",
        US_PER_MESSAGE,
        sides(round_trip_beside_a_busy_process, OURS, *FASTEST_ROUND, "stdlib Queue", "faster-fifo"),
        [Goal(2, FASTEST_ROUND)],
    ),
]
