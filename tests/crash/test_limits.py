"""What happens when something runs out: descriptors, processes, memory.  It works, or says what ran out; nothing leaks."""

from __future__ import annotations

import errno
import functools
import gc
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import limit_tasks
import procession
import tasks
from conftest import HERE, start, wait_until
from procession import _core, _os
from procession.engine import launch, memory, overseer, wire
from procession.engine.batches import Batch, Lane
from procession.engine.functions import LocalFunction, describe_call
from procession.errors import CannotEncode, OutOfMemory, OwnerDied, StartFailed, TaskCancelled, TaskTimeout, WorkerDied


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Meanwhile this process can open nothing, whatever it closes: the standard streams are all that it may have."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def warm_up(ctx: Any) -> None:
    """Import what is imported when it is first needed: that takes descriptors, too."""
    assert ctx.Pool and ctx.Queue and ctx.Lock
    with ctx.Pool(1) as pool:
        assert pool.apply(abs, (-1,), timeout=20) == 1
    for end in ctx.Pipe():
        end.close()


def kill_all(pool: Any) -> None:
    for worker in pool._pool:
        os.kill(worker.pid, signal.SIGKILL)


@pytest.fixture
def control_group() -> Iterator[Callable[[str], str]]:
    """Makes a control group of this name's controller, of 120 MiB if that is memory; its folder."""
    made: list[Path] = []

    def make(controller: str) -> str:
        for root in (Path("/sys/fs/cgroup") / controller, Path("/sys/fs/cgroup")):
            group = root / f"procession-test-{os.getpid()}"
            try:
                group.mkdir()
            except OSError:
                continue
            made.append(group)
            limits = {"memory.limit_in_bytes": 120 << 20, "memory.memsw.limit_in_bytes": 120 << 20}
            if controller == "memory" and (group / "memory.max").exists():
                limits = {"memory.max": 120 << 20, "memory.swap.max": 0}
            try:
                for name, limit in limits.items() if controller == "memory" else ():
                    if "sw" not in name or (group / name).exists():
                        (group / name).write_text(str(limit))
                if controller == "memory" or (group / "pids.max").exists():
                    return str(group)
            except OSError:
                pass
        pytest.skip(f"no control group for {controller} can be made here")

    yield make
    for group in made:
        wait_until(lambda group=group: not (group / "cgroup.procs").read_text(), "the end of what is in the group")
        group.rmdir()


# ---- descriptors ----


def test_a_start_without_descriptors_says_how_many_there_may_be(ctx):
    warm_up(ctx)
    process = ctx.Process(target=abs, args=(1,))
    with no_descriptors():
        for attempt in (process.start, lambda: ctx.Pool(2)):
            with pytest.raises(OSError, match=r"Too many open files.*\(ulimit -n\)") as caught:
                attempt()
            assert caught.value.errno == errno.EMFILE
    process.start()
    process.join(20)
    assert process.exitcode == 0
    warm_up(ctx)


def test_a_fork_server_that_cannot_be_started_for_want_of_descriptors_is_started_later():
    ctx = procession.get_context("forkserver")
    warm_up(ctx)
    launch.stop_fork_server()
    with no_descriptors(), pytest.raises(OSError, match="ulimit -n"):
        ctx.Process(target=abs, args=(1,)).start()
    warm_up(ctx)


def test_a_pipe_without_descriptors_says_that_files_are_too_many(ctx):
    warm_up(ctx)
    with no_descriptors(), pytest.raises(OSError, match="Too many open files"):
        ctx.Pipe()
    with no_descriptors(), pytest.raises(OSError, match="Too many open files"):
        ctx.Pipe(duplex=False)


def test_locks_events_and_queues_need_no_descriptors(ctx):
    warm_up(ctx)
    assert ctx.Event() and ctx.Barrier(1) and ctx.Queue() and ctx.Value("i")  # what they import
    with no_descriptors():
        event, queue, lock, condition = ctx.Event(), ctx.Queue(), ctx.Lock(), ctx.Condition()
        event.set()
        assert event.wait(1)
        queue.put(b"x" * 3_000_000)
        assert len(queue.get(timeout=1)) == 3_000_000
        with lock, condition:
            condition.notify_all()
        assert ctx.Value("i", 7).value == 7
        assert ctx.Barrier(1).wait(1) == 0


