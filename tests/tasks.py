"""What runs in workers and children of the tests: importable by name from a fresh interpreter."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import procession

LOCAL_LOCK = threading.Lock()
STATE: dict[str, Any] = {}


# ---- plain ----


def double(x: Any) -> Any:
    return 2 * x


def identity(x: Any) -> Any:
    return x


def nothing(*_: object) -> None: ...


def add(a: Any, b: Any = 0, *, scale: int = 1) -> Any:
    return (a + b) * scale


def own_pid(_: object = None) -> int:
    return os.getpid()


def size(data: Any) -> int:
    return len(data)


def type_name(x: object) -> str:
    return type(x).__name__


def current_facts(_: object = None) -> dict[str, Any]:
    me, parent = procession.current_process(), procession.parent_process()
    assert parent is not None
    return {
        "pid": os.getpid(),
        "me": (me.name, me.pid, me.daemon),
        "parent": (parent.name, parent.pid, parent.is_alive()),
        "children": len(procession.active_children()),
    }


# ---- meeting the test ----


def arrive(path: str | Path, text: object = "") -> None:
    """Tell the test that this point was reached; whole or not at all."""
    temporary = f"{path}.{os.getpid()}.tmp"
    Path(temporary).write_text(str(text))
    os.rename(temporary, path)


def wait_for_file(path: str | Path, within_s: float = 20.0) -> None:
    end = time.monotonic() + within_s
    while not os.path.exists(path):
        if time.monotonic() > end:
            raise TimeoutError(f"{path} did not come")
        time.sleep(0.002)


def arrive_and_wait(path: str, value: Any = None) -> Any:
    """Go on when the test makes `path`.go"""
    arrive(path, os.getpid())
    wait_for_file(path + ".go")
    return value


def arrive_and_hang(path: str) -> None:
    arrive(path, os.getpid())
    time.sleep(600)


def hang_at(item: tuple[str, int, int]) -> int:
    """Double the number, but hang at one."""
    path, number, where = item
    if number == where:
        arrive_and_hang(path)
    return 2 * number


def hold_the_interpreter(path: str) -> None:
    """Long C code that keeps the interpreter lock."""
    arrive(path, os.getpid())
    ctypes.PyDLL(None).sleep(600)


def wait_for_go(path: str) -> int:
    wait_for_file(path)
    return os.getpid()


# ---- raising and dying ----


class TwoArguments(Exception):
    """Cannot be unpickled: its arguments are not those of its constructor."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first}-{second}")


def raise_value_error(x: Any) -> None:
    raise ValueError(f"bad value {x!r}")


def raise_at_three(x: int) -> int:
    if x == 3:
        raise ValueError("three")
    return x


def raise_named(name: str) -> None:
    raise {"KeyboardInterrupt": KeyboardInterrupt, "SystemExit": SystemExit, "GeneratorExit": GeneratorExit}[name](
        "told to"
    )


def raise_two_arguments(_: object = None) -> None:
    raise TwoArguments("one", "two")


def raise_with_lock(_: object = None) -> None:
    error = ValueError("holds a lock")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    raise error


def return_lock(_: object = None) -> Any:
    return threading.Lock()


def return_lock_at_three(x: int) -> Any:
    return threading.Lock() if x == 3 else x


def exit_hard(code: int) -> None:
    os._exit(code)


def exit_soft(code: Any = None) -> None:
    sys.exit(code)


def kill_self(number: int = signal.SIGKILL) -> None:
    os.kill(os.getpid(), number)
    time.sleep(600)


def segfault(_: object = None) -> None:
    ctypes.string_at(0)


DEATHS = {
    "os._exit": lambda: exit_hard(3),
    "segfault": segfault,
    "kill -9": kill_self,
    "SIGTERM": lambda: kill_self(signal.SIGTERM),
}


def die(how: str) -> None:
    DEATHS[how]()


def die_at_three(item: tuple[str, int]) -> int:
    how, number = item
    if number == 3:
        die(how)
    return number


class DiesWhenUnpickled:
    """Kills the process that unpickles it, other than the one that made it."""

    def __init__(self, how: str = "kill -9") -> None:
        self.how, self.owner = how, os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle_and_die, (self.how, self.owner)


def _unpickle_and_die(how: str, owner: int) -> DiesWhenUnpickled:
    if os.getpid() != owner:
        die(how)
    return DiesWhenUnpickled(how)


class RaisesWhenUnpickled:
    """Raises in any process but the one that made it; `anywhere` raises there too."""

    def __init__(self, anywhere: bool = False) -> None:
        self.owner = 0 if anywhere else os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle_and_raise, (self.owner,)


def _unpickle_and_raise(owner: int) -> RaisesWhenUnpickled:
    if os.getpid() != owner:
        raise ValueError("refuses to be unpickled")
    return RaisesWhenUnpickled()


