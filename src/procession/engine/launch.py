"""Child processes: starting them by fork, spawn or the fork server, seeing them end, and the clearing up after it.

    fork        the child goes on from here; it inherits all
    spawn       a fresh interpreter attaches the arena and reads what to do from a message that it owns
    forkserver  as spawn, but the interpreter is a sibling forked from a small server that has imported ``__main__``

Whatever the method, the child is this process's own: its exit code is ours to collect, and it can die with us.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` turns numbers into enums: pages that a forked child must copy
import atexit
import functools
import os
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from procession import _core, _os
from procession.engine import bystanders, codec, descriptors, lifetime, memory
from procession.engine.children import Child
from procession.engine.clock import deadline_after
from procession.engine.interrupts import Hold
from procession.engine.program import command_line, frozen_command, main_facts
from procession.errors import OutOfMemory, StartFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any, NoReturn

__all__ = [
    "ANSWER",
    "DEAF",
    "KNOWN",
    "QUIET",
    "REQUEST",
    "end_process",
    "flush_streams",
    "fork_server_pid",
    "hear_interrupts",
    "preload",
    "set_booting",
    "start",
    "stop_fork_server",
    "warm_up",
]

# To the fork server: an identity, how many descriptors come with this packet and those that follow, and flags.
REQUEST = struct.Struct("<qII")
QUIET, DEAF, KNOWN = 1, 2, 4  # for the first two see start(), for the last _ForkServer.fork()
ANSWER = struct.Struct("<q")  # a pid, or minus errno

_SIGINT = (2,)
_FORK_WARNS = sys.version_info >= (3, 12)
_booting = False
_preload: list[str] = ["__main__"]


def preload(modules: list[str]) -> None:
    """What the fork server imports before its first child, if it has not started yet.

    Raises:
        TypeError: these are no strings.
    """
    if not all(isinstance(name, str) for name in modules):
        raise TypeError("module_names must be a list of strings")
    _preload[:] = modules


def set_booting(booting: bool) -> None:
    """While a fresh interpreter imports the program's main module, it must not start children."""
    global _booting
    _booting = booting


# What a child does: called there without arguments; its result is the exit code.  Pickled for a fresh interpreter.
Body = Callable[[], int]


def start(
    method: str, body: Body, *, started: Callable[[Child], object], quiet: bool = False, deaf: bool = False
) -> None:
    """Start a child that runs `body`, and call ``started(child)``: no interrupt comes between.

    With `quiet` the child does not print why it cannot begin, and nobody is warned of a fork with threads.  With `deaf` it
    hears no SIGINT before it says so by `hear_interrupts()`.

    Raises:
        RuntimeError: this interpreter is still importing the main module that starts the child.
        CannotEncode: `body` cannot be pickled.
        OutOfMemory: no process slot is left.
        OSError: no descriptor, process or memory is left; it says which limit there is.
    """
    if _booting or frozen_command() is not None:
        raise RuntimeError(
            "a child process was started while the main module was being imported in a child. "
            "Put the code that starts processes under\n\n"
            "    if __name__ == '__main__':\n        freeze_support()\n        ...\n\n"
            "so that a child can import the module without running it."
        )
    memory.ensure()
    with _limits_told(), _Deaf() as hush:
        if method == "fork":
            entry = body if deaf else functools.partial(_hear_and_run, hush, body)
            if not _core.is_only_thread():
                # One of them may get the signal, but this thread, if it is the main one, would be interrupted by it.
                hold = Hold(lambda: None)
                with hold:
                    started(_start_forked(entry, hold, warns=not quiet))
            else:
                flush_streams()
                started(_start_forked(entry, None, warns=False))
        else:
            started(_start_apart(method, body, hush, quiet=quiet, deaf=deaf))


@contextmanager
def _limits_told() -> Iterator[None]:
    """An error of the system says what ran out, and what to do."""
    try:
        yield
    except OSError as error:
        hint = _os.limit_hint(error.errno)
        if hint is None:
            raise
        raise OSError(error.errno, f"{os.strerror(error.errno or 0)}: no process can be started; {hint}") from error


class _Deaf:
    """As a context: this thread hears no SIGINT, and neither does a child that is started meanwhile.

    So the starter knows of the child before it is interrupted.  One that hit a child in its hooks after the fork would be
    lost, and one right after them would let it go on as its parent.
    """

    def __enter__(self) -> _Deaf:
        self._before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _SIGINT)
        return self

    def __exit__(self, *error: object) -> None:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._before)

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Meanwhile it does."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()


def hear_interrupts() -> None:
    """In a child that was started deaf: from now on SIGINT is heard, also one that came before."""
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, _SIGINT)


