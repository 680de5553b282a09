"""Starting processes while something dies, hangs or is interrupted."""

import os
import signal
import subprocess
import sys
import time

import pytest

import procession
import tasks
from conftest import children_of, is_running, wait_until
from procession import _core, forkserver
from procession.engine import launch

# Some of them fork by themselves, and another test's thread may not have ended yet.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def server(fresh_fork_server):
    """The fork server's pid."""
    forkserver.ensure_running()
    return launch.fork_server_pid()


def start(target, *args):
    process = procession.get_context("forkserver").Process(target=target, args=args)
    process.start()
    return process


def test_a_killed_fork_server_is_replaced_and_its_children_go_on(server, tmp_path):
    first = start(tasks.arrive_and_wait, str(tmp_path / "first"))
    os.kill(server, signal.SIGKILL)
    wait_until(lambda: not is_running(server))
    second = start(tasks.nothing)
    second.join(10)
    assert second.exitcode == 0
    assert launch.fork_server_pid() != server
    (tmp_path / "first.go").touch()
    first.join(10)
    assert first.exitcode == 0


def test_a_fork_server_that_stands_still_is_replaced_when_it_is_killed(server):
    os.kill(server, signal.SIGSTOP)
    pid = os.fork()
    if pid == 0:
        time.sleep(0.2)
        os.kill(server, signal.SIGKILL)
        os._exit(0)
    process = start(tasks.nothing)
    process.join(10)
    os.waitpid(pid, 0)
    assert process.exitcode == 0


def test_a_killed_spare_is_replaced(server):
    for _ in range(3):
        wait_until(lambda: launch._fork_server.spare_pid)
        spare = launch._fork_server.spare_pid
        assert spare in children_of(os.getpid())
        os.kill(spare, signal.SIGKILL)
        os.waitpid(spare, 0)
        wait_until(lambda spare=spare: launch._fork_server.spare_pid not in (0, spare))
        process = start(tasks.nothing)
        process.join(10)
        assert process.exitcode == 0 and launch.fork_server_pid() == server


def test_a_spare_that_is_killed_before_a_request_is_not_waited_for(server):
    wait_until(lambda: launch._fork_server.spare_pid)
    spare = launch._fork_server.spare_pid
    os.kill(spare, signal.SIGSTOP)
    pid = os.fork()
    if pid == 0:
        time.sleep(0.2)
        os.kill(spare, signal.SIGKILL)
        os._exit(0)
    process = start(tasks.nothing)
    process.join(10)
    os.waitpid(pid, 0)
    assert process.exitcode == 0 and process.pid != spare
    os.waitpid(spare, 0)


def test_the_spare_is_the_next_child(server):
    wait_until(lambda: launch._fork_server.spare_pid)
    spare = launch._fork_server.spare_pid
    process = start(tasks.nothing)
    process.join(10)
    assert process.pid == spare


def test_no_spare_is_left_by_a_server_that_is_stopped_or_killed(server):
    for end in (launch.stop_fork_server, lambda: os.kill(launch.fork_server_pid(), signal.SIGKILL)):
        forkserver.ensure_running()
        wait_until(lambda: launch._fork_server.spare_pid)
        spare = launch._fork_server.spare_pid
        end()
        wait_until(lambda spare=spare: not is_running(spare))
        launch.stop_fork_server()
        assert spare not in children_of(os.getpid())


def test_a_program_that_is_killed_leaves_no_spare(script):
    program = script.write(
        "import procession, time\n"
        "if __name__ == '__main__':\n"
        "    process = procession.get_context('forkserver').Process()\n"
        "    process.start(); process.join()\n"
        "    print(procession.engine.launch.fork_server_pid(), flush=True)\n"
        "    time.sleep(60)\n"
    )
    program = script.start(program)
    assert program.stdout.readline()
    wait_until(lambda: len(children_of(program.pid)) == 2)
    left = children_of(program.pid)
    program.kill()
    wait_until(lambda: not any(map(is_running, left)))


def test_ctrl_c_is_nothing_to_the_fork_server(server):
    os.kill(server, signal.SIGINT)
    process = start(tasks.nothing)
    process.join(10)
    assert process.exitcode == 0 and launch.fork_server_pid() == server


def test_ctrl_c_ends_a_program_whose_fork_server_hangs(script):
    script.write("import os, time\nopen('hangs', 'w').close()\ntime.sleep(600)\n", "hanging.py")
    script.write(
        "import procession\n"
        "if __name__ == '__main__':\n"
        "    procession.set_forkserver_preload(['hanging'])\n"
        "    procession.get_context('forkserver').Process().start()\n"
    )
    program = script.start("program.py")
    wait_until((script.folder / "hangs").exists)
    server = children_of(program.pid)
    os.killpg(program.pid, signal.SIGINT)
    _, err = program.communicate(timeout=10)
    assert err.count("KeyboardInterrupt") == 1 and err.count("Traceback") == 1
    wait_until(lambda: not any(map(is_running, server)))


class Interrupted(Exception):
    pass


def start_and_wait(process, interrupter):
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        process.start()
        while not os.waitid(os.P_PID, interrupter, os.WEXITED | os.WNOWAIT):
            pass
    except Interrupted:
        return True
    return False


@pytest.mark.deadline(60)
def test_an_interrupted_start_leaves_nothing_and_the_next_one_works(ctx):
    """Ctrl-C at any moment of a start: the child is known, or there is none."""

    def interrupt(number, frame):
        raise Interrupted

    before = children_of(os.getpid())
    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        for number in range(25):
            process = ctx.Process(target=tasks.nothing)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # not in the hooks of this fork
            pid = os.fork()
            if pid == 0:
                time.sleep(0.0004 * number)
                os.kill(os.getppid(), signal.SIGINT)
                os._exit(0)
            assert start_and_wait(process, pid)
            os.waitpid(pid, 0)
            if process.pid is not None:
                process.join(10)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, previous)
    process = ctx.Process(target=tasks.nothing)
    process.start()
    process.join(10)
    assert process.exitcode == 0
    procession.active_children()
    launch.stop_fork_server()
    wait_until(lambda: children_of(os.getpid()) <= before)
    _core.process_sweep_dead()  # those who interrupted were bare forks, which nobody of ours has waited for


_WITHOUT_A_DESCRIPTOR = """
import os, resource, sys
import procession

def report(path):
    open(path, "w").close()

if __name__ == "__main__":
    ctx = procession.get_context(sys.argv[1])
    first = ctx.Process(target=os.getpid)
    first.start()
    first.join()
    first.close()
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, 256))
    process = ctx.Process(target=report, args=(sys.argv[2],))
    try:
        process.start()
    except OSError as error:
        print(error.strerror)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    if sys.argv[1] == "fork":
        try:
            print(os.waitpid(-1, os.WNOHANG))
        except ChildProcessError:
            print("no child")
    print(os.path.exists(sys.argv[2]), process.pid, procession.active_children())
"""


def test_a_child_that_could_not_be_watched_does_not_run(ctx, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(_WITHOUT_A_DESCRIPTOR)
    command = [sys.executable, str(program), ctx.get_start_method(), str(tmp_path / "ran")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and done.stderr == ""
    told, *child, left = done.stdout.splitlines()
    assert told.startswith("Too many open files: no process can be started") and left == "False None []"
    assert child in ([], ["no child"])
