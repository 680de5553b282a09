"""Where clients of a listening socket wait until they have proved that they know the key.

All of them at once, so that none holds up the others: who is silent, slow or talks rubbish has a socket here and no more.
At most `CROWD` wait; if more come, the one that came first has to go after a second, the others after thirty.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import threading
from collections.abc import Sequence

from procession.engine import challenge, lifetime
from procession.engine.challenge import LONGEST, Dialogue
from procession.engine.clock import clock_ns
from procession.errors import AuthenticationError, ClientRefused

__all__ = ["CROWD", "Reception", "hasten"]

CROWD = 128
_PATIENCE_NS = 30_000_000_000  # in which a client must have proved it
_TURN_NS = 1_000_000_000  # the same when others stand outside because of it
_LAST_PATIENCE = 1.0  # seconds that close() waits for accept() to notice
_LENGTH = struct.Struct("!i")
# What accept() reports of a client that has gone again, or of a network that has troubles: the next may be well.
_PASSING = {
    errno.ECONNABORTED,
    errno.EAGAIN,
    errno.EINTR,
    errno.EPROTO,
    errno.ENETDOWN,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
}
_FULL = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class _Client:
    """A client that has not proved yet that it knows the key."""

    def __init__(self, end: socket.socket, address: object, dialogue: Dialogue) -> None:
        end.setblocking(False)
        self.end = end
        self.address = address
        self.since = clock_ns()
        self._dialogue = dialogue
        self._unsent = b""
        self._unread = b""
        self._is_to_read = False

    @property
    def events(self) -> int:
        """What to poll for."""
        return select.POLLOUT if self._unsent else select.POLLIN

    def step(self) -> bool:
        """Go on as far as it goes without waiting; whether all is proved.

        Raises:
            AuthenticationError: it does not know the key, or talks otherwise.
            ClientRefused: it has gone, or breaks the rules of messages.
            OSError: its connection is broken.
        """
        try:
            while True:
                if self._unsent:
                    self._unsent = self._unsent[self.end.send(self._unsent) :]
                    continue
                if self._is_to_read:
                    message = self._next_message()
                    if message is None:
                        return False
                    self._say(self._dialogue.send(message))
                else:
                    self._say(next(self._dialogue))
        except StopIteration:
            return True
        except BlockingIOError:
            return False

    def _say(self, words: bytes | None) -> None:
        self._is_to_read = words is None
        if words is not None:
            self._unsent = _LENGTH.pack(len(words)) + words

    def _next_message(self) -> bytes | None:
        size = _LENGTH.size
        if len(self._unread) >= _LENGTH.size:
            (length,) = _LENGTH.unpack(self._unread[: _LENGTH.size])
            if not 0 <= length <= LONGEST:
                raise ClientRefused(f"bad message length: a client without authentication announced {length} bytes")
            size += length
            if len(self._unread) == size:
                message, self._unread = self._unread[_LENGTH.size :], b""
                return message
        # Never more than this message: what follows it is for whoever gets the connection.
        data = self.end.recv(size - len(self._unread))
        if not data:
            raise ClientRefused("a client went before it had proved that it knows the authkey")
        self._unread += data
        return self._next_message()


def hasten(end: socket.socket) -> None:
    """Have a network's connection send and acknowledge at once: small messages in a row else wait 40 ms for each other."""
    if end.family not in (socket.AF_INET, socket.AF_INET6):
        return
    for option in ("TCP_NODELAY", "TCP_QUICKACK"):  # the second also hastens a peer that has not set the first
        if hasattr(socket, option):
            try:
                end.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), 1)
            except OSError:  # it is broken, as whoever uses it will hear
                pass


def _both(authkey: bytes) -> Dialogue:
    yield from challenge.deliver(authkey)
    yield from challenge.answer(authkey)


