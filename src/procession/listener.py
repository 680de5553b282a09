"""Listener and Client: connections between programs, as the standard library's ``multiprocessing.connection`` makes them.

Both ends can be the standard library's.  With an authkey nothing is unpickled before the other side has proved that it knows
it, and no client holds up another.
"""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from procession import util
from procession.engine import challenge
from procession.engine.reception import CROWD, Reception, hasten
from procession.errors import AuthenticationError

if TYPE_CHECKING:
    from procession.connection import Connection

__all__ = [
    "CHALLENGE",
    "AuthenticationError",
    "Client",
    "ConnectionWrapper",
    "Listener",
    "SocketClient",
    "SocketListener",
    "XmlClient",
    "XmlListener",
    "address_type",
    "answer_challenge",
    "any_address",
    "arbitrary_address",
    "default_family",
    "deliver_challenge",
    "families",
]

families = ["AF_INET", "AF_UNIX"]
default_family = "AF_UNIX"
CHALLENGE = _CHALLENGE = challenge.CHALLENGE
MESSAGE_LENGTH = 40
CONNECTION_TIMEOUT = 20.0

_create_response = challenge.create_response
_verify_challenge = challenge.verify
_numbers = itertools.count()

# ---- addresses ----


def arbitrary_address(family: str) -> Any:
    """An address of this family that nobody listens at."""
    if family == "AF_INET":
        return ("localhost", 0)
    if family == "AF_UNIX":
        return os.path.join(util.get_temp_dir(), f"listener-{os.getpid() % 100000:x}{next(_numbers):x}")  # noqa: PTH118
    raise ValueError(f"unrecognized family {family!r}; there are {', '.join(families)}")


def any_address() -> Any:
    """An address of the default family; where no folder for sockets can be written to, of this machine's own network.

    Never a name without a file: it has a null byte, and users hand addresses to programs in their arguments.
    """
    try:
        address = arbitrary_address(default_family)
    except OSError:
        return arbitrary_address("AF_INET")
    return address if len(os.fsencode(address)) <= util.SOCKET_PATH_MAX else arbitrary_address("AF_INET")


def address_type(address: Any) -> str:
    """The family that an address is of."""
    if isinstance(address, tuple):
        return "AF_INET"
    if isinstance(address, str) and address.startswith("\\\\"):
        return "AF_PIPE"
    if isinstance(address, str) or util.is_abstract_socket_namespace(address):
        return "AF_UNIX"
    raise ValueError(f"address type of {address!r} unrecognized: it must be a (host, port) or a path")


def _check_family(family: str) -> None:
    if family not in families:
        raise ValueError(f"family {family} is not recognized: this system has {', '.join(families)}")


def _check_key(authkey: object) -> None:
    if authkey is not None and not isinstance(authkey, bytes):
        raise TypeError("authkey should be a byte string")


# ---- the two ends ----


def _connection(end: socket.socket) -> Connection:
    from procession.connection import Connection

    return Connection(end.detach())


class SocketListener:
    """A listening socket."""

    def __init__(self, address: Any, family: str, backlog: int = 1, authkey: bytes | None = None) -> None:
        self._socket = socket.socket(getattr(socket, family))
        self._unlink: Callable[[], object] | None = None
        try:
            if os.name == "posix":
                # A server can come back at once to the address that it had.
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(address)
            if family == "AF_UNIX" and not util.is_abstract_socket_namespace(address):
                self._unlink = util.Finalize(self, _remove, args=(address,), exitpriority=0)
            # Who must prove that he knows the key is let in at once, so nobody should have to knock twice.
            self._socket.listen(backlog if authkey is None else max(backlog, CROWD))
            self._address = self._socket.getsockname()
        except BaseException as error:
            self._socket.close()
            if self._unlink is not None:
                self._unlink()
            if family == "AF_UNIX" and isinstance(error, OSError) and "too long" in str(error):
                raise OSError(
                    error.errno,
                    f"the path of a Unix socket has at most {util.SOCKET_PATH_MAX} bytes, this one has "
                    f"{len(os.fsencode(address))}: {address!r}",
                ) from None
            raise
        self._family = family
        self._last_accepted: Any = None
        self._reception = Reception(self._socket, authkey)

    def accept(self) -> Connection:
        """The next client's connection."""
        accepted = self._accept(())
        assert accepted is not None
        return accepted

    def _accept(self, watched: tuple[int, ...]) -> Connection | None:
        found = self._reception.accept(watched)
        if found is None:
            return None
        end, self._last_accepted = found
        return _connection(end)

    def close(self) -> None:
        """Take no more clients."""
        try:
            self._reception.close()
        finally:
            unlink, self._unlink = self._unlink, None
            if unlink is not None:
                unlink()


