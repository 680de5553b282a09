"""What is promised to need no kernel needs none, seen by strace."""

import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

_PROGRAM = """
import os, procession
lock, rlock, value = procession.Lock(), procession.RLock(), procession.Value("i", 0)
semaphore, event, condition = procession.Semaphore(2), procession.Event(), procession.Condition()
queue = procession.Queue()

def use():
    {use}

use()  # pages that are touched for the first time, caches that are filled
os.write(2, b"begin")
for _ in range(100):
    use()
os.write(2, b"end")
"""
USES = {
    "a lock": "with lock: pass",
    "a recursive lock": "with rlock, rlock: pass",
    "a semaphore": "with semaphore: pass",
    "a value's update": "with value.get_lock(): value.value += 1",
    "a value's add": "value.add(1)",
    "an event": "event.set(); event.wait(); event.clear(); event.is_set()",
    "a notification that nobody waits for": "with condition: condition.notify_all()",
    "a queue": "queue.put((1, 'two')); queue.get()",
}


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_a_hundred_uses_that_nobody_else_minds_make_no_system_call(use, tmp_path):
    log = tmp_path / "calls"
    command = ["strace", "-f", "-o", str(log), sys.executable, "-c", _PROGRAM.format(use=use)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=25)
    assert done.returncode == 0, done.stderr
    lines = log.read_text().splitlines()
    begin, end = (next(i for i, line in enumerate(lines) if f'write(2, "{word}"' in line) for word in ("begin", "end"))
    assert lines[begin + 1 : end] == []