class Reception:
    """Accepts the clients of a listening socket; without a key, as they come.

    The socket may be shared with forked processes: nothing here touches more than this process's own copy of it.
    """

    def __init__(self, listener: socket.socket, authkey: bytes | None) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._authkey = authkey
        self._clients: dict[int, _Client] = {}  # who came first stands first
        self._room = CROWD
        self._lock = threading.Lock()  # held by who is in accept()
        self._thread = 0  # that one
        self._empty_since = clock_ns()  # when the last one left accept()
        self._bell: tuple[socket.socket, socket.socket] | None = (
            None  # has the one in accept() look whether it is closed
        )
        self._is_closed = False
        lifetime.on_fork_in_child(self, Reception._forked)

    def accept(self, watched: Sequence[int] = ()) -> tuple[socket.socket, object] | None:
        """The next client that knows the key, and its address; None as soon as one of the `watched` descriptors is readable.

        Raises:
            AuthenticationError: a client was turned away, and this is why; call again for the next.
            OSError: the listener is closed.
        """
        with self._lock:
            self._thread = threading.get_ident()
            try:
                self._check_open()
                # Nobody is slow while nobody listens to him.
                absence = clock_ns() - self._empty_since
                for client in self._clients.values():
                    client.since += absence
                return self._accept(watched)
            finally:
                self._empty_since = clock_ns()
                self._thread = 0
                if self._is_closed:
                    self._close_all()

    def _accept(self, watched: Sequence[int]) -> tuple[socket.socket, object] | None:
        while True:
            ready = self._poll(watched)
            if any(fd in ready for fd in watched):
                return None
            for fd, client in list(self._clients.items()):
                if fd in ready and self._attend(fd, client):
                    return client.end, client.address
            self._dismiss_late()
            if self._listener.fileno() in ready:
                accepted = self._let_in()
                if accepted is not None:
                    return accepted

    def _poll(self, watched: Sequence[int]) -> set[int]:
        if self._bell is None:
            self._bell = socket.socketpair()
        self._check_open()  # close() rings only a bell that is there
        poll = select.poll()
        poll.register(self._bell[0], select.POLLIN)
        for fd in watched:
            poll.register(fd, select.POLLIN)
        for fd, client in self._clients.items():
            poll.register(fd, client.events)
        if len(self._clients) < self._room:
            poll.register(self._listener, select.POLLIN)
        pause = None
        if self._clients:
            pause = max(0, self._next_deadline() - clock_ns()) // 1_000_000 + 1
        ready = {number for number, _ in poll.poll(pause)}
        self._check_open()
        return ready

    def _next_deadline(self) -> int:
        """When the one who came first has to go; there is somebody."""
        first = next(iter(self._clients.values()))
        return first.since + (_PATIENCE_NS if len(self._clients) < self._room else _TURN_NS)

    def _dismiss_late(self) -> None:
        while self._clients and self._next_deadline() <= clock_ns():
            self._dismiss(next(iter(self._clients)))

    def _check_open(self) -> None:
        if self._is_closed:
            raise OSError(errno.EBADF, "listener is closed")

    def _attend(self, fd: int, client: _Client) -> bool:
        try:
            if not client.step():
                return False
        except AuthenticationError:
            self._dismiss(fd)
            raise
        except OSError as error:
            self._dismiss(fd)
            raise ClientRefused(f"a client was lost before it had proved that it knows the authkey: {error}") from error
        except BaseException:
            self._dismiss(fd)
            raise
        self._forget(fd)
        client.end.setblocking(True)
        hasten(client.end)
        return True

    def _let_in(self) -> tuple[socket.socket, object] | None:
        try:
            end, address = self._listener.accept()
        except OSError as error:
            if error.errno in _FULL and self._clients:
                self._room = len(self._clients)
                return None
            if error.errno in _PASSING:
                return None
            raise
        if self._authkey is None:
            end.setblocking(True)
            hasten(end)
            return end, address
        client = self._clients[end.fileno()] = _Client(end, address, _both(self._authkey))
        return (end, address) if self._attend(end.fileno(), client) else None

    def _forget(self, fd: int) -> _Client:
        self._room = CROWD
        return self._clients.pop(fd)

    def _dismiss(self, fd: int) -> None:
        self._forget(fd).end.close()

    def close(self) -> None:
        """Send away who waits, and take nobody any more; who is in accept() in another thread gets an OSError."""
        self._is_closed = True
        bell = self._bell
        if bell is not None:
            try:
                bell[1].send(b"!")
            except OSError:  # another thread has closed it meanwhile
                pass
        if self._thread == threading.get_ident():
            return  # in a signal handler of the one in accept(), who closes everything on the way out
        if self._lock.acquire(timeout=_LAST_PATIENCE):
            try:
                self._close_all()
            finally:
                self._lock.release()

    def _close_all(self) -> None:
        self._listener.close()
        for end in self._bell or ():
            end.close()
        while self._clients:
            self._clients.popitem()[1].end.close()

    def _forked(self) -> None:
        """In a forked child: who waits there is the parent's guest, and the bell is the parent's."""
        self._lock = threading.Lock()
        self._thread = 0
        for end in self._bell or ():
            end.close()
        self._bell = None
        for fd in list(self._clients):
            self._dismiss(fd)
