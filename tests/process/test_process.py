"""Process under every start method, as the standard library's manual describes it."""

import multiprocessing.connection
import multiprocessing.process
import os
import signal
import sys
import threading
import time

import pytest

import procession
import tasks
from conftest import is_running, wait_until


class Doubler(procession.Process):
    """A subclass with run()."""

    def __init__(self, queue, number):
        super().__init__(name="doubler")
        self.queue, self.number = queue, number

    def run(self):
        self.queue.put((self.name, 2 * self.number))


def ended(process, within_s=10):
    process.join(within_s)
    assert process.exitcode is not None, "it did not end"
    return process.exitcode


@pytest.fixture
def sleeper(ctx):
    process = ctx.Process(target=time.sleep, args=(600,))
    process.start()
    yield process
    process.kill()
    process.join()


# ---- running ----


def test_a_target_is_called_with_its_arguments(ctx):
    queue = ctx.Queue()
    process = ctx.Process(target=tasks.put_all, args=(queue,), kwargs={"items": [1, "two", [3]]})
    process.start()
    assert [queue.get(timeout=10) for _ in range(3)] == [1, "two", [3]]
    assert ended(process) == 0


def test_a_process_without_a_target_does_nothing(ctx):
    process = ctx.Process()
    process.start()
    assert ended(process) == 0


def test_a_subclass_may_override_run(method, monkeypatch):
    monkeypatch.setattr(Doubler, "_start_method", method)
    monkeypatch.setattr(Doubler, "_method", lambda self: method)
    queue = procession.Queue()
    process = Doubler(queue, 21)
    process.start()
    assert queue.get(timeout=10) == ("doubler", 42)
    assert ended(process) == 0


def test_a_child_knows_itself_and_its_parent(ctx):
    queue = ctx.Queue()
    process = ctx.Process(target=_report_facts, args=(queue,), name="the child", daemon=True)
    process.start()
    facts = queue.get(timeout=10)
    process.join()
    assert facts["pid"] == process.pid != os.getpid()
    assert facts["me"] == ("the child", process.pid, True)
    assert facts["parent"] == ("MainProcess", os.getpid(), True)
    assert facts["children"] == 0


def _report_facts(queue):
    queue.put(tasks.current_facts())


def test_children_may_have_children(ctx, method):
    queue = ctx.Queue()
    process = ctx.Process(target=_grandchild, args=(queue, method))
    process.start()
    name, parent = queue.get(timeout=15)
    assert name.endswith(":1") and parent == process.name
    assert ended(process) == 0


def _grandchild(queue, method):
    process = procession.get_context(method).Process(target=_report_names, args=(queue,))
    process.start()
    process.join()


def _report_names(queue):
    queue.put((procession.current_process().name, procession.parent_process().name))


# ---- exit codes ----


@pytest.mark.parametrize(
    ("code", "exitcode"),
    [(None, 0), (0, 0), (3, 3), (True, 1), ("some words", 1), (256 + 7, 7), (-1, 255), ((1, 2), 1)],
)
def test_sys_exit_gives_the_exit_code(ctx, capfd, fresh_fork_server, code, exitcode):
    process = ctx.Process(target=tasks.exit_soft, args=(code,))
    process.start()
    assert ended(process) == exitcode
    assert ("some words" in capfd.readouterr().err) == (code == "some words")


def test_an_exception_gives_1_and_a_traceback_with_the_name(ctx, capfd, fresh_fork_server):
    process = ctx.Process(target=tasks.raise_value_error, args=(5,), name="unlucky")
    process.start()
    assert ended(process) == 1
    err = capfd.readouterr().err
    assert "Process unlucky:" in err and "ValueError: bad value 5" in err


def test_os_exit_gives_its_code(ctx):
    process = ctx.Process(target=os._exit, args=(9,))
    process.start()
    assert ended(process) == 9


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_gives_its_negative_number(ctx, number):
    process = ctx.Process(target=tasks.kill_self, args=(number,))
    process.start()
    assert ended(process) == -number


@pytest.mark.parametrize(("end", "number"), [("terminate", signal.SIGTERM), ("kill", signal.SIGKILL)])
def test_terminate_and_kill_end_it(sleeper, end, number):
    assert sleeper.is_alive() and sleeper.exitcode is None
    getattr(sleeper, end)()
    assert ended(sleeper) == -number
    assert not sleeper.is_alive()


def test_interrupt_raises_keyboard_interrupt_in_it(ctx, tmp_path, capfd, fresh_fork_server):
    process = ctx.Process(target=tasks.arrive_and_hang, args=(str(tmp_path / "here"),))
    process.start()
    wait_until((tmp_path / "here").exists)
    process.interrupt()
    assert ended(process) == 1
    assert "KeyboardInterrupt" in capfd.readouterr().err


