"""A child's life from end to end: what it inherits, what its end owes, and many of them at once."""

import atexit
import logging
import os
import signal
import sys
import threading
import time

import pytest

import procession
import tasks
from conftest import wait_until
from procession import util

FRESH = ("spawn", "forkserver")
# Some of them fork by themselves, and another test's thread may not have ended yet.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def append(path, text):
    with open(path, "a") as file:
        print(text, file=file)


def run(ctx, target, *args, **options):
    """Its exit code."""
    process = ctx.Process(target=target, args=args, **options)
    process.start()
    process.join(20)
    code = process.exitcode
    process.close()
    return code


def answer(ctx, target, *args, **options):
    """What `target` puts into the queue that it gets first."""
    queue = ctx.Queue()
    assert run(ctx, target, queue, *args, **options) == 0
    return queue.get(timeout=1)


# ---- its end ----


@pytest.mark.parametrize("code", [2**100, -(2**100), 2**63])
def test_an_exit_code_that_no_system_knows_is_255(ctx, code):
    assert run(ctx, sys.exit, code) == 255


def _owe(path):
    atexit.register(append, path, "atexit")
    util.Finalize(None, append, args=(path, "finalizer"), exitpriority=0)
    util.Finalize(None, append, args=(path, "late finalizer"), exitpriority=-1)
    threading.Thread(target=lambda: (time.sleep(0.1), append(path, "thread"))).start()


def test_the_end_of_a_child_runs_finalizers_threads_and_atexit_handlers(ctx, tmp_path):
    path = tmp_path / "log"
    assert run(ctx, _owe, str(path)) == 0
    assert path.read_text().splitlines() == ["finalizer", "late finalizer", "thread", "atexit"]


def _raise_and_owe(path):
    atexit.register(append, path, "atexit")
    sys.exit("no")


def test_atexit_handlers_run_after_a_failure_too(ctx, tmp_path):
    assert run(ctx, _raise_and_owe, str(tmp_path / "log")) == 1
    assert (tmp_path / "log").read_text() == "atexit\n"


def test_a_child_does_not_run_its_parents_atexit_handlers(ctx, tmp_path):
    path = tmp_path / "log"
    atexit.register(append, str(path), "the parent's")
    try:
        assert run(ctx, tasks.nothing) == 0
    finally:
        atexit.unregister(append)
    assert not path.exists()


def _start_at_exit(method, path):
    atexit.register(_start_one, method, path)


def _start_one(method, path):
    procession.get_context(method).Process(target=append, args=(path, "grandchild")).start()


def test_a_process_that_is_started_from_atexit_is_waited_for(ctx, method, tmp_path):
    assert run(ctx, _start_at_exit, method, str(tmp_path / "log")) == 0
    assert (tmp_path / "log").read_text() == "grandchild\n"


def _make_temp_dir(queue):
    folder = util.get_temp_dir()
    queue.put((folder, os.path.isdir(folder)))


def test_a_childs_temporary_folder_goes_with_it(ctx):
    mine = util.get_temp_dir()
    folder, was_there = answer(ctx, _make_temp_dir)
    assert was_there and folder != mine
    assert not os.path.exists(folder) and os.path.exists(mine)
    util._remove_temp_dir()


def _without_streams():
    sys.stdout = sys.stderr = None
    sys.exit("nobody reads this")


def test_a_child_may_have_no_streams(ctx):
    assert run(ctx, _without_streams) == 1


class Closed:
    def write(self, text): ...

    def flush(self):
        raise ValueError("I/O operation on closed file")


def _with_closed_streams():
    sys.stdout = sys.stderr = Closed()


def test_streams_that_cannot_be_flushed_do_not_change_the_exit_code(ctx):
    assert run(ctx, _with_closed_streams) == 0


def _die_of_a_bare_fork():
    if os.fork() == 0:
        sys.exit(3)
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]) + 1)


def test_a_child_may_fork_by_itself(ctx):
    assert run(ctx, _die_of_a_bare_fork) == 4


def test_a_bare_fork_knows_nothing_of_its_parents_children(ctx):
    process = ctx.Process(target=time.sleep, args=(600,))
    process.start()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            ended = process.exitcode
            process.close  # noqa: B018
            code = 0 if procession.active_children() == [] and ended is None else 2
            process._child.close()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert process.is_alive()
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


# ---- what it inherits ----


def _inherited(queue):
    me = procession.current_process()
    queue.put((bytes(me.authkey), me.daemon, procession.get_start_method()))


