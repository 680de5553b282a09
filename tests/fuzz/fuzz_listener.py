"""Throws frames of every kind at a Listener, before the challenge is passed and after it, and looks whether it stays whole.

    python tests/fuzz/fuzz_listener.py [COUNT] [--seed SEED]

The generator is our own, so that a million frames take minutes: all that happens follows from the seed, but for the order of
threads.  After every thousand frames a good client must be served.  What the server receives from those who know the key must
be what they sent, frame by frame.  At the end memory, descriptors and threads must be what they were after the first tenth.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import os
import pickle
import random
import socket
import struct
import sys
import threading
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from procession.engine import challenge
from procession.listener import Client, Listener

KEY = b"the key of the fuzzed"
PATIENCE_S = 20.0  # in which a good client is served
HELD = 40  # connections that stay open in the middle of something
FRAMES_A_CHECK = 1000
GROWTH_LIMIT_KB = 8192
LONGEST = 1 << 17
DIGESTS = (b"{sha256}", b"{md5}", b"{sha384}", b"{md4}", b"{}", b"{sha256", b"{" * 30, b"")
LENGTHS = (-2, -1, 257, 0x7FFFFFFF, -0x80000000, 1 << 20)
LONG_LENGTHS = (0, 1, 1 << 31, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
# What makes pickle's reader ask for memory by a number in the data; pickles are for who knows the key.
HUNGRY_OPCODES = b"pr\x8d\x8e\x96"


def frame(body: bytes) -> bytes:
    return struct.pack("!i", len(body)) + body


def long_frame(body: bytes) -> bytes:
    return struct.pack("!iQ", -1, len(body)) + body


class Server:
    """What a careful user writes: a loop around accept(), a thread for each client."""

    def __init__(self, address: Any) -> None:
        self.listener = Listener(address, authkey=KEY)
        self.address = self.listener.address
        self.turned_away: Counter[str] = Counter()
        self.logs: dict[bytes, list[Any]] = {}
        self.is_logged = threading.Condition()
        self._handlers: set[threading.Thread] = set()
        self._acceptor = threading.Thread(target=self._accept_all)
        self._acceptor.start()

    def _accept_all(self) -> None:
        while True:
            try:
                connection = self.listener.accept()
            except OSError as error:
                if "closed" in str(error):
                    return
                raise
            except Exception as error:
                self.turned_away[type(error).__name__] += 1
                continue
            thread = threading.Thread(target=self._handle, args=(connection,))
            self._handlers.add(thread)
            thread.start()

    def _handle(self, connection: Any) -> None:
        name, log = b"", []
        try:
            with connection:
                name = connection.recv_bytes(64)
                receive = RECEIVERS.get(name[:1])  # none: a stranger has passed the challenge, and goes on with rubbish
                while receive is not None:
                    log.append(receive(connection))
        except (EOFError, OSError) as error:
            log.append(type(error).__name__)
        finally:
            with self.is_logged:
                if name:
                    self.logs[name] = log
                self._handlers.discard(threading.current_thread())
                self.is_logged.notify_all()

    def log_of(self, name: bytes) -> list[Any]:
        with self.is_logged:
            assert self.is_logged.wait_for(lambda: name in self.logs, PATIENCE_S), "what was sent never arrived"
            return self.logs.pop(name)

    def close(self) -> None:
        self.listener.close()
        self._acceptor.join()
        with self.is_logged:
            assert self.is_logged.wait_for(lambda: not self._handlers, PATIENCE_S), (
                "a client that has gone is still served"
            )


def into_buffer(connection: Any) -> int:
    buffer = bytearray(LONGEST)
    return zlib.crc32(buffer[: connection.recv_bytes_into(buffer)])


def as_object(connection: Any) -> str:
    try:
        return repr(connection.recv())
    except (EOFError, OSError) as error:
        if "Ran out of input" in str(error):  # pickle's: the connection goes on
            return "rubbish"
        raise
    except Exception:
        return "rubbish"


def meaning(noise: bytes) -> str:
    """What as_object() makes of it."""
    try:
        return repr(pickle.loads(noise))
    except Exception:
        return "rubbish"


RECEIVERS: dict[bytes, Callable[[Any], Any]] = {
    b"b": lambda connection: zlib.crc32(connection.recv_bytes()),
    b"m": lambda connection: zlib.crc32(connection.recv_bytes(LONGEST)),
    b"i": into_buffer,
    b"o": as_object,
}


class Fuzzer:
    """One stream of chances, and what came of it."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.frames: Counter[str] = Counter()
        self.clients = 0
        self._names = 0
        self._held: deque[socket.socket] = deque()
        self.servers = [Server(None), Server(("127.0.0.1", 0))]

    def close(self) -> None:
        while self._held:
            self._held.popleft().close()
        for server in self.servers:
            server.close()

    def server(self) -> Server:
        """Mostly the one at a Unix socket: a network has only so many ports for clients that come and go."""
        return self.servers[self.chance.random() < 0.03]

    # ---- who does not know the key, or does not say so ----

    def word(self) -> bytes:
        """One frame of somebody who may be anybody."""
        chance = self.chance
        noise = chance.randbytes(chance.choice((0, 1, 4, 15, 16, 17, 19, 20, 32, 40, 256, 300)))
        match chance.randrange(8):
            case 0:
                return noise
            case 1:
                return frame(noise)
            case 2:
                return frame(chance.choice((challenge.CHALLENGE, b"#WELCOME#", b"#FAILURE#", b"#")) + noise)
            case 3:
                return frame(chance.choice(DIGESTS) + noise)
            case 4:
                return frame(challenge.CHALLENGE + chance.choice(DIGESTS) + noise)
            case 5:
                return struct.pack("!i", chance.choice(LENGTHS)) + noise
            case 6:
                return struct.pack("!iQ", -1, chance.choice(LONG_LENGTHS)) + noise
            case _:
                whole = frame(noise)
                return whole[: chance.randrange(len(whole))]

    def stranger(self) -> None:
        """Somebody comes, says a few things, and goes; or stays."""
        chance, server = self.chance, self.server()
        end = socket.socket(socket.AF_UNIX if server is self.servers[0] else socket.AF_INET)
        end.settimeout(PATIENCE_S)
        end.connect(server.address)
        self.clients += 1
        try:
            if chance.random() < 0.2:
                end.sendall(self._response(end))
                self.frames["before"] += 1
            for _ in range(chance.randint(1, 4)):
                self.frames["before"] += 1
                word = self.word()
                cut = chance.randrange(len(word) + 1) if chance.random() < 0.2 else len(word)
                end.sendall(word[:cut])
                end.sendall(word[cut:])
        except (BrokenPipeError, ConnectionResetError):
            pass  # it was turned away already
        self._part_from(end)

    def _response(self, end: socket.socket) -> bytes:
        """The right one to the server's challenge."""
        (length,) = struct.unpack("!i", self._read(end, 4))
        message = self._read(end, length)
        return frame(challenge.create_response(KEY, message.removeprefix(challenge.CHALLENGE)))

    def _read(self, end: socket.socket, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = end.recv(size - len(data))
            if not piece:
                raise ConnectionResetError
            data += piece
        return data

    def _part_from(self, end: socket.socket) -> None:
        match self.chance.randrange(4):
            case 0:
                self._held.append(end)
                if len(self._held) > HELD:
                    self._held.popleft().close()
                return
            case 1:
                try:
                    end.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
        if end.family == socket.AF_INET:  # else its port could not be used for a minute
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.close()

    # ---- who knows the key ----

    def friend(self) -> None:
        """Somebody proves that he knows the key, sends much, and ends well or badly."""
        chance, server = self.chance, self.server()
        self._names += 1
        name = chance.choice(list(RECEIVERS)) + b"%d" % self._names
        make = self.thing if name.startswith(b"o") else self.body
        stream, expected = [frame(name)], []
        for _ in range(chance.randint(1, 400)):
            body, what = make()
            stream.append((long_frame if chance.random() < 0.1 else frame)(body))
            expected.append(what)
        last, error = self.last_word()
        stream.append(last)
        expected.append(error)
        self.frames["after"] += len(stream)
        self.clients += 1
        with Client(server.address, authkey=KEY) as connection:
            self.send_in_pieces(connection.fileno(), b"".join(stream))
        found = server.log_of(name)
        assert found == expected, f"{name!r} sent {expected!r}\nand the server received {found!r}"

    def body(self) -> tuple[bytes, int]:
        size = int(LONGEST ** self.chance.random()) if self.chance.random() < 0.1 else self.chance.randrange(100)
        data = self.chance.randbytes(size)
        return data, zlib.crc32(data)

    def thing(self) -> tuple[bytes, str]:
        if self.chance.random() < 0.5:
            thing = self.chance.choice((None, 1, "x" * 50, [1, (2.5, b"3")], {"a": {"b": []}}))
            return pickle.dumps(thing), repr(thing)
        noise = self.chance.randbytes(self.chance.randrange(60)).translate(None, HUNGRY_OPCODES)
        return noise, meaning(noise)

    def last_word(self) -> tuple[bytes, str]:
        """How it ends, and what recv() says to that."""
        chance = self.chance
        noise = chance.randbytes(chance.randrange(500))
        return chance.choice(
            (
                (b"", "EOFError"),
                (b"\0\0", "OSError"),
                (struct.pack("!i", 501) + noise, "OSError"),
                (struct.pack("!i", chance.choice((-2, -0x80000000))), "OSError"),
                (struct.pack("!i", 0x7FFFFFFF) + noise, "OSError"),
                (struct.pack("!iI", -1, 0), "OSError"),
                (struct.pack("!iQ", -1, chance.choice(LONG_LENGTHS[2:])) + noise, "OSError"),
            )
        )

    def send_in_pieces(self, fd: int, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                size = self.chance.choice((1, 3, 100, 5000, 1 << 16))
                view = view[os.write(fd, view[:size]) :]
        except (BrokenPipeError, ConnectionResetError):
            pass  # a wrong length is refused before what follows it has come

    def good_client(self) -> None:
        """One as any other: it must be served, whatever the others do."""
        for server in self.servers:
            self._names += 1
            name = b"o%d" % self._names
            with Client(server.address, authkey=KEY) as connection:
                connection.send_bytes(name)
                connection.send(["good", self._names])
            assert server.log_of(name) == [repr(["good", self._names]), "EOFError"]


def facts() -> tuple[int, int, int]:
    """Kilobytes, descriptors, threads of this process."""
    gc.collect()
    with open("/proc/self/status") as status:
        (resident,) = [int(line.split()[1]) for line in status if line.startswith("VmRSS")]
    return resident, len(os.listdir("/proc/self/fd")), threading.active_count()


def fuzz(count: int, seed: int) -> str:
    """Send `count` frames, half of them before the challenge is passed; what came of it, in words.

    Raises:
        AssertionError: something is not as it must be.
    """
    began = time.monotonic()
    start = facts()
    fuzzer = Fuzzer(seed)
    warm, peak_kb, checked = None, 0, 0
    try:
        while (sent := fuzzer.frames.total()) < count:
            if fuzzer.frames["before"] <= fuzzer.frames["after"]:
                fuzzer.stranger()
            else:
                fuzzer.friend()
            if sent - checked >= FRAMES_A_CHECK:
                checked = sent
                faulthandler.dump_traceback_later(2 * PATIENCE_S, exit=True)  # it hangs
                fuzzer.good_client()
                now = facts()
                peak_kb = max(peak_kb, now[0])
                if warm is None and sent >= count // 10:
                    warm = now
        fuzzer.good_client()
        end = facts()
    finally:
        fuzzer.close()
        faulthandler.cancel_dump_traceback_later()
    left = facts()
    assert left[1:] == start[1:], f"descriptors and threads were {start[1:]}, and are {left[1:]}"
    warm = warm or end
    grown = max(peak_kb, end[0]) - warm[0]
    assert grown <= GROWTH_LIMIT_KB, f"memory has grown from {warm[0]} kB to {max(peak_kb, end[0])}"
    turned_away = sum((server.turned_away for server in fuzzer.servers), Counter())
    return (
        f"{fuzzer.frames.total():,} frames ({fuzzer.frames['before']:,} before the challenge) by {fuzzer.clients:,} clients "
        f"in {time.monotonic() - began:.0f} s; turned away: {dict(turned_away)}; "
        f"memory {warm[0] / 1024:.1f} MB after the first tenth, {end[0] / 1024:.1f} at the end, "
        f"{max(peak_kb, end[0]) / 1024:.1f} at most"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", nargs="?", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    faulthandler.enable()
    print(fuzz(arguments.count, arguments.seed))


if __name__ == "__main__":
    sys.exit(main())
