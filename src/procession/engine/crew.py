"""The workers of a pool, processes or threads: starting them, seeing which have ended, ending them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from procession import _core, _os
from procession.engine import wire
from procession.engine.clock import FOREVER, deadline_after

__all__ = ["Crew", "Exit", "Member"]

_SIGTERM, _SIGKILL = 15, 9


class Member(Protocol):
    """A worker, as the crew sees it: a children.Child, or a thread that looks like one.

    Attributes:
        pid: 0 for a thread.
        sentinel: -1 if there is nothing to wait for; then it is polled.
    """

    pid: int
    identity: int
    sentinel: int
    tasks: Any

    @property
    def claim(self) -> tuple[int, int, int, int]: ...
    @property
    def head(self) -> int: ...

    def poll(self) -> int | None: ...
    def wait(self, deadline: int = FOREVER) -> int | None: ...
    def send_signal(self, number: int) -> None: ...


class _Handle(Protocol):
    """A worker's process, as the door that starts it makes it."""

    @property
    def _child(self) -> Member | None: ...


class Exit(NamedTuple):
    """How a worker ended: see scheduler.WorkerExited for the claim."""

    worker: int
    pid: int
    exitcode: int
    claim: tuple[int, int, int, int]
    head: int


class Crew:
    """The workers that are there.

    Args:
        start: starts a worker that runs ``worker.loop.main(spec)``; with True it is not to print why it cannot begin.
    """

    def __init__(self, start: Callable[[wire.RunnerSpec, bool], _Handle], spec: wire.RunnerSpec) -> None:
        self._start = start
        self._spec = spec
        self._children: dict[int, Member] = {}
        self._has_started = False
        self.handles: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._children)

    def start(self) -> int:
        """Start a worker; its identity."""
        # What keeps one from beginning keeps all of them: the first tells.
        handle = self._start(self._spec, self._has_started)
        self._has_started = True
        child = handle._child
        assert child is not None
        child.tasks = self._spec.tasks
        self.handles[child.identity] = handle
        self._children[child.identity] = child
        return child.identity

    def ended(self) -> list[int]:
        """Workers that have ended and were not collected yet; what they have sent can still be read."""
        sentinels: dict[int, int] = {}
        gone: list[int] = []
        for identity, child in self._children.items():
            if child.sentinel >= 0:
                sentinels[child.sentinel] = identity
            elif child.poll() is not None:
                gone.append(identity)
        if not sentinels:
            return gone
        return gone + [sentinels[sentinel] for sentinel in _os.wait_readable(list(sentinels), 0)]

    def collect(self, identity: int) -> Exit | None:
        """How a worker ended; it is in the crew no more.  What it held is free from then on."""
        child = self._children.get(identity)
        if child is None:
            return None
        exitcode = child.poll()
        if exitcode is None:
            return None
        del self._children[identity], self.handles[identity]
        return Exit(identity, child.pid, exitcode, child.claim, child.head)

    def send_signal(self, number: int) -> None:
        """To all of them."""
        for child in tuple(self._children.values()):
            child.send_signal(number)

    def end(self, grace: float | None) -> None:
        """Wait until all have ended; kill those that have not after `grace` seconds, with their descendants."""
        deadline = deadline_after(grace)
        for identity, child in tuple(self._children.items()):
            if child.wait(deadline) is None:
                if child.pid:
                    _core.kill_descendants(child.pid)
                child.send_signal(_SIGKILL)
                child.wait()
            self._children.pop(identity, None)
            self.handles.pop(identity, None)

    def terminate(self) -> None:
        """Ask all of them to end."""
        self.send_signal(_SIGTERM)

    def kill(self) -> None:
        """End all of them."""
        self.send_signal(_SIGKILL)

    def forget(self) -> None:
        """In a forked child: they are the parent's."""
        self._children.clear()
        self.handles.clear()