def test_a_pool_that_is_made_works_without_descriptors(ctx):
    warm_up(ctx)
    with ctx.Pool(2) as pool:
        pool.map(abs, [1])
        with no_descriptors():
            assert pool.map(abs, range(-500, 0)) == list(range(500, 0, -1))
            assert len(pool.apply(bytes, (3_000_000,))) == 3_000_000
            assert list(pool.imap(abs, range(100))) == list(range(100))


def test_a_worker_that_cannot_be_replaced_for_want_of_descriptors_is_replaced_later(ctx):
    warm_up(ctx)
    with ctx.Pool(2) as pool:
        pool.map(abs, range(10))
        with no_descriptors():
            victim = pool._pool[0]
            os.kill(victim.pid, signal.SIGKILL)
            while victim in pool._pool:
                assert pool.apply(abs, (-3,)) == 3
            assert pool.map(abs, range(100)) == list(range(100))
            assert len(pool._pool) == 1
        wait_until(lambda: pool.apply(abs, (-1,)) and len(pool._pool) == 2, "the second worker")


def test_work_of_a_pool_without_workers_goes_on_as_soon_as_there_are_descriptors(ctx):
    warm_up(ctx)
    with ctx.Pool(2) as pool:
        pool.map(abs, range(10))
        with no_descriptors():
            kill_all(pool)
            while pool._workers._overseer._stuck_since_ns == 0:
                pool._workers.look_at_workers()
            result = pool.apply_async(abs, (-5,))
            assert not result.ready()
            result.wait(0.3)
            assert not result.ready()
        assert result.get(20) == 5
        assert sorted(pool.map(abs, range(100))) == list(range(100))


def test_nobody_waits_for_ever_for_a_pool_that_cannot_have_workers(ctx, monkeypatch, tmp_path):
    monkeypatch.setattr(overseer, "_PATIENCE_NS", 200_000_000)
    warm_up(ctx)
    told: list[BaseException] = []
    with ctx.Pool(2) as pool:
        pool.map(abs, range(10))
        with no_descriptors():
            kill_all(pool)
            call = pool.apply_async(tasks.arrive, (str(tmp_path / "ran"),), error_callback=told.append)
            a_map = pool.map_async(abs, range(100))
            stream = pool.imap(abs, range(100))
            for wait in (lambda: call.get(20), lambda: a_map.get(20), lambda: next(stream)):
                with pytest.raises(StartFailed, match="ulimit -n"):
                    wait()
        assert pool.map(abs, range(-100, 0)) == list(range(100, 0, -1)), "the pool does not go on"
        wait_until(lambda: pool.apply(abs, (-1,)) and len(pool._pool) == 2, "the second worker")
        assert len(told) == 1 and isinstance(told[0], StartFailed)
        assert not (tmp_path / "ran").exists(), "what was said to have failed was run later"


def test_a_late_task_is_ended_without_descriptors(ctx):
    warm_up(ctx)
    with ctx.Pool(2) as pool:
        pool.map(abs, range(10))
        with no_descriptors(), pytest.raises(TaskTimeout):
            pool.apply(time.sleep, (60,), timeout=0.1)
        assert pool.apply(abs, (-1,)) == 1


def test_a_killed_holder_of_a_lock_is_noticed_without_descriptors(tmp_path):
    ctx = procession.get_context("fork")
    lock = ctx.Lock()
    holder = start(ctx, tasks.acquire_and_arrive, lock, str(tmp_path / "here"))
    wait_until((tmp_path / "here").exists)
    with no_descriptors():
        os.kill(holder.pid, signal.SIGKILL)
        with pytest.raises(OwnerDied):
            lock.acquire(timeout=10)
    holder.join()


def test_a_descriptor_that_cannot_be_sent_or_received_is_an_error_and_what_follows_comes():
    """Not that the object cannot be pickled: nothing is wrong with it."""
    a, b = procession.Pipe()
    queue = procession.Queue()
    extra, other = procession.Pipe()
    queue.put(extra)  # all that this imports
    queue.get(timeout=5).close()
    with no_descriptors():
        for attempt in (lambda: a.send(extra), lambda: queue.put(extra), lambda: a.send(bytes(1_000_000))):
            with pytest.raises(OSError, match="Too many open files") as caught:
                attempt()
            assert caught.value.errno == errno.EMFILE
        a.send(1)
        assert b.recv() == 1
        queue.put(2)
        assert queue.get(timeout=5) == 2
    for message in (extra, bytes(1_000_000)):
        a.send(message)
        with (
            no_descriptors(),
            pytest.raises(OSError, match="no room for, and is lost; close some or raise RLIMIT_NOFILE"),
        ):
            b.recv()
        a.send("next")
        assert b.recv() == "next"
    queue.put(extra)
    queue.get(timeout=5).close()
    for end in (a, b, extra, other):
        end.close()


