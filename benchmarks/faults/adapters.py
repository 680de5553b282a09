"""Adapters: the smallest face of a pool, and of an IPC toolkit, that the cases need.

To add an implementation that mirrors multiprocessing, one line in POOLS and one in KITS:
    "name": mp("module"),          "name": Kit("module"),
"""

import importlib
import os
import threading
import time


class H:
    """Handle of a submitted task: .get(timeout) returns the value or raises."""

    def __init__(self, get):
        self.get = get


def outcome(h, timeout):
    """('ok', value) | ('err', exception) | ('hang', None)"""
    t0 = time.monotonic()
    try:
        return "ok", h.get(timeout)
    except BaseException as e:
        if "Timeout" in type(e).__name__ and time.monotonic() - t0 >= timeout * 0.95:
            return "hang", None
        return "err", e


class Pool:
    caps = frozenset()  # of: init maxtasks timeout callback terminate
    for_timeouts = {}  # what the constructor needs for submit(timeout=)

    def submit(self, f, *a, timeout=None, cb=None):
        raise NotImplementedError

    def imap(self, f, it):
        raise NotImplementedError

    def map(self, f, it):
        return list(self.imap(f, it))

    def batch(self, calls, limit):
        hs = []
        for f, *a in calls:
            try:
                hs.append(self.submit(f, *a))
            except BaseException as e:
                hs.append(e)
        end = time.monotonic() + limit
        return [
            ("err", h) if isinstance(h, BaseException) else outcome(h, max(0.3, end - time.monotonic())) for h in hs
        ]

    def close(self):
        """finish the work and join"""

    kill = close  # stop at once

    def leave(self, *exc):  # what `with pool:` does in this library
        return self.p.__exit__(*exc)


class MP(Pool):
    """multiprocessing and everything that mirrors it"""

    module, method = "multiprocessing", None
    caps = frozenset(["init", "maxtasks", "callback", "terminate"])

    def __init__(self, n=2, init=None, initargs=(), maxtasks=None):
        m = importlib.import_module(self.module)
        m = m.get_context(self.method) if self.method else m
        self.p = m.Pool(n, init, initargs, maxtasks)

    def submit(self, f, *a, timeout=None, cb=None):
        kw = {"timeout": timeout} if timeout else {}
        return H(self.p.apply_async(f, a, {}, cb, **kw).get)

    def imap(self, f, it):
        return self.p.imap(f, it)

    def map(self, f, it):
        return self.p.map(f, it)

    def close(self):
        self.p.close()
        self.p.join()

    def kill(self):
        self.p.terminate()
        self.p.join()


def mp(module, method=None, extra=()):
    return type(module, (MP,), {"module": module, "method": method, "caps": MP.caps | frozenset(extra)})


class Billiard(MP):
    module, caps = "billiard", MP.caps | {"timeout"}

    for_timeouts = {"timeouts": True}

    def __init__(self, n=2, init=None, initargs=(), maxtasks=None, timeouts=False):
        import billiard.pool

        self.p = billiard.pool.Pool(
            n, init, initargs, maxtasks, enable_timeouts=timeouts, context=billiard.get_context()
        )


class Ray(MP):
    module = "ray.util.multiprocessing"

    def __init__(self, *a, **k):
        import ray

        if not ray.is_initialized():
            ray.init(
                num_cpus=6,
                include_dashboard=False,
                logging_level="ERROR",
                log_to_driver=False,
                configure_logging=False,
                object_store_memory=3 << 30,
                _temp_dir=os.environ.get("TMPDIR", "/tmp") + "/r",
                _system_config={"enable_worker_prestart": False, "prestart_worker_first_driver": False},
            )
        super().__init__(*a, **k)


