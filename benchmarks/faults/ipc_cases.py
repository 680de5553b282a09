"""The fault matrix, queues, locks, shared memory, connections. A case takes a loaded Kit K."""

import collections
import functools
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from cases import case, deadline, stage, text, worst

import tasks

NOTHING = object()
tmpfile = lambda: f"{os.environ['TMPDIR']}/a.{random.getrandbits(48):x}"
NA = ("n/a", "not offered")


def need(*names):
    """n/a unless the kit offers these"""

    def deco(fn):
        @functools.wraps(fn)
        def g(K):
            return NA if any(not (K.sub(n) if n.islower() else getattr(K, n, None)) for n in names) else fn(K)

        return g

    return deco


def wait_file(path, limit=20):
    end = time.monotonic() + limit
    while not os.path.exists(path):
        if time.monotonic() > end:
            raise RuntimeError("child did not start")
        time.sleep(0.001)


def kill(p, sig=9):
    os.kill(p.pid, sig)
    p.join()


def get(q, limit):
    """one message, NOTHING, or an exception object; never blocks for ever"""
    k, v = deadline(lambda: q.get(timeout=limit), limit + 1)
    return v if k == "ok" else NOTHING if k == "hang" or type(v).__name__ == "Empty" else v


def drain_to(q, limit):
    """read up to the end marker: (list, True if the marker came)"""
    got = []

    def go():
        end = time.monotonic() + limit
        while time.monotonic() < end:
            try:
                x = q.get(timeout=limit)
            except Exception as e:
                if type(e).__name__ == "Empty":
                    return False
                got.append(e)
                continue
            if x[0] == "end":
                return True
            got.append(x[0])

    return got, deadline(go, limit + 1)[1] is True


def rounds(n, one, limit=45):
    c, t0 = collections.Counter(), time.monotonic()
    for i in range(n):
        stage(f"round {i}", detail=str(dict(c)))
        if time.monotonic() - t0 > limit:
            break
        c[one()] += 1
    bad = [k for k in c if k != "ok"]
    return worst(bad), f"{sum(c.values())} rounds: " + ", ".join(f"{k} {v}" for k, v in c.most_common())


# ---- queues -------------------------------------------------------------------------------------


def consumer_round(K, sig=9):
    q, path = K.Queue(), tmpfile()
    p = K.Process(target=tasks.consume, args=(q, path), daemon=True)
    p.start()
    wait_file(path)
    n, t = 60, threading.Timer(random.uniform(0, 0.015), lambda: os.kill(p.pid, sig))
    t.start()
    k, _ = deadline(lambda: [q.put((i, b"x" * 4000)) or time.sleep(0.0001) for i in range(n)], 3)
    t.join()
    p.join()
    if k == "hang" or deadline(lambda: q.put(("end", 0)), 1)[0] == "hang":
        return "hang"
    got, end = drain_to(q, 1)
    acked = [int(x) for x in open(path)]
    if any(isinstance(x, Exception) for x in got):
        return "wrong"
    if len(set(acked + got)) < n - 1:  # the one in flight may go
        return "lost" if end else "hang"
    return "dup" if len(acked + got) > n else "ok" if end else "hang"


@case("queue", timeout=75)
def q_consumer_kill9_x200(K):
    return rounds(200, lambda: consumer_round(K))


@case("queue", timeout=75)
def q_consumer_terminate_x50(K):
    return rounds(50, lambda: consumer_round(K, signal.SIGTERM))


def producer_round(K, sig=9):
    q, path, bad = K.Queue(), tmpfile(), []
    p = K.Process(target=tasks.produce, args=(q, path), daemon=True)
    p.start()
    wait_file(path)
    threading.Timer(random.uniform(0, 0.02), lambda: os.kill(p.pid, sig)).start()

    def read():
        n = 0
        while p.is_alive():
            try:
                i = q.get(timeout=0.1)[0]
            except Exception as e:
                bad.extend([] if type(e).__name__ == "Empty" else [e])
                continue
            bad.extend([] if i == n else [i])
            n = i + 1

    if deadline(read, 1.5)[0] == "hang":
        return "hang"
    threading.Thread(target=q.put, args=(("end", 0),), daemon=True).start()  # a bounded queue may be full
    more, end = drain_to(q, 1.5)
    return "hang" if not end else "wrong" if bad or any(isinstance(x, Exception) for x in more) else "ok"


@case("queue", timeout=75)
def q_producer_kill9_x200(K):
    return rounds(200, lambda: producer_round(K))