# ---- processes ----


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
def test_a_fork_that_the_system_refuses_says_why_and_leaves_nothing(ctx, method, number, monkeypatch):
    warm_up(ctx)
    launch.stop_fork_server()
    slots = process_slots()

    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    process = ctx.Process(target=abs, args=(1,))
    with monkeypatch.context() as patch:
        if method == "fork":
            patch.setattr(os, "fork", lambda: refusing_fork(refuse))
        else:
            patch.setattr(_os, "start_program", refuse)
        for attempt in (process.start, lambda: ctx.Pool(2)):
            with pytest.raises(OSError, match=r"no process can be started; .*(allowed|ulimit -v)") as caught:
                attempt()
            assert caught.value.errno == number
    assert process_slots() == slots
    process.start()
    process.join(20)
    assert process.exitcode == 0


def refusing_fork(refuse: Any) -> int:
    """What os.fork() does where the system refuses: its hooks have run by then."""
    memory._before_fork()
    return int(refuse())


def process_slots() -> int:
    """Process slots of the arena that are in use."""
    return _core.arena_facts()["processes"]


def test_a_full_table_of_processes_says_how_many_there_may_be(ctx):
    """As the slots of a thousand other processes would: they are reserved, and nobody comes."""
    warm_up(ctx)
    queue = ctx.Queue()
    taken = []
    with pytest.raises(OutOfMemory, match="1024 processes"):
        while True:
            taken.append(_core.process_reserve())
    process = ctx.Process(target=abs, args=(1,))
    try:
        for attempt in (process.start, lambda: ctx.Pool(2)):
            with pytest.raises(OutOfMemory, match="1024 processes"):
                attempt()
        queue.put("still here")
        assert queue.get(timeout=5) == "still here"
    finally:
        for identity in taken:
            _core.process_sweep(identity, False)
    process.start()
    process.join(20)
    assert process.exitcode == 0
    warm_up(ctx)


def test_the_child_of_a_bare_fork_that_found_no_slot_leaves_its_parents_alone(script):
    program = script.write("""
import os
import procession
from procession import _core
from procession.errors import OutOfMemory
lock = procession.Lock()
taken = []
try:
    while True:
        taken.append(_core.process_reserve())
except OutOfMemory:
    pass
child = os.fork()
if not child:
    raise SystemExit(0)  # with all that an orderly end does
os.waitpid(child, 0)
assert _core.process_is_alive(_core.process_identity()), "the parent is taken for ended"
assert _core.process_exitcode(_core.process_identity()) is None
for identity in taken:
    _core.process_sweep(identity, False)
with lock, procession.get_context("fork").Pool(1) as pool:
    print(pool.map(abs, [-1]))
""")
    result = script.run(program)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "[1]\n"
    assert "1024 processes" in result.stderr


def test_a_control_group_with_too_few_processes_is_told(method, control_group, script):
    """The group allows the pool's own processes and no more."""
    group = control_group("pids")
    program = script.write("""
import os, signal, sys, time
import procession
def limit(number):
    with open(sys.argv[2] + "/pids.max", "w") as file:
        file.write(str(number))
if __name__ == "__main__":
    with open(sys.argv[2] + "/cgroup.procs", "w") as file:
        file.write(str(os.getpid()))
    ctx = procession.get_context(sys.argv[1])
    with ctx.Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]
        with open(sys.argv[2] + "/pids.current") as file:
            limit(int(file.read()))
        errors = []
        for _ in range(3):  # the fork server may have one in store
            try:
                ctx.Process(target=time.sleep, args=(60,), daemon=True).start()
            except OSError as error:
                errors.append(error)
        print(*errors[:2], sep="\\n")
        limit(1)
        victim = pool._pool[0]
        os.kill(victim.pid, signal.SIGKILL)
        while victim in pool._pool:
            assert pool.apply(abs, (-3,)) == 3
        assert pool.map(abs, range(100)) == list(range(100))
        limit("max")
        while len(pool._pool) < 2:
            pool.apply(abs, (-3,))
    pool.join()
""")
    result = script.run(program, method, group)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 2 and all("no process can be started; there are as many" in line for line in lines), lines


