"""A child for a process object, by the module of each start method."""

import importlib
import os
import signal
import time

import pytest

import procession
from conftest import METHODS

MODULES = {"fork": "popen_fork", "spawn": "popen_spawn_posix", "forkserver": "popen_forkserver"}


@pytest.fixture(params=METHODS)
def start(request):
    module = importlib.import_module(f"procession.{MODULES[request.param]}")
    started = []

    def make(target, *args):
        started.append(module.Popen(procession.Process(target=target, args=args)))
        return started[-1]

    yield make
    for popen in started:
        popen.close()


def test_it_runs_the_process_and_gives_its_exit_code(start):
    popen = start(os._exit, 7)
    assert popen.pid != os.getpid() and popen.sentinel >= 0
    assert (popen.wait(20), popen.returncode, popen.poll()) == (7, 7, 7)


@pytest.mark.parametrize("way", ["terminate", "kill"])
def test_it_can_be_ended(start, way):
    popen = start(time.sleep, 60)
    assert popen.poll() is None and popen.wait(0.01) is None and popen.returncode is None
    getattr(popen, way)()
    assert popen.poll(0) == -(signal.SIGTERM if way == "terminate" else signal.SIGKILL)
    popen.kill()  # of one that has ended: nothing
