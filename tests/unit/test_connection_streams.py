"""Connection on any descriptor: the standard library's format."""

import os
import socket
import threading
from multiprocessing.connection import Connection as StockConnection

import pytest

from procession.connection import Connection


@pytest.mark.parametrize("size", [0, 1, 1 << 14, (1 << 14) + 1, 1 << 20])
def test_a_connection_on_a_socket_speaks_with_the_standard_librarys(size):
    ours, theirs = (end.detach() for end in socket.socketpair())
    with Connection(ours) as a, StockConnection(theirs) as b:
        data = os.urandom(size)
        for sender, receiver in ((a, b), (b, a)):
            thread = threading.Thread(target=lambda s=sender: (s.send_bytes(data), s.send({"data": data})))
            thread.start()
            assert receiver.recv_bytes() == data
            assert receiver.recv() == {"data": data}
            thread.join()
        b.close()
        with pytest.raises(EOFError):
            a.recv()


def test_a_stream_that_ends_within_a_message_is_an_error():
    for begun in (b"\0\0", b"\0\0\0\x05", b"\0\0\0\x05abc", b"\xff\xff\xff\xff\0\0"):
        reader, writer = os.pipe()
        os.write(writer, begun)
        os.close(writer)
        with Connection(reader, writable=False) as conn, pytest.raises(OSError, match="end of file"):
            conn.recv_bytes()


@pytest.mark.parametrize(
    "rubbish", [b"", b"\x01", b"\x02", b"\x01" * 40, b"\x80\x04", b"cno_such_module\nx\n.", b"\xff"]
)
def test_what_is_no_pickle_is_refused_as_the_standard_library_does_and_costs_only_itself(rubbish):
    complaints = []
    for kind in (Connection, StockConnection):
        reader, writer = os.pipe()
        with kind(reader, writable=False) as receiver, Connection(writer, readable=False) as sender:
            sender.send_bytes(rubbish)
            sender.send("next")
            with pytest.raises(Exception) as caught:
                receiver.recv()
            complaints.append(repr(caught.value))
            assert receiver.recv() == "next"
    assert complaints[0] == complaints[1]


def test_a_long_length_is_understood():
    reader, writer = os.pipe()
    os.write(writer, b"\xff\xff\xff\xff" + b"\0" * 7 + b"\x03abc")
    with Connection(reader, writable=False) as conn, Connection(writer, readable=False):
        assert conn.recv_bytes() == b"abc"


def test_a_handle_must_be_a_descriptor():
    with pytest.raises(ValueError, match="-1"):
        Connection(-1)
    with pytest.raises(ValueError, match="at least one"):
        Connection(0, False, False)
    with pytest.raises(AttributeError):
        Connection("0")
    conn = Connection(44977608)
    with pytest.raises(OSError, match="44977608"):
        conn.poll()
    conn._handle = None
