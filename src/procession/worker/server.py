"""The fork server: a single-threaded interpreter that has imported what children need, and forks them one by one.

    parent  ->  spare child: takes the request, answers, and is the child that is wanted
                server: sees that it has, and forks the next spare

A child is a *sibling* of the server, so a child of the process that asks: that one waits for it and is its parent.  The
server is deaf to Ctrl-C, and so are its children until they know what they are.  It ends when the socket closes or that
process ends, whatever comes first; the spare ends with it.
"""

from __future__ import annotations

import errno
import gc
import importlib
import os
import select
import socket

from procession import _core, _os
from procession.engine import codec, launch, lifetime, memory
from procession.engine.fork_server import ANSWER, KNOWN, REQUEST
from procession.worker import boot, cores, life, loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

__all__ = ["main"]

# How Python gives out memory for small objects: sizes up to the largest, by steps.
_STEP, _LARGEST = 16, 512
_STRETCH = 8192  # bytes without a gap from which on the rest of it is taken to be new
_MOST = 20_000
_TAKING, _ANSWERED = 1, 2  # what the spare is doing with a request
_fillers: list[object] = []

_ = loop  # imported here, so that no worker has to


def main(arena: str, identity: str, descriptor: str) -> NoReturn:
    """Entry of the server; the arguments are numbers on its command line."""
    memory.attach(int(arena), int(identity))

    def body() -> int:
        with socket.socket(fileno=int(descriptor)) as requests:
            return _serve(requests)

    lifetime.leave_by_hand()
    launch.end_process(body)


def _serve(requests: socket.socket) -> int:
    message = _core.message_of_boot()
    facts = codec.decode(codec.header_of(message))
    del message
    _core.die_with_parent(facts["parent"])
    _preload(facts)
    if boot.has_main(facts):
        facts = {}  # nothing is left to do for a child
    life.close_input()
    gc.freeze()  # a collection in a child would write to every object that there is
    _fill_gaps()
    if _os.thread_count() > 1:
        # What a library registers for a fork of libc's does not run at ours: children would wait for threads of OpenBLAS's
        # that they do not have.  Now they start them when they need them.
        _os.end_library_threads()
    while not _has_hung_up(requests):
        gate = _start_spare(requests, facts)
        if gate < 0:
            if not _serve_without_spare(requests, facts):
                break
            continue
        # Not before the first child, who may be waited for: what every worker would have to look for.
        if cores.look_around():
            gc.freeze()
        os.read(gate, 1)
        os.close(gate)
        if _core.process_claim(_core.process_identity())[2] == _TAKING:
            break  # it died with a request that it may not have answered: so the parent must not wait for one any more
    return 0


def _start_spare(requests: socket.socket, facts: dict[str, Any]) -> int:
    """Fork a child that waits in this process's place for the next request, and is then what is asked for.

    By then it has had its pages copied, which is most of what a start takes.  Its pid is left in this process's slot, for
    the parent, whose child it is even if it is never needed.

    Returns:
        a pipe that ends when it is spare no longer; -1 if none can be forked.  How far it has come then is in the slot, too.
    """
    try:
        gate, theirs = os.pipe()
    except OSError:
        return -1
    _core.claim_running(_core.NOT_RUNNING)
    pid = _fork(0)
    if pid == 0:
        os.close(gate)
        _core.claim_item(os.getpid())  # before it can answer: the server may come to it later
        # Whatever comes first: a request, the end of the parent, or that of the server.
        if theirs in _os.wait_readable([requests.fileno(), theirs], None):
            os._exit(0)
        _core.claim_running(_TAKING)
        identity, flags, fds = _next_request(requests)
        if identity:
            requests.send(ANSWER.pack(os.getpid()))
        _core.claim_running(_ANSWERED)
        os.close(theirs)
        if not identity:
            os._exit(0)
        _core.process_enter(identity)
        _be_child(requests, flags, facts, fds)
    os.close(theirs)
    if pid < 0:
        os.close(gate)
        return -1
    _core.claim_item(pid)
    return gate


def _serve_without_spare(requests: socket.socket, facts: dict[str, Any]) -> bool:
    """Something has run out: whoever asks next is told what, if it still is so.  False if nobody does."""
    identity, flags, fds = _next_request(requests)
    if not identity:
        return False
    pid = _fork(identity)
    if pid == 0:
        _be_child(requests, flags, facts, fds)
    for fd in fds:
        os.close(fd)
    requests.send(ANSWER.pack(pid))
    return True


def _fork(identity: int) -> int:
    """A sibling that is to have this identity, 0 if it is not known yet; its pid, or minus errno."""
    memory.fork_as(identity)
    try:
        return _core.fork_sibling()
    except OSError as error:
        return -(error.errno or errno.EAGAIN)


def _be_child(requests: socket.socket, flags: int, facts: dict[str, Any], fds: list[int]) -> NoReturn:
    os.close(requests.fileno())  # not its own close(), whose code would be another few pages to copy
    lifetime.begin_anew()
    if flags & KNOWN:
        boot.run(fds, flags, facts)
    boot.run(fds)


def _has_hung_up(requests: socket.socket) -> bool:
    """Whether the parent asks for nothing any more."""
    poll = select.poll()
    poll.register(requests, 0)
    return bool(poll.poll(0))


def _fill_gaps() -> None:
    """Have what a child allocates lie together, and not in the gaps that the imports have left, each in another page.

    A page that a child writes to is copied first, which costs more than what most of its functions do.
    """
    for size in range(_STEP, _LARGEST + _STEP, _STEP):
        length = size - bytes.__basicsize__
        last = stretch = 0
        for _ in range(_MOST):
            filler = bytes(length) if length > 1 else complex(size) if size > _STEP else object()
            _fillers.append(filler)
            stretch = stretch + size if id(filler) == last + size else 0
            last = id(filler)
            if stretch >= _STRETCH:
                break


def _next_request(requests: socket.socket) -> tuple[int, int, list[int]]:
    """The identity of the child that is wanted, flags, and the descriptors for it; 0 if nobody asks any more."""
    fds: list[int] = []
    request = bytearray(REQUEST.size)
    while True:
        size, part = _os.receive_packet(requests, request)
        fds += part
        if size < REQUEST.size:
            return 0, 0, fds
        identity, count, flags = REQUEST.unpack(request)
        if len(fds) >= count:
            return identity, flags, fds


def _preload(facts: dict[str, Any]) -> None:
    """Be like the parent, and import the main module and what was asked for.

    What fails here fails again in the child, where it is told.
    """
    boot.be_like(facts)
    for name in facts["preload"]:
        try:
            if name != "__main__":
                importlib.import_module(name)
            elif "main" in facts:
                boot.import_main(*facts["main"])
        except BaseException:
            pass
    boot.be_like(facts)  # again: a main module may change it as it is imported
    # What an import printed must not come out once for each child.
    launch.flush_streams()
