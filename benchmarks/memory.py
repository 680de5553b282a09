"""Memory: what many tasks leave behind, and what a pool takes while it has nothing to do.

Counted by the kernel's own books (/proc/PID/smaps): what a process has for itself alone, and of shared memory the part
that falls to it, so that a sum over a program counts each page once.  Pages of files that are mapped are not counted:
those of the interpreter and its libraries are the system's to drop.
"""

from __future__ import annotations

import gc
import os
import re
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from .measure import MB, MODULES, OURS, Goal, Measure, Setting, Side, Skipped
from .peers import open_pool, wake_all
from .pool import nop

TASKS = 10_000_000
KB = 1024
AT_ONCE = 100_000
PARTS = 20
WARM_PARTS = 5
LOOKS = 3
UNCHANGED_MB = 3  # a third of a byte for each task; a heap goes up and down by as much


def own_bytes(pids: Iterable[int]) -> int:
    """The memory of these processes: private pages, and their parts of shared ones that no file on a disk backs."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps").read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            raise Skipped("needs /proc/PID/smaps") from None
        is_anonymous = False
        for line in text.splitlines():
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                path = line.split(maxsplit=5)[5:]
                is_anonymous = not path or path[0].startswith(("[", "/memfd:", "/dev/shm/", "/dev/zero"))
                counted = "Pss:" if is_anonymous else "Private_Dirty:"
            elif line.startswith(counted):
                total += int(line.split()[1]) * KB
    return total


def program() -> list[int]:
    """This process and all that it has started."""
    import psutil

    return [os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))]


def growth(setting: Setting) -> float:
    """How much more the program has after many tasks, once it is warm: after a quarter as many, its heap has its size.

    What it has goes up and down by a megabyte or two with what was last on its way: the least of a few looks counts.
    """
    part = setting.count(TASKS // PARTS)
    with open_pool(setting) as pool:

        def run_part() -> int:
            deque(pool.imap(nop, range(part // 2)), maxlen=0)
            for start in range(0, part // 2, AT_ONCE):
                pool.map(nop, range(start, min(start + AT_ONCE, part // 2)))
            gc.collect()
            return own_bytes(program())

        looks = [run_part() for _ in range(WARM_PARTS + PARTS)][WARM_PARTS - LOOKS :]
    return min(looks[-LOOKS:]) - min(looks[:LOOKS])


def idle_pool(setting: Setting) -> float:
    """What a program has more once it has a pool, without what as many interpreters that do nothing would have."""
    gc.collect()
    before = own_bytes(program())
    with open_pool(setting) as pool:
        wake_all(pool, setting)
        taken = own_bytes(program()) - before
    return taken - idle_interpreters(setting)


def idle_interpreters(setting: Setting) -> float:
    """The memory of as many children that only wait, started by the standard library.

    Forked ones share most of theirs with this process: what counts is how much the program has more.
    """
    from multiprocessing import get_context

    context: Any = get_context(setting.method)
    gc.collect()
    before = own_bytes(program())
    here, there = context.Pipe()
    processes = [context.Process(target=wait_for_end, args=(there, here)) for _ in range(setting.workers)]
    for process in processes:
        process.start()
    there.close()
    for _ in processes:
        here.recv()
    pids = [process.pid for process in processes if process.pid is not None]
    taken = own_bytes(program()) - before if setting.method == "fork" else own_bytes(pids)
    here.close()
    for process in processes:
        process.join()
    return taken


def wait_for_end(end: Any, other: Any) -> None:
    """Do nothing until the starter is done."""
    other.close()
    end.send(None)
    with suppress(EOFError, ConnectionError):
        end.recv()


def idle_row(method: str) -> Measure:
    """For those that have this start method."""
    sides = {
        name: Side(idle_pool, MODULES.get(name), method) for name in (OURS, "stdlib", "concurrent.futures", "mpire")
    }
    work = f"memory of an idle pool of 2 beyond its interpreters, {method}"
    return Measure(f"memory.idle_{method}", work, MB, sides, [Goal(8)], rounds=3)


MEASURES = [
    Measure(
        "memory.tasks",
        "memory after 10 million tasks, beyond that of the same pool once warm",
        MB,
        {OURS: Side(growth, MODULES[OURS])},
        [Goal(UNCHANGED_MB)],
        rounds=2,
    ),
    idle_row("fork"),
    idle_row("spawn"),
]