class Exec(Pool):
    """concurrent.futures style"""

    caps = frozenset(["init", "callback"])
    method = "fork"

    def make(self, n, init, initargs, maxtasks):
        import concurrent.futures as cf
        import multiprocessing

        kw = {"max_tasks_per_child": maxtasks} if maxtasks else {}
        return cf.ProcessPoolExecutor(n, multiprocessing.get_context(self.method), init, initargs, **kw)

    def __init__(self, n=2, init=None, initargs=(), maxtasks=None):
        self.p = self.make(n, init, initargs, maxtasks)

    def submit(self, f, *a, timeout=None, cb=None):
        fut = self.p.submit(f, *a)
        if cb:
            fut.add_done_callback(lambda x: cb(x.result()))
        return H(fut.result)

    def imap(self, f, it):
        return self.p.map(f, it)

    def close(self):
        self.p.shutdown(wait=True)

    def kill(self):  # 3.11 has no kill: the usual recipe
        procs = list((getattr(self.p, "_processes", None) or {}).values())
        self.p.shutdown(wait=False, cancel_futures=True)
        for q in procs:
            q.kill()


class ExecSpawn(Exec):
    method, caps = "spawn", Exec.caps | {"maxtasks"}


class Loky(Exec):
    caps = Exec.caps | {"terminate"}

    def make(self, n, init, initargs, maxtasks):
        import loky

        return loky.ProcessPoolExecutor(n, initializer=init, initargs=initargs)

    def kill(self):
        self.p.shutdown(wait=True, kill_workers=True)


class Reusable(Loky):
    """loky.get_reusable_executor, asked for again at each call as its manual says"""

    def make(self, n, init, initargs, maxtasks):
        import loky

        self.get = lambda: loky.get_reusable_executor(n, initializer=init, initargs=initargs)
        return self.get()

    def submit(self, f, *a, **k):
        self.p = self.get()
        return super().submit(f, *a, **k)

    def imap(self, f, it):
        self.p = self.get()
        return super().imap(f, it)


class Pebble(Exec):
    caps = frozenset(["init", "maxtasks", "timeout", "callback", "terminate"])

    def make(self, n, init, initargs, maxtasks):
        import pebble

        return pebble.ProcessPool(n, max_tasks=maxtasks or 0, initializer=init, initargs=initargs)

    def submit(self, f, *a, timeout=None, cb=None):
        fut = self.p.schedule(f, args=a, timeout=timeout)
        if cb:
            fut.add_done_callback(lambda x: cb(x.result()))
        return H(fut.result)

    def imap(self, f, it):
        return self.p.map(f, it).result()

    def close(self):
        self.p.close()
        self.p.join()

    def kill(self):
        self.p.stop()
        self.p.join()


class Mpire(Pool):
    caps = frozenset(["init", "maxtasks", "timeout", "callback", "terminate"])

    def __init__(self, n=2, init=None, initargs=(), maxtasks=None):
        import mpire

        self.init = (lambda: init(*initargs)) if init and initargs else init
        self.p, self.maxtasks = mpire.WorkerPool(n_jobs=n, start_method="fork"), maxtasks

    def submit(self, f, *a, timeout=None, cb=None):
        return H(self.p.apply_async(f, a, callback=cb, worker_init=self.init, task_timeout=timeout).get)

    def imap(self, f, it):
        n = None if hasattr(it, "__len__") else 10**9
        return self.p.imap(f, it, iterable_len=n, chunk_size=1, worker_init=self.init, worker_lifespan=self.maxtasks)

    def close(self):
        self.p.stop_and_join()

    def kill(self):
        self.p.terminate()


