"""Procession in the place of multiprocessing: for a program, its children of every start method, and what is loaded already."""

import pytest

from conftest import METHODS

PROGRAM = """
import logging, sys
import multiprocessing as mp
from concurrent.futures import ProcessPoolExecutor

def name():
    return mp.__name__, mp.current_process().name == mp.process.current_process().name

def logged():
    record = logging.LogRecord("name", 20, "path", 1, "message", (), None)
    return record.processName

def deep(method):
    with mp.get_context(method).Pool(1) as pool:
        return pool.apply(name), pool.apply(logged)

if __name__ == "__main__":
    method = sys.argv[1]
    mp.set_start_method(method)
    context = mp.get_context(method)
    print(name(), logged())
    with mp.Pool(2) as pool:
        print(pool.apply(name), pool.apply(logged).rpartition("-")[0])
    with ProcessPoolExecutor(2) as executor:
        print(executor.submit(name).result(), executor.submit(logged).result().rpartition("-")[0])
        print(list(executor.map(abs, range(-300, 0), chunksize=7)) == list(range(300, 0, -1)))
    queue = mp.Queue()
    process = mp.Process(target=queue.put, args=(1,)); process.start()
    print(queue.get(timeout=20), process.join(), process.exitcode)
    with ProcessPoolExecutor(1) as executor:
        print(executor.submit(deep, method).result()[0])
"""
KIND = {"fork": "Fork", "spawn": "Spawn", "forkserver": "ForkServer"}


@pytest.mark.parametrize(
    ("method", "how"), [("fork", "file"), ("spawn", "file"), ("spawn", "module"), ("forkserver", "file")]
)
def test_a_program_and_all_its_children_get_procession(script, method, how):
    script.write(PROGRAM)
    done = script.run(
        "-m", "procession", *(["program.py"] if how == "file" else ["-m", "program"]), method, within_s=40
    )
    kind = KIND[method]
    assert done.stdout.splitlines() == [
        "('procession', True) MainProcess",
        f"('procession', True) {kind}PoolWorker",
        f"('procession', True) {kind}Process",
        "True",
        "1 None 0",
        "('procession', True)",
    ], done.stderr
    assert done.stderr == ""


INSTALLS = PROGRAM.replace(
    'if __name__ == "__main__":', 'import procession\nprocession.install()\nif __name__ == "__main__":'
)


@pytest.mark.parametrize(
    ("method", "first"),
    [("spawn", "procession"), ("spawn", "multiprocessing.pool")]
    + [(method, "concurrent.futures.process") for method in METHODS],
)
def test_a_program_can_install_it_after_its_imports(script, method, first):
    script.write(f"import {first}\n" + INSTALLS)
    done = script.run("program.py", method, within_s=40)
    kind = KIND[method]
    assert done.stdout.splitlines()[1:] == [
        f"('procession', True) {kind}PoolWorker",
        f"('procession', True) {kind}Process",
        "True",
        "1 None 0",
        "('procession', True)",
    ], done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("method", METHODS)
def test_what_is_imported_in_functions_is_ours_in_children_too(script, method):
    script.write(
        "import sys\n"
        "def look():\n"
        "    import multiprocessing.pool, multiprocessing.synchronize as s\n"
        "    from multiprocessing import connection, Queue\n"
        "    print(multiprocessing.pool.__name__, s.__name__, connection.__name__, type(Queue()).__module__, flush=True)\n"
        "if __name__ == '__main__':\n"
        "    import procession\n"
        "    procession.install()\n"
        "    child = procession.get_context(sys.argv[1]).Process(target=look)\n"
        "    child.start(); child.join()\n"
    )
    done = script.run("program.py", method)
    expected = "procession.pool procession.synchronize procession.connection procession.queues\n"
    assert (done.stdout, done.stderr) == (expected, "")


def test_every_module_is_ours_under_both_names(script):
    script.write(
        "import importlib, pkgutil, multiprocessing, multiprocessing.queues as before, sys\n"
        "names = [m.name for m in pkgutil.walk_packages(multiprocessing.__path__, '.') if 'win32' not in m.name]\n"
        "import procession\n"
        "procession.install(); procession.install()\n"
        "for name in names:\n"
        "    theirs = importlib.import_module('multiprocessing' + name)\n"
        "    if importlib.util.find_spec('procession' + name):\n"
        "        assert theirs is importlib.import_module('procession' + name), name\n"
        "        assert theirs.__name__ == theirs.__spec__.name == 'procession' + name, theirs.__spec__\n"
        "import multiprocessing\n"
        "assert multiprocessing is procession and before is procession.queues\n"
    )
    done = script.run("program.py")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_what_only_procession_has_is_no_module_of_multiprocessing(script):
    source = "import {}.{}\n"
    for name in ("engine", "cli", "nothing"):
        script.write("import procession; procession.install()\n" + source.format("multiprocessing", name))
        done = script.run("program.py")
        assert f"ModuleNotFoundError: No module named 'multiprocessing.{name}'" in done.stderr