# ---- memory ----


def test_what_does_not_fit_into_limited_address_space_says_how_much_it_was(method, script):
    """Arguments and results, of a pool that goes on."""
    program = script.write("""
import sys
import limit_tasks
import procession
from procession.errors import OutOfMemory
if __name__ == "__main__":
    ctx = procession.get_context(sys.argv[1])
    data = bytes(150_000_000)
    with ctx.Pool(2) as pool:
        assert pool.apply(limit_tasks.increase, (1,)) == 2
        facts = procession._core.arena_facts()
        assert facts["size"] < 120_000_000, facts
        try:
            pool.apply(len, (memoryview(data).obj,))
        except MemoryError as error:
            print("argument", type(error).__name__, error)
        try:
            pool.apply(limit_tasks.filled, (150_000_000,))
        except OutOfMemory as error:
            print("result", error)
        found = pool.map(limit_tasks.filled, [1, 150_000_000, 3], on_error="return")
        print(found[0], type(found[1]).__name__, found[2])
        assert len(pool.apply(limit_tasks.filled, (10_000_000,))) == 10_000_000
        assert pool.map(limit_tasks.increase, range(100)) == list(range(1, 101))
    pool.join()
    queue = ctx.Queue()
    try:
        queue.put(data)
    except MemoryError as error:
        print("queue", error)
    queue.put(1)
    assert queue.get() == 1
    del queue, pool
    assert procession._core.arena_check() is None
""")
    limits = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000_000,) * 2)}
    result = script.run(program, method, within_s=40, **limits)
    assert result.returncode == 0, result.stderr
    argument, returned, in_map, queue = result.stdout.splitlines()
    assert argument.startswith("argument OutOfMemory no room is left in the shared memory for 150,000,0")
    assert returned.startswith(
        "result the task has returned a bytes of 150,000,000 bytes, which cannot be sent: no room"
    )
    assert in_map == "b'x' OutOfMemory b'xxx'"
    assert queue.startswith("queue no room is left in the shared memory for 150,000,0")


@pytest.mark.parametrize("limit_mib", [300, 800])
def test_half_of_a_limited_address_space_is_left_to_the_program(method, limit_mib, script):
    program = script.write("""
import sys
import limit_tasks
import procession
if __name__ == "__main__":
    with procession.get_context(sys.argv[1]).Pool(1) as pool:
        assert pool.apply(limit_tasks.ends_of, (b"abc",)) == (3, 97, 99)
        size = int(sys.argv[2]) * 3_000_000 // 100
        assert pool.apply(limit_tasks.ends_of, (bytes(size),))[0] == size
        assert len(pool.apply(limit_tasks.filled, (size,))) == size
        try:
            pool.apply(limit_tasks.filled, (1 << 30,))
        except MemoryError:
            pass
        assert pool.apply(limit_tasks.increase, (1,)) == 2
        assert procession._core.arena_facts()["size"] <= int(sys.argv[2]) << 19
    pool.join()
""")
    limits = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_AS, (limit_mib << 20,) * 2)}
    result = script.run(program, method, limit_mib, **limits)
    assert result.returncode == 0, result.stderr


def test_no_shared_memory_at_all_is_an_error_that_says_where_to_look(script):
    program = script.write("""
import procession
for attempt in (procession.Lock, procession.Queue, procession.Pool):
    try:
        attempt()
    except OSError as error:
        print(error.errno, error.strerror)
""")
    limits = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))}
    result = script.run(program, **limits)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 3 and all(
        "There can be no shared memory: look at ulimit -v, -f and -n" in line for line in lines
    )


def test_a_pipes_message_that_ulimit_f_does_not_allow_is_an_error(script):
    program = script.write("""
import procession
a, b = procession.Pipe()
try:
    a.send(bytes(3_000_000))
except OSError as error:
    print(error.strerror)
a.send(bytes(1_000_000))
assert len(b.recv()) == 1_000_000
""")
    limits = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000,) * 2)}
    result = script.run(program, **limits)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "File too large: ulimit -f allows no memory for a message of that size\n"


