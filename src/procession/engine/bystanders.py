"""The other threads at a fork: it waits until none of them is where its child would hang.

A forked child has one thread, and what the others held is held in it for ever.  Python frees a little of that: the lock of
all imports, and those of logging.  It does not free the lock within each buffered stream, which a thread holds while it
writes, nor the lock of a single module, which a thread holds while it imports that.

    in the parent   `at_rest()` waits, but not for long, until no other thread holds any of these, and lets none go on meanwhile
    in the child    `free_held()` frees what was held all the same, after a bare ``os.fork()``, too

Who holds a stream's lock is not shown to Python.  It is a word in the stream's own memory, after the lock: the number of the
thread, or 0.  Where it lies is found by looking into a stream that is just being written to.
"""

from __future__ import annotations

import _imp  # `imp` is no more, and importlib does not show the lock
import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from procession import _core
from procession.engine.clock import clock_ns, deadline_after

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["at_rest", "free_held"]

_PATIENCE_S = 1.0
_PAUSE_S = 0.0002
_UNDISTURBED_S = 0.1  # to the fork it is far less, but others may run on this core
_WORD_SIZE = 8

# What was held through a whole wait: it may be held for ever, so it is not waited for again until a fork finds it free.
_in_vain: set[tuple[int, int]] = set()
_forking = threading.Lock()


# ---- in the parent ----


@contextmanager
def at_rest(is_urgent: Callable[[], bool]) -> Iterator[None]:
    """As a context, around a fork: what was printed is written out, and no other thread is where a child would hang.

    It waits for that for a second at most, and not when it `is_urgent()`.  One thread at a time: what it changes meanwhile
    is everybody's.  It is all in one function because this runs just after forks, when each page of memory that Python
    touches is copied first: that costs more than what is done here.
    """
    deadline = deadline_after(_PATIENCE_S)
    logging_lock = getattr(sys.modules.get("logging"), "_lock", None)
    with _forking:
        interval_s = sys.getswitchinterval()
        while True:
            _flush()
            has_imports = has_logging = False
            try:
                # The others go on only if this thread waits for something; a waiting one is let go on in good time.
                sys.setswitchinterval(_UNDISTURBED_S)
                _imp.acquire_lock()
                has_imports = True
                has_logging = logging_lock is None or logging_lock.acquire(blocking=False)
                held = _held()
                _in_vain.intersection_update(held)
                is_over = is_urgent() or clock_ns() >= deadline
                if is_over:
                    _in_vain.update(held)
                    if not has_logging:
                        # Python waits for logging's lock at a fork, and who has that may be waiting for an import.
                        _imp.release_lock()
                        has_imports = False
                if is_over or (has_logging and held <= _in_vain):
                    yield
                    return
            finally:
                if has_logging and logging_lock is not None and logging_lock._is_owned():  # it is a new one in a child
                    logging_lock.release()
                if has_imports:
                    _imp.release_lock()
                sys.setswitchinterval(interval_s)
            # Nothing is locked now: the others may need it to come to rest.
            time.sleep(_PAUSE_S)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            if not _core.stream_holder(stream):  # it may be stuck
                stream.flush()
        except (AttributeError, OSError, ValueError):
            pass  # closed, replaced, or nobody reads


def _held() -> set[tuple[int, int]]:
    """What other threads hold that a child would wait for: (what, thread)."""
    held: set[tuple[int, int]] = set()
    if _module_locks():
        held.update((id(lock), lock.owner) for _, lock in _modules_held_elsewhere() if lock.owner is not None)
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__, *_logged_to()):
        if holder := _core.stream_holder(stream):
            held.add((id(stream), holder))
    return held


def _renew_lock() -> None:
    global _forking
    _forking = threading.Lock()


# ---- in the child ----


def free_held() -> None:
    """In a forked child: let go of what threads held that are not here any more."""
    if not _core.had_other_threads():
        return
    _in_vain.clear()
    _renew_lock()
    _free_imports()
    standard = (sys.stdin, sys.stdout, sys.stderr, sys.__stdin__, sys.__stdout__, sys.__stderr__)
    for stream in (*standard, *_logged_to()):
        _core.stream_release(stream)  # what the thread was writing may be written twice, but the child does not hang


def _free_imports() -> None:
    """What threads that are not here any more were importing can be imported again.

    Python does as much for the lock of all imports, and not for those of single modules.
    """
    for name, lock in _modules_held_elsewhere():
        _module_locks().pop(name, None)
        spec = getattr(sys.modules.get(name), "__spec__", None)
        if lock.owner is not None and getattr(spec, "_initializing", False):
            del sys.modules[name]  # half of it


# ---- who holds what ----


def _module_locks() -> dict[str, Callable[[], Any]]:
    return getattr(sys.modules.get("_frozen_importlib"), "_module_locks", {})


def _modules_held_elsewhere() -> list[tuple[str, Any]]:
    """Modules with a lock that is not this thread's; one without an owner is about to be taken or let go."""
    me = threading.get_ident()
    locks = [(name, reference()) for name, reference in list(_module_locks().items())]
    return [(name, lock) for name, lock in locks if lock is not None and getattr(lock, "owner", me) != me]


def _logged_to() -> list[object]:
    handlers = [reference() for reference in getattr(sys.modules.get("logging"), "_handlerList", ())]
    return [vars(handler).get("stream") for handler in handlers if handler is not None]


class _Looking(io.RawIOBase):
    """Takes what is written, and a copy of the memory of the stream that writes it, which is locked meanwhile."""

    stream: object = None
    memory = b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.memory = _core.object_memory(self.stream)
        return len(data)


def _owner_offset() -> int:
    """Where in a buffered stream's memory its lock's owner is; 0 if that cannot be told for sure."""
    raw = _Looking()
    stream = raw.stream = io.BufferedWriter(raw)
    me = threading.get_ident().to_bytes(_WORD_SIZE, sys.byteorder)
    free = bytes(_WORD_SIZE)
    before = _core.object_memory(stream)
    stream.write(b" ")
    stream.flush()
    after = _core.object_memory(stream)
    raw.stream = None
    offsets = [
        at
        for at in range(0, len(before), _WORD_SIZE)
        if [memory[at : at + _WORD_SIZE] for memory in (before, raw.memory, after)] == [free, me, free]
    ]
    return offsets[0] if len(offsets) == 1 else 0


_core.stream_set_owner_offset(_owner_offset())
os.register_at_fork(before=_core.note_others)
