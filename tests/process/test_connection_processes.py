"""Pipes between processes, and connections by every road, under every start method."""

import multiprocessing
import os
import resource
import signal
import socket
import threading
import time

import numpy as np
import pytest

import connection_tasks as tasks
import procession
from conftest import start
from procession.connection import wait
from procession.errors import CannotEncode, SharedObjectGone


def join_all(*processes, within_s=20):
    for process in processes:
        process.join(within_s)
        assert process.exitcode == 0


def close_all(*ends):
    for end in ends:
        end.close()


@pytest.fixture
def room_for_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ---- messages ----


def test_two_processes_in_dialogue(ctx):
    ours, theirs = ctx.Pipe()
    process = start(ctx, tasks.echo, theirs)
    theirs.close()
    for size in (0, 1, 1000, 100_000, 1 << 20, 64 << 20):
        ours.send_bytes(b"x" * size)
        assert ours.recv_bytes() == b"x" * size
    value = {"array": np.arange(100_000), "text": "x" * 200_000}
    ours.send(value)
    got = ours.recv()
    assert np.array_equal(got["array"], value["array"]) and got["text"] == value["text"]
    got["array"][0] = 7  # ours to write to
    ours.send_bytes(tasks.END)
    ours.close()
    join_all(process)


@pytest.mark.deadline(60)
def test_eight_writers_and_four_readers_of_one_pipe_lose_and_tear_nothing(ctx):
    reader, writer = ctx.Pipe(duplex=False)
    report, count = ctx.Queue(), 60
    readers = [start(ctx, tasks.read_patterns, reader, report) for _ in range(4)]
    reader.close()
    writers = [start(ctx, tasks.write_patterns, writer, who, count, 1 << 20) for who in range(8)]
    join_all(*writers, within_s=50)
    for _ in readers:
        writer.send_bytes(b"")
    seen = [report.get(timeout=20) for _ in readers]
    join_all(*readers)
    writer.close()
    assert sorted(one for each in seen for one in each) == [
        (who, number) for who in range(8) for number in range(count)
    ]
    for each in seen:  # what one writer sends and one reader gets stays in order
        for who in range(8):
            numbers = [number for one, number in each if one == who]
            assert numbers == sorted(numbers)


def test_the_end_of_a_process_is_the_end_of_what_it_sends(ctx):
    reader, writer = ctx.Pipe(duplex=False)
    process = start(ctx, tasks.say, writer, "last words")
    writer.close()
    assert reader.recv() == "last words"
    with pytest.raises(EOFError):
        reader.recv()
    join_all(process)
    reader.close()


def test_what_a_process_sent_before_its_end_is_there(ctx):
    reader, writer = ctx.Pipe(duplex=False)
    queue = ctx.Queue()
    queue.put("kept")
    process = start(ctx, tasks.say, writer, [queue, b"x" * 500_000])
    join_all(process)
    del queue
    got, data = reader.recv()
    assert got.get(timeout=5) == "kept" and len(data) == 500_000
    close_all(reader, writer)


def test_an_unpicklable_argument_gives_everything_back(ctx):
    ours, theirs = ctx.Pipe()
    if ctx.get_start_method() == "fork":
        pytest.skip("nothing is pickled")
    process = ctx.Process(target=tasks.say, args=(theirs, threading.Lock()))
    with pytest.raises(CannotEncode, match="lock"):
        process.start()
    process = start(ctx, tasks.say, theirs, 1)
    assert ours.recv() == 1
    join_all(process)
    close_all(ours, theirs)


# ---- while a child is started ----


@pytest.mark.deadline(60)
def test_three_hundred_connections_go_to_one_child(ctx, room_for_descriptors, fresh_fork_server):
    pipes = [ctx.Pipe(duplex=False) for _ in range(300)]
    process = start(ctx, tasks.say_by_number, [writer for _, writer in pipes])
    close_all(*(writer for _, writer in pipes))
    assert [reader.recv() for reader, _ in pipes] == list(range(300))
    for reader, _ in pipes:
        with pytest.raises(EOFError):
            reader.recv()
        reader.close()
    join_all(process)
    procession.engine.launch.stop_fork_server()  # it has the limit of this test


def test_a_child_is_given_its_descriptors_and_no_other(ctx):
    if ctx.get_start_method() == "fork":
        pytest.skip("a forked child has all that its parent has")
    left, right = socket.socketpair()
    os.set_inheritable(left.fileno(), True)
    ours, theirs = ctx.Pipe()
    process = start(ctx, tasks.open_sockets, theirs)
    assert ours.recv() == 1
    join_all(process)
    close_all(ours, theirs, left, right)


def test_sockets_go_to_a_child(ctx):
    left, right = socket.socketpair()
    process = start(ctx, tasks.say_over_socket, right, b"hello")
    right.close()
    assert left.recv(10) == b"hello"
    join_all(process)
    assert left.recv(10) == b""
    left.close()


def test_stock_connections_go_to_a_child(ctx):
    reader, writer = multiprocessing.Pipe(duplex=False)
    process = start(ctx, tasks.say, writer, "from stock")
    writer.close()
    assert reader.recv() == "from stock"
    join_all(process)
    reader.close()


def test_a_closed_end_is_not_kept_open_by_its_start(ctx):
    """The copies that go to the child are gone here once it is started."""
    reader, writer = ctx.Pipe(duplex=False)
    process = start(ctx, tasks.say, writer, 1)
    join_all(process)
    writer.close()
    assert reader.recv() == 1
    with pytest.raises(EOFError):
        reader.recv()
    reader.close()


