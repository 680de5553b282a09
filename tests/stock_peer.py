"""A program that knows only the standard library: the other side in the tests of Listener, Client and managers.

    stock_peer.py listen KEY ADDRESS|FAMILY…    prints an address, echoes there until told to end, and prints what went wrong
    stock_peer.py connect KEY ADDRESS…          has everything echoed, and prints "done"
    stock_peer.py serve SERIALIZER ADDRESS      a manager's server
    stock_peer.py use SERIALIZER ADDRESS        its client, which prints "done"

Addresses and keys are written as Python's own literals; what went wrong is the last line of a traceback.
"""

import ast
import os
import sys
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener
from multiprocessing.managers import DictProxy, SyncManager

KEY = b"the key of a manager"
SIZES = (0, 1, 1 << 14, (1 << 14) + 1, 1 << 20)
OBJECTS = (None, ("hello", 1), {"a": [1.5, b"bytes"]}, "x" * 100_000)


def options(place):
    """What Listener is given for an address, or a family."""
    return {"family": place} if place in ("AF_UNIX", "AF_INET") else {"address": place}


def echo_all(listener):
    """Send back what clients send; "end" ends it.  Returns the names of the errors that accept() raised."""
    errors = []
    while True:
        try:
            connection = listener.accept()
        except (AuthenticationError, EOFError, OSError) as error:
            errors.append(type(error).__name__)
            continue
        with connection:
            while True:
                try:
                    data = connection.recv_bytes()
                except EOFError:
                    break
                connection.send_bytes(data)
                if data == b"objects":
                    for _ in OBJECTS:
                        connection.send(connection.recv())
                if data == b"end":
                    return errors


def ask_all(connection):
    """Have bytes and objects of all kinds echoed."""
    for size in SIZES:
        data = os.urandom(size)
        connection.send_bytes(data)
        assert connection.poll(10)
        assert connection.recv_bytes() == data
    connection.send_bytes(b"objects")
    assert connection.recv_bytes() == b"objects"
    for thing in OBJECTS:
        connection.send(thing)
        assert connection.recv() == thing
    data = bytearray(range(100))
    connection.send_bytes(data, 10, 20)
    assert connection.recv_bytes_into(data, 50) == 20
    assert data[50:70] == bytes(range(10, 30))


def end(connection):
    connection.send_bytes(b"end")
    assert connection.recv_bytes() == b"end"
    try:
        connection.recv()
    except EOFError:
        return
    raise AssertionError("the other side is still there")


def use_all(manager):
    """Call what a remote manager shares, also with pickled exceptions where the serializer has them."""
    shared = manager.shared()
    shared.update({"from": "the client"})
    assert shared.get("a") == 1
    assert shared.copy() == {"a": 1, "from": "the client"}
    try:
        shared._callmethod("nothing")
    except Exception as error:
        assert type(error).__name__ == "RemoteError", error
    else:
        raise AssertionError("a method that is not exposed was called")


def use_made(manager):
    """Have a manager make things."""
    numbers, lock, inbox = manager.list([1, 2]), manager.Lock(), manager.Queue()
    numbers.append(3)
    with lock:
        inbox.put(numbers[:])
    assert inbox.get() == [1, 2, 3]
    assert sorted(iter(manager.dict(a=1, b=2))) == ["a", "b"]
    try:
        manager.dict()["no"]
    except KeyError as error:
        assert error.args == ("no",)
    else:
        raise AssertionError("there was no KeyError")


class Remote(SyncManager):
    pass


_shared = {"a": 1}
Remote.register("shared", lambda: _shared, DictProxy)


def main(command, *arguments):
    what, *more = [ast.literal_eval(argument) for argument in arguments]
    if command == "listen":
        for place in more:
            with Listener(**options(place), authkey=what) as listener:
                print(repr(listener.address), flush=True)
                print(echo_all(listener), flush=True)
    elif command == "connect":
        for address in more:
            with Client(address, authkey=what) as connection:
                ask_all(connection)
                end(connection)
        print("done")
    elif command == "serve":
        server = Remote(more[0], KEY, what).get_server()
        print(repr(server.address), flush=True)
        server.serve_forever()
    elif command == "use":
        manager = Remote(more[0], KEY, what)
        manager.connect()
        use_all(manager)
        if what == "pickle":
            use_made(manager)
        print("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
