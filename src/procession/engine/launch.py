"""Child processes: starting them by fork, spawn or the fork server, seeing them end, and the clearing up after it.

    fork        the child goes on from here; it inherits all
    spawn       a fresh interpreter attaches the arena and reads what to do from a message that it owns
    forkserver  as spawn, but the interpreter is a sibling forked from a small server that has imported ``__main__``

Whatever the method, the child is this process's own: its exit code is ours to collect, and it can die with us.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from procession import _core, _os
from procession.engine import codec, lifetime, memory
from procession.engine.clock import FOREVER, deadline_after, seconds_until
from procession.errors import StartFailed

if TYPE_CHECKING:
    import socket

__all__ = [
    "IDENTITY",
    "METHODS",
    "Child",
    "end_process",
    "flush_streams",
    "main_facts",
    "main_origin",
    "preload",
    "set_booting",
    "set_executable",
    "start",
    "stop_fork_server",
]

METHODS = ("fork", "spawn", "forkserver")
_PACKAGE_PARENT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
IDENTITY = struct.Struct("<q")  # of a request to the fork server, and of its answer: a pid, or minus errno

_executable: str | bytes = sys.executable
_booting = False
_preload: list[str] = ["__main__"]


def set_executable(path: str | bytes | os.PathLike[str] | None) -> None:
    """The interpreter that spawn and the fork server start."""
    global _executable
    _executable = os.fspath(path) if path is not None else ""


def preload(modules: list[str]) -> None:
    """What the fork server imports before its first child, if it has not started yet."""
    _preload[:] = modules


def set_booting(booting: bool) -> None:
    """While a fresh interpreter imports the program's main module, it must not start children."""
    global _booting
    _booting = booting


class Child:
    """A process that this one has started.

    Attributes:
        pid: as the system knows it.
        identity: of its slot in the arena.
        sentinel: a descriptor that becomes readable when it has ended.
        tasks: of a pool's worker: the channel that it takes from.
        claim, head: of a pool's worker that has ended: what it had claimed, and how far the channel had been taken from
            when it had; see scheduler.WorkerExited.
    """

    def __init__(self, pid: int, identity: int) -> None:
        self.pid = pid
        self.identity = identity
        self.sentinel = _os.open_sentinel(pid)
        self.tasks: memory.Channel | None = None
        self.claim = (0, 0, 0, 0)
        self.head = 0
        self._exitcode: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """The exit code if it has ended, negative for a signal; what it held is free by then."""
        with self._lock:
            if self._exitcode is None:
                code = _os.collect(self.pid, self.sentinel)
                if code is None:
                    return None
                said = _core.process_exitcode(self.identity)
                if isinstance(code, str):  # somebody else has reaped it: what it said itself is all there is to know
                    code = 255 if said is None else said
                # The head first: what it claimed and did not take, others may be taking at this moment.
                self.head = self.tasks.head if self.tasks is not None else 0
                self.claim = _core.process_claim(self.identity)
                _core.process_sweep(self.identity, said is None)
                self._exitcode = code
            return self._exitcode

    def wait(self, deadline: int = FOREVER) -> int | None:
        """The exit code, as soon as it has ended; None if it has not by `deadline`."""
        code = self.poll()
        while code is None:
            left = seconds_until(deadline)
            if self.sentinel >= 0:
                _os.wait_readable([self.sentinel], left)
            code = self.poll()
            if left == 0:
                break
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal unless it has ended."""
        with self._lock:
            if self._exitcode is None:
                try:
                    os.kill(self.pid, number)
                except ProcessLookupError:
                    pass

    def close(self) -> None:
        """Give the sentinel back."""
        if self.sentinel >= 0:
            os.close(self.sentinel)
            self.sentinel = -1

    def __del__(self) -> None:
        self.close()


class Body(Protocol):
    """What a child does: called there without arguments; its result is the exit code.  Pickled for a fresh interpreter."""

    def __call__(self) -> int: ...


def start(method: str, body: Body, *, quiet: bool = False) -> Child:
    """Start a child that runs `body`; with `quiet` it does not print why it cannot begin.

    Raises:
        RuntimeError: this interpreter is still importing the main module that starts the child.
        CannotEncode: `body` cannot be pickled.
        OutOfMemory: no process slot is left.
    """
    if _booting:
        raise RuntimeError(
            "a child process was started while the main module was being imported in a child. "
            "Put the code that starts processes under\n\n"
            "    if __name__ == '__main__':\n        freeze_support()\n        ...\n\n"
            "so that a child can import the module without running it."
        )
    memory.ensure()
    if method == "fork":
        return _start_forked(body)
    identity = _core.process_reserve()
    try:
        facts = main_facts() | {"quiet": quiet}
        payload = codec.encode(body, codec.encode_in_band(facts), main_by_value="main" not in facts)
        _core.message_give(codec.as_message(payload), identity)
        if method == "spawn":
            return Child(_start_fresh("procession.worker.boot", identity, []), identity)
        return Child(_fork_server.fork(identity), identity)
    except BaseException:
        _core.process_sweep(identity, False)
        raise


def _start_forked(body: Body) -> Child:
    flush_streams()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pid = os.fork()
        if pid == 0:
            caught.clear()
    if pid == 0:
        end_process(body)
    child = Child(pid, memory.claim_fork_identity())
    # Newer Pythons warn of a fork with threads.  Ours know how to be forked; others' owners should hear of it, but not
    # before the child is known, because the warning may be an error.
    if any(not thread.name.startswith("procession-") for thread in threading.enumerate()[1:]):
        try:
            for warning in caught:
                warnings.warn_explicit(warning.message, None, warning.filename, warning.lineno)  # type: ignore[arg-type]
        except Warning:
            child.send_signal(9)
            child.wait()
            child.close()
            raise
    return child


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
            flush_streams()
            _core.process_leave(code & 0xFF)
        finally:
            os._exit(code & 0xFF)


def _start_fresh(module: str, identity: int, fds: list[int]) -> int:
    arena = _core.arena_fd()
    import_entry = f"sys.path.append({_PACKAGE_PARENT!r}); from {module} import main; sys.path.pop()"
    code = f"import sys; {import_entry}; main(*sys.argv[1:])"
    numbers = [str(arena), str(identity), *map(str, fds)]
    return _os.start_interpreter(code, numbers, [arena, *fds], _executable)


def main_facts() -> dict[str, Any]:
    """What a fresh interpreter must know of this one before it can unpickle anything of the program's."""
    facts: dict[str, Any] = {
        "path": [entry if entry else os.getcwd() for entry in sys.path if isinstance(entry, str)],
        "argv": [str(argument) for argument in getattr(sys, "argv", [])],
        "folder": _current_folder(),
        "parent": os.getpid(),
    }
    origin = main_origin()
    if origin is not None:
        facts["main"] = origin
    return facts


