"""What goes wrong in a worker, and where: for test_death_matrix."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import tasks


class Struck(Exception):
    pass


def leave_behind(path: str | None) -> bool:
    """Whether nobody has been here before; without a path, nobody ever was."""
    if path is None:
        return True
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def stop_and_go_on() -> None:
    """Stopped until a child of ours has seen it."""
    me = os.getpid()
    helper = os.fork()
    if helper == 0:
        while Path(f"/proc/{me}/stat").read_text().rsplit(")", 1)[1].split()[0] != "T":
            pass
        os.kill(me, signal.SIGCONT)
        os._exit(0)
    os.kill(me, signal.SIGSTOP)
    os.waitpid(helper, 0)


def run_out_of_memory() -> None:
    """The limit stays."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.RLIM_INFINITY))
    bytearray(1 << 30)


def raise_struck() -> None:
    raise Struck("struck")


def segfault_silently() -> None:
    faulthandler.disable()
    tasks.segfault()


FAULTS = {
    "raise": raise_struck,
    "sys.exit": lambda: sys.exit(3),
    "os._exit": lambda: os._exit(3),
    "segfault": segfault_silently,
    "SIGKILL": tasks.kill_self,
    "SIGTERM": lambda: tasks.kill_self(signal.SIGTERM),
    "SIGSTOP": stop_and_go_on,
    "memory": run_out_of_memory,
}


def strike(fault: str, once: str | None = None) -> None:
    """The fault comes here; with a path `once`, only for the first who comes by."""
    if leave_behind(once):
        FAULTS[fault]()


class StrikesWhenUnpickled:
    """In any process but the one that made it; becomes -1."""

    def __init__(self, fault: str, once: str | None) -> None:
        self.parts = fault, once, os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        return _strike_elsewhere, self.parts


def _strike_elsewhere(fault: str, once: str | None, spared: int) -> int:
    if os.getpid() != spared:
        strike(fault, once)
    return -1


class FunctionThatStrikes(StrikesWhenUnpickled):
    """A function; comes out of its pickle as tasks.double, if it does."""

    def __call__(self, item: object) -> object: ...

    def __reduce__(self) -> tuple[Any, ...]:
        return _function, self.parts


def _function(*parts: Any) -> Any:
    _strike_elsewhere(*parts)
    return tasks.double


class StrikesWhenPickled:
    """Becomes -2."""

    def __init__(self, fault: str, once: str | None) -> None:
        self.parts = fault, once

    def __reduce__(self) -> tuple[Any, ...]:
        strike(*self.parts)
        return int, (-2,)


class Here:
    """An item whose call meets the fault."""

    def __init__(self, stage: str, fault: str, once: str | None) -> None:
        self.stage, self.fault, self.once = stage, fault, once

    def meet(self) -> Any:
        if self.stage == "pickle the result":
            return StrikesWhenPickled(self.fault, self.once)
        if self.stage == "unpickle the result":
            return StrikesWhenUnpickled(self.fault, self.once)
        strike(self.fault, self.once)
        return -2


def double_or_meet(item: Any) -> Any:
    return item.meet() if isinstance(item, Here) else 2 * item


def strike_by_thread(fault: str, path: str) -> int:
    """The fault comes in a thread of this worker when `path` is there, whatever the worker does then; its pid."""

    def life() -> None:
        tasks.wait_for_file(path)
        try:
            strike(fault)
        except (Struck, SystemExit, MemoryError):
            pass
        finally:
            tasks.arrive(path + ".over")

    threading.Thread(target=life, daemon=True).start()
    return os.getpid()


def strike_if_there(fault: str, path: str) -> None:
    """An initializer: the fault comes only to workers that find `path`."""
    if os.path.exists(path):
        strike(fault, path + ".once")


class RaisesWhenPickled:
    """In any process."""

    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        raise self.kind("in the parent")
