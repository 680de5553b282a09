"""This process's end of the fork server, and what the two say to each other; the other end is in ``worker.server``."""

from __future__ import annotations

import os
import struct
import threading

from procession import _core, _os
from procession.engine import codec, lifetime
from procession.engine.children import Child
from procession.engine.clock import deadline_after
from procession.engine.interrupts import Deaf
from procession.engine.program import command_line, main_facts
from procession.errors import StartFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

__all__ = ["ANSWER", "DEAF", "KNOWN", "QUIET", "REQUEST", "ForkServer", "preloaded", "start_fresh"]

# To the fork server: an identity, how many descriptors come with this packet and those that follow, and flags.
REQUEST = struct.Struct("<qII")
QUIET, DEAF, KNOWN = 1, 2, 4  # for the first two see start(), for the last _ForkServer.fork()
ANSWER = struct.Struct("<q")  # a pid, or minus errno

preloaded: list[str] = ["__main__"]


def start_fresh(module: str, identity: int, fds: list[int]) -> int:
    """Start an interpreter that runs ``module.main`` as the process that `identity` was reserved for; its pid."""
    arena = _core.arena_fd()
    return _os.start_program(command_line(module, [arena, identity, *fds]), [arena, *fds])


class ForkServer:
    """Our end of the fork server: a small interpreter, started once, that forks a sibling of itself at each request.

    Attributes:
        facts: what the server that runs was told of this interpreter; see program.main_facts().
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._server: Child | None = None
        self._takes_part = False
        self._answered = 0  # the pid of the last child
        self.facts: dict[str, Any] | None = None

    def _take_part(self) -> None:
        """Where there was never a server there is nothing to do at forks and at the end."""
        if not self._takes_part:
            self._takes_part = True
            lifetime.on_fork_in_child(self, ForkServer._forget)
            lifetime.at_exit(self, ForkServer.stop, priority=-100)

    def fork(self, identity: int, flags: int, facts: dict[str, Any], fds: list[int], hush: Deaf) -> int:
        """Have the child that `identity` was reserved for made, with copies of these descriptors; its pid.

        With KNOWN it is to be like the server, which is to have been told these facts.
        """
        self._take_part()
        with self._lock:
            if flags & KNOWN and self.facts != facts:
                self._drop()  # it was another one that was
            try:
                # If the first server has died, another.
                answer = self._ask(identity, flags, facts, fds, hush) or self._ask(identity, flags, facts, fds, hush)
            except BaseException:
                self._abandon(identity)
                raise
        if not answer:
            raise StartFailed("the fork server ends as soon as it is started; see what it printed")
        pid = self._answered = int(ANSWER.unpack(answer)[0])
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        return pid

    def _ask(self, identity: int, flags: int, facts: dict[str, Any], fds: list[int], hush: Deaf) -> bytes | None:
        connection = self._connect(facts)
        try:
            for at in range(0, len(fds) or 1, _os.DESCRIPTORS_LIMIT):
                part = fds[at : at + _os.DESCRIPTORS_LIMIT]
                _os.send_packet(connection, [REQUEST.pack(identity, len(fds), flags)], part)
            with hush.lifted():  # it may hang in an import
                _os.wait_readable([connection.fileno()], None)
            answer = connection.recv(ANSWER.size)
        except OSError:
            answer = b""
        if len(answer) == ANSWER.size:
            return answer
        self._drop()
        return None

    def _connect(self, facts: dict[str, Any]) -> socket.socket:
        if self._socket is None:
            import socket

            told = {**facts, "preload": list(preloaded)}
            identity = _core.process_reserve()
            ours = theirs = None
            try:
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                _core.message_give(codec.as_message(codec.encode(None, codec.encode_in_band(told))), identity)
                with theirs, Deaf():
                    pid = start_fresh("procession.worker.server", identity, [theirs.fileno()])
                    self._server = Child(pid, identity)
            except BaseException:
                if ours is not None and theirs is not None:
                    ours.close()
                    theirs.close()
                if self._server is None:
                    _core.process_sweep(identity, False)
                raise
            self._socket = ours
            self.facts = facts
        return self._socket

    def _abandon(self, identity: int) -> None:
        """Whoever has asked for this child was interrupted: there must be none, nor an answer for the next one to read."""
        if self._server is not None and self._socket is not None:
            self._server.end()
            try:
                answer = self._socket.recv(ANSWER.size)
            except OSError:
                answer = b""
            if len(answer) == ANSWER.size and (pid := ANSWER.unpack(answer)[0]) > 0:
                self._answered = pid
                Child(pid, identity).end()
        self._drop()

    def _drop(self) -> None:
        if self._socket is not None:
            try:
                self._socket.close()
            except OSError:
                pass  # the program has closed all descriptors that it did not know
            self._socket = None
        self.facts = None
        if self._server is not None:
            self._server.wait(deadline_after(1.0))
            self._server.end()
            spare, self._server = self._server.claim[3], None
            if spare not in (0, self._answered):
                _os.wait_for_end(spare, 5.0)  # it ends with the server, at once where the machine is not busy

    @property
    def spare_pid(self) -> int:
        """Of the child that waits to be needed; 0 if there is none."""
        if self._server is None:
            return 0
        pid = _core.process_claim(self._server.identity)[3]
        return 0 if pid == self._answered else pid

    @property
    def pid(self) -> int | None:
        """The server's, None before it was needed."""
        return None if self._server is None else self._server.pid

    def ensure_running(self) -> None:
        """Start the server unless it runs."""
        self._take_part()
        with self._lock:
            if self._server is not None and self._server.poll() is not None:
                self._drop()
            self._connect(main_facts())

    def stop(self) -> None:
        """End the server; its children go on."""
        with self._lock:
            self._drop()

    def _forget(self) -> None:
        """In a forked child: the server is the parent's."""
        self._lock = threading.Lock()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._server = None
        self.facts = None