def main_origin() -> tuple[str, str] | None:
    """Where another interpreter finds this program's main module; None if it was typed in, or came by ``-c`` or a pipe.

    ("name", its module name) or ("path", its file).
    """
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":
        return "name", spec.name
    path = getattr(main, "__file__", None)
    if path is None or not os.path.exists(path):  # noqa: PTH110
        return None
    return "path", os.path.abspath(path)  # noqa: PTH100


def _current_folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


class _ForkServer:
    """Our end of the fork server: a small interpreter, started once, that forks a sibling of itself at each request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._server: Child | None = None
        lifetime.on_fork_in_child(self, _ForkServer._forget)
        lifetime.at_exit(self, _ForkServer.stop, priority=-100)

    def fork(self, identity: int) -> int:
        """Have the child that `identity` was reserved for made; its pid."""
        with self._lock:
            for _ in range(2):
                try:
                    connection = self._connect()
                    connection.send(IDENTITY.pack(identity))
                    answer = connection.recv(IDENTITY.size)
                except OSError:
                    answer = b""
                if len(answer) == IDENTITY.size:
                    break
                self._drop()  # the server has died: a new one
            else:
                raise StartFailed("the fork server ends as soon as it is started; see what it printed")
        pid = int(IDENTITY.unpack(answer)[0])
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        return pid

    def _connect(self) -> socket.socket:
        if self._socket is None:
            import socket

            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            identity = _core.process_reserve()
            facts = {**main_facts(), "preload": list(_preload)}
            _core.message_give(codec.as_message(codec.encode(None, codec.encode_in_band(facts))), identity)
            with theirs:
                pid = _start_fresh("procession.worker.server", identity, [theirs.fileno()])
            self._server = Child(pid, identity)
            self._socket = ours
        return self._socket

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._server is not None:
            if self._server.wait(deadline_after(1.0)) is None:
                self._server.send_signal(9)
                self._server.wait()
            self._server.close()
            self._server = None

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


_fork_server = _ForkServer()


def stop_fork_server() -> None:
    """End this process's fork server; the next child starts a new one."""
    _fork_server.stop()
