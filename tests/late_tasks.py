"""Tasks that take too long, each in its own way: for test_timeouts and test_cancel."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import death_tasks
import procession
import tasks

SECONDS = 600


def get_ready() -> None:
    """An initializer: this module is imported before the time of the first task counts."""


def note(path: str, text: object) -> None:
    """A line more in the file; whole, whoever else writes."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


def noted(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text().split()
    except FileNotFoundError:
        return []


# ---- ways to be late ----


def sleep(_: str) -> None:
    time.sleep(SECONDS)


def hold_the_interpreter_in_a_system_call(_: str) -> None:
    tasks.ctypes.PyDLL(None).sleep(SECONDS)


def hold_the_interpreter_in_a_loop(_: str) -> None:
    sum(itertools.repeat(1))


def ignore_the_signal(_: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(SECONDS)


def block_the_signal(_: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    time.sleep(SECONDS)


def go_on_whatever_comes(_: str) -> None:
    while True:
        try:
            time.sleep(SECONDS)
        except BaseException:
            pass


def return_whatever_comes(_: str) -> int:
    with contextlib.suppress(BaseException):
        time.sleep(SECONDS)
    return 5


def raise_whatever_comes(_: str) -> None:
    try:
        time.sleep(SECONDS)
    except BaseException:
        raise ValueError("another") from None


def be_stopped(_: str) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(SECONDS)


def clean_up(path: str) -> None:
    try:
        time.sleep(SECONDS)
    finally:
        tasks.arrive(path, "clean")


WAYS: dict[str, Callable[[str], object]] = {
    way.__name__.replace("_", " "): way
    for way in (
        sleep,
        hold_the_interpreter_in_a_system_call,
        hold_the_interpreter_in_a_loop,
        ignore_the_signal,
        block_the_signal,
        go_on_whatever_comes,
        return_whatever_comes,
        raise_whatever_comes,
        be_stopped,
        clean_up,
    )
}


def be_late(way: str, path: str) -> object:
    tasks.arrive(path + ".began", os.getpid())
    return WAYS[way](path)


# ---- with processes of their own ----

_FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def start_family(path: str, how: str) -> None:
    """A child and a grandchild, whose pids it notes; then it is late."""
    if how == "with the default action":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    elif how == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", _FAMILY],
        stdout=subprocess.PIPE,
        start_new_session=how == "in a session of its own",
    )
    assert child.stdout is not None
    grandchild = int(child.stdout.readline())
    tasks.arrive(path, f"{child.pid} {grandchild}")
    if how == "holding the interpreter":
        hold_the_interpreter_in_a_loop(path)
    time.sleep(SECONDS)


# ---- the signal comes late ----


def let_the_signal_wait(path: str) -> int:
    """Late, but does not notice; a signal that comes is there for the next task."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    while signal.SIGTERM not in signal.sigpending():
        time.sleep(0.001)
    return 5


def hear_the_signal(path: str) -> int:
    """The next task."""
    tasks.arrive_and_wait(path)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    return os.getpid()


# ---- several ----


def count_and_nap(item: tuple[int, float, str]) -> int:
    """Notes that it ran, and sleeps."""
    number, seconds, path = item
    note(path, number)
    time.sleep(seconds)
    return number


def count_and_nap_with_path(item: tuple[int, float, str]) -> Path:
    """As count_and_nap(), but the result is an object with code of its own."""
    return Path(item[2], str(count_and_nap(item)))


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def hang_once(path: str) -> str:
    """Late only the first time."""
    note(path, "run")
    if death_tasks.leave_behind(path + ".once"):
        time.sleep(SECONDS)
    return "done"


def hang_and_count(path: str) -> None:
    note(path, "run")
    time.sleep(SECONDS)


# ---- late where no call is ----


class LateWhenUnpickled:
    """In any process but the one that made it."""

    def __init__(self) -> None:
        self.owner = os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        return _late_elsewhere, (self.owner,)


def _late_elsewhere(owner: int) -> int:
    if os.getpid() != owner:
        time.sleep(SECONDS)
    return -1


class LateFunction(LateWhenUnpickled):
    def __call__(self, item: object) -> None: ...


class LateWhenPickled:
    def __reduce__(self) -> tuple[Any, ...]:
        time.sleep(SECONDS)
        return int, (0,)


def identity_or_late(item: Any) -> Any:
    return LateWhenPickled() if item == "late" else item


# ---- more of a worker ----


def hang_in_a_pool(method: str, path: str, count: int = 2) -> None:
    """A pool in a worker, whose workers hang; their pids are noted."""
    with procession.get_context(method).Pool(count) as pool:
        results = [pool.apply_async(tasks.arrive_and_hang, (f"{path}.{number}",)) for number in range(count)]
        for number in range(count):
            tasks.wait_for_file(f"{path}.{number}")
        tasks.arrive(path, " ".join(map(str, [os.getpid(), *(worker.pid for worker in pool._pool)])))
        results[0].get()


HOARD: list[bytes] = []


def hoard(size_bytes: int) -> int:
    """Keeps that much for good; the worker's pid."""
    HOARD.append(os.urandom(1) * size_bytes)
    return os.getpid()


class EndsSlowly:
    """What it does when it goes takes long, and says when it has begun."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __del__(self) -> None:
        Path(self.path).touch()
        time.sleep(30)


def drop_slowly(path: str) -> None:
    """Is within a ``__del__`` for long, where nothing can be raised."""
    thing = EndsSlowly(path)
    del thing