@case("queue")
def q_false_empty(K):
    q, n = K.Queue(), 0
    for i in range(1000):
        q.put(i)
        n += q.empty()
        get(q, 3)
    return ("wrong" if n else "ok"), f"empty() is True right after put(): {n}/1000"


@case("queue")
def q_join_unread_10mb(K):
    q = K.Queue()
    p = K.Process(target=tasks.put10mb, args=(q,), daemon=True)
    p.start()
    p.join(6)
    alive = p.is_alive()
    p.terminate()
    del q
    return ("hang" if alive else "ok"), "join() of a process that put 10 MB nobody reads" + (
        " never returns" if alive else ""
    )


@case("queue")
def q_put_unpicklable(K):
    q = K.Queue()
    try:
        q.put(threading.Lock())
    except Exception as e:
        q.put(1)
        return ("ok" if get(q, 3) == 1 else "broken"), "put() raises " + text(e)[:80]
    q.put(1)
    v = get(q, 3)
    return "lost", f"put() returns, the message is dropped (traceback on stderr only), then get() -> {v!r:.60}"


@case("queue")
def q_through_queue(K):
    q = K.Queue()
    try:
        q.put(K.Queue())
    except Exception as e:
        return "refused", text(e)[:100]
    v = get(q, 3)
    if v is NOTHING or isinstance(v, Exception):
        return "lost", "put() of a Queue returns, nothing arrives" if v is NOTHING else text(v)[:100]
    v.put(1)
    return ("ok" if get(v, 3) == 1 else "wrong"), ""


# ---- locks --------------------------------------------------------------------------------------
@case("lock")
def lock_through_queue(K):
    q = K.Queue()
    try:
        q.put(K.Lock())
    except Exception as e:
        return "refused", text(e)[:100]
    v = get(q, 3)
    return ("ok", "") if hasattr(v, "acquire") else ("lost", "put() of a Lock returns, nothing arrives")


def holder_killed(K, x):
    path = tmpfile()
    p = K.Process(target=tasks.hold, args=(x, path), daemon=True)
    p.start()
    wait_file(path)
    time.sleep(0.05)
    kill(p)
    k, v = deadline(lambda: x.acquire(timeout=3), 5)
    return (
        ("ok", "acquired" if k == "ok" else text(v)[:90])
        if k == "err" or v is True
        else ("hang", "the holder was killed: acquire() never succeeds")
    )


for name, make in dict(
    lock=lambda K: K.Lock(),
    rlock=lambda K: K.RLock(),
    semaphore=lambda K: K.Semaphore(1),
    condition=lambda K: K.Condition(),
    value_lock=lambda K: getattr(K.Value("i", 0), "get_lock", lambda: None)(),
).items():

    def holder(K, make=make):
        x = make(K)
        return NA if x is None else holder_killed(K, x)

    holder.__name__ = f"{name}_holder_killed"
    case("lock")(holder)


def waiter_killed(K, x, wake):
    for i in range(2):  # the first waiter is killed, the second must be woken
        path, done = tmpfile(), tmpfile()
        p = K.Process(target=tasks.waiter, args=(x, path, done), daemon=True)
        p.start()
        wait_file(path)
        time.sleep(0.4)
        if i == 0:
            kill(p)
    k, v = deadline(wake, 4)
    if k != "ok":
        return (
            ("hang", "a waiter was killed: notify()/set() never returns") if k == "hang" else ("unclear", text(v)[:90])
        )
    p.join(3)
    return ("ok", "") if os.path.exists(done) else ("lost", "a waiter was killed: the wake-up of the other one is lost")


@case("lock")
def event_waiter_killed(K):
    e = K.Event()
    return waiter_killed(K, e, e.set)


