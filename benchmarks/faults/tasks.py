"""What runs in workers and in child processes. Importable everywhere (PYTHONPATH is set by run.py)."""

import ctypes
import itertools
import logging
import os
import signal
import sys
import threading
import time

LOCK = threading.Lock()
ident = abs


def pid(_=None):
    return os.getpid()


def nap(s, v=None):
    time.sleep(s)
    return v


def nap1(_):
    time.sleep(0.3)
    return os.getpid()


def pid_slow(_=None):
    time.sleep(0.4)
    return os.getpid()


def die(sig=9):
    time.sleep(0.2)
    os.kill(os.getpid(), sig)
    time.sleep(30)


def segv():
    time.sleep(0.2)
    ctypes.string_at(0)


def os_exit():
    time.sleep(0.2)
    os._exit(3)


def sys_exit():
    sys.exit(3)


def raises(name):
    raise {"K": KeyboardInterrupt, "S": SystemExit, "G": GeneratorExit}[name]("from the task")


def ret_lock():
    return threading.Lock()


def gil_sleep():
    ctypes.PyDLL(None).sleep(60)  # C code that keeps the GIL


def blob(n):
    return b"x" * n


def blob_1mb(_):
    return b"x" * (1 << 20)


def echo(x):
    return x


def length(b):
    return len(b)


def boom(*_):
    raise ValueError("boom in initializer")


def init_dies(*_):
    os._exit(5)


def with_lock(_):
    LOCK.acquire()
    LOCK.release()
    return 1


def type_name(x):
    return type(x).__name__


def deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)


def forks_and_dies(path):
    """the grandchild keeps every pipe end the worker had"""
    if not (pid := os.fork()):
        time.sleep(60)
        os._exit(0)
    with open(path, "a") as f:
        f.write(f"{pid}\n")
    os.kill(os.getpid(), 9)


def exc_lock():
    e = ValueError("boom with a lock")
    e.lock = threading.Lock()
    raise e


class TwoArgs(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a}-{b}")


def exc_two_args():
    raise TwoArgs("one", "two")


def fail_load(where, owner):
    if where == "parent" or os.getpid() != owner:
        raise ValueError(f"fail_load in {where}")
    return BadLoad(where)


class BadLoad:
    """raises when unpickled: where='parent' anywhere, where='worker' only outside the owner"""

    def __init__(self, where):
        self.where, self.owner = where, os.getpid()

    def __reduce__(self):
        return fail_load, (self.where, self.owner)


def ret_bad_load():
    return BadLoad("parent")


def hog():
    import resource

    old = resource.getrlimit(resource.RLIMIT_AS)
    vm = int(open("/proc/self/statm").read().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (vm + (300 << 20), old[1]))
    try:
        return len(bytearray(4 << 30))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)


def log_and_import(i):
    logging.getLogger("noise").warning("task %s", i)
    sys.modules.pop("colorsys", None)
    import colorsys

    print("x", file=sys.stderr, flush=True)
    return colorsys is not None


def nested(impl):
    from adapters import POOLS

    p = POOLS[impl](2)
    r = [p.submit(ident, -i).get(8) for i in range(3)]
    p.close()
    return r


# ---- child processes of the IPC cases -----------------------------------------------------------
def touch(path):
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))


def consume(q, path):
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    while True:
        i = q.get()[0]
        os.write(fd, b"%d\n" % i)  # the acknowledgement: one atomic append


def produce(q, path):
    touch(path)
    for i in itertools.count():
        q.put((i, b"x" * 20000))


def put10mb(q):
    for _ in range(10):
        q.put(b"x" * (1 << 20))


def hold(x, path):
    x.acquire()
    touch(path)
    time.sleep(60)


def waiter(x, path, done):
    if hasattr(x, "acquire"):
        x.acquire()
    touch(path)
    x.wait()
    touch(done)


def shm_make(module, path):
    import importlib

    s = importlib.import_module(module).SharedMemory(create=True, size=4096)
    with open(path + ".t", "w") as f:
        f.write(s.name)
    os.rename(path + ".t", path)
    time.sleep(60)


def shm_open(module, name, stay=False):
    import importlib

    s = importlib.import_module(module).SharedMemory(name=name)
    s.buf[0] = 7
    if stay:
        print("READY", flush=True)
        time.sleep(60)
    s.close()
