"""The two sides of a talk between a Listener and a Client, as its tests lead it in threads and in forked children."""

import os
import socket
import threading

from procession import listener

KEY = b"secret"


class InThread:
    """Runs a function in a thread; `result()` gives what it returned or raises."""

    def __init__(self, function, *args):
        self._function, self._args = function, args
        self._value = self._error = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        try:
            self._value = self._function(*self._args)
        except BaseException as error:
            self._error = error

    def result(self):
        self._thread.join()
        error, self._error = self._error, None
        if error is not None:
            raise error
        return self._value


def ask(client, address, key):
    with client(address, authkey=key) as connection:
        connection.send(("hello", 1))
        return connection.recv()


def serve_one(listening):
    with listening.accept() as connection:
        assert connection.recv() == ("hello", 1)
        connection.send("welcome")


def raw(address, data=b""):
    end = socket.socket(getattr(socket, listener.address_type(address)))
    end.settimeout(5)
    end.connect(address)
    end.sendall(data)
    return end


def in_forked_child(function):
    """Run it there to its end."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
