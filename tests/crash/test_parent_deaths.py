"""Whatever ends the parent, nothing is left of it within two seconds."""

import os
import signal
import time

import pytest

from conftest import METHODS, descendants_of, is_running, wait_until

PROGRAM = """
import sys, time, os
import procession, tasks
def main():
    method, scenario, path = sys.argv[1:]
    pool = procession.get_context(method).Pool(2)
    pool.map(tasks.own_pid, range(20))
    if scenario == "busy":
        results = [pool.apply_async(tasks.arrive_and_hang, (path + str(i),)) for i in range(2)]
    elif scenario == "holding the interpreter":
        results = [pool.apply_async(tasks.hold_the_interpreter, (path + str(i),)) for i in range(2)]
    elif scenario == "map":
        results = pool.map_async(tasks.nap_and_double, range(100_000), 1)
    if scenario in ("busy", "holding the interpreter"):
        tasks.wait_for_file(path + "0");
    print("READY", flush=True)
    if scenario == "map":
        with pool:
            pool.map(tasks.nap_and_double, range(100_000), 1)
    time.sleep(600)
if __name__ == "__main__":
    main()
"""


def start(script, method, scenario):
    script.write(PROGRAM)
    process = script.start("program.py", method, scenario, script.folder / "at")
    assert process.stdout.readline() == "READY\n", process.stderr.read()
    pids = wait_until(lambda: (found := descendants_of(process.pid)) and len(found) >= 2 and found)
    return process, pids


def gone(pids, within_s):
    wait_until(lambda: not any(map(is_running, pids)), "the end of all workers", within_s)


@pytest.mark.parametrize("scenario", ["idle", "busy", "map", "holding the interpreter"])
@pytest.mark.parametrize("method", METHODS)
def test_a_killed_parent_takes_all_with_it(script, method, scenario):
    process, pids = start(script, method, scenario)
    process.kill()
    gone(pids, 2)


@pytest.mark.parametrize("method", METHODS)
def test_sigterm_ends_all(script, method):
    process, pids = start(script, method, "map")
    process.terminate()
    assert process.wait(5) == -signal.SIGTERM
    gone(pids, 2)


@pytest.mark.parametrize("method", METHODS)
def test_ctrl_c_in_a_map_is_a_keyboard_interrupt_and_nothing_more(script, method):
    process, pids = start(script, method, "map")
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to parent and workers alike
    _out, err = process.communicate(timeout=10)
    assert time.monotonic() - began < 3
    assert process.returncode == -signal.SIGINT
    gone(pids, 2)
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert err.count("Traceback") == 1, err  # the parent's own; the workers are silent


INTERRUPTED = """
import os, random, signal, sys, threading, procession, tasks
def main():
    chance = random.Random(1)
    with procession.get_context(sys.argv[1]).Pool(2) as pool:
        pool.map(tasks.double, range(10))
        for _ in range(30):
            timer = threading.Timer(chance.uniform(0, 0.03), os.kill, (os.getpid(), signal.SIGINT))
            try:
                timer.start()
                while True:
                    pool.map(tasks.double, range(200), 1)
            except KeyboardInterrupt:
                pass
            timer.join()
            assert pool.map_async(tasks.double, range(100)).get(5) == [2 * i for i in range(100)]
        pool.close()
        joining = threading.Thread(target=pool.join, daemon=True)
        joining.start()
        joining.join(5)
        print("join hangs" if joining.is_alive() else "ok")
if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("method", METHODS)
def test_a_pool_works_on_after_caught_ctrl_cs_at_random_moments(script, method):
    script.write(INTERRUPTED)
    done = script.run("program.py", method, within_s=18)
    assert (done.stdout, done.stderr) == ("ok\n", "")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("end", ["pass", "sys.exit(3)", "raise ValueError", "pool.close()", "del pool"])
def test_a_program_that_forgets_its_pool_ends(script, method, end):
    script.write(
        "import sys, procession, tasks\n"
        "def main():\n"
        "    global pool\n"
        "    pool = procession.get_context(sys.argv[1]).Pool(2)\n"
        "    pool.map(tasks.double, range(10))\n"
        "    pool.apply_async(tasks.double, (1,))\n"
        f"    {end}\n"
        "if __name__ == '__main__': main()\n"
    )
    done = script.run("program.py", method, within_s=10)
    assert done.returncode == {"sys.exit(3)": 3, "raise ValueError": 1}.get(end, 0), done.stderr
    assert "Exception ignored" not in done.stderr
