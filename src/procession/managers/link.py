"""A client process and a manager's server: which objects this process refers to, and its connections there.

To a server of procession there is one connection, the lifeline, that tells the server what the process refers to; when it
ends, all is given back, however the process ended.  For calls every thread has a lane if the server is of the same program,
and else a connection of its own.  A server of the standard library is told of each object when it is first referred to and
when it is last.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from procession import listener, util
from procession.engine import lifetime
from procession.errors import SharedObjectGone
from procession.managers.lanes import ClientLane, Entrance
from procession.managers.messages import SERIALIZERS, convert_to_error
from procession.process import current_process

__all__ = ["Link", "forget", "link_to"]

_PATIENCE = 1.0  # seconds in which a server answers a goodbye
_Numbers = list[int]  # proxies here, references there


class _Local(threading.local):
    lane: ClientLane | None = None
    connection: Any = None
    number: int = -1


class _Watch(weakref.ref[Any]):
    """A proxy of this process; tells the link when that is collected."""

    __slots__ = ("ident", "link")
    ident: str
    link: Link


def _collected(watch: Any) -> None:
    link = watch.link
    link._watches.discard(watch)
    link._release(watch.ident)


class Link:
    """This process's side; use `link_to`, there is one for each server."""

    def __init__(self, address: Any, authkey: bytes, serializer: str) -> None:
        self.address = address
        self.authkey = authkey
        self.is_over = False  # the server has ended in order
        self._words = SERIALIZERS[serializer]
        self._held: dict[str, _Numbers] = {}
        self._watches: set[_Watch] = set()
        self._released: deque[str] = deque()
        self._has_travelled: set[str] = set()
        self._reset()
        lifetime.on_fork_in_child(self, Link._forked)
        lifetime.at_exit(self, Link._leave, priority=-5)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._local = _Local()
        self._open: weakref.WeakSet[Any] = weakref.WeakSet()  # connections and lanes
        self._lifeline: Any = None
        self._member = ""
        self._entrance: Entrance | None = None
        self._is_stock = False
        self._serials = itertools.count()
        self._threads = itertools.count()

    # ---- calls ----

    def call(self, ident: str | None, method: str, args: Sequence[Any], kwds: Mapping[str, Any]) -> tuple[str, Any]:
        """Send a request for this thread; the answer's kind and what came with it.

        Raises:
            EOFError, OSError: the server has ended.
        """
        lane = self._local.lane
        try:
            if lane is None or lane.is_over:
                self._ensure_member()
                lane = self._local.lane = self._open_lane()
            if lane is None or lane.is_busy:
                return self._call_connected(ident, method, args, kwds)
            try:
                # A signal's handler may raise once more when this has returned, and from there on not before our caller has it.
                answer = lane.call(ident, method, args, kwds)
            except BaseException:
                lane.lose()
                raise
            lane.is_busy = False
            return answer  # type: ignore[no-any-return]
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            self._hang_up_dead()
            raise type(error)(f"the manager at {self.address!r} has ended") from error

    def _call_connected(
        self, ident: str | None, method: str, args: Sequence[Any], kwds: Mapping[str, Any]
    ) -> tuple[str, Any]:
        """The same over this thread's connection."""
        connection = self._connection()
        data, _keep = self._words.dumps((ident, method, args, kwds))
        try:
            connection.send_bytes(data)
            answer = connection.recv_bytes()
        except BaseException:
            # The answer to this must not be taken for that to another.
            self._local.connection = None
            connection.close()
            raise
        kind, result = self._words.loads(answer)
        return kind, result

    def _open_lane(self) -> ClientLane | None:
        entrance = self._entrance
        if entrance is None:
            return None
        number = self._thread()

        def announce(answers: tuple[int, int]) -> int:
            with self._lock:
                self._join()
                return int(self._say("lane", [number, answers]))

        lane = ClientLane.open(entrance, announce)
        self._open.add(lane)
        return lane

    def _thread(self) -> int:
        """A number for this thread."""
        if self._local.number < 0:
            self._local.number = next(self._threads)
        return self._local.number

    def ask(self, method: str, args: Sequence[Any] = (), kwds: Mapping[str, Any] = {}) -> Any:
        """Call a function of the server itself, over a connection of its own."""
        connection = self._connect()
        try:
            return self._exchange(connection, method, args, kwds)
        finally:
            connection.close()

    def create(self, typeid: str, args: Sequence[Any], kwds: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        """Have the server make an object; its ident and what it exposes.  `settle` must follow."""
        self._ensure_member()
        if self._is_stock:
            ident, exposed = self.ask("create", (typeid, *args), kwds)
        else:
            kind, result = self.call(None, "create", (typeid, *args), kwds)
            if kind != "#RETURN":
                raise convert_to_error(kind, result)
            ident, exposed = result
        self.granted(ident)
        return ident, tuple(exposed)

    def _connect(self) -> Any:
        return listener.Client(self.address, authkey=self.authkey)

    def _exchange(self, connection: Any, method: str, args: Sequence[Any], kwds: Mapping[str, Any]) -> Any:
        data, _keep = self._words.dumps((None, method, args, kwds))
        connection.send_bytes(data)
        kind, result = self._words.loads(connection.recv_bytes())
        if kind != "#RETURN":
            raise convert_to_error(kind, result)
        return result

    def _connection(self) -> Any:
        local = self._local
        if local.connection is not None:
            return local.connection
        self._ensure_member()
        number = self._thread()
        name = f"{current_process().name}|{threading.current_thread().name}"
        connection = self._connect()
        try:
            who = (name,) if self._is_stock else (name, self._member, number)
            self._exchange(connection, "accept_connection", who, {})
        except BaseException:
            connection.close()
            raise
        local.connection = connection
        self._open.add(connection)
        return connection

    # ---- references ----

    def watch(self, proxy: Any, ident: str) -> None:
        """Refer to an object as long as this proxy lives.

        Raises:
            SharedObjectGone: the object is not there any more.
        """
        watch = _Watch(proxy, _collected)
        watch.ident, watch.link = ident, self
        self._hold(ident)
        self._watches.add(watch)

    def granted(self, ident: str) -> None:
        """The server has given this process one reference more."""
        with self._lock:
            self._held.setdefault(ident, [0, 0])[1] += 1

    def settle(self, ident: str) -> None:
        """Give back what was granted if no proxy has come of it."""
        with self._lock:
            self._held.setdefault(ident, [0, 0])[0] += 1
        self._release(ident)

    def travels(self, ident: str) -> None:
        """A proxy for it was pickled: somebody may come to refer to it."""
        self._has_travelled.add(ident)

    def flush(self) -> None:
        """Return when the server knows what this process does not refer to any more."""
        self._drain()
        with self._lock:
            if self._lifeline is not None:
                self._say("sync", [])

    def _hold(self, ident: str) -> None:
        with self._lock:
            self._drain_locked()
            numbers = self._held.setdefault(ident, [0, 0])
            if numbers[1] == 0:
                try:
                    self._join()
                    if self._is_stock:
                        self.ask("incref", (ident,))
                    elif numbers[1] == 0 and self._say("hold", [ident]):  # joining tells of all that are held
                        raise SharedObjectGone(
                            f"object {ident} of the manager at {self.address!r} is gone: nobody has referred to it"
                        )
                except BaseException:
                    if numbers == [0, 0]:
                        del self._held[ident]
                    raise
                numbers[1] = 1
            numbers[0] += 1

    def _release(self, ident: str) -> None:
        """One proxy less.  Called by the collector, so at any place, also within this object's own methods."""
        self._released.append(ident)
        self._drain()

    def _drain(self) -> None:
        while self._released and self._lock.acquire(blocking=False):
            try:
                self._drain_locked()
            finally:
                self._lock.release()

    def _drain_locked(self) -> None:
        given: list[list[Any]] = []
        while self._released:
            ident = self._released.popleft()
            numbers = self._held.get(ident)
            if numbers is None:
                continue
            numbers[0] -= 1
            if numbers[0] > 0:
                continue
            del self._held[ident]
            has_travelled = ident in self._has_travelled
            self._has_travelled.discard(ident)
            if numbers[1]:
                given.append([ident, numbers[1], has_travelled])
        if not given:
            return
        try:
            if self._is_stock:
                for ident, count, _ in given:
                    for _ in range(count):
                        self.ask("decref", (ident,))
            elif self._lifeline is not None:
                self._lifeline.send_bytes(self._words.dumps((next(self._serials), "drop", given))[0])
        except Exception as error:
            util.info("could not give references back to the manager at %r: %s", self.address, error)
            self._hang_up()

    # ---- the lifeline; with the lock held ----

    def _ensure_member(self) -> None:
        with self._lock:
            self._join()
        self._drain()

    def _join(self) -> None:
        if self._lifeline is not None or self._is_stock:
            return
        connection = self._connect()
        try:
            data, _ = self._words.dumps((None, "accept_member", (current_process().name, os.getpid()), {}))
            connection.send_bytes(data)
            kind, result = self._words.loads(connection.recv_bytes())
        except BaseException:
            connection.close()
            raise
        if kind != "#RETURN":
            connection.close()
            self._is_stock = True
            return
        self._lifeline, (self._member, sign) = connection, result
        self._entrance = Entrance.find(sign)
        self._local = _Local()  # connections that belong to a former membership
        known = [ident for ident, numbers in self._held.items() if numbers[0] > 0]
        for numbers in self._held.values():
            numbers[1] = 0
        if known:
            missing = self._say("hold", known)
            for ident in known:
                self._held[ident][1] = int(ident not in missing)

    def _say(self, verb: str, idents: list[Any]) -> Any:
        """Tell the server something, and wait for its answer."""
        serial = next(self._serials)
        lifeline = self._lifeline
        try:
            lifeline.send_bytes(self._words.dumps((serial, verb, idents))[0])
            while True:
                number, answer = self._words.loads(lifeline.recv_bytes())
                if number == serial:  # else that to one who was interrupted
                    return answer
        except BaseException as error:
            if not isinstance(error, KeyboardInterrupt):
                self._hang_up()
            raise

    def _hang_up(self) -> None:
        lifeline, self._lifeline = self._lifeline, None
        if lifeline is not None:
            lifeline.close()

    def _hang_up_dead(self) -> None:
        """A call has failed: if the server is dead, let the lifeline go."""
        with self._lock:
            try:
                is_dead = self._lifeline is not None and self._lifeline.poll(0)
            except OSError:
                is_dead = True
            if is_dead:
                self._hang_up()

    def close(self) -> None:
        """End all connections; the next call makes new ones."""
        self.is_over = True
        with self._lock:
            self._hang_up()
            for connection in list(self._open):
                connection.close()
            self._open.clear()
            self._local = _Local()

    # ---- forks and the end ----

    def _forked(self) -> None:
        """In a forked child: be another client, which refers to all that the parent has proxies for."""
        for connection in [*self._open, self._lifeline]:
            if isinstance(connection, ClientLane):
                connection.disown()
            elif connection is not None:
                connection.close()
        self._reset()
        self._held = {ident: [numbers[0], 0] for ident, numbers in self._held.items() if numbers[0] > 0}
        lifetime.at_exit(self, Link._leave, priority=-5)
        if not self._held:
            return
        try:
            self._join()
            if self._is_stock:
                for ident, numbers in self._held.items():
                    self.ask("incref", (ident,))
                    numbers[1] = 1
        except Exception as error:
            util.info("a forked process could not reach the manager at %r: %s", self.address, error)

    def _forking(self) -> None:
        """What is held now, the child holds too, soon."""
        self._has_travelled.update(list(self._held))

    def _leave(self) -> None:
        """This process ends in order: what it has taken stays taken."""
        lifetime.at_exit(self, Link._leave, priority=-5)
        self._drain()
        if not self._lock.acquire(timeout=_PATIENCE):
            return
        try:
            if self._is_stock:
                held, self._held = self._held, {}
                for ident, numbers in held.items():
                    for _ in range(numbers[1]):
                        self.ask("decref", (ident,))
            elif self._lifeline is not None:
                self._lifeline.send_bytes(self._words.dumps((next(self._serials), "leave", []))[0])
                self._lifeline.poll(_PATIENCE)
        except Exception as error:
            util.info("could not take leave of the manager at %r: %s", self.address, error)
        finally:
            self._hang_up()
            self._lock.release()


_links: dict[tuple[Any, bytes, str], Link] = {}


def link_to(address: Any, authkey: bytes, serializer: str) -> Link:
    """This process's link to a server."""
    if isinstance(address, list):
        address = tuple(address)
    key = address, bytes(authkey), serializer
    link = _links.get(key)
    if link is None:
        link = _links.setdefault(key, Link(address, bytes(authkey), serializer))
    return link


def forget(address: Any) -> None:
    """The server has ended."""
    for key in [key for key in _links if key[0] == address]:
        link = _links.pop(key, None)
        if link is not None:
            link.close()


def _before_fork() -> None:
    for link in list(_links.values()):
        link._forking()


os.register_at_fork(before=_before_fork)
