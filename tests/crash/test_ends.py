"""A pool ends in bounded time, from any state and by any way, and takes with it what its tasks have started."""

import gc
import os
import signal
import threading
import time

import pytest

import late_tasks
import procession
import tasks
from conftest import METHODS, descendants_of, is_running, wait_until
from procession.errors import PoolClosed, TaskCancelled

BOUND_S = 3.0  # grace, and what a busy machine takes
FORKED = (
    "fork",
    "forkserver",
)  # a worker that is up is the same whatever it came from; starting one is cheap with these
WAYS = [
    "sleep",
    "ignore the signal",
    "go on whatever comes",
    "hold the interpreter in a loop",
    "be stopped",
    "clean up",
]
FAMILIES = ["plainly", "with the default action", "deaf"]


def occupy(pool, tmp_path, way):
    """A pool whose first worker is at it; the result, and the pids of all that must be gone after its end."""
    pids = [worker.pid for worker in pool._pool]
    if way == "idle, one stopped":
        os.kill(pids[0], signal.SIGSTOP)
        return None, pids
    if way in FAMILIES:
        result = pool.apply_async(late_tasks.start_family, (str(tmp_path / "family"), way))
        wait_until((tmp_path / "family").exists)
        return result, pids + [int(pid) for pid in (tmp_path / "family").read_text().split()]
    result = pool.apply_async(late_tasks.be_late, (way, str(tmp_path / "at")))
    wait_until((tmp_path / "at.began").exists)
    return result, pids