def test_signals_to_an_ended_process_are_nothing(ctx):
    process = ctx.Process()
    process.start()
    process.join()
    process.terminate()
    process.kill()
    assert process.exitcode == 0


# ---- join ----


def test_join_with_a_timeout_comes_back_and_says_nothing(sleeper):
    began = time.monotonic()
    assert sleeper.join(0.1) is None
    assert 0.09 < time.monotonic() - began < 2
    assert sleeper.is_alive()
    assert sleeper.join(0) is None
    assert sleeper.join(-1) is None


def test_join_may_be_called_again_and_from_several_threads(sleeper):
    threads = [threading.Thread(target=sleeper.join) for _ in range(4)]
    for thread in threads:
        thread.start()
    sleeper.kill()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    sleeper.join()


def test_the_sentinel_is_readable_when_it_has_ended(sleeper):
    import select

    assert select.select([sleeper.sentinel], [], [], 0) == ([], [], [])
    sleeper.kill()
    assert select.select([sleeper.sentinel], [], [], 10)[0] == [sleeper.sentinel]
    assert sleeper.sentinel in multiprocessing.connection.wait([sleeper.sentinel], 10)


def test_a_child_waits_for_its_threads(ctx, tmp_path):
    process = ctx.Process(target=_leave_a_thread, args=(str(tmp_path / "done"),))
    process.start()
    assert ended(process) == 0
    assert (tmp_path / "done").exists()


def _leave_a_thread(path):
    event = threading.Event()
    threading.Thread(target=lambda: (event.wait(5), tasks.arrive(path))).start()
    threading.Timer(0.05, event.set).start()


# ---- names, flags, repr ----


def test_names_are_counted(ctx, method):
    first, second = ctx.Process(), ctx.Process()
    kind = {"fork": "ForkProcess", "spawn": "SpawnProcess", "forkserver": "ForkServerProcess"}[method]
    assert first.name.startswith(f"{kind}-")
    assert int(second.name.rsplit("-")[-1]) == int(first.name.rsplit("-")[-1]) + 1
    first.name = "other"
    assert first.name == "other"
    with pytest.raises(AssertionError):
        first.name = 5


def test_the_repr_tells_the_state(ctx):
    process = ctx.Process(name="p", target=time.sleep, args=(600,), daemon=True)
    assert repr(process) == f"<{type(process).__name__} name='p' parent={os.getpid()} initial daemon>"
    process.start()
    assert repr(process) == f"<{type(process).__name__} name='p' pid={process.pid} parent={os.getpid()} started daemon>"
    process.kill()
    process.join()
    assert "stopped exitcode=-SIGKILL" in repr(process)
    process.close()
    assert "closed" in repr(process)


def test_daemon_can_be_set_before_the_start_only(ctx):
    process = ctx.Process()
    assert process.daemon is False
    process.daemon = True
    assert process.daemon is True
    process.start()
    with pytest.raises(AssertionError):
        process.daemon = False
    process.join()


def test_it_is_a_process_for_those_who_ask_the_standard_library(ctx):
    assert isinstance(ctx.Process(), multiprocessing.process.BaseProcess)
    assert isinstance(ctx.Process(), procession.Process.__mro__[1])


def test_before_the_start_there_is_no_pid_and_no_exit_code(ctx):
    process = ctx.Process()
    assert process.pid is None and process.ident is None and process.exitcode is None
    assert not process.is_alive()


# ---- misuse ----


def test_it_starts_once(sleeper):
    with pytest.raises(AssertionError, match="twice"):
        sleeper.start()


@pytest.mark.parametrize("what", ["join", "terminate", "kill", "sentinel"])
def test_what_needs_a_started_process_says_so(ctx, what):
    process = ctx.Process()
    with pytest.raises((AssertionError, AttributeError, ValueError)):
        attribute = getattr(process, what)
        attribute()


def test_group_must_be_none(ctx):
    with pytest.raises(AssertionError):
        ctx.Process(group=1)


def test_a_running_process_cannot_be_closed(sleeper):
    with pytest.raises(ValueError, match="still running"):
        sleeper.close()


@pytest.mark.parametrize("what", ["start", "join", "is_alive", "terminate", "kill", "exitcode", "pid", "sentinel"])
def test_a_closed_process_can_be_asked_nothing(ctx, what):
    process = ctx.Process()
    process.start()
    process.join()
    process.close()
    process.close()
    with pytest.raises(ValueError, match="closed"):
        attribute = getattr(process, what)
        attribute()


def test_another_process_may_not_join_it(ctx, sleeper):
    if sleeper._method() != "fork":
        pytest.skip("only a forked child has the object")
    queue = ctx.Queue()
    process = ctx.Process(target=_join_in_child, args=(queue, sleeper))
    process.start()
    assert queue.get(timeout=10) == "can only join a child process"
    process.join()


