"""Process, and which processes there are: the standard library's ``multiprocessing.process`` on procession's launch."""

from __future__ import annotations

import itertools
import os
import signal
import weakref
from collections.abc import Callable, Iterable, Mapping

from procession import _core, _os, _stdlib, util
from procession.engine import children, launch, lifetime, program
from procession.engine.clock import deadline_after
from procession.worker import life

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["BaseProcess", "active_children", "current_process", "parent_process"]

_children: set[BaseProcess] = set()
_dangling: weakref.WeakSet[Any] = weakref.WeakSet()
_counter = itertools.count(1)
_current: Any = None  # this process, a BaseProcess; set below
_parent: Any = None
_TERMINATE_GRACE = 2.0  # seconds from the soft to the hard signal when this process ends


class AuthenticationString(bytes):
    """A key that is pickled only on its way to a child."""

    def __reduce__(self) -> tuple[Any, ...]:
        if _stdlib.get_spawning_popen() is None:
            raise TypeError(
                "Pickling an AuthenticationString object is disallowed for security reasons: send bytes(key) if you must"
            )
        return AuthenticationString, (bytes(self),)


class BaseProcess(_stdlib.BaseProcess):
    """Like multiprocessing.Process.  A daemonic one dies with its parent, however that ends."""

    _start_method: str | None = None
    _starts_quietly = False  # see launch.start()
    _is_deaf = False  # to Ctrl-C, until its target says otherwise

    def __init__(
        self,
        group: None = None,
        target: Callable[..., object] | None = None,
        name: str | None = None,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        daemon: bool | None = None,
    ) -> None:
        if group is not None:
            raise AssertionError("group argument must be None for now")
        number = next(_counter)
        parent: Any = _current
        self._identity = (*parent._identity, number)
        self._config: dict[str, Any] = dict(parent._config)
        self._parent_pid = os.getpid()
        self._parent_name = parent.name
        self._child: children.Child | None = None
        self._closed = False
        self._target = target
        self._args = tuple(args)
        self._kwargs = dict(kwargs) if kwargs is not None else {}
        self._name = name or type(self).__name__ + "-" + ":".join(map(str, self._identity))
        if daemon is not None:
            self._config["daemon"] = daemon
        _dangling.add(self)

    # ---- what the child runs ----

    def run(self) -> None:
        """What the process does; by default it calls its target.  Subclasses may override it."""
        if self._target:
            self._target(*self._args, **self._kwargs)

    # ---- the parent's side ----

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("process object is closed")

    def _check_mine(self, what: str) -> None:
        if self._parent_pid != os.getpid():
            raise AssertionError(f"can only {what} a child process")

    def _method(self) -> str:
        """The start method; contexts give each process class its own."""
        return self._start_method or "fork"

    def start(self) -> None:
        """Start the child; once for each object."""
        self._check_open()
        if self._child is not None:
            raise AssertionError("cannot start a process twice")
        self._check_mine("start")
        _reap()
        launch.start(self._method(), self._bootstrap, started=self._own, quiet=self._starts_quietly, deaf=self._is_deaf)

    def _own(self, child: children.Child) -> None:
        self._child = child
        # What it was given must not live as long as the object does.
        del self._target, self._args, self._kwargs
        _children.add(self)
        _take_part()

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._signal(signal.SIGKILL)

    def interrupt(self) -> None:
        """Send SIGINT."""
        self._signal(signal.SIGINT)

    def _signal(self, number: int) -> None:
        self._check_open()
        if self._child is None:
            raise AttributeError("the process has not been started: there is nothing to send a signal to")
        self._child.send_signal(number)

    def join(self, timeout: float | None = None) -> None:
        """Wait until the child has ended, or `timeout` seconds have passed."""
        self._check_open()
        self._check_mine("join")
        if self._child is None:
            raise AssertionError("can only join a started process")
        if self._child.wait(deadline_after(timeout)) is not None:
            _children.discard(self)

    def is_alive(self) -> bool:
        """Whether it runs."""
        self._check_open()
        if self is _current:
            return True
        self._check_mine("test")
        if self._child is None:
            return False
        if self._child.poll() is None:
            return True
        _children.discard(self)
        return False

    def close(self) -> None:
        """Give back what the object holds; the child must have ended."""
        if self._child is not None:
            if self._child.poll() is None:
                raise ValueError(
                    "Cannot close a process while it is still running. You should first call join() or terminate()."
                )
            self._child.close()
            self._child = None
            _children.discard(self)
        self._closed = True

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        if not isinstance(name, str):
            raise AssertionError("name must be a string")
        self._name = name
        if isinstance(self, _MainProcess):
            _stdlib.set_main_name(name)

    @property
    def daemon(self) -> bool:
        """Whether it dies with its parent."""
        return bool(self._config.get("daemon", False))

    @daemon.setter
    def daemon(self, daemonic: bool) -> None:
        if self._child is not None:
            raise AssertionError("process has already started")
        self._config["daemon"] = daemonic

    @property
    def authkey(self) -> bytes:
        key: bytes = self._config["authkey"]
        return key

    @authkey.setter
    def authkey(self, authkey: bytes) -> None:
        self._config["authkey"] = AuthenticationString(authkey)

    @property
    def exitcode(self) -> int | None:
        """None while it runs or before it starts; negative for the signal that killed it."""
        self._check_open()
        return None if self._child is None else self._child.poll()

    @property
    def ident(self) -> int | None:
        """The pid, None before it starts."""
        self._check_open()
        if self is _current:
            return os.getpid()
        return None if self._child is None else self._child.pid

    @property
    def pid(self) -> int | None:
        """The pid, None before it starts."""
        return self.ident

    @property
    def sentinel(self) -> int:
        """A descriptor that becomes readable when the process has ended."""
        self._check_open()
        if self._child is None:
            raise ValueError("process not started")
        return self._child.sentinel

    def __repr__(self) -> str:
        if self is _current:
            status = "started"
        elif self._closed:
            status = "closed"
        elif self._parent_pid != os.getpid():
            status = "unknown"
        elif self._child is None:
            status = "initial"
        else:
            code = self._child.poll()
            status = "started" if code is None else f"stopped exitcode={_code_name(code)}"
        pid = "" if self._child is None else f" pid={self._child.pid}"
        daemon = " daemon" if self.daemon else ""
        return f"<{type(self).__name__} name={self._name!r}{pid} parent={self._parent_pid} {status}{daemon}>"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_child"} | {"_child": None}

    # ---- the child's side ----

    def _bootstrap(self) -> int:
        """Be this process: the whole life of the child."""
        global _current, _parent, _counter
        _parent = _ParentProcess(self._parent_name, self._parent_pid)
        _counter = itertools.count(1)
        if _dangling:
            _dangling.clear()
        _dangling.add(self)
        _current = self
        _stdlib.set_current_process(self, _parent)
        _stdlib.run_fork_hooks()
        if self.daemon:
            _core.die_with_parent(self._parent_pid)
        life.close_input()
        util.info("child process calling self.run()")
        code = life.live(self.run, self.name)
        util.info("process exiting with exitcode %d", code)
        return code


