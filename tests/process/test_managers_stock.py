"""Managers of procession and of the standard library, with each other."""

import ast

import pytest

import stock_peer
from procession import managers


class Remote(managers.SyncManager):
    pass


_shared = {}
Remote.register("shared", lambda: _shared, managers.DictProxy)


@pytest.fixture(params=["pickle", "xmlrpclib"])
def words(request):
    """A serializer."""
    return request.param


def test_a_client_of_the_standard_library_uses_our_server(stock, words):
    _shared.clear()
    _shared["a"] = 1
    with Remote(("127.0.0.1", 0), stock_peer.KEY, words) as server:
        assert stock.run("use", words, server.address) == "done\n"
        assert server.shared().copy()["from"] == "the client"
        assert server._number_of_objects() == 0


def test_our_client_uses_a_server_of_the_standard_library(stock, words):
    process = stock.start("serve", words, ("127.0.0.1", 0))
    client = Remote(ast.literal_eval(process.stdout.readline()), stock_peer.KEY, words)
    client.connect()
    stock_peer.use_all(client)
    if words == "pickle":
        stock_peer.use_made(client)
        shared = client.shared()
        with pytest.raises(KeyError):
            shared["no"]
        del shared
        assert client._number_of_objects() == 0
    client._link().ask("shutdown")
    assert stock.end_of(process) == ""
    managers.link.forget(client.address)
