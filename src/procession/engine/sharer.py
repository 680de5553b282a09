"""Descriptors on their way through bytes: the sender keeps one, and hands it to whoever shows the key, once.

What many are to read is given to each of them, until it is released.

Imported when the first descriptor is sent or fetched: most processes never do, and have nothing to clear up at a fork.

A thread of the sender serves them over a socket in the abstract namespace while there are any, and ends with the last.
Who sends descriptors through a pipe or to a child that it starts needs none of this: see `descriptors`.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import threading
import time

from procession import _os
from procession.engine import lifetime
from procession.engine.clock import deadline_after, seconds_until
from procession.engine.records import Record
from procession.errors import SharedObjectGone

__all__ = ["DupFd", "release", "serial", "stop", "take_back"]

_KEY_SIZE = 16
_PATIENCE = 30.0  # seconds that a client may be silent


class DupFd:
    """A descriptor that can be sent as bytes; detach() gives it where they arrive, once.

    Its key is added to `lasting`, if that is given: then it can be had by any number of receivers, until it is released.
    """

    __slots__ = ("address", "key", "pid")

    def __init__(self, fd: int, *, lasting: list[bytes] | None = None) -> None:
        self.key = os.urandom(_KEY_SIZE)
        self.pid = os.getpid()
        self.address = _sharer.keep(self.key, os.dup(fd), lasts=lasting is not None)
        if lasting is not None:
            lasting.append(self.key)

    def detach(self) -> int:
        """The descriptor; the caller's from now on.

        Raises:
            SharedObjectGone: the process that sent it has ended, or has given it to somebody already.
        """
        if self.pid == os.getpid():
            fd = _sharer.take(self.key)
        else:
            fd = _fetch(self.address, self.key)
        if fd is None:
            raise SharedObjectGone(
                f"the descriptor that process {self.pid} sent is gone: that process has ended, or somebody has received "
                "it before; let the sender live until it is received, and send it once for each receiver"
            )
        return fd


def _fetch(address: bytes, key: bytes) -> int | None:
    try:
        with _os.connect_nearby(address) as end:
            if not _os.is_own_user(end):
                return None
            _os.send_packet(end, [key])
            _, fds = _os.receive_packet(end, bytearray(1))
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        return None
    return fds[0] if fds else None


class _Kept(Record):
    fd: int
    thread: int
    serial: int
    lasts: bool


class _Sharer:
    def __init__(self) -> None:
        self.serial = 0
        self._reset()
        lifetime.on_fork_in_child(self, _Sharer._forget)
        lifetime.at_exit(self, _Sharer._end, priority=-50)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[bytes, _Kept] = {}  # by key
        self._released: list[bytes] = []  # keys that are valid no longer
        self._thread: threading.Thread | None = None
        self._listener: socket.socket | None = None
        self._address = b""
        self._wake = -1, -1  # closing the second wakes the thread
        self._clients: dict[int, tuple[socket.socket, int]] = {}  # with the deadline for what they have to say

    def keep(self, key: bytes, fd: int, *, lasts: bool) -> bytes:
        """Own `fd` until it is fetched, or released if it `lasts`; the address where it can be had."""
        with self._lock:
            try:
                if self._thread is None:
                    self._start()
            except BaseException:
                os.close(fd)
                raise
            self.serial += 1
            self._kept[key] = _Kept(fd, threading.get_ident(), self.serial, lasts)
            address = self._address
        self._drop_released()
        return address

    def take(self, key: bytes) -> int | None:
        """The descriptor that is kept under this key, the caller's now; nobody else gets it unless it lasts."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                fd = None
            elif found.lasts:
                fd = os.dup(found.fd)
            else:
                fd = found.fd
                self._remove(key)
        self._drop_released()
        return fd

    def release(self, keys: list[bytes]) -> None:
        """These are given to nobody any more.  May be called at any moment, for instance by the garbage collector."""
        self._released += keys
        self._drop_released()

    def _drop_released(self) -> None:
        # Whoever has the lock, maybe this very thread, comes here when it has let go of it.
        while self._released and self._lock.acquire(False):
            try:
                while self._released:
                    kept = self._kept.get(key := self._released.pop())
                    if kept is not None:
                        self._remove(key)
                        os.close(kept.fd)
            finally:
                self._lock.release()

    def _remove(self, key: bytes) -> None:
        """With the lock held."""
        del self._kept[key]
        if not self._kept:
            self._let_go()

    def take_back(self, since: int) -> None:
        """Forget what this thread has had kept after this serial: it is not sent after all."""
        me = threading.get_ident()
        with self._lock:
            mine = [key for key, kept in self._kept.items() if kept.thread == me and kept.serial > since]
        self.release(mine)

    def stop(self, timeout: float | None = None) -> None:
        """Close what nobody has fetched, and end the thread."""
        with self._lock:
            kept, self._kept = self._kept, {}
            thread = self._thread
            self._let_go()
        for entry in kept.values():
            os.close(entry.fd)
        if thread is not None:
            thread.join(timeout)

    def _end(self) -> None:
        self.stop(1.0)
        lifetime.at_exit(self, _Sharer._end, priority=-50)

    def _start(self) -> None:
        listener, address = _os.listen_nearby()
        try:
            wake = os.pipe()
        except BaseException:
            listener.close()
            raise
        self._listener, self._address, self._wake = listener, address, wake
        thread = threading.Thread(
            target=self._serve, args=(listener, wake[0]), name="procession-descriptors", daemon=True
        )
        try:
            thread.start()
        except BaseException:
            listener.close()
            os.close(wake[0])
            os.close(wake[1])
            raise
        self._thread = thread

    def _let_go(self) -> None:
        """With the lock held: the thread may end; the next descriptor starts another, with another address."""
        if self._thread is not None:
            self._thread = None
            self._listener = None
            os.close(self._wake[1])

    def _serve(self, listener: socket.socket, woken: int) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are the main thread's
        clients = self._clients = {}
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.register(woken, 0)
        try:
            while True:
                ready = dict(poll.poll(_PATIENCE * 1000 if clients else None))
                for fd, (client, deadline) in list(clients.items()):
                    if fd in ready:
                        self._answer(client)
                    elif seconds_until(deadline) != 0:
                        continue
                    poll.unregister(fd)
                    del clients[fd]
                    client.close()
                if listener.fileno() in ready:
                    arrival = self._accept(listener)
                    if arrival is not None:
                        clients[arrival.fileno()] = arrival, deadline_after(_PATIENCE)
                        poll.register(arrival, select.POLLIN)
                if woken in ready:
                    return
        finally:
            for client, _ in clients.values():
                client.close()
            # A process that was forked at this moment may have the listener too: nobody must wait there.
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            os.close(woken)

    def _accept(self, listener: socket.socket) -> socket.socket | None:
        try:
            client, _ = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                time.sleep(0.02)  # it waits there until this process has room
            return None
        client.setblocking(False)
        if _os.is_own_user(client):
            return client
        client.close()
        return None

    def _answer(self, client: socket.socket) -> None:
        key = bytearray(_KEY_SIZE)
        try:
            _, fds = _os.receive_packet(client, key)
        except OSError:
            return
        for fd in fds:
            os.close(fd)
        found = self.take(bytes(key))
        if found is None:
            return
        try:
            _os.send_packet(client, [b"\0"], [found])
        except OSError:
            pass  # it has gone
        finally:
            os.close(found)

    def _forget(self) -> None:
        """In a forked child: what is kept is the parent's to give."""
        kept, listener, clients = self._kept, self._listener, self._clients
        wake, is_serving = self._wake, self._thread is not None
        self._reset()
        for entry in kept.values():
            os.close(entry.fd)
        if listener is not None:
            listener.close()
        for client, _ in clients.values():
            client.close()
        if is_serving:
            os.close(wake[0])
            os.close(wake[1])
        lifetime.at_exit(self, _Sharer._end, priority=-50)


_sharer = _Sharer()


def serial() -> int:
    """Of the last descriptor that was kept."""
    return _sharer.serial


def take_back(since: int) -> None:
    """Close what this thread has had kept after this serial: what it was pickled for is not sent."""
    if _sharer.serial > since:
        _sharer.take_back(since)


def release(keys: list[bytes]) -> None:
    """What has these keys can be had no longer."""
    _sharer.release(keys)


def stop(timeout: float | None = None) -> None:
    """Close the descriptors that nobody has received, and end the thread that keeps them."""
    _sharer.stop(timeout)
