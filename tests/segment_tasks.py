"""What processes do with named shared memory in tests."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from procession.shared_memory import ShareableList, SharedMemory


def write(segment: SharedMemory, listed: ShareableList) -> None:
    """Say so in both."""
    assert segment.buf is not None
    segment.buf[:5] = b"howdy"
    listed[1] = "changed"
    segment.close()
    listed.shm.close()


def write_from(queue: Any) -> None:
    write(*queue.get())


def make_and_send(queue: Any, kill: bool) -> None:
    """Make a segment, send it, and end."""
    segment = SharedMemory(create=True, size=100)
    assert segment.buf is not None
    segment.buf[0] = 42
    queue.put(segment)
    segment.close()
    if kill:
        os.kill(os.getpid(), signal.SIGKILL)


def attach_and_say(name: str, event: Any) -> None:
    segment = SharedMemory(name)
    event.set()
    time.sleep(60)
    segment.close()


def churn() -> None:
    """Make and unlink segments for ever; some are left to the program's end."""
    os.write(1, b"begun\n")  # at once, and not in parts
    kept = []
    while True:
        segment = SharedMemory(create=True, size=5000)
        other = SharedMemory(f"psm_churn{os.getpid()}", create=True, size=10)
        again = SharedMemory(segment.name)
        again.close()
        segment.close()
        segment.unlink()
        other.close()
        other.unlink()
        if len(kept) < 20:
            kept.append(SharedMemory(create=True, size=10))


def churn_with_children(method: str) -> None:
    import procession

    ctx = procession.get_context(method)
    for _ in range(2):
        ctx.Process(target=churn).start()
    churn()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
