"""What becomes of named shared memory when those who have made it, or use it, end in whatever way."""

import os
import random
import signal
import subprocess
import time

import pytest

from conftest import HERE, is_running, wait_until
from procession.shared_memory import SharedMemory

TASKS = HERE / "segment_tasks.py"
MAKE = """
import os, signal, sys, time
from procession import resource_tracker
from procession.engine import names
from procession.shared_memory import SharedMemory
segment = SharedMemory(create=True, size=100)
print(segment.name, flush=True)
"""


def segments():
    return set(os.listdir("/dev/shm"))


def wait_until_gone(*names):
    wait_until(lambda: not segments() & set(names), f"the end of {names}")


ENDS = {
    "falls off its end": "",
    "exits": "sys.exit(3)",
    "raises": "raise ValueError('on purpose')",
    "ends by os._exit": "os._exit(4)",
    "is killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "is interrupted with its group": "os.killpg(os.getpid(), signal.SIGINT)",
    "is terminated with its group": "os.killpg(os.getpid(), signal.SIGTERM)",
    "is killed with its group": "os.killpg(os.getpid(), signal.SIGKILL)",
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_however_a_program_ends_what_it_has_left_is_removed_and_it_is_said(script, end):
    process = script.start("-c", f"{MAKE}\n{end}")
    out, err = process.communicate(timeout=20)
    # Who removes it has the program's stderr, which ends when that is done.
    assert out.strip() not in segments()
    assert (
        f"resource_tracker: There appear to be 1 leaked shared_memory objects to clean up at shutdown: ['/{out.strip()}"
        in err
    )


def test_a_program_that_unlinks_what_it_makes_hears_nothing(script):
    done = script.run("-c", f"{MAKE}\nsegment.unlink()")
    assert done.stderr == ""


def test_what_is_said_is_a_warning_like_any_other(script):
    done = script.run("-W", "ignore", "-c", MAKE)
    assert done.stderr == "" and done.stdout.strip() not in segments()


@pytest.mark.parametrize(
    "make",
    [
        MAKE.replace("size=100)", "size=100, track=False)"),
        f"{MAKE}\nresource_tracker.unregister(segment._name, 'shared_memory')",
    ],
    ids=["made with track=False", "taken from the tracker"],
)
def test_what_is_left_to_the_user_stays(script, make):
    done = script.run("-c", make)
    assert done.stderr == ""
    segment = SharedMemory(done.stdout.strip())
    segment.close()
    segment.unlink()


def test_another_program_that_attaches_and_says_that_it_keeps_nothing_changes_nothing(script):
    """As programs do because of a standard library that takes each user for an owner."""
    attach = """
import sys
from procession import resource_tracker
from procession.shared_memory import SharedMemory
segment = SharedMemory(sys.argv[1])
resource_tracker.unregister(segment._name, "shared_memory")
"""
    maker = script.start("-c", f"{MAKE}\nsys.stdin.readline()", stdin=subprocess.PIPE)
    name = maker.stdout.readline().strip()
    assert script.run("-c", attach, name).stderr == ""
    assert name in segments()
    maker.kill()
    assert "1 leaked" in maker.communicate()[1]
    assert name not in segments()


def test_a_child_that_says_that_it_keeps_nothing_does_not_speak_for_the_maker(script):
    done = script.run(
        "-c",
        f"""{MAKE}
if not os.fork():
    again = SharedMemory(segment.name)
    resource_tracker.unregister(again._name, "shared_memory")
    os._exit(0)
os.wait()
os.kill(os.getpid(), signal.SIGKILL)
""",
    )
    assert "1 leaked" in done.stderr and done.stdout.strip() not in segments()


def test_a_name_that_is_another_programs_by_now_is_left_to_that(script):
    maker = script.start("-c", f"{MAKE}\nsys.stdin.readline()", stdin=subprocess.PIPE)
    name = maker.stdout.readline().strip()
    os.unlink(f"/dev/shm/{name}")
    other = SharedMemory(name, create=True, size=10)
    maker.kill()
    maker.communicate()
    assert name in segments()
    other.close()
    other.unlink()


def test_a_segment_stays_as_long_as_any_process_of_its_program(script):
    process = script.start(
        "-c",
        f"""{MAKE}
if not os.fork():
    print(os.getpid(), flush=True)
    time.sleep(60)
time.sleep(60)
""",
    )
    name, child = process.stdout.readline().strip(), int(process.stdout.readline())
    process.kill()
    process.wait()
    segment = SharedMemory(name)  # whoever removes would have begun at the same moment as this
    segment.close()
    assert name in segments()
    os.kill(child, signal.SIGKILL)
    wait_until_gone(name)


@pytest.mark.parametrize("kill", [False, True], ids=["ended", "killed"])
def test_what_a_child_has_made_that_is_older_than_the_tracker_stays_until_the_program_is_killed(script, method, kill):
    program = script.write(
        """
import sys
import procession, segment_tasks
if __name__ == "__main__":
    method, kill = sys.argv[1:]
    ctx = procession.get_context(method)
    queue = ctx.Queue()
    child = ctx.Process(target=segment_tasks.make_and_send, args=(queue, kill == "True"))
    child.start()
    child.join()
    segment = queue.get(timeout=10)
    assert segment.buf[0] == 42
    print(segment.name, flush=True)
    sys.stdin.readline()
"""
    )
    process = script.start(program, method, kill, stdin=subprocess.PIPE)
    name = process.stdout.readline().strip()
    assert name in segments()
    process.kill()
    assert "1 leaked" in process.communicate(timeout=20)[1]
    assert name not in segments()


def test_no_process_for_the_tracker_is_an_error_that_says_so_and_leaves_nothing(script):
    done = script.run(
        "-c",
        """
import os
import procession
from procession.shared_memory import SharedMemory
procession.set_executable("/nowhere/python")
try:
    SharedMemory("psm_without", create=True, size=1)
except OSError as error:
    print(error, os.path.exists("/dev/shm/psm_without"))
SharedMemory("psm_without", create=True, size=1, track=False).unlink()
""",
    )
    assert "/nowhere/python cannot be started" in done.stdout and done.stdout.endswith("False\n"), done.stderr


def test_programs_without_segments_have_no_tracker_and_others_one_that_is_nobodys_child(script):
    done = script.run(
        "-c",
        """
import os, time
import procession
from procession.engine import names
with procession.get_context("fork").Pool(1) as pool:
    assert pool.map(abs, [-1]) == [1]
assert names.tracker_pid() is None
from procession.shared_memory import SharedMemory
segment = SharedMemory(create=True, size=1)
while names.tracker_pid() is None:
    time.sleep(0.001)
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print(os.getsid(names.tracker_pid()) == names.tracker_pid())
segment.unlink()
""",
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_tracker_that_was_killed_is_replaced_and_the_new_one_knows_all(script):
    done = script.run(
        "-c",
        f"""{MAKE}
def wait_for(is_true):
    while not is_true():
        time.sleep(0.001)
wait_for(names.tracker_pid)
SharedMemory(create=True, size=1).unlink()  # by which it has been seen
os.kill(names.tracker_pid(), signal.SIGKILL)
wait_for(lambda: not names.tracker_pid())
print(SharedMemory(create=True, size=100).name)
""",
    )
    assert "2 leaked" in done.stderr
    assert not set(done.stdout.split()) & segments()


@pytest.mark.deadline(60)
@pytest.mark.parametrize(("method", "rounds"), [("fork", 8), ("spawn", 2), ("forkserver", 2)])
def test_programs_that_are_killed_at_random_moments_leave_nothing(script, method, rounds):
    """Their processes make, attach and unlink at the time; some at least are hit amid it."""
    chance, before = random.Random(7), segments()
    for _ in range(rounds):
        process = script.start(TASKS, "churn_with_children", method)
        for _ in range(3):
            assert process.stdout.readline() == "begun\n"
        time.sleep(chance.uniform(0, 0.03))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=20)
        assert segments() - before == set()


@pytest.mark.deadline(60)
def test_makers_and_users_that_are_killed_take_nothing_from_those_who_go_on(script):
    chance = random.Random(9)
    segment = SharedMemory(create=True, size=100)
    use = f"""
from procession.shared_memory import SharedMemory
print("begun", flush=True)
while True:
    segment = SharedMemory({segment.name!r})
    segment.buf[0] = 1
    segment.close()
"""
    for _ in range(5):
        process = script.start("-c", use)
        assert process.stdout.readline() == "begun\n"
        time.sleep(chance.uniform(0, 0.03))
        process.kill()
        assert process.communicate(timeout=20)[1] == ""
        assert segment.name in segments()
    assert segment.buf[0] == 1
    segment.close()
    segment.unlink()


def test_a_managers_segments_go_with_the_program_that_was_killed(script):
    process = script.start(
        "-c",
        """
import sys
from procession.managers import SharedMemoryManager
if __name__ == "__main__":
    manager = SharedMemoryManager()
    manager.start()
    print(manager.SharedMemory(10).name, manager.ShareableList("abc").shm.name, manager._process.pid, flush=True)
    sys.stdin.readline()
""",
        stdin=subprocess.PIPE,
    )
    *names, server = process.stdout.readline().split()
    assert set(names) <= segments()
    process.kill()
    process.wait()
    wait_until_gone(*names)
    wait_until(lambda: not is_running(int(server)), "the end of the server")


@pytest.fixture
def small():
    """A command under which a program has one mebibyte for shared memory with names."""
    mount = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$@"', "sh"]
    if subprocess.run([*mount, "true"], capture_output=True).returncode:
        pytest.skip("this process may not mount anything")
    return mount


def test_too_little_memory_is_an_error_with_numbers_and_what_is_there_can_be_used(script, small):
    done = script.run(
        "-c",
        """
import errno, os
from procession.shared_memory import ShareableList, SharedMemory
first = SharedMemory(create=True, size=600_000)
first.buf[:] = bytes([7]) * 600_000
for make in (lambda: SharedMemory(create=True, size=600_000), lambda: ShareableList([bytes(600_000)])):
    try:
        make()
    except OSError as error:
        print(error.errno == errno.ENOSPC, "wanted" in str(error) or "asked for" in str(error), "bytes free" in str(error))
print(len(os.listdir("/dev/shm")))
first.unlink()
first.close()
second = SharedMemory(create=True, size=1 << 20)
second.buf[:] = bytes(1 << 20)
second.unlink()
""",
        under=small,
    )
    assert (done.stdout, done.stderr) == ("True True True\n" * 2 + "1\n", "")


def test_a_folder_that_is_not_there_is_an_error_of_the_system(script, small):
    small[4] = 'mount -t tmpfs tmpfs /dev && touch /dev/null && exec "$@"'
    done = script.run(
        "-c",
        """
from procession.shared_memory import SharedMemory
try:
    SharedMemory(create=True, size=10)
except OSError as error:
    print("/dev/shm" in str(error))
""",
        under=small,
    )
    assert done.stdout == "True\n", done.stderr
