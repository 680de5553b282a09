"""Connections between threads: the standard library's ``multiprocessing.dummy.connection``.

The address of a Listener is the queue at which it waits.  Objects come out of a connection as they went in.  close() does
nothing: in a program written for processes each side closes its copy of the other's end, and here there is only one.
"""

from __future__ import annotations

from queue import Queue
from typing import Any

__all__ = ["Client", "Listener", "Pipe"]

families = [None]


class Connection:
    """One end of a pipe."""

    def __init__(self, _in: Queue[Any], _out: Queue[Any]) -> None:
        self._in = _in
        self._out = _out
        self.send = self.send_bytes = _out.put
        self.recv = self.recv_bytes = _in.get

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Whether there is something to receive, waiting for it up to `timeout` seconds; None is for ever."""
        waiting = self._in
        with waiting.not_empty:
            return waiting.not_empty.wait_for(lambda: bool(waiting.queue), timeout)

    def close(self) -> None:
        """Nothing."""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *error: object) -> None:
        pass


class Listener:
    """Where Clients connect."""

    def __init__(self, address: object = None, family: object = None, backlog: int = 1) -> None:
        self._backlog_queue: Queue[Any] | None = Queue(backlog)

    def accept(self) -> Connection:
        """The next client's connection.

        Raises:
            OSError: the listener is closed.
        """
        if self._backlog_queue is None:
            raise OSError("listener is closed")
        return Connection(*self._backlog_queue.get())

    @property
    def address(self) -> Queue[Any] | None:
        """What a Client needs to connect; None when closed."""
        return self._backlog_queue

    def close(self) -> None:
        """Take no more clients."""
        self._backlog_queue = None

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def Client(address: Queue[Any]) -> Connection:
    """Connect to a listener."""
    ours, theirs = Pipe()
    address.put((theirs._in, theirs._out))
    return ours


def Pipe(duplex: bool = True) -> tuple[Connection, Connection]:
    """Two connected ends; both send and receive, whatever `duplex` says."""
    one: Queue[Any] = Queue()
    other: Queue[Any] = Queue()
    return Connection(one, other), Connection(other, one)
