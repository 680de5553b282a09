"""Forks while other threads are within a print, a logging call or an import, for a moment or for ever."""

import _imp
import io
import logging
import os
import signal
import sys
import threading
import types

import pytest

import procession
from conftest import wait_until
from procession import _core
from procession.engine import bystanders

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

PARENT = os.getpid()
entered = threading.Event()
may_leave = threading.Event()


def stay():
    """Where a thread of this process stays until it may leave; a child passes."""
    if os.getpid() == PARENT:
        entered.set()
        may_leave.wait(20)


class Slow(io.RawIOBase):
    def writable(self):
        return True

    def write(self, data):
        stay()
        return len(data)


def log():
    logging.getLogger("fork_locks").warning("x")


def print_error():
    print("x", file=sys.__stderr__, flush=True)  # pytest puts its own sys.stderr in place for the call


def import_slow():
    import slowly_imported

    assert slowly_imported.is_whole


def read_input():
    """A child gives its input up, which takes the lock of a reader."""
    if os.getpid() == PARENT:
        sys.stdin.readline()


@pytest.fixture
def slow_stream():
    stream = io.TextIOWrapper(io.BufferedWriter(Slow()), encoding="utf-8")
    yield stream
    stream.close()


@pytest.fixture
def slow_log(slow_stream):
    logger, handler = logging.getLogger("fork_locks"), logging.StreamHandler(slow_stream)
    logger.addHandler(handler)
    logger.propagate = False
    yield log
    logger.removeHandler(handler)


@pytest.fixture
def slow_print(slow_stream, monkeypatch):
    monkeypatch.setattr(sys, "__stderr__", slow_stream)
    return print_error


@pytest.fixture
def slow_import(tmp_path, monkeypatch):
    (tmp_path / "slowly_imported.py").write_text("import test_fork_locks\ntest_fork_locks.stay()\nis_whole = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "test_fork_locks", sys.modules[__name__])
    yield import_slow
    sys.modules.pop("slowly_imported", None)


@pytest.fixture
def slow_input(monkeypatch):
    reader, writer = os.pipe()
    with open(reader) as stream, open(writer, "w") as typed:
        monkeypatch.setattr(sys, "stdin", stream)
        leave = threading.Thread(target=lambda: (may_leave.wait(20), typed.write("\n"), typed.flush()))
        leave.start()
        yield read_input
        leave.join()


@pytest.fixture
def bystander(request):
    """A thread that is where the parameter says, until it may leave."""
    entered.clear()
    may_leave.clear()
    use = request.getfixturevalue(request.param)
    thread = threading.Thread(target=use)
    thread.use = use
    thread.start()
    if request.param == "slow_input":
        wait_until(lambda: _core.stream_holder(sys.stdin), "the reader")
    else:
        assert entered.wait(10)
    yield thread
    may_leave.set()
    thread.join()


@pytest.fixture
def pauses(monkeypatch):
    """The pauses that a fork has made; each calls the list's `then`."""

    class Pauses(list):
        @staticmethod
        def then():
            pass

    pauses = Pauses()

    def sleep(pause_s):
        pauses.append(pause_s)
        pauses.then()

    monkeypatch.setattr(bystanders, "_in_vain", set())  # addresses and threads' numbers come again in other tests
    monkeypatch.setattr(bystanders, "time", types.SimpleNamespace(sleep=sleep))
    return pauses


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(bystanders, "_PATIENCE_S", 0.05)


def by_process(use):
    process = procession.get_context("fork").Process(target=use)
    process.start()
    process.join(10)
    assert process.exitcode == 0


def by_pool(use):
    with procession.get_context("fork").Pool(2) as pool:
        pool.apply_async(use).get(10)
    pool.join()


def by_os_fork(use):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            use()
            code = 0
        finally:
            os._exit(code)
    wait_until(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT), "the child's end")
    assert os.waitpid(pid, 0)[1] == 0


def is_as_before():
    return (sys.getswitchinterval(), _imp.lock_held(), logging._lock._is_owned()) == (
        pytest.approx(0.005),
        False,
        False,
    )


ALL = pytest.mark.parametrize("bystander", ["slow_log", "slow_print", "slow_import", "slow_input"], indirect=True)
WAITED_FOR = pytest.mark.parametrize("bystander", ["slow_log", "slow_print", "slow_import"], indirect=True)
ONE = pytest.mark.parametrize("bystander", ["slow_print"], indirect=True)


@ALL
@pytest.mark.parametrize("fork", [by_process, by_pool, by_os_fork])
def test_a_child_does_not_hang_where_a_thread_stays_for_ever_in_its_parent(bystander, fork, impatient):
    fork(bystander.use)
    assert is_as_before()
    assert bystander.is_alive()


@WAITED_FOR
def test_a_fork_waits_until_a_thread_is_out(bystander, pauses):
    def leave():
        may_leave.set()
        bystander.join(10)

    pauses.then = leave
    by_process(bystander.use)
    assert len(pauses) == 1
    assert is_as_before()


@WAITED_FOR
def test_what_was_waited_for_in_vain_is_not_waited_for_again(bystander, impatient, pauses):
    by_process(bystander.use)
    assert pauses
    pauses.clear()
    by_process(bystander.use)
    assert not pauses


def test_a_fork_does_not_wait_for_threads_that_hold_nothing(pauses):
    is_over = threading.Event()
    thread = threading.Thread(target=is_over.wait)
    thread.start()
    by_process(log)
    is_over.set()
    thread.join()
    assert not pauses


@ONE
def test_ctrl_c_ends_the_wait_and_the_child_is_known(bystander, pauses):
    pauses.then = lambda: signal.pthread_kill(bystander.ident, signal.SIGINT)
    process = procession.get_context("fork").Process(target=print_error)
    with pytest.raises(KeyboardInterrupt):
        process.start()
    assert is_as_before()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    process.join(10)
    assert process.exitcode == 0


@ONE
def test_a_fork_that_fails_leaves_nothing_locked(bystander, impatient, monkeypatch):
    def fail():
        raise OSError("no more processes")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fork", fail)
        with pytest.raises(OSError, match="no more processes"):
            procession.get_context("fork").Process(target=print_error).start()
    assert is_as_before()
    by_process(print_error)


STORM = """
import logging, os, sys, threading
import procession

def log_print_import(number):
    logging.getLogger("storm").warning("%s", number)
    sys.modules.pop("colorsys", None)
    import colorsys
    print(number, file=sys.stderr, flush=True)
    return number

def nested(number):
    with procession.Pool(1) as pool:
        return pool.apply(log_print_import, (number,))

def forked(number):
    pid = os.fork()
    if pid == 0:
        log_print_import(number)
        os._exit(0)
    os.waitpid(pid, 0)
    return number

if __name__ == "__main__":
    procession.set_start_method("fork")
    sys.stderr, log = open(os.devnull, "w"), open(os.devnull, "w")
    logging.basicConfig(stream=log)
    is_over = threading.Event()
    def storm():
        while not is_over.is_set():
            log_print_import(0)
    threads = [threading.Thread(target=storm) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(8):
            with procession.Pool(2) as pool:
                for function in (log_print_import, nested, forked):
                    assert pool.map_async(function, range(2)).get(10) == [0, 1], function
            pool.join()
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
        for stream in (sys.stderr, log):
            stream.close()
        sys.stderr = sys.__stderr__
    print("over")
"""


def test_pools_work_while_threads_log_print_and_import(script):
    script.write(STORM)
    result = script.run("-W", "ignore", "program.py", within_s=25)
    assert (result.returncode, result.stdout, result.stderr) == (0, "over\n", "")
