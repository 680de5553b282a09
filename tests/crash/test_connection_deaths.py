"""Pipes whose writers and readers are killed, and senders that are gone."""

import os
import random
import time

import pytest

import connection_tasks as tasks
import procession
from conftest import start, wait_until
from procession.errors import SharedObjectGone


@pytest.mark.deadline(60)
@pytest.mark.parametrize("size", [100, 50_000, 3_000_000])
def test_a_pipe_survives_writers_killed_at_random_moments(size):
    """Each writer's messages come whole and without a gap, as far as it got."""
    ctx = procession.get_context("fork")
    chance = random.Random(size)
    reader, writer = ctx.Pipe(duplex=False)
    for who in range(25):
        process = start(ctx, tasks.write_patterns_for_ever, writer, who, size)
        seen = []
        end = time.monotonic() + chance.uniform(0.002, 0.03)
        while time.monotonic() < end or not seen:
            seen.append(reader.recv_bytes())
        process.kill()
        while process.is_alive() or reader.poll():
            if reader.poll(0.01):
                seen.append(reader.recv_bytes())
        process.join()
        assert seen == [tasks.pattern(who, number, size) for number in range(len(seen))]
    writer.close()
    with pytest.raises(EOFError):
        reader.recv()
    reader.close()


@pytest.mark.deadline(60)
@pytest.mark.parametrize("size", [100, 50_000, 3_000_000])
def test_a_pipe_survives_readers_killed_at_random_moments(size):
    """What a killed reader had taken is lost, at most one message each; the rest comes whole and in order."""
    ctx = procession.get_context("fork")
    chance = random.Random(size)
    reader, writer = ctx.Pipe(duplex=False)
    report = ctx.Queue()
    sent = 0
    for _ in range(25):
        process = start(ctx, tasks.read_for_ever, reader)
        end = time.monotonic() + chance.uniform(0.002, 0.02)
        while time.monotonic() < end:
            writer.send_bytes(tasks.pattern(0, sent, size))
            sent += 1
        process.kill()
        process.join()
    writer.send_bytes(tasks.pattern(1, 0, size))
    # What is left is whole, and the last of it is what was sent last.
    left = []
    while not left or not left[-1].startswith(b"1 "):
        left.append(reader.recv_bytes())
    assert all(map(tasks.is_whole, left))
    numbers = [int(message.split(b" ", 2)[1]) for message in left[:-1]]
    assert numbers == sorted(numbers)
    survivor = start(ctx, tasks.read_patterns, reader, report)
    for number in range(5):
        writer.send_bytes(tasks.pattern(2, number, size))
    writer.send_bytes(b"")
    assert report.get(timeout=20) == [(2, number) for number in range(5)]
    survivor.join()
    reader.close()
    writer.close()


def test_a_descriptor_whose_keeper_was_killed_is_gone(ctx):
    queue = ctx.Queue()
    ours, theirs = ctx.Pipe()
    process = start(ctx, tasks.put_and_wait, queue, theirs, theirs)
    wait_until(lambda: not queue.empty())
    process.kill()
    process.join()
    began = time.monotonic()
    with pytest.raises(SharedObjectGone, match=str(process.pid)):
        queue.get()
    assert time.monotonic() - began < 1
    ours.close()
    theirs.close()


def test_a_killed_process_ends_its_pipes(ctx):
    reader, writer = ctx.Pipe(duplex=False)
    process = start(ctx, tasks.write_patterns_for_ever, writer, 0, 500)
    writer.close()
    assert tasks.is_whole(reader.recv_bytes())
    process.kill()
    with pytest.raises(EOFError):
        while True:
            assert tasks.is_whole(reader.recv_bytes())
    process.join()
    reader.close()


def test_shared_objects_on_their_way_from_a_killed_process_arrive(ctx):
    reader, writer = ctx.Pipe(duplex=False)
    control, theirs = ctx.Pipe()
    queue = ctx.Queue()
    queue.put("kept")
    process = start(ctx, tasks.send_over, writer, queue)
    assert reader.poll(20)
    del queue
    process.kill()
    process.join()
    assert reader.recv().get(timeout=5) == "kept"
    for end in (reader, writer, control, theirs):
        end.close()


def test_the_fork_server_killed_before_it_gets_descriptors_is_started_anew():
    ctx = procession.get_context("forkserver")
    procession.engine.launch.stop_fork_server()
    for _ in range(2):
        ours, theirs = ctx.Pipe()
        process = start(ctx, tasks.say, theirs, os.getpid())
        assert ours.recv() == os.getpid()
        process.join()
        ours.close()
        theirs.close()
        os.kill(procession.engine.launch.fork_server_pid(), 9)
    procession.engine.launch.stop_fork_server()