def test_authkey_and_method_are_the_parents(ctx, method):
    me = procession.current_process()
    key = me.authkey
    me.authkey = b"open sesame"
    try:
        assert answer(ctx, _inherited, daemon=True) == (b"open sesame", True, method)
    finally:
        me.authkey = key


def test_the_authkey_may_be_empty_and_differ_from_the_parents(ctx):
    queue = ctx.Queue()
    process = ctx.Process(target=_inherited, args=(queue,))
    process.authkey = b""
    process.start()
    assert queue.get(timeout=10)[0] == b""
    process.join()


def _log_facts(queue):
    record = logging.LogRecord("x", 1, "", 1, "", (), None)
    logger = procession.get_logger()
    queue.put((logger.getEffectiveLevel(), len(logger.handlers), record.processName))


def test_the_log_level_and_handler_are_the_parents(ctx):
    logger = procession.log_to_stderr(37)
    amount = len(logger.handlers) if ctx.get_start_method() == "fork" else 1
    try:
        assert answer(ctx, _log_facts, name="logging one") == (37, amount, "logging one")
    finally:
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
        util._logs_to_stderr = False
        util._logger = None


def test_a_child_says_what_it_does_if_asked(ctx, capfd, fresh_fork_server):
    logger = procession.log_to_stderr(logging.INFO)
    try:
        assert run(ctx, tasks.nothing, name="teller") == 0
    finally:
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
        util._logs_to_stderr = False
        util._logger = None
    said = capfd.readouterr().err
    assert "[INFO/teller] child process calling self.run()" in said
    assert "[INFO/teller] process exiting with exitcode 0" in said


def _open_descriptors(queue):
    queue.put([os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(int(fd))])


def _is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("method", FRESH)
def test_a_fresh_child_inherits_no_descriptor_that_it_was_not_given(ctx, tmp_path):
    fd = os.open(tmp_path / "secret", os.O_CREAT | os.O_WRONLY)
    os.set_inheritable(fd, True)
    try:
        one = answer(ctx, _open_descriptors)
        sleepers = [ctx.Process(target=time.sleep, args=(600,)) for _ in range(5)]
        for process in sleepers:
            process.start()
        more = answer(ctx, _open_descriptors)
        for process in sleepers:
            process.kill()
            process.join()
    finally:
        os.close(fd)
    assert not [name for name in one if "secret" in name]
    assert len(one) == len(more)


def _thread_numbers(queue):
    queue.put((threading.main_thread().native_id, threading.get_native_id(), threading.main_thread().ident))


def test_the_main_thread_has_a_number_of_its_own(ctx):
    native, own, _ = answer(ctx, _thread_numbers)
    assert native == own != threading.main_thread().native_id


# ---- many ----


@pytest.mark.deadline(90)
def test_a_hundred_processes_at_once(ctx, method):
    amount = 100 if method != "spawn" else 20
    queue = ctx.Queue()
    processes = [ctx.Process(target=queue.put, args=(number,)) for number in range(amount)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * amount
    assert sorted(queue.get(timeout=1) for _ in range(amount)) == list(range(amount))


def test_threads_may_start_processes_all_at_once(ctx):
    codes, started = [], threading.Barrier(6)

    def start():
        started.wait()
        for number in range(3):
            codes.append(run(ctx, sys.exit, number))

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == sorted([0, 1, 2] * 6)


# ---- Ctrl-C ----


@pytest.mark.deadline(60)
def test_an_interrupt_right_after_the_start_is_not_lost(ctx, capfd, fresh_fork_server):
    for _ in range(10):
        process = ctx.Process(target=time.sleep, args=(600,))
        process.start()
        process.interrupt()
        process.join(10)
        assert process.exitcode in (1, -signal.SIGINT)
        process.close()


# ---- its parent, seen from it ----


def _look_up(folder):
    tasks.wait_for_file(f"{folder}/dead")
    parent = procession.parent_process()
    parent.join(5)
    tasks.arrive(f"{folder}/saw", parent.is_alive())


def _start_and_tell(method, folder):
    procession.get_context(method).Process(target=_look_up, args=(folder,)).start()
    tasks.arrive(f"{folder}/started")
    time.sleep(600)


def test_a_parent_that_is_long_dead_can_still_be_asked_about(ctx, method, tmp_path):
    parent = ctx.Process(target=_start_and_tell, args=(method, str(tmp_path)))
    parent.start()
    wait_until((tmp_path / "started").exists)
    parent.kill()
    parent.join()
    tasks.arrive(str(tmp_path / "dead"))
    wait_until((tmp_path / "saw").exists)
    assert (tmp_path / "saw").read_text() == "False"
