"""The fork server: a single-threaded interpreter that has imported what children need, and forks one at each request.

A child is a *sibling* of the server, so a child of the process that asked: that one waits for it and is its parent.  The
server is deaf to Ctrl-C, and so are its children until they know what they are.  It ends when the socket closes or that
process ends, whatever comes first.
"""

from __future__ import annotations

import atexit
import errno
import importlib
import os
import socket
import sys
from typing import Any, NoReturn

from procession import _core, _os
from procession.engine import codec, launch, memory, program
from procession.engine.launch import ANSWER, REQUEST
from procession.worker import boot, loop

__all__ = ["main"]

_ = loop  # imported here, so that no worker has to


def main(arena: str, identity: str, descriptor: str) -> NoReturn:
    """Entry of the server; the arguments are numbers on its command line."""
    memory.attach(int(arena), int(identity))

    def body() -> int:
        with socket.socket(fileno=int(descriptor)) as requests:
            return _serve(requests)

    launch.end_process(body)


def _serve(requests: socket.socket) -> int:
    message = _core.message_of_boot()
    facts = codec.decode(codec.header_of(message))
    del message
    _core.die_with_parent(facts["parent"])
    _preload(facts)
    if _os.thread_count() > 1:
        # What a library registers for a fork of libc's does not run at ours: children would wait for threads of OpenBLAS's
        # that they do not have.  Now they start them when they need them.
        _os.end_library_threads()
    while True:
        identity, fds = _next_request(requests)
        if not identity:
            return 0
        memory.fork_as(identity)
        try:
            pid = _core.fork_sibling()
        except OSError as error:
            pid = -(error.errno or errno.EAGAIN)
        if pid == 0:
            requests.close()
            atexit._clear()  # the server's affairs
            boot.run(fds)
        for fd in fds:
            os.close(fd)
        requests.send(ANSWER.pack(pid))


def _next_request(requests: socket.socket) -> tuple[int, list[int]]:
    """The identity of the child that is wanted and the descriptors for it; 0 if nobody asks any more."""
    fds: list[int] = []
    request = bytearray(REQUEST.size)
    while True:
        size, part = _os.receive_packet(requests, request)
        fds += part
        if size < REQUEST.size:
            return 0, fds
        identity, count = REQUEST.unpack(request)
        if len(fds) >= count:
            return identity, fds


def _preload(facts: dict[str, Any]) -> None:
    """Import the main module and what was asked for.  What fails here fails again in the child, where it is told."""
    path = list(sys.path)
    sys.path[:] = facts["path"]
    sys.argv[:] = facts["argv"]
    program.take_over(facts["carried"])
    for name in facts["preload"]:
        try:
            if name != "__main__":
                importlib.import_module(name)
            elif "main" in facts:
                boot.import_main(*facts["main"])
        except BaseException:
            pass
    sys.path[:] = path
    # What an import printed must not come out once for each child.
    launch.flush_streams()