# ---- by any road ----


def test_a_connection_goes_through_a_pipe_to_another_process(ctx):
    road, far = ctx.Pipe()
    reader, writer = ctx.Pipe(duplex=False)
    process = start(ctx, tasks.send_over, far, reader)
    far.close()
    reader.close()
    with road.recv() as got:
        writer.send("all the way")
        assert got.recv() == "all the way"
    road.send("thanks")
    join_all(process)
    close_all(road, writer)


def test_a_connection_goes_through_a_queue_both_ways(ctx):
    queue = ctx.Queue()
    control, theirs = ctx.Pipe()
    process = start(ctx, tasks.pipe_to, queue, theirs)
    with queue.get(timeout=20) as conn:
        assert conn.recv() == "hello"
        conn.send("hello yourself")
    assert control.recv() == "done"
    join_all(process)
    close_all(control, theirs)


def test_what_was_sent_by_bytes_is_gone_with_its_sender(ctx):
    queue = ctx.Queue()
    control, theirs = ctx.Pipe()
    process = start(ctx, tasks.put_and_wait, queue, theirs, theirs)
    wait_end = time.monotonic() + 20
    while queue.empty():
        assert time.monotonic() < wait_end
        time.sleep(0.005)
    control.send("leave")
    join_all(process)
    with pytest.raises(SharedObjectGone, match=str(process.pid)):
        queue.get(timeout=5)
    close_all(control, theirs)


def test_connections_go_to_a_pools_workers_and_come_back(ctx):
    ours, theirs = ctx.Pipe()
    with ctx.Pool(2) as pool:
        result = pool.apply_async(tasks.talk, (theirs,))
        assert ours.recv() in {process.pid for process in procession.active_children()}
        ours.send("answer")
        assert result.get(20) == "answer"
        ends = [ctx.Pipe(duplex=False) for _ in range(6)]
        for i, (_, writer) in enumerate(ends):
            writer.send(i)
        conns = [reader for reader, _ in ends]
        assert pool.map(tasks.receive_from, [conns[:3], conns[3:]], 1) == [[0, 1, 2], [3, 4, 5]]
        with pool.apply(tasks.new_pipe_with, ("from a worker",)) as conn:
            assert conn.recv() == "from a worker"
    pool.join()
    close_all(ours, theirs, *(end for pair in ends for end in pair))
    assert not [thread for thread in threading.enumerate() if thread.name == "procession-descriptors"]


def test_a_pools_initializer_is_given_connections(ctx):
    ours, theirs = ctx.Pipe()
    with ctx.Pool(2, tasks.say, (theirs, "ready")) as pool:
        assert [ours.recv(), ours.recv()] == ["ready"] * 2
        assert pool.apply(len, ("abc",)) == 3
    pool.join()
    close_all(ours, theirs)


# ---- waiting ----


def test_wait_tells_who_spoke_and_who_ended(ctx):
    pipes = [ctx.Pipe(duplex=False) for _ in range(3)]
    processes = [start(ctx, tasks.say, writer, i) for i, (_, writer) in enumerate(pipes)]
    close_all(*(writer for _, writer in pipes))
    waiting = {reader: i for i, (reader, _) in enumerate(pipes)} | {process.sentinel: process for process in processes}
    heard = set()
    while waiting:
        ready = wait(list(waiting), 20)
        assert ready
        for thing in ready:
            if isinstance(thing, int):
                del waiting[thing]
                continue
            try:
                heard.add((waiting[thing], thing.recv()))
            except EOFError:
                del waiting[thing]
                thing.close()
    assert heard == {(i, i) for i in range(3)}
    join_all(*processes)


def test_ctrl_c_ends_a_wait_for_a_message(script, method):
    path = script.write(
        f"""
import procession, time
def hold(conn):
    conn.send("here")
    try:
        conn.recv()
    except KeyboardInterrupt:
        pass
if __name__ == "__main__":
    ctx = procession.get_context({method!r})
    ours, theirs = ctx.Pipe()
    process = ctx.Process(target=hold, args=(theirs,))
    process.start()
    print(ours.recv(), flush=True)
    try:
        ours.recv()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    process.join()
    print(process.exitcode)
"""
    )
    process = script.start(path)
    assert process.stdout.readline() == "here\n"
    time.sleep(0.1)  # it may not wait yet: then the interrupt comes before the wait, which is as good
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (out, err, process.returncode) == ("interrupted\n0\n", "", 0)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_threads_share_an_end_while_others_fork():
    """Memory files that are written anew are never written while somebody reads them, whoever has forked meanwhile."""
    ctx = procession.get_context("fork")
    reader, writer = ctx.Pipe(duplex=False)
    count, seen, torn = 40, [], []

    def read():
        while message := reader.recv_bytes():
            (seen if tasks.is_whole(message) else torn).append(message.split(b" ", 2)[:2])

    readers = [threading.Thread(target=read) for _ in range(3)]
    writers = [threading.Thread(target=tasks.write_patterns, args=(writer, who, count, 1 << 19)) for who in range(4)]
    for thread in readers + writers:
        thread.start()
    children = [start(ctx, tasks.write_patterns, writer, who, count, 1 << 19) for who in range(4, 8)]
    for thread in writers:
        thread.join()
    join_all(*children)
    for _ in readers:
        writer.send_bytes(b"")
    for thread in readers:
        thread.join()
    close_all(reader, writer)
    assert not torn
    assert sorted(map(tuple, seen)) == sorted((b"%d" % who, b"%d" % i) for who in range(8) for i in range(count))