def _join_in_child(queue, process):
    try:
        process.join()
    except AssertionError as error:
        queue.put(str(error))


def test_an_unpicklable_argument_raises_in_start_and_starts_nothing(ctx, method):
    if method == "fork":
        pytest.skip("nothing is pickled")
    process = ctx.Process(target=print, args=(threading.Lock(),))
    with pytest.raises(procession.errors.CannotEncode, match="lock"):
        process.start()
    assert process not in procession.active_children()


# ---- who is there ----


def test_active_children_are_those_that_run(ctx, sleeper):
    assert sleeper in procession.active_children()
    sleeper.kill()
    wait_until(lambda: sleeper not in procession.active_children())


def test_the_main_process_is_current_here():
    me = procession.current_process()
    assert (me.name, me.pid, me.daemon, me.exitcode) == ("MainProcess", os.getpid(), False, None)
    assert me.is_alive()
    assert procession.parent_process() is None


# ---- the parent ----


@pytest.mark.parametrize("daemon", [True, False])
def test_a_daemon_dies_with_a_killed_parent_and_others_do_not(ctx, method, tmp_path, daemon):
    path = tmp_path / "here"
    parent = ctx.Process(target=tasks.start_sleeper, args=(method, str(path), daemon))
    parent.start()
    wait_until(path.exists)
    child = int(path.read_text())
    parent.kill()
    parent.join()
    if daemon:
        wait_until(lambda: not is_running(child), "the daemon's end", 2)
    else:
        assert is_running(child)
        os.kill(child, signal.SIGKILL)
        wait_until(lambda: not is_running(child))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_daemon_outlives_the_thread_that_started_it(ctx, tmp_path):
    queue, out = ctx.Queue(), ctx.Queue()
    process = ctx.Process(target=tasks.take_until_none, args=(queue, out), daemon=True)
    thread = threading.Thread(target=process.start)
    thread.start()
    thread.join()
    wait_until(lambda: not os.path.exists(f"/proc/self/task/{thread.native_id}"))
    assert process.is_alive()
    queue.put(None)
    assert out.get(timeout=10) is None
    assert ended(process) == 0


def test_a_process_that_ends_terminates_its_daemons_and_waits_for_the_others(ctx, method, tmp_path):
    process = ctx.Process(target=_leave_two_children, args=(method, str(tmp_path)))
    process.start()
    assert ended(process, 20) == 0
    daemon, other = int((tmp_path / "daemon").read_text()), int((tmp_path / "other").read_text())
    assert not is_running(daemon) and not is_running(other)
    assert (tmp_path / "other.done").exists()


def _leave_two_children(method, folder):
    ctx = procession.get_context(method)
    daemon = ctx.Process(target=tasks.arrive_and_hang, args=(f"{folder}/daemon",), daemon=True)
    other = ctx.Process(target=_work_a_little, args=(f"{folder}/other",))
    daemon.start()
    other.start()
    tasks.wait_for_file(f"{folder}/daemon")
    tasks.wait_for_file(f"{folder}/other")


def _work_a_little(path):
    tasks.arrive(path, os.getpid())
    time.sleep(0.1)
    tasks.arrive(path + ".done")


def test_a_child_sees_its_parents_death(ctx, method, tmp_path):
    middle = ctx.Process(target=_start_watcher, args=(method, str(tmp_path)))
    middle.start()
    wait_until((tmp_path / "watching").exists)
    middle.kill()
    middle.join()
    wait_until((tmp_path / "saw").exists, "the child's notice of its parent's death", 5)
    assert (tmp_path / "saw").read_text() == "False"


def _start_watcher(method, folder):
    child = procession.get_context(method).Process(target=_watch_parent, args=(folder,))
    child.start()
    time.sleep(600)


def _watch_parent(folder):
    parent = procession.parent_process()
    assert parent.is_alive()
    parent.sentinel  # noqa: B018
    tasks.arrive(f"{folder}/watching")
    parent.join(10)
    tasks.arrive(f"{folder}/saw", parent.is_alive())


def test_standard_input_of_a_child_is_empty(ctx):
    queue = ctx.Queue()
    process = ctx.Process(target=_read_input, args=(queue,))
    process.start()
    assert queue.get(timeout=10) == ""
    process.join()


def _read_input(queue):
    queue.put(sys.stdin.read())


def test_many_short_processes_leave_nothing(ctx):
    for _ in range(10):
        processes = [ctx.Process(target=tasks.nothing) for _ in range(4)]
        for process in processes:
            process.start()
        assert [ended(process) for process in processes] == [0] * 4
