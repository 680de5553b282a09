"""Lanes: the calls of a manager's clients that are of its own program, through the arena's channels.

All clients put their requests into one channel, and each of their threads has one of its own for the answers: its *lane*.
The server's desk takes the requests.  What can be done at once it answers itself (see `quick`); for the rest each lane has a
thread there, from its first such call on.

    is killed                       | what becomes of it
    a client, whatever it is doing  | its lifeline ends: its lanes are closed, and an answer that it has not taken is taken back
    the server                      | who waits for an answer looks every now and then whether it lives, soon at first
"""

from __future__ import annotations

import itertools
import os
import queue
import threading
from collections.abc import Callable
from typing import Any

from procession import util
from procession._core import STOP_TAG, Block, Channel, Desk, Lane, LaneEnd, block_open, channel_of, process_identity
from procession.engine import codec, memory
from procession.errors import Closed, OutOfMemory, SharedObjectGone
from procession.managers import callers, contents
from procession.managers.callers import Caller, Member
from procession.managers.entries import Session
from procession.managers.messages import encode_whole

__all__ = ["ClientLane", "Entrance", "Lanes", "ServerLane", "Sign"]

_Handle = tuple[int, int]
Sign = tuple[_Handle, bytes, _Handle, int] | None


class Entrance:
    """Where a server takes requests, for a client that is of its program.

    Attributes:
        requests: the channel that they go into.
        server: the server's process.
    """

    def __init__(self, requests: Channel, server: int) -> None:
        self.requests, self.server = requests, server

    def stop(self) -> None:
        """Have the server end, if it has not; does not wait for it."""
        try:
            self.requests.put(b"", tag=STOP_TAG)
        except Closed:
            pass

    @classmethod
    def find(cls, sign: Sign) -> Entrance | None:
        """The entrance that a server has told of with `Lanes.sign`; None if this process is of another program."""
        if sign is None:
            return None
        proof, secret, requests, server = sign
        try:
            if bytes(memoryview(block_open(*proof))[: len(secret)]) != secret:
                return None
            return cls(channel_of(block_open(*requests)), server)
        except SharedObjectGone:
            return None


class ClientLane(Lane):
    """A lane of a thread of this process."""

    _pid: int

    @classmethod
    def open(cls, entrance: Entrance, announce: Callable[[_Handle], int]) -> ClientLane:
        """A new lane, of which the server is told by ``announce(its channel)``, which gives its number."""
        answers = memory.channel()
        number = announce(_handle(answers.block))
        lane = cls(entrance.requests, answers, number, entrance.server)
        lane._pid = os.getpid()
        return lane

    def _encode(self, request: Any) -> Any:
        return encode_whole(request)

    def _decode(self, payload: Any) -> Any:
        return codec.decode(payload)

    def close(self) -> None:
        """No more calls."""
        self.end()

    def disown(self) -> None:
        """In a forked child: it is the parent's."""
        self._pid = 0

    def __del__(self) -> None:
        # A child's copy goes before the child has run anything.
        if self._pid == os.getpid():
            try:
                self.end()
            except OutOfMemory:
                pass


class ServerLane(LaneEnd, Session):
    """The server's end of a lane."""

    def __init__(self, answers: Channel, number: int, member: Member, key: Any) -> None:
        Session.__init__(self)
        self.member, self.is_stock, self.is_served = member, False, True
        self.caller = Caller(lambda: answers.is_closed, member, key)
        self.jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.has_thread = False

    def encode(self, words: Any, answer: Any) -> Any:
        """What `transmit` takes."""
        return encode_whole(answer)

    def transmit(self, encoded: Any) -> None:
        """Send an answer."""
        try:
            self.answers.put(encoded)
        except Closed:
            raise BrokenPipeError("the client is gone") from None


class Lanes:
    """All lanes of a server.

    Args:
        entries: its objects, by ident.
        work: does for a lane what the desk cannot: ``work(lane, request, answer)``, see Desk.serve().
        end: has the server end.
    """

    def __init__(
        self, entries: dict[str, Any], work: Callable[[ServerLane, Any, Any], None], end: Callable[[], object]
    ) -> None:
        self._work, self._end = work, end
        self._lanes: dict[int, ServerLane] = {}
        self._numbers = itertools.count(1)
        self._desk = Desk(memory.channel(), self._lanes, entries, callers.serve_as)
        self._secret = os.urandom(16)
        self._proof = memory.new_block(len(self._secret))
        self._proof.fill(self._secret)
        self.sign = (_handle(self._proof), self._secret, _handle(self._desk.requests.block), process_identity())

    def open(self, member: Member, thread: int, answers: _Handle) -> int:
        """A client has a new lane: its number."""
        number = next(self._numbers)
        lane = ServerLane(channel_of(block_open(*answers)), number, member, (member.name, thread))
        member.lanes[number] = lane
        self._lanes[number] = lane
        return number

    def close(self, member: Member, number: int, *, is_lost: bool = False) -> None:
        """A lane is not used any more; what its client has not taken, or lost, is taken back."""
        lane = self._lanes.pop(number, None)
        member.lanes.pop(number, None)
        if lane is None:
            return
        lane.answers.close()  # from here on nothing gets into it: who tries takes it back himself
        last, lane.last = lane.last, None
        if last is not None and (is_lost or len(lane.answers)):
            entry, method, result = last
            contents.take_back(entry.obj, method, result)
        lane.jobs.put(None)

    def start(self) -> None:
        """Begin to serve."""
        threading.Thread(target=self._serve, name="procession-desk", daemon=True).start()

    def stop(self) -> None:
        """Whoever waits for an answer is told that there will be none."""
        self._desk.requests.close()
        for lane in list(self._lanes.values()):
            lane.answers.close()

    def _serve(self) -> None:
        while True:
            try:
                others = self._desk.serve()
            except Closed:
                return
            for lane, request, answer in others:
                if lane is None:
                    self._end()
                elif request == b"":
                    self.close(lane.member, lane.number, is_lost=answer)
                elif request is not None and answer is not None and lane.answers.is_closed:
                    entry, method = request  # nobody waits for its answer any more
                    contents.take_back(entry.obj, method, answer[1])
                else:
                    self._pass_on(lane, request, answer)

    def _pass_on(self, lane: ServerLane, request: Any, answer: Any) -> None:
        lane.jobs.put((request, answer))
        if lane.has_thread:
            return
        try:
            threading.Thread(target=self._serve_lane, args=(lane,), name="procession-client", daemon=True).start()
            lane.has_thread = True
        except RuntimeError as error:
            util.info("a call could not be answered: %s", error)
            lane.answers.close()

    def _serve_lane(self, lane: ServerLane) -> None:
        callers.serve_as(lane.caller)
        while True:
            job = lane.jobs.get()
            if job is None:
                return
            try:
                self._work(lane, *job)
            except (OSError, callers.CallerGone):
                pass  # the client is gone
            except Exception as error:
                util.info("a call could not be answered: %s", error)
                lane.answers.close()
            del job


def _handle(block: Block) -> _Handle:
    return block.offset, block.generation