def _remove(path: str) -> None:
    try:
        os.remove(path)  # noqa: PTH107
    except OSError:
        pass


def SocketClient(address: Any) -> Connection:
    """Connect to a listening socket."""
    end = socket.socket(getattr(socket, address_type(address)))
    try:
        end.setblocking(True)
        end.connect(address)
        hasten(end)
    except BaseException:
        end.close()
        raise
    return _connection(end)


class Listener:
    """Like multiprocessing.connection.Listener; no client that is silent or slow holds up another."""

    def __init__(
        self,
        address: Any = None,
        family: str | None = None,
        backlog: int = 1,
        authkey: bytes | None = None,
    ) -> None:
        _check_key(authkey)
        if not address:
            address = arbitrary_address(family) if family else any_address()
        family = family or address_type(address)
        _check_family(family)
        self._authkey = authkey
        self._listener: SocketListener | None = SocketListener(address, family, backlog, authkey)

    def accept(self) -> Connection:
        """The next client's connection.  May be called again whatever it raises, unless the listener is closed.

        Raises:
            AuthenticationError: a client was turned away, for another key or (ClientRefused) for none.
            OSError: the listener is closed.
        """
        return self._open().accept()

    def _accept(self, watched: tuple[int, ...]) -> Connection | None:
        """accept(), or None as soon as one of these descriptors is readable."""
        return self._open()._accept(watched)

    def _open(self) -> SocketListener:
        if self._listener is None:
            raise OSError("listener is closed")
        return self._listener

    def close(self) -> None:
        """Take no more clients; may be called again."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    @property
    def address(self) -> Any:
        """Where clients connect."""
        return self._open()._address

    @property
    def last_accepted(self) -> Any:
        """The address of the client that accept() gave last, if it is known."""
        return self._open()._last_accepted

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def Client(address: Any, family: str | None = None, authkey: bytes | None = None) -> Connection:
    """Connect to a Listener.

    Raises:
        AuthenticationError: it has another authkey.
    """
    _check_family(family or address_type(address))
    _check_key(authkey)
    connection = SocketClient(address)
    if authkey is not None:
        try:
            answer_challenge(connection, authkey)
            deliver_challenge(connection, authkey)
        except BaseException:
            connection.close()
            raise
    return connection


def deliver_challenge(connection: Any, authkey: bytes, digest_name: str = "sha256") -> None:
    """Have the other end of a connection prove that it knows the key.

    Raises:
        AuthenticationError: it does not.
    """
    _need_bytes(authkey)
    challenge.over(connection, challenge.deliver(authkey, digest_name))


def answer_challenge(connection: Any, authkey: bytes) -> None:
    """Prove to the other end of a connection that this one knows the key.

    Raises:
        AuthenticationError: the other end has another key, or does not ask.
    """
    _need_bytes(authkey)
    challenge.over(connection, challenge.answer(authkey))


def _need_bytes(authkey: object) -> None:
    if not isinstance(authkey, bytes):
        raise ValueError(f"authkey must be bytes, not {type(authkey).__name__}")


# ---- objects as XML ----


class ConnectionWrapper:
    """A connection whose objects are pickled by others: `dumps` makes bytes of them, `loads` the reverse."""

    def __init__(self, conn: Connection, dumps: Callable[[Any], bytes], loads: Callable[[bytes], Any]) -> None:
        self._conn = conn
        self._dumps = dumps
        self._loads = loads
        for name in ("fileno", "close", "poll", "recv_bytes", "send_bytes"):
            setattr(self, name, getattr(conn, name))

    def send(self, obj: Any) -> None:
        """Send an object."""
        self._conn.send_bytes(self._dumps(obj))

    def recv(self) -> Any:
        """Receive an object, waiting for it."""
        return self._loads(self._conn.recv_bytes())


def _xml_dumps(obj: Any) -> bytes:
    from xmlrpc import client

    return client.dumps((obj,), None, None, None, True).encode()


def _xml_loads(data: bytes) -> Any:
    from xmlrpc import client

    (obj,), _ = client.loads(data)
    return obj


class XmlListener(Listener):
    """A Listener whose connections carry XML-RPC's objects instead of pickled ones."""

    def accept(self) -> Any:
        """The next client's connection."""
        return ConnectionWrapper(super().accept(), _xml_dumps, _xml_loads)


def XmlClient(*args: Any, **kwds: Any) -> Any:
    """Connect to an XmlListener."""
    return ConnectionWrapper(Client(*args, **kwds), _xml_dumps, _xml_loads)
