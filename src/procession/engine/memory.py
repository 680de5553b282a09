"""The program's arena: made by its first process when first needed, mapped by every process started from it.

A forked child holds what its parent holds: the slot and the holder bits are set *before* the fork, so that nothing is
freed in between.  This holds for a bare ``os.fork()`` too.
"""

from __future__ import annotations

import os
import threading

from procession import _core
from procession._core import Block, Channel, Ledger, block_new, channel_new, ledger_new

__all__ = [
    "Block",
    "Channel",
    "Ledger",
    "attach",
    "channel",
    "claim_fork_identity",
    "ensure",
    "fork_as",
    "ledger",
    "new_block",
    "prepare_fork",
]

_making = threading.Lock()
# Thread -> identity of the child that it is about to fork.
_forking: dict[int, int] = {}
# Thread -> the same, reserved before its fork began.
_prepared: dict[int, int] = {}
# Threads that fork in the name of a slot that another process has reserved.
_named: dict[int, int] = {}
_WARM_AFTER_IDLE = 64 << 20


def ensure() -> None:
    """Make the arena unless there is one."""
    if _core.arena_is_ready():
        return
    with _making:
        if not _core.arena_is_ready():
            _core.arena_create(_core.memory_total())


def attach(fd: int, identity: int) -> None:
    """Map the arena that this process was started with, unless that is done."""
    if _core.arena_is_ready():
        return
    _core.arena_attach(fd, identity)


def new_block(size: int) -> Block:
    """A block of `size` bytes of any content."""
    ensure()
    return block_new(max(1, size))


def channel(limit: int = 0) -> Channel:
    """A channel that takes `limit` messages before a put waits; 0 is unbounded."""
    ensure()
    return channel_new(limit)


def ledger(channel: Channel) -> Ledger:
    """Who has taken what from a channel: all who take from it do so through its ledger."""
    return ledger_new(channel)


def trim() -> None:
    """Give back what earlier work has left touched, but for a little, and what the dead held."""
    if _core.arena_is_ready():
        _core.process_sweep_dead()
    _core.arena_trim(_WARM_AFTER_IDLE)


def fork_as(identity: int) -> None:
    """The next fork of this thread makes the child that `identity` was reserved for elsewhere.

    With 0 it makes one that does not know yet which that will be: it holds nothing, and has no part in the arena until it
    enters the slot.
    """
    _named[threading.get_ident()] = identity


def prepare_fork() -> None:
    """Reserve the identity of the child that this thread's next fork makes: the fork itself cannot be called off.

    Raises:
        OutOfMemory: no process slot is left.
    """
    me = threading.get_ident()
    _forking.pop(me, None)
    _prepared[me] = _core.process_reserve()


def claim_fork_identity() -> int:
    """After a fork, in the parent: the identity of the child that this thread has made or was to make; 0 for none."""
    me = threading.get_ident()
    prepared = _prepared.pop(me, 0)
    return _forking.pop(me, 0) or prepared


def _before_fork() -> None:
    if not _core.arena_is_ready():
        return
    me = threading.get_ident()
    _forking.pop(me, None)
    # What is raised here is printed, and the fork goes on: its child is without a slot, and must leave the parent's alone.
    identity = _named.pop(me, None)
    if identity is None:
        identity = _prepared.pop(me, 0) or _core.process_reserve()
        try:
            _core.process_inherit(identity)
        except MemoryError:
            _core.process_sweep(identity, False)
            raise
        _core.blocks_part_own()
    _forking[me] = identity


def _forked_in_child() -> None:
    identity = _forking.pop(threading.get_ident(), 0)
    _forking.clear()
    _named.clear()
    _prepared.clear()
    if identity:
        _core.process_enter(identity)


os.register_at_fork(before=_before_fork, after_in_child=_forked_in_child)
