"""Shared values and arrays between processes, under every start method."""

import ctypes
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

import procession
import shared_tasks
from conftest import join_all, start
from procession.heap import BufferWrapper
from shared_tasks import Line, Point


def one_of_each(ctx):
    things = {
        "integer": ctx.Value("i", 3),
        "big": ctx.Value("q", 2**40),
        "real": ctx.Value(ctypes.c_double, 1.5, lock=False),
        "raw": ctx.RawValue("h", -5),
        "structure": ctx.Value(Point, 1, 2),
        "nested": ctx.RawValue(Line, Point(1, 2), (Point(), Point(3, 4)), b"abc"),
        "numbers": ctx.Array("d", [0.5, 1, 2]),
        "raw numbers": ctx.RawArray("i", range(5)),
        "structures": ctx.Array(Point, [(1, 2), (3, 4)], lock=ctx.Lock()),
        "text": ctx.Array("c", 20),
        "table": ctx.RawArray(ctypes.c_int * 3, [(1, 2, 3), (4, 5, 6)]),
        "buffer": BufferWrapper(3),
    }
    things["text"].value = b"hello"
    things["buffer"].create_memoryview()[:] = b"\1\2\3"
    return things


def check_doubled(things):
    assert {name: things[name].value for name in ("integer", "big", "real", "raw", "text")} == {
        "integer": 6,
        "big": 2**41,
        "real": 3.0,
        "raw": -10,
        "text": b"hellohello",
    }
    assert (things["structure"].x, things["structure"].y) == (2, 4)
    nested = things["nested"]
    assert (nested.start.x, nested.ends[1].x, nested.ends[1].y, nested.name) == (2, 3, 8, b"abcabc")
    assert things["numbers"][:] == [1, 2, 4]
    assert things["raw numbers"][:] == [0, 2, 4, 6, 8]
    assert [(point.x, point.y) for point in things["structures"]] == [(2, 2), (6, 4)]
    assert [row[:] for row in things["table"]] == [[2, 4, 6], [8, 10, 12]]
    assert bytes(things["buffer"].create_memoryview()) == b"\2\4\6"


# ---- they travel by any road ----


def test_all_of_them_arrive_as_the_same_memory_as_a_process_argument(ctx):
    things = one_of_each(ctx)
    join_all([start(ctx, shared_tasks.double, things)])
    check_doubled(things)


def test_all_of_them_arrive_as_the_same_memory_through_a_queue(ctx):
    things, road, done = one_of_each(ctx), ctx.Queue(), ctx.Event()
    process = start(ctx, shared_tasks.double_from, road, done)
    road.put(things)
    join_all([process])
    check_doubled(things)


def test_all_of_them_arrive_as_the_same_memory_through_a_pipe(ctx):
    things, done = one_of_each(ctx), ctx.Event()
    ours, theirs = ctx.Pipe()
    with ours, theirs:
        process = start(ctx, shared_tasks.double_from, theirs, done)
        ours.send(things)
        join_all([process])
    check_doubled(things)


def test_all_of_them_arrive_as_the_same_memory_as_a_tasks_argument(ctx, pool):
    things = one_of_each(ctx)
    assert pool.apply(shared_tasks.double_and_say, (things,))
    check_doubled(things)


def test_what_a_process_has_made_outlives_it_on_the_way(ctx):
    queue = ctx.Queue()
    join_all([start(ctx, shared_tasks.make_and_send, queue)])
    value, numbers = queue.get(timeout=10)
    assert value.value == 42
    assert numbers[:] == [0.5] * 1000
    assert value.add(1) == 43


def test_the_standard_librarys_own_example_works(ctx):
    lock = ctx.Lock()
    n, x = ctx.Value("i", 7), ctx.Value(ctypes.c_double, 1.0 / 3.0, lock=False)
    s = ctx.Array("c", b"hello world", lock=lock)
    points = ctx.Array(Point, [(1.875, -6.25), (-5.75, 2.0), (2.375, 9.5)], lock=lock)
    join_all([start(ctx, shared_tasks.modify, n, x, s, points)])
    assert n.value == 49
    assert x.value == 0.1111111111111111
    assert s.value == b"HELLO WORLD"
    assert [(point.x, point.y) for point in points] == [(3.515625, 39.0625), (33.0625, 4.0), (5.640625, 90.25)]


def test_a_hundred_megabytes_are_shared_and_not_copied(ctx, pool):
    size = 100_000_000
    big = ctx.RawArray("B", size)
    view = np.frombuffer(big, dtype="u1")
    assert not view[:: 1 << 12].any()
    view[-1] = 41
    assert pool.apply(shared_tasks.last_byte_plus_one, (big,)) == 42
    assert (view[-1], big[size - 1]) == (42, 42)


def test_parts_of_an_array_are_filled_by_several_processes(ctx):
    numbers = ctx.Array("i", 4000)
    join_all([start(ctx, shared_tasks.fill_part, numbers, begin, begin + 1000) for begin in range(0, 4000, 1000)])
    assert numbers[:] == list(range(4000))


def test_a_view_in_another_process_keeps_the_memory_when_nobody_else_has_it(ctx):
    numbers, queue, go_on = ctx.Array("i", range(10)), ctx.Queue(), ctx.Event()
    road = ctx.Queue()
    process = start(ctx, shared_tasks.keep_part_of_what_comes, road, queue, go_on)
    road.put(numbers)
    assert queue.get(timeout=20) == "ready"
    del numbers
    others = [ctx.RawArray("i", [-1] * 10) for _ in range(20)]
    go_on.set()
    assert queue.get(timeout=20) == [5]
    join_all([process])
    assert len(others) == 20


