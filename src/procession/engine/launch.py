"""Child processes: starting them by fork, spawn or the fork server, seeing them end, and the clearing up after it.

    fork        the child goes on from here; it inherits all
    spawn       a fresh interpreter attaches the arena and reads what to do from a message that it owns
    forkserver  as spawn, but the interpreter is a sibling forked from a small server that has imported ``__main__``

Whatever the method, the child is this process's own: its exit code is ours to collect, and it can die with us.
"""

from __future__ import annotations

import atexit
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from procession import _core, _os
from procession.engine import bystanders, codec, descriptors, fork_server, lifetime, memory, program
from procession.engine.children import Child
from procession.engine.fork_server import start_fresh
from procession.engine.interrupts import Deaf, Hold, hear_interrupts
from procession.engine.program import main_facts
from procession.errors import OutOfMemory, StartFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

__all__ = [
    "end_process",
    "flush_streams",
    "fork_server_pid",
    "hear_interrupts",
    "is_refusal",
    "preload",
    "set_booting",
    "start",
    "stop_fork_server",
    "warm_up",
]

_FORK_WARNS = sys.version_info >= (3, 12)
_booting = False
_refusal: RuntimeError | None = None
_warned: set[str] = set()


def preload(modules: list[str]) -> None:
    """What the fork server imports before its first child, if it has not started yet.

    Raises:
        TypeError: these are no strings.
    """
    if not all(isinstance(name, str) for name in modules):
        raise TypeError("module_names must be a list of strings")
    fork_server.preloaded[:] = modules


def set_booting(booting: bool) -> None:
    """While a fresh interpreter imports the program's main module, it must not start children."""
    global _booting
    _booting = booting


def is_refusal(error: BaseException) -> bool:
    """Whether it is what start() has raised because the main module has no guard: in every child of the program the same."""
    return error is _refusal


# What a child does: called there without arguments; its result is the exit code.  Pickled for a fresh interpreter.
Body = Callable[[], int]


def start(
    method: str, body: Body, *, started: Callable[[Child], object], quiet: bool = False, deaf: bool = False
) -> None:
    """Start a child that runs `body`, and call ``started(child)``: no interrupt comes between.

    With `quiet` the child does not print why it cannot begin, and nobody is warned of a fork with threads.  With `deaf` it
    hears no SIGINT, and if it is forked no SIGTERM, before it says so by `hear_interrupts()`.

    Raises:
        RuntimeError: this interpreter is still importing the main module that starts the child.
        CannotEncode: `body` cannot be pickled.
        OutOfMemory: no process slot is left.
        OSError: no descriptor, process or memory is left; it says which limit there is.
    """
    global _refusal
    if program.pending is not None:
        program.pending()
    if _booting:
        _refusal = RuntimeError(
            "a child process was started while the main module was being imported in a child. "
            "Put the code that starts processes under\n\n"
            "    if __name__ == '__main__':\n        freeze_support()\n        ...\n\n"
            "so that a child can import the module without running it."
        )
        raise _refusal
    memory.ensure()
    with _limits_told(), Deaf(and_ends=deaf and method == "fork") as hush:
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


def _start_apart(method: str, body: Body, hush: Deaf, *, quiet: bool, deaf: bool) -> Child:
    if _core.arena_fd() < 0:
        raise StartFailed(
            f"the program has closed a descriptor of procession's, which {method} hands to children: close what you have "
            "opened, not a range of descriptors, or start children with fork"
        )
    flush_streams()  # nothing of it can come twice, but what was printed before the start should come before the child's
    identity = _core.process_reserve()
    try:
        facts = main_facts()
        flags = fork_server.QUIET * quiet | fork_server.DEAF * deaf
        # The server's children know what it was told; that is all there is to tell, but where a program has changed it.
        if method == "spawn" or facts != _fork_server.facts:
            header = codec.encode_in_band(facts | {"flags": flags})
        else:
            header = b""
            flags |= fork_server.KNOWN
        with descriptors.Bundle(is_for_child=True) as bundle:
            payload = codec.encode(body, header, main_by_value="main" not in facts)
            _core.message_give(codec.as_message(payload), identity)
            with _room_for_sentinel():
                if method == "spawn":
                    pid = start_fresh("procession.worker.boot", identity, bundle.fds)
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
        try:
            for warning in caught:
                _warn_again(warning)
        except Warning:
            child.end()
            raise
    return child


def _warn_again(warning: Any) -> None:
    """Warn of what was caught; once, if the filters say so: Python forgets what it has said whenever they change."""
    import warnings

    text, module = str(warning.message), warning.filename.removesuffix(".py")
    for action, message, category, modules, line in warnings.filters:
        if (
            issubclass(warning.category, category)
            and _is_meant(message, text)
            and _is_meant(modules, module)
            and line in (0, warning.lineno)
        ):
            if action in ("default", "module", "once"):
                if text in _warned:
                    return
                _warned.add(text)
            break
    warnings.warn_explicit(warning.message, None, warning.filename, warning.lineno)


def _is_meant(pattern: Any, text: str) -> bool:
    """Whether a filter's pattern fits; those that Python itself begins with are plain strings."""
    if pattern is None or isinstance(pattern, str):
        return pattern in (None, text)
    return bool(pattern.match(text))


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
    spare = os.dup(_core.arena_fd()) if _core.arena_fd() >= 0 else os.open(os.devnull, os.O_RDONLY)
    try:
        yield
    finally:
        os.close(spare)


def _hear_and_run(hush: Deaf, body: Body) -> int:
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


_fork_server = fork_server.ForkServer()


def warm_up() -> None:
    """Start the fork server unless it runs.  It is not waited for: it gets ready while its first child is prepared."""
    if _booting or program.pending is not None:
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
