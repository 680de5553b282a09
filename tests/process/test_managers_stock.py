"""Managers of procession and of the standard library, with each other."""

import os
import subprocess
import sys

import pytest

from procession import managers

SERVER = """
from multiprocessing.managers import DictProxy, SyncManager
class Remote(SyncManager): pass
shared = {"a": 1}
Remote.register("shared", lambda: shared, DictProxy)
if __name__ == "__main__":
    server = Remote(("127.0.0.1", 0), b"key").get_server()
    print(server.address[1], flush=True)
    server.serve_forever()
"""

CLIENT = """
import sys
from multiprocessing.managers import SyncManager
class Remote(SyncManager): pass
Remote.register("shared")
client = Remote(("127.0.0.1", int(sys.argv[1])), b"key")
client.connect()
shared = client.shared()
shared.update({"from": "the client"})
numbers, lock, inbox = client.list([1, 2]), client.Lock(), client.Queue()
numbers.append(3)
with lock:
    inbox.put(numbers[:])
assert inbox.get() == [1, 2, 3]
assert sorted(iter(client.dict(a=1, b=2))) == ["a", "b"]
try:
    client.dict()["no"]
except KeyError as error:
    assert error.args == ("no",)
else:
    raise AssertionError
try:
    numbers._callmethod("nothing")
except Exception as error:
    assert type(error).__name__ == "RemoteError"
print("done")
"""


class Remote(managers.SyncManager):
    pass


_shared = {"a": 1}
Remote.register("shared", lambda: _shared, managers.DictProxy)


@pytest.fixture
def start(tmp_path):
    """Programs that do not know procession."""
    started = []

    def start(source, *arguments):
        program = tmp_path / "program.py"
        program.write_text(source)
        process = subprocess.Popen(
            [sys.executable, program, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_client_of_the_standard_library_uses_our_server(start):
    with Remote(("127.0.0.1", 0), b"key") as server:
        out, err = start(CLIENT, str(server.address[1])).communicate()
        assert (out, err) == ("done\n", "")
        assert server.shared().copy()["from"] == "the client"
        assert server._number_of_objects() == 0


def test_our_client_uses_a_server_of_the_standard_library(start):
    process = start(SERVER)
    client = Remote(("127.0.0.1", int(process.stdout.readline())), b"key")
    client.connect()
    shared, numbers, lock, inbox = client.shared(), client.list([1]), client.Lock(), client.Queue()
    numbers.append(2)
    shared["numbers"] = numbers[:]
    with lock:
        inbox.put("hello")
    assert inbox.get() == "hello"
    assert shared.copy() == {"a": 1, "numbers": [1, 2]}
    assert sorted(client.dict(a=1, b=2)) == ["a", "b"]
    with pytest.raises(KeyError):
        shared["no"]
    with pytest.raises(managers.RemoteError):
        shared._callmethod("nothing")
    del shared, numbers, lock, inbox
    assert client._number_of_objects() == 0
    client._link().ask("shutdown")
    out, err = process.communicate()
    assert (out, err) == ("", "")
    managers.link.forget(client.address)