def resume(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass


def assert_gone(pids, began, bound_s=BOUND_S):
    wait_until(lambda: not any(map(is_running, pids)), "the end of all", max(0.1, began + bound_s - time.monotonic()))


@pytest.mark.parametrize("method", FORKED)
@pytest.mark.parametrize("way", ["idle, one stopped", *WAYS, *FAMILIES])
def test_terminate_is_bounded(ctx, tmp_path, way):
    pool = ctx.Pool(2)
    result, pids = occupy(pool, tmp_path, way)
    queued = [pool.apply_async(late_tasks.sleep, ("",)) for _ in range(3)]
    began = time.monotonic()
    pool.terminate()
    pool.join()
    assert_gone(pids, began)
    for each in (result, *queued):
        if each is not None:
            with pytest.raises(TaskCancelled, match="terminated"):
                each.get(0)
    assert (tmp_path / "at").exists() == (way == "clean up")


@pytest.mark.parametrize("way", ["ignore the signal", "be stopped", "with the default action"])
def test_a_pool_that_is_forgotten_ends(tmp_path, way):
    pool = procession.get_context("fork").Pool(2)
    result, pids = occupy(pool, tmp_path, way)
    began = time.monotonic()
    with pytest.warns(ResourceWarning, match="unclosed"):
        del pool, result
        gc.collect()
    assert_gone(pids, began)


def test_what_was_done_can_be_read_after_terminate(pool):
    stream = pool.imap(tasks.double, range(100))
    assert next(stream) == 0
    wait_until(lambda: len(stream._stream.ready) > 3 or pool.apply(tasks.nothing))
    pool.terminate()
    got = []
    with pytest.raises(TaskCancelled, match="terminated"):
        for value in stream:
            got.append(value)
    assert len(got) > 3 and got == [2 * i for i in range(1, len(got) + 1)]
    assert list(stream) == []


def test_ends_from_several_threads_at_once(ctx, tmp_path):
    pool = ctx.Pool(2)
    _, pids = occupy(pool, tmp_path, "ignore the signal")
    began = time.monotonic()
    threads = [threading.Thread(target=end) for end in (pool.terminate, pool.close, pool.terminate, pool.terminate)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND_S)
    assert not any(thread.is_alive() for thread in threads)
    pool.join()
    assert_gone(pids, began)


@pytest.mark.parametrize("is_waited_for", [True, False])
@pytest.mark.parametrize("method", FORKED)
def test_a_callback_may_terminate(ctx, tmp_path, is_waited_for):
    pool = ctx.Pool(2)
    _, pids = occupy(pool, tmp_path, "ignore the signal")
    over = threading.Event()
    began = time.monotonic()
    result = pool.apply_async(tasks.double, (1,), callback=lambda _: (pool.terminate(), over.set()))
    if is_waited_for:
        assert result.get(10) == 2
    assert over.wait(BOUND_S)
    assert_gone(pids, began)
    pool.join()


@pytest.mark.parametrize("method", FORKED)
def test_a_worker_that_dies_meanwhile_does_not_keep_join(ctx, tmp_path):
    pool = ctx.Pool(2)
    result, _ = occupy(pool, tmp_path, "sleep")
    rest = pool.map_async(tasks.double, range(50), 1)
    pool.close()
    pid = int((tmp_path / "at.began").read_text())
    killer = threading.Timer(0.1, os.kill, (pid, signal.SIGKILL))
    killer.start()
    pool.join()
    killer.join()
    assert rest.get(0) == [2 * i for i in range(50)]
    with pytest.raises(procession.errors.WorkerDied):
        result.get(0)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_in_a_forked_child_the_pool_says_that_it_is_not_its_own(pool, tmp_path):
    result = pool.apply_async(tasks.arrive_and_wait, (str(tmp_path / "at"), "value"))
    stream = pool.imap(tasks.arrive_and_wait_pair, [(str(tmp_path / "also"), 2)])
    wait_until(lambda: (tmp_path / "at").exists() and (tmp_path / "also").exists())
    child = os.fork()
    if child == 0:
        told = []
        for call in (
            lambda: pool.apply(tasks.double, (1,)),
            lambda: pool.map(tasks.double, [1]),
            lambda: list(pool.imap(tasks.double, [1])),
            lambda: pool.apply_async(tasks.double, (1,)),
            lambda: pool.resize(3),
            lambda: result.get(5),
            lambda: list(stream),
        ):
            try:
                call()
                told.append("nothing")
            except PoolClosed as error:
                told.append("PoolClosed" if "parent process" in str(error) else str(error))
            except BaseException as error:
                told.append(repr(error))
        pool.close()
        pool.terminate()
        pool.join()
        tasks.arrive(tmp_path / "told", "\n".join(told))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert (tmp_path / "told").read_text().split("\n") == ["PoolClosed"] * 7
    tasks.arrive(tmp_path / "at.go")
    tasks.arrive(tmp_path / "also.go")
    assert result.get(10) == "value" and list(stream) == [2]


# ---- the end of the program ----

PROGRAM = """
import atexit, os, sys, threading, time
import procession, late_tasks, tasks
def main():
    method, way, end, path = sys.argv[1:]
    pool = procession.get_context(method).Pool(2)
    if way == "family":
        results = [pool.apply_async(late_tasks.start_family, (path + str(i), "with the default action")) for i in range(2)]
        for i in range(2):
            tasks.wait_for_file(path + str(i))
    elif way != "idle":
        results = [pool.apply_async(late_tasks.be_late, (way, path + str(i))) for i in range(2)]
        for i in range(2):
            tasks.wait_for_file(path + str(i) + ".began")
    if end.startswith("atexit"):
        atexit.register(at_exit, pool, end)
    print("READY", flush=True)
    sys.stdin.readline()
    if end == "os._exit":
        os._exit(7)
    if end == "raise":
        raise ValueError
    if end == "wait":
        time.sleep(600)
    if end == "thread":
        threading.Thread(target=lambda: (time.sleep(0.1), pool.terminate())).start()
    globals()["pool"] = pool
def at_exit(pool, end):
    if end == "atexit terminate":
        pool.terminate()
        pool.join()
    else:
        print(pool.map(tasks.double, [1, 2]))
if __name__ == "__main__":
    main()
"""


def run_to_its_end(script, method, way, end):
    """The program, and all that it has started."""
    script.write(PROGRAM)
    process = script.start("program.py", method, way, end, script.folder / "at", stdin=-1)
    assert process.stdout.readline() == "READY\n", process.stderr.read()
    pids = descendants_of(process.pid)
    assert len(pids) >= (6 if way == "family" else 2)
    return process, pids


@pytest.mark.parametrize("way", ["ignore the signal", "be stopped", "hold the interpreter in a loop", "family"])
@pytest.mark.parametrize("end", ["return", "raise", "os._exit", "atexit terminate", "thread"])
def test_a_program_ends_whatever_its_workers_do(script, way, end):
    process, pids = run_to_its_end(script, "fork", way, end)
    began = time.monotonic()
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.wait(10) == {"raise": 1, "os._exit": 7}.get(end, 0)
    if way == "be stopped" and end == "os._exit":
        resume(pids)  # nobody is there to kill what stands still, and it cannot die by itself
    assert_gone(pids, began)
    err = process.stderr.read()
    assert err.count("Traceback") == (end == "raise"), err


@pytest.mark.parametrize("method", METHODS)
def test_a_pool_may_be_used_at_exit(script, method):
    process, pids = run_to_its_end(script, method, "idle", "atexit use")
    out, err = process.communicate("go\n", timeout=10)
    assert (out, err) == ("[2, 4]\n", "")
    assert_gone(pids, time.monotonic())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize(
    ("method", "way"),
    [(method, way) for method in METHODS for way in ("hold the interpreter in a loop", "family")]
    + [("fork", "ignore the signal")],
)
def test_a_killed_program_takes_its_workers_and_their_children_with_it(script, method, way, number):
    process, pids = run_to_its_end(script, method, way, "wait")
    began = time.monotonic()
    process.send_signal(number)
    assert process.wait(5) == -number
    assert_gone(pids, began, 2)


def test_a_stopped_worker_of_a_killed_program_ends_as_soon_as_it_goes_on(script):
    process, pids = run_to_its_end(script, "fork", "be stopped", "wait")
    process.kill()
    process.wait(5)
    resume(pids)
    assert_gone(pids, time.monotonic(), 2)


INTERRUPTED = """
import sys, procession, late_tasks, tasks
def main():
    pool = procession.get_context(sys.argv[1]).Pool(2)
    stream = pool.imap(late_tasks.nap, [0.001] * 20 + [600.0] * 10, 1)
    got = []
    try:
        while True:
            got.append(next(stream))
            if len(got) == 5:
                print("READY", flush=True)
    except KeyboardInterrupt:
        pass
    while stream._stream.ready:
        got.append(next(stream))
    print(got == [0.001] * len(got), len(got) >= 5, flush=True)
    pool.terminate()
    pool.join()
if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("method", METHODS)
def test_after_ctrl_c_the_results_so_far_are_there_and_the_program_ends_at_once(script, method):
    script.write(INTERRUPTED)
    process = script.start("program.py", method)
    assert process.stdout.readline() == "READY\n", process.stderr.read()
    pids = descendants_of(process.pid)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (out, err, process.returncode) == ("True True\n", "", 0)
    assert_gone(pids, began, 1.5)
