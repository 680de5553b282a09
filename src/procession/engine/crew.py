"""The workers of a pool, processes or threads: starting them, seeing what they do and which have ended, ending one or all.

To end a worker is a soft signal, and a grace later a hard one, for the worker and for all that it has started.
"""

from __future__ import annotations

from collections.abc import Callable

from procession import _core, _os
from procession.engine import wire
from procession.engine.clock import FOREVER, clock_ns, deadline_after
from procession.engine.records import Record
from procession.engine.scheduler import ANY_ITEM, NOT_RUNNING, TaskSeen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol
else:
    Protocol = object

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
    def kill(self) -> None: ...
    def dismiss(self) -> None: ...


class _Handle(Protocol):
    """A worker's process, as the door that starts it makes it."""

    @property
    def _child(self) -> Member | None: ...
    def is_alive(self) -> bool: ...


class Exit(Record):
    """How a worker ended: see scheduler.WorkerExited for the claim."""

    worker: int
    pid: int
    exitcode: int
    claim: tuple[int, int, int, int]
    head: int


class _Condemned:
    """A worker that is being ended for one item; its descendants are known by then, because it may end before them."""

    __slots__ = ("descendants", "item", "kill_at", "position")

    def __init__(self, position: int, item: int, kill_at: int, descendants: list[Any]) -> None:
        self.position = position
        self.item = item
        self.kill_at = kill_at
        self.descendants = descendants


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
        self._condemned: dict[int, _Condemned] = {}
        self._to_end: list[Any] = []  # what workers had started when they were asked to end: they may end before it
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
        self._let_go(identity)
        condemned = self._condemned.pop(identity, None)
        if condemned is not None and condemned.descendants:
            _os.kill(condemned.descendants)
        return Exit(identity, child.pid, exitcode, child.claim, child.head)

    def _let_go(self, identity: int) -> None:
        self._children.pop(identity, None)
        handle = self.handles.pop(identity, None)
        if handle is not None:
            handle.is_alive()  # the door that made it lets go of it, too, and so of its descriptor

    def share_among(self, workers: int) -> None:
        """How many of them the next one that starts shares the work with."""
        self._spec = self._spec.replace(share=workers)

    # ---- one of them ----

    @property
    def identities(self) -> list[int]:
        """Of all of them, by which others name them."""
        return list(self._children)

    def tasks_seen(self) -> list[TaskSeen]:
        """What each process of them is at."""
        now = clock_ns()
        seen: list[TaskSeen] = []
        for identity, child in self._children.items():
            if child.pid:
                position, item, began = _core.process_task(identity)
                if position < NOT_RUNNING - 1:
                    seen.append(TaskSeen(identity, position, item, now - began))
        return seen

    def claim_of(self, identity: int) -> tuple[int, int, int, int]:
        """What a process that lives has claimed; a moment old."""
        return _core.process_claim(identity) if self._children[identity].pid else (0, 0, NOT_RUNNING, 0)

    def dismiss(self, identity: int) -> None:
        """Have it leave in order."""
        child = self._children.get(identity)
        if child is not None:
            child.dismiss()

    def condemn(self, identity: int, position: int, item: int, grace: float) -> None:
        """End a worker, unless it has gone on to another item when the signals reach it."""
        child = self._children.get(identity)
        if child is None or not child.pid:
            return
        self._condemned[identity] = _Condemned(position, item, deadline_after(grace), _os.descendants(child.pid))
        _core.process_condemn(identity, position, item)
        child.send_signal(_SIGTERM)

    def spare(self, identity: int) -> None:
        """It has gone on."""
        # Its slot keeps the item's name: the soft signal may be still on its way, and must find that it is not for the next.
        self._condemned.pop(identity, None)

    def end_late(self) -> None:
        """Kill those that have not minded the soft signal."""
        now = clock_ns()
        for identity, condemned in self._condemned.items():
            if now < condemned.kill_at:
                continue
            position, item, _ = _core.process_task(identity)
            if position == condemned.position and condemned.item in (item, ANY_ITEM):
                self._children[identity].kill()

    # ---- all of them ----

    def send_signal(self, number: int) -> None:
        """To all of them."""
        for child in tuple(self._children.values()):
            child.send_signal(number)

    def end(self, grace: float | None) -> None:
        """Wait until all have ended; kill those that have not after `grace` seconds, with their descendants."""
        deadline = deadline_after(grace)
        for identity, child in tuple(self._children.items()):
            if child.wait(deadline) is None:
                child.kill()
                child.wait()
            self._let_go(identity)
        descendants, self._to_end = self._to_end, []
        if descendants:
            _os.kill(descendants)

    def terminate(self) -> None:
        """Ask all of them to end."""
        for condemned in self._condemned.values():
            self._to_end += condemned.descendants
        self._condemned.clear()
        for identity, child in self._children.items():
            if child.pid:
                self._to_end += _os.descendants(child.pid)
                _core.process_condemn(identity, NOT_RUNNING, 0)  # from now on the soft signal is for whatever runs
        self.send_signal(_SIGTERM)

    def kill(self) -> None:
        """End all of them."""
        self.send_signal(_SIGKILL)

    def forget(self) -> None:
        """In a forked child: they are the parent's."""
        self._children.clear()
        self._condemned.clear()
        self._to_end.clear()
        self.handles.clear()