class DiesWhenPickled:
    """Kills the process that pickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def return_dies_when_pickled(_: object = None) -> Any:
    return DiesWhenPickled()


def return_raises_when_unpickled(_: object = None) -> Any:
    return RaisesWhenUnpickled(anywhere=True)


# ---- initializers ----


def remember(key: str, value: Any) -> None:
    STATE[key] = value


def recall(key: str) -> Any:
    return STATE.get(key)


def initializer_raises() -> None:
    raise ValueError("boom in the initializer")


# ---- shared objects ----


def put_all(queue: Any, items: list[Any]) -> None:
    for item in items:
        queue.put(item)


def put_numbered(queue: Any, who: int, count: int) -> None:
    for i in range(count):
        queue.put((who, i))


def take_until_none(queue: Any, out: Any) -> None:
    while (item := queue.get()) is not None:
        out.put(item)
    out.put(None)


def echo_through(item: tuple[Any, Any]) -> Any:
    """Put something into a queue that came as an argument."""
    queue, value = item
    queue.put(value)
    return queue.qsize() >= 0


def acquire_and_arrive(lock: Any, path: str) -> None:
    lock.acquire()
    arrive(path, os.getpid())
    time.sleep(600)


def acquire_and_leave(lock: Any) -> None:
    lock.acquire()


def try_lock(lock: Any) -> bool:
    """Whether it could be had at once; it is given back."""
    if not lock.acquire(False):
        return False
    lock.release()
    return True


def release(lock: Any) -> None:
    lock.release()


def count_up(value: Any, times: int) -> None:
    for _ in range(times):
        with value.get_lock():
            value.value += 1


def count_up_under(lock: Any, value: Any, times: int) -> None:
    for _ in range(times):
        with lock:
            value.value += 1


def set_raw(value: Any, number: Any) -> None:
    value.value = number


def send_back(queue: Any, out: Any) -> None:
    """Take an object (a queue, a lock) out of a queue and use it."""
    thing = queue.get()
    if hasattr(thing, "put"):
        thing.put("through")
    else:
        with thing:
            out.put("locked")


# ---- arrays ----


def array_facts(array: Any) -> tuple[Any, ...]:
    array[0] = 42  # writable, and private
    return array.shape, str(array.dtype), bool(array.flags.writeable), float(array[-1])


def make_array(count: int) -> Any:
    import numpy as np

    return np.arange(count, dtype=np.float64)


# ---- children of children ----


def start_sleeper(method: str, path: str, daemon: bool) -> None:
    """A parent that is to be killed: it has a child and waits."""
    child = procession.get_context(method).Process(target=time.sleep, args=(600,), daemon=daemon)
    child.start()
    arrive(path, child.pid)
    time.sleep(600)


def pool_in_worker(method: str) -> list[int]:
    with procession.get_context(method).Pool(1) as pool:
        return list(pool.map(double, [1, 2]))


def throttled(semaphore: threading.Semaphore, count: int) -> Iterator[int]:
    for i in range(count):
        semaphore.acquire()
        yield i


def arrive_and_wait_pair(item: tuple[str, Any]) -> Any:
    return arrive_and_wait(*item)


def array_or_lock(x: int) -> Any:
    """Three arrays, then a lock."""
    import numpy as np

    return threading.Lock() if x == 3 else np.full(20_000, x)


def fork_and_come_back(x: int) -> int:
    """A task whose child returns from it as well."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    return x


class Forking:
    """Whoever unpickles it forks, and the child goes on as well."""

    def __reduce__(self) -> Any:
        return fork_and_come_back, (0,)


def note(path: str, _: object) -> int:
    """Write a byte; how many there are then."""
    with open(path, "ab") as file:
        file.write(b".")
    return os.path.getsize(path)


def be_deaf(path: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    arrive_and_hang(path)


def nap_and_double(x: int) -> int:
    time.sleep(0.002)
    return 2 * x


def fork_then_die(path: str) -> None:
    pid = os.fork()
    if pid == 0:
        time.sleep(20)
        os._exit(0)
    arrive(path, pid)
    os.kill(os.getpid(), signal.SIGKILL)


def acknowledge(queue: Any, path: str) -> None:
    """Write down the number of each message that was taken; None ends it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    while (item := queue.get()) is not None:
        # Eight bytes: a line that lies across two pages could be cut by a kill.
        os.write(descriptor, b"%7d\n" % item[0])


def write_for_ever(queue: Any, who: int, size: int) -> None:
    number = 0
    while True:
        if queue.qsize() < 200:
            queue.put((who, number, b"x" * size))
            number += 1


def use_everything() -> None:
    queue, lock = procession.Queue(), procession.Lock()
    with lock:
        queue.put({"lock": lock, "data": b"x" * 100_000})
    queue.get()
    with procession.get_context("fork").Pool(1) as pool:
        assert pool.apply(double, (2,)) == 4
    pool.join()


def put_many_numbered(queue: Any, who: int, count: int, at_once: int) -> None:
    for i in range(0, count, at_once):
        queue.put_many((who, k) for k in range(i, min(count, i + at_once)))


def take_many_until_none(queue: Any, out: Any) -> None:
    while True:
        got = queue.get_many(7)
        out.put([item for item in got if item is not None])
        if None in got:
            queue.put_many([None] * (got.count(None) - 1))  # the others'
            return


def put_many_for_ever(queue: Any) -> None:
    number = 0
    while True:
        queue.put_many(range(number, number + 100))
        number += 100