def test_a_task_that_takes_more_memory_than_its_control_group_has_fails_alone(method, control_group, script):
    group = control_group("memory")
    program = script.write("""
import os, sys
import limit_tasks
import procession
from procession.errors import WorkerDied
if __name__ == "__main__":
    with open(sys.argv[2] + "/cgroup.procs", "w") as file:
        file.write(str(os.getpid()))
    with procession.get_context(sys.argv[1]).Pool(2) as pool:
        assert pool.apply(limit_tasks.increase, (1,)) == 2
        try:
            pool.apply(limit_tasks.eat, (200 << 20,))
        except (WorkerDied, MemoryError) as error:
            print(error)
        found = pool.map(limit_tasks.eat, [4096, 200 << 20, 8192], 1, on_error="return")
        print(found[0], type(found[1]).__name__, found[2])
        assert pool.map(limit_tasks.increase, range(100)) == list(range(1, 101))
    pool.join()
    assert procession._core.arena_check() is None
""")
    result = script.run(program, method, group, within_s=40)
    assert result.returncode == 0, result.stderr
    alone, in_map = result.stdout.splitlines()
    assert "while it ran limit_tasks.eat(209715200); by kill -9, or by the system for want of memory" in alone
    assert in_map == "4096 WorkerDied 8192"


def test_nothing_is_needed_that_can_be_written_to(method, script, tmp_path):
    """No HOME; /tmp, /var/tmp and /dev/shm are read-only and empty."""
    program = script.write("""
import os, sys
import limit_tasks
import procession
if __name__ == "__main__":
    assert not any(os.access(path, os.W_OK) for path in ("/tmp", "/dev/shm", "/var/tmp"))
    ctx = procession.get_context(sys.argv[1])
    with ctx.Pool(2) as pool:
        assert pool.map(limit_tasks.increase, range(10)) == list(range(1, 11))
        assert len(pool.apply(limit_tasks.filled, (5_000_000,))) == 5_000_000
    a, b = ctx.Pipe()
    a.send(bytes(1_000_000))
    assert len(b.recv()) == 1_000_000
    with ctx.Manager() as manager:
        shared = manager.dict(a=1)
        assert dict(shared) == {"a": 1}
    assert ctx.Array("i", 5)[:] == [0] * 5
    print("done")
""")
    places = [path for path in ("/tmp", "/var/tmp", "/dev/shm") if os.path.isdir(path)]
    shell = " && ".join(
        [f"mount --bind {path} {path} && mount -o remount,ro,bind {path}" for path in places] + ['exec "$@"']
    )
    private = ["unshare", "-m", "--propagation", "private", "sh", "-c", shell, "sh"]
    if not shutil.which("unshare") or subprocess.run([*private, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no private mounts are allowed here")
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "TMPDIR")}
    environment["PYTHONPATH"] = str(HERE)
    result = script.run(program, method, under=private, env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "done\n"


@pytest.mark.deadline(160)
def test_two_gigabytes_go_everywhere_and_the_memory_comes_back(script):
    available = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())["MemAvailable"]
    if int(available.split()[0]) < 14 << 20:
        pytest.skip(f"needs 14 GiB of memory that is available, and there are {available.strip()}")
    program = script.write("""
import threading
import limit_tasks
import numpy as np
import procession
from procession import _core
SIZE = 2_200_000_000
if __name__ == "__main__":
    ctx = procession.get_context("fork")
    data = b"y" * SIZE
    with ctx.Pool(1) as pool:
        assert pool.apply(limit_tasks.ends_of, (data,)) == (SIZE, 121, 121)
        result = pool.apply(limit_tasks.ones, (SIZE,))
        assert limit_tasks.ends_of(result) == (SIZE, 1, 1) and result.sum(dtype=np.int64) == SIZE
        assert pool.map(limit_tasks.ends_of, [result]) == [(SIZE, 1, 1)]
        del result
        assert len(pool.apply(limit_tasks.filled, (SIZE,))) == SIZE
    pool.join()
    assert _core.arena_facts()["warm"] <= 64 << 20, _core.arena_facts()
    queue = ctx.Queue()
    queue.put(data)
    assert queue.get() == data
    a, b = ctx.Pipe()
    sender = threading.Thread(target=a.send, args=(data,))
    sender.start()
    assert b.recv() == data
    sender.join()
    del queue, pool
    _core.arena_trim(0)
    facts = _core.arena_facts()
    assert facts["blocks"] <= 10 and facts["warm"] == 0, facts
    assert _core.arena_check() is None
""")
    result = script.run(program, within_s=150)
    assert result.returncode == 0, result.stderr


# ---- many ----


