"""The server of a manager: it calls methods of its objects for clients, who come by lanes or connections."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from procession import _stdlib, listener, util
from procession.engine import lifetime
from procession.errors import AuthenticationError
from procession.managers import callers, contents
from procession.managers.callers import Caller, CallerGone, Member, hangup
from procession.managers.entries import Entry, Session, Sessions
from procession.managers.lanes import Lanes, ServerLane, Sign
from procession.managers.messages import SERIALIZERS, Token, note_traceback
from procession.managers.store import GRACE, Store

__all__ = ["Server", "serving"]

_LOST_GRACE = 5.0  # seconds in which a process whose lifeline broke may come again
_IN_PLACE = {"__iadd__", "__imul__", "__ior__", "__iand__", "__isub__", "__ixor__"}
_PAUSE = 0.02  # seconds until accept() is tried again after the system has refused it

_current: Server | None = None


def serving() -> Server | None:
    """The server that this process is."""
    return _current


class Server:
    """Makes objects of the types in `registry`, and calls their methods for clients."""

    public: tuple[str, ...] = (
        "accept_connection",
        "accept_member",
        "create",
        "debug_info",
        "decref",
        "dummy",
        "get_methods",
        "incref",
        "number_of_objects",
        "shutdown",
    )

    def __init__(self, registry: Mapping[str, Any], address: Any, authkey: bytes, serializer: str) -> None:
        if not isinstance(authkey, bytes):
            raise TypeError(f"authkey must be bytes, got {type(authkey).__name__}")
        self.registry = registry
        self.authkey = bytes(authkey)
        self._words = SERIALIZERS[serializer]
        self.listener = listener.Listener(address or listener.any_address(), backlog=128, authkey=self.authkey)
        self.address = self.listener.address
        self.stop_event = threading.Event()
        self._stop = os.pipe()
        self._store = Store(registry, self.stop_event)
        self._lanes: Lanes | None = None
        self._members: dict[str, Member] = {}
        self._strangers = Member("clients of the standard library")
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        self._local = Sessions()
        self._numbers = itertools.count(1)
        lifetime.on_fork_in_child(self, Server._forked)
        weakref.finalize(self, _close_pipe, self._stop)

    # ---- its life ----

    def open_lanes(self) -> Sign:
        """For clients that are of the program of this process, which is the server's own; what they know it by."""
        if not self._words.has_objects:
            return None
        self._lanes = Lanes(self._store.held, self._work, self._asked_to_end)
        self._lanes.start()
        return self._lanes.sign

    def serve_forever(self, watched: Sequence[int] = ()) -> None:
        """Serve until a client says shutdown(), or one of the `watched` descriptors is readable; then exit."""
        global _current
        _current = self
        try:
            self._accept_all((self._stop[0], *watched))
        except (KeyboardInterrupt, SystemExit):
            pass
        finally:
            self.stop_event.set()
            if self._lanes is not None:
                self._lanes.stop()
            _current = None
            self.listener.close()
            if sys.stdout is not sys.__stdout__:
                util.debug("resetting stdout, stderr")
                sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        sys.exit(0)

    def _accept_all(self, watched: tuple[int, ...]) -> None:
        while True:
            try:
                connection = self.listener._accept(watched)
            except AuthenticationError as error:
                util.info("a client was turned away: %s", error)
                continue
            except OSError as error:
                util.info("a client could not be accepted: %s", error)
                if self.listener._listener is None:
                    return
                time.sleep(_PAUSE)
                continue
            if connection is None:
                return
            threading.Thread(
                target=self.handle_request, args=(connection,), name="procession-client", daemon=True
            ).start()

    def _forked(self) -> None:
        """In a forked child of the server: the clients are the server's own."""
        global _current
        _current = None
        self._lanes = None
        try:
            if self.listener._listener is not None:
                self.listener._listener._reception._listener.close()
        finally:
            for session in list(self._sessions):
                session.connection.close()

    # ---- connections ----

    def handle_request(self, conn: Any) -> None:
        """Serve a connection, from its first request to its end."""
        session = self._local.current = Session(conn)
        self._sessions.add(session)
        try:
            _, method, args, kwds = self._words.loads(conn.recv_bytes())
            self._answer_function(session, method, args, kwds)
            if session.is_served:
                if session.is_lifeline:
                    self._serve_member(session)
                else:
                    self._serve(session)
        except (EOFError, OSError, CallerGone):
            pass
        except Exception:
            self._try_send(session, ("#TRACEBACK", traceback.format_exc()))
        finally:
            conn.close()

    def _serve(self, session: Session) -> None:
        while not self.stop_event.is_set():
            data = session.connection.recv_bytes()
            session.lent.clear()
            self._answer(session, data)
            del data

    def _answer(self, session: Session, data: Any) -> None:
        try:
            ident, method, args, kwds = self._words.loads(data)
        except Exception:
            self._send(session, ("#TRACEBACK", traceback.format_exc()))
            return
        if ident is None:
            self._answer_function(session, method, args, kwds)
        else:
            self._answer_call(session, ident, method, args, kwds)

    def _work(self, lane: ServerLane, request: Any, answer: Any) -> None:
        """Do what a lane's client asks, in the thread that it has here."""
        self._local.current = lane
        if answer is not None:
            entry, method = request
            self._send_answer(lane, entry, method, answer)
        elif type(request) is not tuple:
            self._answer(lane, request)
        elif request[0] is None:
            self._answer_function(lane, request[1], request[2], {})
        else:
            ident, method, args = request
            self._answer_call(lane, ident, method, args, {})

    def _answer_function(self, session: Session, method: str, args: Sequence[Any], kwds: Mapping[str, Any]) -> None:
        try:
            if method not in self.public:
                raise AttributeError(f"{method!r} unrecognized")
            answer = "#RETURN", getattr(self, method)(session, *args, **kwds)
        except Exception:
            answer = "#TRACEBACK", traceback.format_exc()
        self._send(session, answer)
        if method == "shutdown":
            self._end()

    def _answer_call(
        self, session: Session, ident: str, method: str, args: Sequence[Any], kwds: Mapping[str, Any]
    ) -> None:
        try:
            entry = self._store.find(ident)
        except KeyError:
            self._send(session, ("#TRACEBACK", f"KeyError: object {ident} is gone: nobody referred to it\n"))
            return
        self._send_answer(session, entry, method, self._call(entry, method, args, kwds))

    def _send_answer(self, session: Session, entry: Entry, method: str, answer: tuple[str, Any]) -> None:
        tidy: Callable[[], object] | None = None
        created: Entry | None = None
        if answer[0] == "#ERROR":
            if self._words.has_objects:
                tidy = note_traceback(answer[1])
            else:
                text = "".join(traceback.format_exception(answer[1]))
                answer = "#TRACEBACK", text
        elif answer[0] == "#PROXY":
            typeid, created = answer[1]
            self._store.refer(session.member or self._strangers, created)
            token: Any = Token(typeid, self.address, created.ident)
            if session.is_stock:
                token = _stdlib.manager_token(Token, typeid, self.address, created.ident)
            elif not self._words.has_objects:
                token = [typeid, self.address, created.ident]
            answer = "#PROXY", (created.exposed, token)
        elif answer[0] == "#RETURN" and entry.takes and isinstance(session, ServerLane):
            session.last = entry, method, answer[1]
        try:
            self._send(session, answer)
        except BaseException:
            if created is not None:
                self._store.unrefer(session.member or self._strangers, created.ident, 1)
            elif answer[0] == "#RETURN":
                contents.take_back(entry.obj, method, answer[1])
            raise
        finally:
            if tidy is not None:
                tidy()

    def _call(self, entry: Entry, method: str, args: Sequence[Any], kwds: Mapping[str, Any]) -> tuple[str, Any]:
        """Call a method of an object: the answer; ("#PROXY", (typeid, entry)) for a result that stays here."""
        obj = entry.obj
        try:
            if method in entry.exposed and hasattr(obj, method):
                result = getattr(obj, method)(*args, **kwds)
            elif method == "#GETVALUE":
                return "#RETURN", obj
            elif method == "__str__":
                return "#RETURN", str(obj)
            elif method == "__repr__":
                return "#RETURN", repr(obj)
            else:
                return "#TRACEBACK", (
                    f"AttributeError: method {method!r} of {type(obj)!r} object is not in exposed={entry.exposed!r}\n"
                )
        except Exception as error:
            return "#ERROR", error
        if result is obj and method in _IN_PLACE:
            return "#RETURN", None
        typeid = entry.typeids.get(method)
        if typeid is None:
            return "#RETURN", result
        try:
            return "#PROXY", (typeid, self._store.make(typeid, (result,), {}))
        except Exception:
            return "#TRACEBACK", traceback.format_exc()

    def call_here(self, entry: Entry, method: str, args: Sequence[Any], kwds: Mapping[str, Any]) -> tuple[str, Any]:
        """The same for a proxy that lies in one of the objects; what is given and taken are copies, as for any client."""
        data, _keep = self._words.dumps((args, kwds))
        args, kwds = self._words.loads(data)
        kind, result = self._call(entry, method, args, kwds)
        if kind == "#RETURN":
            data, _keep = self._words.dumps(result)
            result = self._words.loads(data)
        return kind, result

    def _send(self, session: Session, answer: tuple[str, Any]) -> None:
        try:
            encoded = session.encode(self._words, answer)
        except Exception:
            encoded = session.encode(self._words, ("#UNSERIALIZABLE", traceback.format_exc()))
        session.transmit(encoded)

    def _asked_to_end(self) -> None:
        try:
            self.shutdown(Session())
        except Exception as error:
            util.info("an error while shutting down: %s", error)
        self._end()

    def _end(self) -> None:
        self.stop_event.set()
        os.write(self._stop[1], b"s")

    def _try_send(self, session: Session, answer: tuple[str, Any]) -> None:
        try:
            self._send(session, answer)
        except (OSError, ValueError):
            pass

    # ---- what clients ask of the server itself ----

    def dummy(self, session: Session) -> None:
        """Nothing: the server is there."""

    def shutdown(self, session: Session) -> None:
        """End, once this is answered."""

    def accept_connection(self, session: Session, name: str, member: str = "", thread: int = -1) -> None:
        """This connection is for the calls of one thread."""
        found = self._members.get(member)
        if member and found is None:
            raise KeyError(f"no process {member} is known here: its lifeline has ended")
        threading.current_thread().name = f"procession-client {name}"
        session.member, session.is_stock, session.is_served = found, found is None, True
        key = (member, thread) if member else None
        callers.serve_as(Caller(hangup(session.connection.fileno()), found, key))

    def accept_member(self, session: Session, name: str, pid: int) -> tuple[str, Any]:
        """This connection is the lifeline of a process.

        Returns:
            the name by which its other connections mention it, and where lanes begin, or None if there are none.
        """
        key = f"{pid}-{next(self._numbers)}"
        session.member = self._members[key] = Member(key)
        session.is_served, session.is_lifeline, session.is_stock = True, True, False
        return key, None if self._lanes is None else self._lanes.sign

    def create(self, session: Session, typeid: str, /, *args: Any, **kwds: Any) -> tuple[str, tuple[str, ...]]:
        """Make an object; the client has one reference to it."""
        entry = self._store.make(typeid, args, kwds)
        self._store.refer(session.member or self._strangers, entry)
        return entry.ident, entry.exposed

    def get_methods(self, session: Session, token: Any) -> set[str]:
        """The methods that an object exposes."""
        ident = token if isinstance(token, str) else token.id
        return set(self._store.find(ident).exposed)

    def incref(self, session: Session, ident: str) -> None:
        """One reference more."""
        self._store.refer(session.member or self._strangers, self._store.find(ident))

    def decref(self, session: Session, ident: str) -> None:
        """One reference less."""
        self._store.unrefer(session.member or self._strangers, ident, 1)

    def number_of_objects(self, session: Session) -> int:
        """Objects that clients refer to."""
        return len(self._store.held)

    def debug_info(self, session: Session) -> str:
        """A line or two for each object that clients refer to."""
        return self._store.facts()

    # ---- objects ----

    def find(self, ident: str) -> Entry:
        """The object of this name.

        Raises:
            KeyError: it is gone.
        """
        return self._store.find(ident)

    def lend(self, entry: Entry) -> None:
        """It is mentioned in what is being sent."""
        session = self._local.current
        if session is not None:
            session.lent.append(entry)
        else:
            self._store.linger(entry, GRACE)

    # ---- lifelines ----

    def _serve_member(self, session: Session) -> None:
        member = session.member
        assert member is not None
        has_left = False
        try:
            while not self.stop_event.is_set():
                serial, verb, idents = self._words.loads(session.connection.recv_bytes())
                answer: Any = None
                if verb == "drop":
                    for ident, count, has_travelled in idents:
                        self._store.unrefer(member, ident, count, GRACE if has_travelled else 0.0)
                    continue
                if verb == "hold":
                    answer = [ident for ident in idents if not self._hold(member, ident)]
                elif verb == "lane" and self._lanes is not None:
                    answer = self._lanes.open(member, *idents)
                elif verb == "leave":
                    has_left = True
                    self._store.unrefer_all(member, 0.0)
                self._send(session, (serial, answer))
        finally:
            self._members.pop(member.name, None)
            if self._lanes is not None:
                for number in list(member.lanes):
                    self._lanes.close(member, number)
            if not self.stop_event.is_set():
                self._store.unrefer_all(member, 0.0 if has_left else _LOST_GRACE)
                if not has_left:
                    member.die()

    def _hold(self, member: Member, ident: str) -> bool:
        try:
            self._store.refer(member, self._store.find(ident))
        except KeyError:
            return False
        return True


def _close_pipe(ends: tuple[int, int]) -> None:
    for end in ends:
        os.close(end)
