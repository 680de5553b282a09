"""Where clients of a listening socket wait until they have proved that they know the key.

All of them at once, so that none holds up the others: who is silent, slow or talks rubbish has a socket here and no more.
At most `CROWD` wait; then the one that came first has to go.
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
from procession.engine.clock import deadline_after, seconds_until

__all__ = ["CROWD", "Reception"]

CROWD = 128
_PATIENCE = 30.0  # seconds in which a client must have proved it
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
        self.deadline = deadline_after(_PATIENCE)
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
            EOFError: it has gone.
            OSError: it breaks the rules of messages, or its connection is broken.
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
                raise OSError(f"bad message length: a client without authentication announced {length} bytes")
            size += length
            if len(self._unread) == size:
                message, self._unread = self._unread[_LENGTH.size :], b""
                return message
        # Never more than this message: what follows it is for whoever gets the connection.
        data = self.end.recv(size - len(self._unread))
        if not data:
            raise EOFError("a client went before it had proved that it knows the authkey")
        self._unread += data
        return self._next_message()


def _both(authkey: bytes) -> Dialogue:
    yield from challenge.deliver(authkey)
    yield from challenge.answer(authkey)


class Reception:
    """Accepts the clients of a listening socket; without a key, as they come."""

    def __init__(self, listener: socket.socket, authkey: bytes | None) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._authkey = authkey
        self._clients: dict[int, _Client] = {}
        self._lock = threading.Lock()
        self._is_closed = False
        lifetime.on_fork_in_child(self, Reception._forked)

    def accept(self, watched: Sequence[int] = ()) -> tuple[socket.socket, object] | None:
        """The next client that knows the key, and its address; None as soon as one of the `watched` descriptors is readable.

        Raises:
            AuthenticationError, EOFError, OSError: a client was turned away, and this is why; call again for the next.
            OSError: the listener is closed.
        """
        with self._lock:
            while True:
                ready = self._poll(watched)
                if any(fd in ready for fd in watched):
                    return None
                for fd, client in list(self._clients.items()):
                    if fd in ready and self._attend(fd, client):
                        return client.end, client.address
                if self._listener.fileno() in ready:
                    accepted = self._let_in()
                    if accepted is not None:
                        return accepted

    def _poll(self, watched: Sequence[int]) -> set[int]:
        self._check_open()
        fd = self._listener.fileno()
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        for other in watched:
            poll.register(other, select.POLLIN)
        pause = None
        for other, client in list(self._clients.items()):
            left = seconds_until(client.deadline)
            if left == 0:
                self._dismiss(other)
                continue
            poll.register(other, client.events)
            if left is not None and (pause is None or left < pause):
                pause = left
        ready = {number for number, _ in poll.poll(None if pause is None else pause * 1000 + 1)}
        self._check_open()
        return ready

    def _check_open(self) -> None:
        if self._is_closed:
            raise OSError(errno.EBADF, "listener is closed")

    def _attend(self, fd: int, client: _Client) -> bool:
        try:
            if not client.step():
                return False
        except BaseException:
            self._dismiss(fd)
            raise
        del self._clients[fd]
        client.end.setblocking(True)
        return True

    def _let_in(self) -> tuple[socket.socket, object] | None:
        try:
            end, address = self._listener.accept()
        except OSError as error:
            if error.errno in _FULL and self._clients:
                self._dismiss(next(iter(self._clients)))
                return None
            if error.errno in _PASSING:
                return None
            raise
        if self._authkey is None:
            end.setblocking(True)
            return end, address
        if len(self._clients) >= CROWD:
            self._dismiss(next(iter(self._clients)))
        client = self._clients[end.fileno()] = _Client(end, address, _both(self._authkey))
        return (end, address) if self._attend(end.fileno(), client) else None

    def _dismiss(self, fd: int) -> None:
        self._clients.pop(fd).end.close()

    def close(self) -> None:
        """Send away who waits, and take nobody any more; who is in accept() in another thread gets an OSError."""
        self._is_closed = True
        try:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the one in accept()
        except OSError:
            pass
        # A signal handler that closes what its own thread is waiting at cannot wait for it.
        is_alone = self._lock.acquire(timeout=_LAST_PATIENCE)
        try:
            self._listener.close()
            while self._clients:
                self._clients.popitem()[1].end.close()
        finally:
            if is_alone:
                self._lock.release()

    def _forked(self) -> None:
        """In a forked child: who waits there is the parent's guest."""
        self._lock = threading.Lock()
        for fd in list(self._clients):
            self._dismiss(fd)
