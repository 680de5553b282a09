"""What differs by operating system in Python: one contract, one file per system.

    end_at_once(pid)            kills a child and collects it
    open_sentinel(pid)          -> descriptor that becomes readable when the process has ended; -1 if it is gone
    wait_for_end(pid, timeout)  collects a child that is about to end
    collect(pid, sentinel)      -> exit code, None while it runs, UNKNOWN if somebody else has reaped it
    wait_readable(fds, timeout) -> those that are readable
    interpreter_command(executable, code, arguments) -> the command that starts a fresh Python
    start_program(command, fds) -> pid
    limit_hint(errno)           -> in words what ran out and what to do, None if nothing did
    thread_count()              -> threads of this process; end_library_threads() ends those that libraries start anew
    own_memory(), whole_memory() -> bytes of memory that this process shares with no other; that it has
    descendants(pid), kill(them) -> what is running below a process; end those that still do

    cpu_count()                 -> cores that this process may use; cpu_share(workers) -> how many each of its workers may
    affinity_count()            -> cores that it runs on unless it is told; SHARE names the variable that tells a worker's

    packet_pair()               -> two connected descriptors that carry packets
    carries_packets(fd)         -> whether it is one of such two
    packet_socket(fd)           -> socket object for one of them, without owning it
    send_packet(end, parts, fds), receive_packet(end, room) -> (size, fds), refuse_packet(fds, is_cut)
    wait_for_hangup(fd, timeout) -> whether the other end is closed
    memory_file()               -> descriptor of a file without a name
    memory_write(fd, data, at), memory_read(fd, size, at) -> bytes, memory_view(fd, size) -> what is in it, without a copy
    segment_file(name)          -> what the file of shared memory of that name is called; the others take that
    segment_created(file, size, mode, announce, withdraw) -> descriptor while it is being made
    open_segment(file) -> (descriptor, size); segment_identity(file) -> (device, inode); unlink_segment(file)
    TRACKER                     the module that removes what a program has left; tracker_file() -> its file

    listen_nearby()             -> (socket, address); connect_nearby(address) -> socket; is_own_user(socket)

A sentinel is opened by whoever starts the process, and closed by whoever opened it.  Descriptors are not inherited.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    raise ImportError("procession does not run on Windows yet")

from procession._os.posix import (
    UNKNOWN,
    collect,
    descendants,
    end_at_once,
    end_library_threads,
    interpreter_command,
    kill,
    limit_hint,
    open_sentinel,
    own_memory,
    start_program,
    thread_count,
    wait_for_end,
    wait_readable,
    whole_memory,
)
from procession._os.posix_cores import SHARE, affinity_count, cpu_count, cpu_share
from procession._os.posix_packets import (
    DESCRIPTORS_LIMIT,
    carries_packets,
    connect_nearby,
    is_own_user,
    listen_nearby,
    memory_file,
    memory_read,
    memory_view,
    memory_write,
    packet_pair,
    packet_socket,
    receive_packet,
    refuse_packet,
    send_packet,
    wait_for_hangup,
)
from procession._os.posix_segments import (
    TRACKER,
    open_segment,
    segment_created,
    segment_file,
    segment_identity,
    tracker_file,
    unlink_segment,
)

__all__ = [
    "DESCRIPTORS_LIMIT",
    "SHARE",
    "TRACKER",
    "UNKNOWN",
    "affinity_count",
    "carries_packets",
    "collect",
    "connect_nearby",
    "cpu_count",
    "cpu_share",
    "descendants",
    "end_at_once",
    "end_library_threads",
    "interpreter_command",
    "is_own_user",
    "kill",
    "limit_hint",
    "listen_nearby",
    "memory_file",
    "memory_read",
    "memory_view",
    "memory_write",
    "open_segment",
    "open_sentinel",
    "own_memory",
    "packet_pair",
    "packet_socket",
    "receive_packet",
    "refuse_packet",
    "segment_created",
    "segment_file",
    "segment_identity",
    "send_packet",
    "start_program",
    "thread_count",
    "tracker_file",
    "unlink_segment",
    "wait_for_end",
    "wait_for_hangup",
    "wait_readable",
    "whole_memory",
]