def _start_apart(method: str, body: Body, hush: _Deaf, *, quiet: bool, deaf: bool) -> Child:
    flush_streams()  # nothing of it can come twice, but what was printed before the start should come before the child's
    identity = _core.process_reserve()
    try:
        facts = main_facts()
        flags = QUIET * quiet | DEAF * deaf
        # The server's children know what it was told; that is all there is to tell, but where a program has changed it.
        if method == "spawn" or facts != _fork_server.facts:
            header = codec.encode_in_band(facts | {"flags": flags})
        else:
            header = b""
            flags |= KNOWN
        with descriptors.Bundle(is_for_child=True) as bundle:
            payload = codec.encode(body, header, main_by_value="main" not in facts)
            _core.message_give(codec.as_message(payload), identity)
            with _room_for_sentinel():
                if method == "spawn":
                    pid = _start_fresh("procession.worker.boot", identity, bundle.fds)
                else:
                    pid = _fork_server.fork(identity, flags, facts, bundle.fds, hush)
            return Child(pid, identity)
    except BaseException:
        _core.process_sweep(identity, False)
        raise


def _start_forked(body: Callable[[], int], hold: Hold | None, *, warns: bool) -> Child:
    around = nullcontext() if hold is None else bystanders.at_rest(lambda: hold.is_due)
    parent = _core.process_identity()
    with _room_for_sentinel(), around:
        pid, caught = _fork()
    if pid == 0:
        if _core.process_identity() == parent:
            os._exit(1)
        if hold is not None:
            hold.abandon()
        lifetime.begin_anew()
        end_process(body)
    identity = memory.claim_fork_identity()
    if not identity:
        _os.end_at_once(pid)
        raise OutOfMemory("no room is left in the shared memory to note what a child process holds")
    child = Child(pid, identity)
    # Newer Pythons warn of a fork with threads.  Ours know how to be forked; others' owners should hear of it, but not
    # before the child is known, because the warning may be an error.
    if caught and warns and any(not thread.name.startswith("procession-") for thread in threading.enumerate()[1:]):
        import warnings

        try:
            for warning in caught:
                warnings.warn_explicit(warning.message, None, warning.filename, warning.lineno)
        except Warning:
            child.end()
            raise
    return child


def _fork() -> tuple[int, list[Any]]:
    """A pid, and what Python has warned of."""
    memory.prepare_fork()
    try:
        if not _FORK_WARNS:
            return os.fork(), []
        import warnings

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            return os.fork(), caught
    except BaseException:
        _core.process_sweep(memory.claim_fork_identity(), False)  # the child that did not come holds nothing
        raise


@contextmanager
def _room_for_sentinel() -> Iterator[None]:
    """Afterwards there is a descriptor with which to watch the child that was started meanwhile.

    Raises:
        OSError: there is none; so nothing is started that would have to be killed.
    """
    spare = os.dup(_core.arena_fd())
    try:
        yield
    finally:
        os.close(spare)


def _hear_and_run(hush: _Deaf, body: Body) -> int:
    hush.__exit__()
    return body()


def flush_streams() -> None:
    """Write out what was printed, so that a child does not print it again and an end does not lose it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass  # closed, replaced, or nobody reads


def end_process(body: Callable[[], int]) -> NoReturn:
    """Run `body` as the rest of this process's life, which ends in order and leaves at once."""
    code = 1
    try:
        code = body()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        try:
            atexit._run_exitfuncs()
            lifetime.run_exit_callbacks()  # for what those have begun
        finally:
            try:
                flush_streams()
                _core.process_leave(code & 0xFF)
            finally:
                os._exit(code & 0xFF)


def _start_fresh(module: str, identity: int, fds: list[int]) -> int:
    arena = _core.arena_fd()
    return _os.start_program(command_line(module, [arena, identity, *fds]), [arena, *fds])


class _ForkServer:
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
            lifetime.on_fork_in_child(self, _ForkServer._forget)
            lifetime.at_exit(self, _ForkServer.stop, priority=-100)

    def fork(self, identity: int, flags: int, facts: dict[str, Any], fds: list[int], hush: _Deaf) -> int:
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

    def _ask(self, identity: int, flags: int, facts: dict[str, Any], fds: list[int], hush: _Deaf) -> bytes | None:
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

            told = {**facts, "preload": list(_preload)}
            identity = _core.process_reserve()
            ours = theirs = None
            try:
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                _core.message_give(codec.as_message(codec.encode(None, codec.encode_in_band(told))), identity)
                with theirs, _Deaf():
                    pid = _start_fresh("procession.worker.server", identity, [theirs.fileno()])
                    self._server = Child(pid, identity)
            except BaseException:
                if ours is not None:
                    ours.close()
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
            self._socket.close()
            self._socket = None
        self.facts = None
        if self._server is not None:
            self._server.wait(deadline_after(1.0))
            self._server.end()
            spare, self._server = self._server.claim[3], None
            if spare not in (0, self._answered):
                _os.wait_for_end(spare, 1.0)  # it ends with the server

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


_fork_server = _ForkServer()


def warm_up() -> None:
    """Start the fork server unless it runs.  It is not waited for: it gets ready while its first child is prepared."""
    if _booting or frozen_command() is not None:
        return  # who starts a child here is told that he must not
    memory.ensure()
    with _limits_told():
        _fork_server.ensure_running()


def fork_server_pid() -> int | None:
    """That of this process's fork server; None if it was not needed yet."""
    return _fork_server.pid


def stop_fork_server() -> None:
    """End this process's fork server; the next child starts a new one."""
    _fork_server.stop()
