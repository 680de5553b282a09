"""The fork server: a single-threaded interpreter that has imported what children need, and forks one at each request.

A child is a *sibling* of the server, so a child of the process that asked: that one waits for it and is its parent.  The
server ends when the socket closes or that process ends, whatever comes first.
"""

from __future__ import annotations

import errno
import importlib
import signal
import socket
import sys
from typing import Any, NoReturn

from procession import _core
from procession.engine import codec, launch, memory
from procession.engine.launch import IDENTITY
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _core.die_with_parent(facts["parent"])
    _preload(facts)
    while True:
        request = requests.recv(IDENTITY.size)
        if len(request) < IDENTITY.size:
            return 0
        (identity,) = IDENTITY.unpack(request)
        memory.fork_as(identity)
        try:
            pid = _core.fork_sibling()
        except OSError as error:
            pid = -(error.errno or errno.EAGAIN)
        if pid == 0:
            requests.close()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            boot.run()
        requests.send(IDENTITY.pack(pid))


def _preload(facts: dict[str, Any]) -> None:
    """Import the main module and what was asked for.  What fails here fails again in the child, where it is told."""
    path = list(sys.path)
    sys.path[:] = facts["path"]
    sys.argv[:] = facts["argv"]
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