def _code_name(code: int) -> str:
    try:
        return "-" + signal.Signals(-code).name if code < 0 else str(code)
    except ValueError:
        return str(code)


class _ParentProcess(BaseProcess):
    """The process that started this one, seen from here."""

    def __init__(self, name: str, pid: int) -> None:
        self._identity = ()
        self._name = name
        self._pid = pid
        self._parent_pid = 0
        self._child = None
        self._closed = False
        self._config = {}
        self._slot = _core.process_parent()
        self._watch = -1

    def is_alive(self) -> bool:
        """Whether it runs."""
        return _core.process_is_alive(self._slot)

    @property
    def ident(self) -> int:
        """The pid."""
        return self._pid

    @property
    def sentinel(self) -> int:
        """A descriptor that becomes readable when the process has ended."""
        if self._watch < 0 and self.is_alive():
            self._watch = _os.open_sentinel(self._pid)
        if self._watch < 0:  # it has ended before anyone asked: the end of a pipe that nobody writes to
            self._watch, other = os.pipe()
            os.close(other)
        return self._watch

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, or `timeout` seconds have passed."""
        _os.wait_readable([self.sentinel], timeout)


class _MainProcess(BaseProcess):
    """The program's first process."""

    def __init__(self) -> None:
        self._identity = ()
        self._name = "MainProcess"
        self._parent_pid: Any = None
        self._child = None
        self._closed = False
        # Locks of the standard library that a child makes ask the process for the prefix of their names.
        self._config = {"authkey": AuthenticationString(_stdlib.authkey()), "semprefix": "/mp"}

    def close(self) -> None:
        """Nothing to give back."""


_current = _MainProcess()


def current_process() -> BaseProcess:
    """The object that stands for this process."""
    process: BaseProcess = _current
    return process


def parent_process() -> BaseProcess | None:
    """The object that stands for the process that started this one; None in the program's first process."""
    parent: BaseProcess | None = _parent
    return parent


def active_children() -> list[BaseProcess]:
    """The children of this process that run; those that have ended are joined on the way."""
    _reap()
    return list(_children)


def _reap() -> None:
    for child in list(_children):
        if child._child is None or child._child.poll() is not None:
            _children.discard(child)


def _cleanup() -> None:
    _reap()


class _Ending:
    """Owner of the callbacks for this process's end and forks."""


_ending = _Ending()
_takes_part = False


def _take_part() -> None:
    """From the first child on there is something to do at the end, and for a child that is forked: none of them is its own."""
    global _takes_part
    if not _takes_part:
        _takes_part = True
        lifetime.on_fork_in_child(_ending, _forked)
        lifetime.at_exit(_ending, _end, priority=-10)


def _end(_: _Ending) -> None:
    """Daemonic children are ended, the others waited for."""
    daemons = [child for child in active_children() if child.daemon and child._child]
    for child in daemons:
        util.info("calling terminate() for daemon %s", child.name)
        child.terminate()
    deadline = deadline_after(_TERMINATE_GRACE)
    for child in daemons:
        if child._child and child._child.wait(deadline) is None:
            child.kill()
    for child in active_children():
        util.info("calling join() for process %s", child.name)
        child.join()
    lifetime.at_exit(_ending, _end, priority=-10)


def _forked(_: _Ending) -> None:
    _children.clear()
    lifetime.at_exit(_ending, _end, priority=-10)


def _take_authkey(key: bytes) -> None:
    _current.authkey = key


program.carry("authkey", lambda: bytes(_current.authkey), _take_authkey)