class Joblib(Pool):
    """Parallel(): all or nothing per call; submit() is a call of one task, made from a thread"""

    caps = frozenset(["init", "timeout"])

    def __init__(self, n=2, init=None, initargs=(), maxtasks=None):
        self.kw = dict(n_jobs=max(2, n), backend="loky")  # 1 would run in the program itself
        if init:
            self.kw.update(initializer=init, initargs=initargs)

    def run(self, calls, **kw):
        from joblib import Parallel, delayed

        box = []

        def go():
            try:
                box.append(("ok", Parallel(**self.kw, **kw)(delayed(f)(*a) for f, *a in calls)))
            except BaseException as e:
                box.append(("err", e))

        t = threading.Thread(target=go, daemon=True)
        t.start()
        return t, box

    def batch(self, calls, limit):  # a different first call is a Parallel() of its own
        cut = 1 if calls[0][0] != calls[-1][0] else 0
        out, end = [], time.monotonic() + limit
        for (t, box), part in [(self.run(c), c) for c in (calls[:cut], calls[cut:]) if c]:
            t.join(max(0.3, end - time.monotonic()))
            k, v = box[0] if box else ("hang", None)
            out += [("ok", x) for x in v] if k == "ok" else [(k, v)] * len(part)
        return out

    def submit(self, f, *a, timeout=None, cb=None):
        t, box = self.run([(f, *a)], timeout=timeout)

        def get(limit=None):
            t.join(limit)
            if not box:
                raise TimeoutError
            if box[0][0] == "err":
                raise box[0][1]
            return box[0][1][0]

        return H(get)

    def imap(self, f, it):
        from joblib import Parallel, delayed

        return Parallel(**self.kw, return_as="generator", batch_size=1)(delayed(f)(x) for x in it)

    def map(self, f, it):
        from joblib import Parallel, delayed

        return Parallel(**self.kw)(delayed(f)(x) for x in it)

    def close(self):
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)

    def kill(self):
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True, kill_workers=True)

    def leave(self, *exc):
        return None


class Dask(Exec):
    caps = frozenset(["callback", "terminate"])

    def make(self, n, init, initargs, maxtasks):
        from distributed import Client, LocalCluster

        self.cluster = LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address=None, silence_logs=50)
        self.client = Client(self.cluster)
        return self.client.get_executor(pure=False)

    def imap(self, f, it):  # its map() takes no iterators
        hs = [self.submit(f, x) for x in it]
        return (h.get() for h in hs)

    def close(self):
        self.client.close()
        self.cluster.close()

    kill = close

    def leave(self, *exc):
        self.close()


class Kit:
    """IPC toolkit: names of multiprocessing; Queue and so on may come from elsewhere"""

    def __init__(self, module, method=None, queue=None, manager=False, only=None, conn=True):
        self.__dict__.update(module=module, method=method, queue=queue, manager=manager, only=only, conn=conn)

    def load(self):
        m = importlib.import_module(self.module)
        self.ctx = m.get_context(self.method) if self.method else m
        self.Process, src = self.ctx.Process, self.ctx
        if self.manager:
            src = self.mgr = self.ctx.Manager()
        self.Queue = self.queue or src.Queue
        for k in ["Lock", "RLock", "Semaphore", "Condition", "Event", "Value"]:
            setattr(self, k, getattr(src, k))
        return self

    def sub(self, name):
        if not self.conn:
            return None
        try:
            return importlib.import_module(f"{self.module}.{name}")
        except ModuleNotFoundError:
            return None


def fifo():
    import faster_fifo

    return faster_fifo.Queue(32 << 20)


POOLS = {
    "stdlib-fork": mp("multiprocessing", "fork"),
    "stdlib-spawn": mp("multiprocessing", "spawn"),
    "ppe-fork": Exec,
    "ppe-spawn": ExecSpawn,
    "loky": Loky,
    "loky-reuse": Reusable,
    "joblib": Joblib,
    "mpire": Mpire,
    "pebble": Pebble,
    "billiard": Billiard,
    "ray": Ray,
    "dask": Dask,
    "procession-fork": mp("procession", "fork", ["timeout"]),
    "procession-spawn": mp("procession", "spawn", ["timeout"]),
    "procession-forkserver": mp("procession", "forkserver", ["timeout"]),
}
KITS = {
    "stdlib-fork": Kit("multiprocessing", "fork"),
    "stdlib-spawn": Kit("multiprocessing", "spawn"),
    "stdlib-mgr": Kit("multiprocessing", "fork", manager=True, conn=False),
    "billiard": Kit("billiard"),
    "faster-fifo": Kit("multiprocessing", "fork", queue=fifo, only="queue", conn=False),
    "procession-fork": Kit("procession", "fork"),
    "procession-spawn": Kit("procession", "spawn"),
    "procession-forkserver": Kit("procession", "forkserver"),
}