# ---- shared memory ------------------------------------------------------------------------------
def start_child(K, *args):
    return subprocess.Popen(
        [sys.executable, "run.py", "--child", K.impl, ":".join(args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_child(K, scenario):
    fn, *args = scenario.split(":")
    getattr(tasks, fn)(K.module + ".shared_memory", *args)


def shm_gone(name, limit=4):
    end = time.monotonic() + limit
    while os.path.exists("/dev/shm/" + name.lstrip("/")):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def shm_leak(path, kill_it, what):
    wait_file(path)
    name = open(path).read()
    kill_it()
    return ("ok", "") if shm_gone(name) else ("leak", f"/dev/shm/{name} is there 4 s after kill -9 of {what}")


@case("shm")
@need("shared_memory")
def shm_creator_killed(K):
    path = tmpfile()
    c = start_child(K, "shm_make", path)
    return shm_leak(path, c.kill, "the program that made it")


def shm_attach(K, *how):
    s = K.sub("shared_memory").SharedMemory(create=True, size=4096)
    c = start_child(K, "shm_open", s.name, *how)
    if how:
        c.stdout.readline()
        c.kill()
    err = c.communicate()[1]
    gone = shm_gone(s.name, 1.5)
    s.close()
    k, v = deadline(s.unlink, 3)
    warn = re.findall(r".*leaked shared_memory.*", err)
    return (
        ("lost", "another program attached and ended: the segment in use was unlinked")
        if gone
        else ("unclear", "false warning: " + warn[0][-90:])
        if warn
        else ("ok", "" if k == "ok" else text(v)[:80])
    )


@case("shm")
@need("shared_memory")
def shm_attacher_exits(K):
    return shm_attach(K)


# ---- Listener / Client --------------------------------------------------------------------------
class Server:
    """the loop of a careful user: bad clients raise in accept(), and are skipped"""

    def __init__(self, K, key=b"secret"):
        self.C, self.key, self.errs = K.sub("connection"), key, []
        self.l = self.C.Listener(("127.0.0.1", 0), authkey=key)
        threading.Thread(target=self.loop, daemon=True).start()

    def loop(self):
        while True:
            try:
                threading.Thread(target=self.echo, args=(self.l.accept(),), daemon=True).start()
            except BaseException as e:
                self.errs.append(e)

    def echo(self, c):
        try:
            while True:
                c.send(c.recv())
        except BaseException as e:
            self.errs.append(e)

    def raw(self, data=b""):
        s = socket.create_connection(self.l.address, 5)
        try:
            s.sendall(data)
        except OSError:
            pass
        return s

    def good(self, limit=5):
        def go():
            c = self.C.Client(self.l.address, authkey=self.key)
            c.send("hi")
            return c.recv()

        return deadline(go, limit)

    def verdict(self, note, known=("AuthenticationError", "EOFError", "OSError")):
        k, v = self.good()
        odd = {
            type(e).__name__: text(e)[:70]
            for e in list(self.errs)
            if not isinstance(e, (OSError, EOFError)) and type(e).__name__ not in known
        }
        if k != "ok" or v != "hi":
            return ("hang" if k == "hang" else "lost"), note + ": a good client " + (
                "is not served" if k == "hang" else "gets " + text(v)[:80]
            )
        return ("unclear", f"{note}: accept()/recv() raise {list(odd.values())[:3]}") if odd else ("ok", "")


@case("conn")
@need("connection")
def conn_wrong_key(K):
    s = Server(K)
    k, v = deadline(lambda: s.C.Client(s.l.address, authkey=b"wrong"), 5)
    out = s.verdict("after a wrong key")
    return (
        out
        if k == "err" and "Auth" in type(v).__name__
        else (worst([out[0], "hang" if k == "hang" else "unclear"]), f"client: {k} {text(v)[:80]}")
    )


@case("conn")
@need("connection")
def conn_garbage_x100(K):
    s, rnd = Server(K), random.Random(7)
    for i in range(100):
        body = rnd.randbytes(rnd.randint(0, 300))
        s.raw(body if i % 2 else struct.pack("!i", len(body)) + body).close()
    return s.verdict("100 garbage clients")


@case("conn")
@need("connection")
def conn_half_open(K):
    s = Server(K)
    keep = s.raw()
    time.sleep(0.2)
    return s.verdict("one client connects and says nothing") if keep else None


def oversize(K, key, header):
    s = Server(K, key)
    mem = lambda: {k: int(v) >> 10 for k, v in re.findall(r"(VmPeak|VmHWM):\s+(\d+)", open("/proc/self/status").read())}
    m0 = mem()
    keep = s.raw(header + b"x" * 100)
    time.sleep(1)
    m1 = mem()
    grew = {k: m1[k] - m0[k] for k in m0}
    out = s.verdict(f"a header claims {header!r}")
    note = f"grew (MB) {grew}; server saw {[text(e)[:50] for e in s.errs[:2]]}; {out[1]}"
    return (worst([out[0], "unbounded"]) if max(grew.values()) > 500 and keep else out[0]), note


@case("conn")
@need("connection")
def conn_oversize_before_auth(K):
    return oversize(K, b"secret", struct.pack("!i", 0x7FFFFFFF))


@case("conn")
@need("connection")
def conn_oversize_1tb(K):
    return oversize(K, None, struct.pack("!iQ", -1, 1 << 40))