@pytest.mark.deadline(60)
@pytest.mark.parametrize("kind", ["fork", "threads"])
def test_three_hundred_pools_one_after_the_other_leave_nothing(kind):
    make = procession.pool.ThreadPool if kind == "threads" else procession.get_context("fork").Pool

    def one() -> None:
        with make(1) as pool:
            assert pool.apply(abs, (-1,)) == 1
        pool.join()

    def figures() -> dict[str, int]:
        gc.collect()
        wait_until(lambda: threading.active_count() <= threads, "the end of the pools' threads")
        status = Path("/proc/self/status").read_text()
        return {
            "descriptors": len(os.listdir("/proc/self/fd")),
            "blocks": _core.arena_facts()["blocks"],
            "processes": process_slots(),
            "rss_kib": int(status.split("VmRSS:")[1].split()[0]),
            "maps": Path("/proc/self/maps").read_text().count("\n"),
        }

    threads = threading.active_count()
    for _ in range(50):  # until free memory is of use again
        one()
    before = figures()
    for _ in range(300):
        one()
    after = figures()
    for what, slack in {"descriptors": 0, "blocks": 0, "processes": 0, "rss_kib": 2000, "maps": 20}.items():
        assert after[what] <= before[what] + slack, (what, before, after)


def test_sixty_four_threads_share_a_pool():
    errors: list[str] = []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        try:
            for turn in range(6):
                match chance.randrange(6):
                    case 0:
                        assert pool.apply(limit_tasks.increase, (turn,)) == turn + 1
                    case 1:
                        assert pool.map(limit_tasks.increase, range(50)) == list(range(1, 51))
                    case 2:
                        assert list(pool.imap(limit_tasks.increase, range(30))) == list(range(1, 31))
                    case 3:
                        found = pool.imap_unordered(limit_tasks.increase, iter(range(30)))
                        assert sorted(found) == list(range(1, 31))
                    case 4:
                        result = pool.apply_async(limit_tasks.nap, (60,))
                        result.cancel()
                        with pytest.raises(TaskCancelled):
                            result.get(20)
                    case 5:
                        with pytest.raises(TaskTimeout):
                            pool.apply(limit_tasks.nap, (60,), timeout=0.02)
        except BaseException as error:
            errors.append(f"{seed}: {error!r}")

    with procession.get_context("fork").Pool(4) as pool:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert pool.map(limit_tasks.increase, range(100)) == list(range(1, 101))
        pool._workers._scheduler.check()


def test_a_million_items_twenty_thousand_callbacks_and_a_thousand_handles():
    called: list[int] = []
    done = threading.Event()

    def count(value: int) -> None:
        called.append(value)
        if len(called) == 20_000:
            done.set()

    ctx = procession.get_context("fork")
    with ctx.Pool(2) as pool:
        for i in range(20_000):
            pool.apply_async(limit_tasks.increase, (i,), callback=count)
        assert done.wait(20)
        assert sorted(called) == list(range(1, 20_001))
        assert pool.map(limit_tasks.increase, range(1_000_000)) == list(range(1, 1_000_001))
        things = [ctx.Lock() for _ in range(500)] + [ctx.Queue() for _ in range(500)]
        assert pool.apply(limit_tasks.lengths, (things,)) == [1000]
        assert [len(back) for back in pool.map(list, [things] * 3)] == [1000] * 3


# ---- what cannot be pickled ----


@pytest.mark.parametrize("kind", limit_tasks.UNPICKLABLE)
def test_what_cannot_be_pickled_fails_where_it_is_given_and_nothing_else(kind, ctx):
    refusals = (CannotEncode, RecursionError, limit_tasks.Refusal, SystemExit)
    thing = limit_tasks.make(kind)
    with ctx.Pool(2) as pool:
        pool.map(limit_tasks.increase, range(1000))  # from now on, batches hold several items
        for attempt in (
            lambda: pool.apply(limit_tasks.lengths, (thing,)),
            lambda: pool.apply(limit_tasks.lengths, (), {"x": thing}),
            lambda: pool.map(type, [1, thing]),
            lambda: pool.apply(functools.partial(limit_tasks.lengths, thing)),
            lambda: ctx.Queue().put(thing),
        ):
            with pytest.raises(refusals) as caught:
                attempt()
            assert len(str(caught.value)) < 1000
        with pytest.raises((CannotEncode, RecursionError)) as caught:
            pool.apply(limit_tasks.make, (kind,))
        assert len(str(caught.value)) < 5000
        with pytest.raises((ValueError, CannotEncode)):
            pool.apply(limit_tasks.raise_with, (kind,))
        assert pool.map(limit_tasks.increase, range(100)) == list(range(1, 101))
        assert not pool._workers._scheduler.in_flight
    ends = []
    for end in ctx.Pipe():
        with pytest.raises(refusals):
            end.send(thing)
        ends.append(end)
    for end in ends:
        end.close()