# ---- add ----


def test_no_addition_is_lost_by_whatever_way(ctx):
    value, begin = ctx.Value("i", 0), ctx.Barrier(3)
    ways = (shared_tasks.add_many, shared_tasks.add_by_hand, shared_tasks.add_many)
    join_all([start(ctx, way, value, 10_000, by, begin) for way, by in zip(ways, (1, 10, -3), strict=True)])
    assert value.value == 10_000 * (1 + 10 - 3)


def test_every_sum_that_add_gives_is_given_once(ctx):
    value, sums, begin = ctx.Value("q", 0), ctx.Queue(), ctx.Barrier(3)
    processes = [start(ctx, shared_tasks.add_and_tell, value, 10_000, sums, begin) for _ in range(3)]
    told = [sums.get(timeout=20) for _ in processes]
    join_all(processes)
    assert all(part == sorted(part) for part in told)
    assert sorted(itertools.chain(*told)) == list(range(1, 30_001))


def test_floats_add_too(ctx):
    value, begin = ctx.Value("d", 0), ctx.Barrier(2)
    join_all([start(ctx, shared_tasks.add_many, value, 10_000, 0.25, begin) for _ in range(2)])
    assert value.value == 5000.0


WITHOUT_CONTENTION = """
import os
from procession import Array, Value
value, numbers = Value("i", 0), Array("d", 10)
value.add(1)
os.stat("/begin")
for _ in range(100):
    value.add(1)
    value.value += 1
    with value.get_lock():
        value.value += 1
    numbers[3] += 1
os.stat("/end")
print(value.value, numbers[3])
""".replace("os.stat(", "os.path.exists(")


def test_a_hundred_updates_without_contention_make_no_system_call(tmp_path):
    trace = tmp_path / "trace"
    try:
        run = subprocess.run(
            ["strace", "-o", trace, sys.executable, "-c", WITHOUT_CONTENTION],
            capture_output=True,
            text=True,
            timeout=20,
        )
    except FileNotFoundError:
        pytest.skip("no strace")
    if not trace.exists() or "ptrace" in run.stderr:
        pytest.skip(f"strace may not trace here: {run.stderr}")
    assert (run.stdout, run.returncode) == ("301 100.0\n", 0)
    lines = trace.read_text().splitlines()
    begin, end = (next(n for n, line in enumerate(lines) if f'"/{mark}"' in line) for mark in ("begin", "end"))
    assert lines[begin + 1 : end] == []


# ---- holders that are killed ----


@pytest.mark.parametrize("kind", ["Value", "Array"])
def test_a_holder_that_was_killed_is_reported_once_by_whatever_comes_next(ctx, kind):
    uses = {
        "Value": [lambda v: v.value, lambda v: v.add(1), lambda v: v.__enter__(), lambda v: setattr(v, "value", 9)],
        "Array": [lambda a: a[0], lambda a: a[0:2], lambda a: a.__setitem__(0, 9), list],
    }
    thing = ctx.Value("i", 5) if kind == "Value" else ctx.Array("i", [5, 6])
    for use in uses[kind]:
        process = start(ctx, shared_tasks.die_with_lock, thing)
        process.join(20)
        assert process.exitcode == -9
        with pytest.raises(procession.errors.OwnerDied) as caught:
            use(thing)
        assert caught.value.pid == process.pid
        assert (thing.value if kind == "Value" else thing[0]) == 5


def test_a_counter_survives_writers_killed_at_random_moments(ctx):
    """An addition happens whole or not at all, and the lock is never left held."""
    value, seen = ctx.Value("q", 0), 0
    for _ in range(5 if ctx.get_start_method() == "spawn" else 20):
        started = ctx.Event()
        writer = start(ctx, shared_tasks.add_until_killed, value, started)
        assert started.wait(20)
        writer.kill()
        writer.join()
        try:
            now = value.value
        except procession.errors.OwnerDied as error:
            assert error.pid == writer.pid
            now = value.value
        assert now > seen
        seen = now
    assert value.add(1) == seen + 1


def test_a_value_is_the_same_after_a_bare_fork():
    value = procession.Value("i", 1)
    pid = os.fork()
    if pid == 0:
        value.add(41)
        os._exit(0)
    os.waitpid(pid, 0)
    assert value.value == 42
    procession._core.process_sweep_dead()


PROGRAM = """
import ctypes
import sys
import procession

class Pair(ctypes.Structure):
    _fields_ = [("a", ctypes.c_int), ("b", ctypes.c_int)]

def swap(pair, pairs):
    pair.a, pair.b = pair.b, pair.a
    pairs[1].a = 7

if __name__ == "__main__":
    ctx = procession.get_context(sys.argv[1])
    pair, pairs = ctx.Value(Pair, 1, 2), ctx.Array(Pair, 2)
    child = ctx.Process(target=swap, args=(pair, pairs))
    child.start()
    child.join()
    with ctx.Pool(1) as pool:
        pool.apply(swap, (pair, pairs))
        pool.apply(swap, (pair, pairs))
    print(pair.a, pair.b, pairs[1].a, child.exitcode)
"""


@pytest.mark.parametrize("way", ["script", "module"])
def test_structures_of_the_main_module_travel(script, method, way):
    path = script.write(PROGRAM)
    run = script.run(path, method) if way == "script" else script.run("-m", "program", method)
    assert (run.stdout, run.stderr) == ("2 1 7 0\n", "")
