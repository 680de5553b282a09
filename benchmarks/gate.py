"""Several processes that start their work at one moment, timed from outside.

    parent      gate open . . . . . . . . . . . . all consumers done
    producer    ready | put put put put ...       exit
    consumer    ready | get get get get ... | done

The clock runs from the moment when all are ready until the last that is waited for has its share.  The gate is a plain
socket: nothing of any side takes part in the start and the end.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from .measure import Context

Address: TypeAlias = tuple[str, int]

READY_LIMIT_S = 20
HELPER = b"h"
WAITED_FOR = b"w"
GO = b"g"
DONE = b"d"
WRONG = b"x"


def pass_gate(address: Address, role: bytes) -> socket.socket:
    """Say that this process is ready and wait until all are."""
    gate = socket.create_connection(address)
    gate.sendall(role)
    if gate.recv(1) != GO:
        raise ConnectionError("the gate closed before it opened: another process of this measurement failed")
    return gate


def seconds_together(context: Context, works: Sequence[tuple[Callable[..., None], tuple[Any, ...]]]) -> float:
    """Start a process for each function; the time from the common start until all that are waited for say DONE.

    Each is called with its arguments and the gate's address.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(READY_LIMIT_S)
        address: Address = server.getsockname()[:2]
        processes = [
            context.Process(target=target, args=(*arguments, address), daemon=True) for target, arguments in works
        ]
        for process in processes:
            process.start()
        gates = [server.accept()[0] for _ in processes]
        waited_for = [gate for gate in gates if gate.recv(1) == WAITED_FOR]
        started = perf_counter()
        for gate in gates:
            gate.sendall(GO)
        answers = [gate.recv(1) for gate in waited_for]
        elapsed_s = perf_counter() - started
    if answers != [DONE] * len(waited_for):
        raise ValueError(f"processes ended with {answers} instead of {DONE!r}: an item was wrong, or one died")
    for gate in gates:
        gate.close()
    for process in processes:
        process.join()
    return elapsed_s