@pytest.mark.parametrize("feed", [list, iter], ids=["list", "iterator"])
@pytest.mark.parametrize("kind", ["lock", "generator", "too deep", "long repr"])
def test_an_item_that_cannot_be_pickled_fails_alone(kind, feed, ctx):
    items = [*range(20), limit_tasks.make(kind), *range(20)]
    with ctx.Pool(2) as pool:
        pool.map(limit_tasks.increase, range(1000))
        for found in (
            list(pool.imap(limit_tasks.increase, feed(items), on_error="return")),
            pool.map(limit_tasks.increase, feed(items), on_error="return"),
            list(pool.imap(limit_tasks.increase, feed(items), chunksize=4, on_error="return")),
        ):
            assert isinstance(found[20], (CannotEncode, RecursionError))
            assert found[:20] == found[21:] == list(range(1, 21))


def test_an_item_that_raises_an_interrupt_ends_no_thread_of_the_pools(ctx):
    with ctx.Pool(2) as pool:
        found = []
        stream = pool.imap(limit_tasks.increase, iter([1, 2, limit_tasks.RaisesInterrupt(), 3]))
        while len(found) < 4:
            try:
                found.append(stream.next(20))
            except KeyboardInterrupt:
                if len(found) == 2:
                    found.append("interrupt")
        assert found == [2, 3, "interrupt", 4]
        assert pool.map(limit_tasks.increase, range(10)) == list(range(1, 11))


def test_a_task_that_cannot_be_sent_again_after_a_death_fails_and_does_not_hang(tmp_path):
    """It can be pickled once, and lies in a batch behind the item that kills its worker."""
    items = [limit_tasks.Deadly(str(tmp_path / "died")), *(limit_tasks.PicklesOnce() for _ in range(3))]
    with procession.get_context("fork").Pool(1) as pool:
        stream = pool.imap(limit_tasks.touch_or_die, items, chunksize=4, on_error="return")
        found = [stream.next(20) for _ in range(4)]
        assert isinstance(found[0], WorkerDied)
        assert all(isinstance(error, ValueError) and "sent already" in str(error) for error in found[1:])
        assert pool.map(limit_tasks.increase, range(10)) == list(range(1, 11))


def test_a_task_with_a_large_argument_is_described_at_once():
    """WorkerDied tells the call: not by formatting all of it."""
    data = bytes(100_000_000)
    with procession.get_context("fork").Pool(1) as pool:
        pool.apply(abs, (1,))
        result = pool.apply_async(limit_tasks.kill_self_with, ({"payload": [data]},))
        with pytest.raises(WorkerDied) as caught:
            result.get(30)
        assert caught.value.arguments.startswith("{'payload': [b'\\x00")
        assert len(str(caught.value)) < 300
        began = time.thread_time()
        describe_call(Batch(None, LocalFunction(abs), 0, [({"payload": [data]},)], wire.STAR, Lane()), 0)
        assert time.thread_time() - began < 0.01


def test_destructors_that_raise_or_use_the_pool_do_no_harm(ctx):
    used: list[int] = []

    class UsesPool:
        def __del__(self):
            used.append(pool.apply(abs, (-7,)))

    with ctx.Pool(2) as pool:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "unraisablehook", lambda _: None)
            assert pool.apply(type, (limit_tasks.RaisesAtEnd(),)) is limit_tasks.RaisesAtEnd
            assert len(pool.map(tasks.identity, [limit_tasks.RaisesAtEnd() for _ in range(5)])) == 5
        things = [UsesPool() for _ in range(20)]
        results = [pool.apply_async(abs, (i,), callback=lambda _, thing=thing: None) for i, thing in enumerate(things)]
        del things
        assert [result.get(20) for result in results] == list(range(20))
        del results
        gc.collect()
        wait_until(lambda: pool.apply(abs, (1,)) and len(used) == 20, "the destructors")
        assert used == [7] * 20