@pytest.mark.parametrize("method", METHODS)
def test_objects_of_the_standard_library_made_before_go_on(script, method):
    script.write(
        "import multiprocessing as mp, pickle, sys\n"
        "from multiprocessing.process import BaseProcess\n"
        "def say(queue, lock):\n"
        "    with lock: queue.put('said')\n"
        "if __name__ == '__main__':\n"
        "    stock = mp.get_context(sys.argv[1])\n"
        "    queue, lock, event = stock.Queue(), stock.Lock(), stock.Event()\n"
        "    import procession\n"
        "    procession.install()\n"
        "    process = stock.Process(target=say, args=(queue, lock)); process.start()\n"
        "    print(queue.get(timeout=20), process.join(), process.exitcode, type(queue).__module__)\n"
        "    process = mp.get_context(sys.argv[1]).Process(target=say, args=(queue, lock)); process.start()\n"
        "    print(queue.get(timeout=20), process.join(), process.exitcode, isinstance(process, BaseProcess))\n"
        "    pool = stock.Pool(1); print(pool.apply(abs, (-1,))); pool.terminate(); pool.join()\n"
        "    queue.close(); queue.join_thread()\n"
    )
    done = script.run("program.py", method)
    assert done.stdout == "said None 0 procession._stock.queues\nsaid None 0 True\n1\n", done.stderr
    assert done.stderr == ""


def test_what_was_taken_of_multiprocessing_is_exchanged_and_the_rest_is_not(script):
    script.write(
        "from multiprocessing import Pool, Process, TimeoutError, get_context\n"
        "from multiprocessing.queues import Queue\n"
        "import multiprocessing.connection as c, multiprocessing\n"
        "class Own(Process): pass\n"
        "held = [Pool]\n",
        "taken.py",
    )
    script.write(
        "import taken, procession, multiprocessing\n"
        "error = multiprocessing.TimeoutError\n"
        "procession.install()\n"
        "assert taken.Pool == procession.Pool and taken.Process is procession.Process and taken.c is procession.connection\n"
        "assert taken.Queue is procession.queues.Queue and taken.multiprocessing is multiprocessing is procession\n"
        "assert taken.TimeoutError is error is procession.TimeoutError\n"
        "assert taken.held[0] != procession.Pool and not issubclass(taken.Own, procession.Process)\n"
        "own = taken.Own(target=print, args=('own',)); own.start(); own.join()\n"
    )
    done = script.run("program.py")
    assert (done.stdout, done.stderr) == ("own\n", "")


@pytest.mark.parametrize("method", ["spawn"])
def test_a_server_and_clients_of_the_standard_library_understand_each_other(script, method):
    """One of both programs is run by procession: what they write to each other names nothing of its own."""
    script.write(
        "import sys\n"
        "from multiprocessing.managers import SyncManager\n"
        "if __name__ == '__main__':\n"
        "    import multiprocessing; multiprocessing.set_start_method(sys.argv[1])\n"
        "    manager = SyncManager(('127.0.0.1', 0), authkey=b'k'); manager.start()\n"
        "    print(manager.address[1], flush=True); sys.stdin.read(); manager.shutdown()\n",
        "server.py",
    )
    script.write(
        "import sys\n"
        "from multiprocessing.managers import SyncManager\n"
        "manager = SyncManager(('127.0.0.1', int(sys.argv[1])), authkey=b'k'); manager.connect()\n"
        "d = manager.dict(); d['a'] = 1; l = manager.list([2]); l.append(3); print(d.copy(), l[:])\n",
        "client.py",
    )
    ours = ["-m", "procession"]
    for server, client in (([], ours), (ours, [])):
        process = script.start(*server, "server.py", method, stdin=-1)
        port = process.stdout.readline().strip()
        done = script.run(*client, "client.py", port)
        _, err = process.communicate("", timeout=20)
        assert (done.stdout, done.stderr, err) == ("{'a': 1} [2, 3]\n", "", ""), (server, client)
