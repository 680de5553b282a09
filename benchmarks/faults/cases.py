"""The fault matrix, pools. A case takes the adapter class A and returns (outcome, detail)."""

import collections
import gc
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import types

from adapters import outcome

import tasks

WORST = [
    "crash",
    "hang",
    "lost",
    "dup",
    "wrong",
    "broken",
    "leak",
    "unbounded",
    "slow",
    "unclear",
    "refused",
    "skip",
    "n/a",
    "ok",
]
Case = collections.namedtuple("Case", "name fn group timeout heavy shm needs")
CASES, LIMIT = {}, 13
DEATH = r"(?i:died|kill|signal|sig[a-z]{3,4}\b|terminat|crash|exit|abrupt|lost|segv|segfault)"


def case(group="pool", timeout=32, heavy=False, shm="8g", needs=None):
    def deco(fn):
        CASES[fn.__name__] = Case(fn.__name__, fn, group, timeout, heavy, shm, needs)
        return fn

    return deco


def stage(msg, **kw):  # progress goes to the supervisor, so that a hang is located
    with open(os.environ["FAULT_OUT"], "a") as f:
        f.write(json.dumps(dict(kw, stage=msg)) + "\n")


def deadline(fn, limit):
    """fn() in a thread: ('ok', v) | ('err', e) | ('hang', None)"""
    box = []

    def go():
        try:
            box.append(("ok", fn()))
        except BaseException as e:
            box.append(("err", e))

    t = threading.Thread(target=go, daemon=True)
    t.start()
    t.join(limit)
    return box[0] if box else ("hang", None)


def text(e):
    s = f"{type(e).__name__}: {e}"
    while getattr(e, "__cause__", None) is not None:
        e = e.__cause__
        s += f" <- {type(e).__name__}: {e}"
    return re.sub(r"\s+", " ", s)


def worst(marks):
    return min(list(marks) or ["ok"], key=WORST.index)


def finish(p, marks, notes):
    marks, hung = list(marks), "hang" in marks
    stage("closing", outcome=worst(marks), detail="; ".join(notes))
    try:
        (p.kill if hung else p.close)()
    except BaseException as e:
        notes = notes + ["close/terminate raised " + text(e)[:80]]
    return worst(marks), "; ".join(notes)


def tally(rs):
    c = collections.Counter(k for k, _ in rs)
    return "/".join(f"{c[k]} {k}" for k in ("ok", "err", "hang") if c[k])


def after(p, marks, notes, n=6):
    stage("pool after the fault")
    rs = p.batch([(tasks.ident, i) for i in range(n)], 4 if "hang" in marks else LIMIT)
    if any(k != "ok" for k, _ in rs):
        notes.append("afterwards " + tally(rs) + "".join(" " + text(e)[:90] for k, e in rs[:1] if k == "err"))
        time.sleep(0.5)
        rs = rs if "hang" in dict(rs) else p.batch([(tasks.ident, i) for i in range(n)], LIMIT)
        again = worst({"ok": "lost", "err": "broken"}.get(k, k) for k, _ in rs)
        marks.append(again)
        notes.append("heals at the second try" if again == "lost" else "stays so")


def one_bad(A, call, clear, p=None, good=8):
    """one bad task among good ones: clear error for it, the others complete, the pool goes on"""
    marks, notes = [], []
    p = p or A(2)
    stage("warm-up")
    p.batch([(tasks.ident, i) for i in range(4)], LIMIT)
    stage("bad task")
    rs = p.batch([call] + [(tasks.nap, 0.1, i) for i in range(good)], LIMIT)
    (k, v), rest = rs[0], rs[1:]
    if k == "err":
        marks += [] if re.search(clear, text(v)) else ["unclear"]
        notes.append("error " + text(v)[:150])
    else:
        marks.append("hang" if k == "hang" else "wrong")
        notes.append("bad task " + ("never resolves" if k == "hang" else f"returned {v!r:.40}"))
    if any(k != "ok" for k, _ in rest):
        marks.append("hang" if any(k == "hang" for k, _ in rest) else "lost")
        notes.append("others " + tally(rest))
    after(p, marks, notes)
    return finish(p, marks, notes)


def bad(name, clear, *call):
    CASES[name] = Case(name, lambda A: one_bad(A, call, clear), "pool", 32, False, "8g", None)


bad("task_kill9", DEATH, tasks.die)
bad("task_segv", DEATH, tasks.segv)
bad("task_os_exit", DEATH, tasks.os_exit)
bad("task_sys_exit", "SystemExit|" + DEATH, tasks.sys_exit)
bad("task_KeyboardInterrupt", "KeyboardInterrupt|" + DEATH, tasks.raises, "K")
bad("task_GeneratorExit", "GeneratorExit|" + DEATH, tasks.raises, "G")
PICKLE = "(?i:pickl|serializ)"
bad("arg_unpicklable", PICKLE, tasks.type_name, threading.Lock())
bad("arg_fails_in_worker", "fail_load|(?i:unpickl|deserial)", tasks.type_name, tasks.BadLoad("worker"))
bad("result_unpicklable", PICKLE, tasks.ret_lock)
bad("exc_unpicklable", "boom with a lock", tasks.exc_lock)
bad("task_memory_rlimit", "MemoryError|(?i:memory)", tasks.hog)


@case()
def func_not_in_worker(A):
    p = A(2)
    p.batch([(tasks.ident, i) for i in range(4)], LIMIT)
    ghost = sys.modules["ghost"] = types.ModuleType("ghost")
    exec("def f(): return 1", ghost.__dict__)
    return one_bad(A, (ghost.f,), "ghost|attribute 'f'", p)


@case()
def kill_idle(A):
    p, marks, notes = A(2), [], []
    for i in range(4):  # which of the idle workers holds the lock of the queue is chance
        pids = {v for k, v in p.batch([(tasks.pid_slow,)] * 4, LIMIT) if k == "ok"}
        os.kill(min(pids), 9)
        time.sleep(0.7)
        after(p, marks, notes, 10)
        if marks:
            notes.append(f"at kill {i + 1}")
            break
    return finish(p, marks, notes)


@case()
def kill_all_idle(A):
    p, marks, notes = A(2), [], []
    for x in {v for k, v in p.batch([(tasks.pid_slow,)] * 4, LIMIT) if k == "ok"}:
        os.kill(x, 9)
    after(p, marks, notes, 10)  # at once: the tasks race with the detection
    return finish(p, marks, notes)


@case()
def sigstop_cont(A):
    p, marks, notes = A(2), [], []
    pids = list({v for k, v in p.batch([(tasks.pid_slow,)] * 4, LIMIT) if k == "ok"})
    os.kill(pids[0], signal.SIGSTOP)
    threading.Timer(2, os.kill, (pids[0], signal.SIGCONT)).start()
    after(p, marks, notes, 12)
    return finish(p, marks, notes)


def bad_init(A, init, clear):
    k, p = deadline(lambda: A(2, init=init), LIMIT)
    if k != "ok":
        return (
            ("hang", "constructor")
            if k == "hang"
            else ("ok" if "boom" in text(p) else "unclear", "constructor " + text(p)[:120])
        )
    stage("tasks")
    k, v = deadline(lambda: p.batch([(tasks.ident, 1)] * 4, LIMIT)[0], LIMIT + 3)
    note = "tasks never resolve" if k == "hang" or v[0] == "hang" else text(v[1])[:150]
    mark = (
        "hang"
        if k == "hang" or v[0] == "hang"
        else "wrong"
        if v[0] == "ok"
        else "ok"
        if re.search(clear, note)
        else "unclear"
    )
    return finish(p, [mark], [note])


@case(needs="init")
def init_raises(A):
    return bad_init(A, tasks.boom, "(?i)boom|initializ")


class Src:
    """an iterator that counts what is pulled, and ends (or raises) at cap"""

    def __init__(self, cap, err=None):
        self.n, self.cap, self.err = 0, cap, err

    def __iter__(self):
        return self

    def __next__(self):
        if self.n >= self.cap:
            raise self.err or StopIteration
        self.n += 1
        return self.n


@case()
def imap_infinite(A):
    src, p = Src(20000), A(2)
    k, v = deadline(lambda: list(itertools.islice(p.imap(tasks.ident, src), 20)), LIMIT)
    time.sleep(1)
    note = f"20 results taken, {src.n} inputs pulled" + (
        " (all: an infinite input never yields or eats memory)" if src.n == src.cap else ""
    )
    mark = {"hang": "hang", "err": "lost"}.get(k, "unbounded" if src.n > 2000 else "ok")
    stage("closing", outcome=mark, detail=note)
    p.kill()
    return mark, note if k != "err" else text(v)[:150]


@case()
def imap_input_raises(A):
    p, marks, notes, got = A(2), [], [], []

    def go():
        for x in p.imap(tasks.ident, Src(5, ValueError("bad input"))):
            got.append(x)

    k, v = deadline(go, LIMIT)
    notes.append(f"{len(got)} of 5 results, then {k} {text(v)[:60] if v else ''}")
    marks.append(
        "hang"
        if k == "hang"
        else "wrong"
        if k == "ok"
        else "unclear"
        if "bad input" not in text(v)
        else "lost"
        if len(got) < 5
        else "ok"
    )
    after(p, marks, notes)
    return finish(p, marks, notes)


def timeout_case(A, call):
    p, marks, notes = A(2, **A.for_timeouts), [], []
    p.batch([(tasks.ident, 1)] * 4, LIMIT)
    t0 = time.monotonic()
    k, v = outcome(p.submit(*call, timeout=1), LIMIT)
    dt = time.monotonic() - t0
    marks.append(
        "hang" if k == "hang" else "wrong" if k == "ok" else "ok" if re.search("(?i)time", text(v)) else "unclear"
    )
    notes.append(f"{k} after {dt:.1f} s {text(v)[:80] if k == 'err' else ''}")
    after(p, marks, notes)
    return finish(p, marks, notes)


@case(needs="timeout")
def timeout_sleep(A):
    return timeout_case(A, (tasks.nap, 60))


@case(needs="timeout")
def timeout_gil_held(A):
    return timeout_case(A, (tasks.gil_sleep,))


# ---- the parent dies or is interrupted ----------------------------------------------------------
def descendants(root):
    root = 1 if os.getppid() == 1 else root  # in our PID namespace: also the orphans
    kids = collections.defaultdict(list)
    for d in filter(str.isdigit, os.listdir("/proc")):
        try:
            state, ppid = open(f"/proc/{d}/stat").read().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if state != "Z":
            kids[int(ppid)].append(int(d))
    out, todo = [], [root]
    while todo:
        new = kids.get(todo.pop(), [])
        out += new
        todo += new
    return [x for x in out if x != os.getpid()]


def subreaper():
    import ctypes

    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def child(A, scenario, hit, wait, name):
    if os.getppid() != 1:
        subreaper()
    shm = set(os.listdir("/dev/shm"))
    with open(os.environ["TMPDIR"] + "/child.err", "w+b") as err:
        c = subprocess.Popen(
            [sys.executable, "run.py", "--child", name, scenario],
            stdout=subprocess.PIPE,
            stderr=err,
            start_new_session=True,
        )
        k, line = deadline(c.stdout.readline, 20)
        if line != b"READY\n":
            err.seek(0)
            return "crash", f"child did not start: {err.read()[-200:]}"
        time.sleep(1.2)
        n, t0 = len(descendants(os.getpid())) - 1, time.monotonic()
        stage("signal sent")
        hit(c.pid)
        try:
            rc = c.wait(wait)
        except subprocess.TimeoutExpired:
            return "hang", f"not gone {wait} s after the signal"
        dt = time.monotonic() - t0
        while (left := descendants(os.getpid())) and time.monotonic() - t0 < wait:
            time.sleep(0.1)
        dt2 = time.monotonic() - t0
        err.seek(0)
        lines, files = len(err.read().splitlines()), sorted(set(os.listdir("/dev/shm")) - shm)
    note = f"exit {rc} after {dt:.1f} s; {len(left)} of {n} processes left after {dt2:.1f} s; /dev/shm {files[:3]}; {lines} stderr lines"
    return ("leak" if left or files else "ok"), note


@case()
def sigint_map(A):
    return child(A, "map300", lambda p: os.killpg(p, signal.SIGINT), 7, A.impl)


@case()
def sigterm_parent(A):
    return child(A, "map", lambda p: os.kill(p, signal.SIGTERM), 8, A.impl)


@case()
def kill9_parent_busy(A):
    return child(A, "map", lambda p: os.kill(p, 9), 8, A.impl)


@case()
def kill9_parent_idle(A):
    return child(A, "idle", lambda p: os.kill(p, 9), 8, A.impl)


def run_child(A, scenario):
    p = A(2)
    p.batch([(tasks.pid_slow,)] * 4, LIMIT)
    print("READY", flush=True)
    if scenario.startswith("map"):
        try:
            p.map(tasks.nap1, list(range(int(scenario[3:] or 60))))
        finally:
            p.leave(*sys.exc_info())
    elif scenario == "long":
        p.submit(tasks.nap, 40).get(60)
    time.sleep(60)


# ---- use from elsewhere, callbacks, limits ------------------------------------------------------
@case(needs="callback")
def callback_raises(A):
    p, marks, notes = A(2), [], []

    def cb(_):
        raise ValueError("boom in callback")

    k, v = outcome(p.submit(tasks.ident, 1, cb=cb), LIMIT)
    marks += ["hang"] if k == "hang" else []
    after(p, marks, notes)
    return finish(p, marks, notes)


@case()
def nested_pool(A):
    p = A(2)
    k, v = outcome(p.submit(tasks.nested, A.impl), 25)
    note = text(v)[:150] if k == "err" else str(v)
    return finish(p, ["ok" if v == [0, 1, 2] else "hang" if k == "hang" else "refused"], [note])


@case(shm="1m")
def devshm_1mb(A):
    p, marks, notes = A(2), [], []
    rs = p.batch([(tasks.echo, b"x" * (4 << 20)) for i in range(5)], LIMIT)
    e = next((e for k, e in rs if k == "err"), None)
    marks += ["hang"] if any(k == "hang" for k, _ in rs) else []
    if e is not None:
        notes.append(tally(rs) + " " + text(e)[:120])
        marks += ["unclear"] if not re.search(r"(?i)space|ENOSPC|store|shm|memory", text(e)) else []
    after(p, marks, notes)
    return finish(p, marks, notes)


def big(A, call, want):
    if int(re.search(r"MemAvailable:\s+(\d+)", open("/proc/meminfo").read())[1]) < 12 << 20:
        return "skip", "less than 12 GB available"
    p, t0 = A(1), time.monotonic()
    k, v = outcome(p.submit(*call()), 70)
    note = f"{time.monotonic() - t0:.1f} s" + (" " + text(v)[:150] if k == "err" else "")
    mark = (
        "hang"
        if k == "hang"
        else "ok"
        if k == "ok" and want(v)
        else "refused"
        if re.search("(?i)too large|size|memory|limit|4 ?GiB|2 ?GiB", note)
        else "unclear"
    )
    v, marks, notes = None, [mark], [note]
    after(p, marks, notes)
    return finish(p, marks, notes)


@case(heavy=True, timeout=110)
def big_arg_2200mb(A):
    return big(A, lambda: (tasks.length, bytes(2200 << 20)), lambda v: v == 2200 << 20)


@case(timeout=70)
def churn_200(A):
    def once():
        p = A(1)
        p.submit(tasks.ident, 1).get(10)
        p.close()

    once()
    count = lambda: (len(os.listdir("/proc/self/fd")), threading.active_count(), len(descendants(os.getpid())))
    c0, t0, n = count(), time.monotonic(), 0
    while n < 200 and time.monotonic() - t0 < 40:
        once()
        n += 1
    time.sleep(1)
    gc.collect()
    grew = [b - a for a, b in zip(c0, count())]
    return (
        "leak" if max(grew) > 4 else "ok"
    ), f"{n} pools in {time.monotonic() - t0:.1f} s: fds/threads/processes grew by {grew}"


@case(timeout=70, needs="maxtasks")
def maxtasks1_x500(A):
    p, t0, v = A(2, maxtasks=1), time.monotonic(), []
    k, e = deadline(lambda: [v.append(x) for x in p.imap(tasks.pid, list(range(500)))], 50)
    note = (
        f"{len(v)} results, {len(set(v))} processes, {time.monotonic() - t0:.1f} s {text(e)[:90] if k == 'err' else ''}"
    )
    mark = (
        "lost" if k == "err" else "hang" if not v else "slow" if k == "hang" else "ok" if len(set(v)) > 490 else "wrong"
    )
    out = finish(p, ["hang"] if k == "hang" else [mark], [note])  # a slow one is terminated, not closed
    return (mark, note) if k == "hang" else out


@case()
def fork_while_locks_held(A):
    """threads hold the logging, stdio and import locks while workers are made"""
    import logging

    class Slow(logging.StreamHandler):
        def emit(self, rec):
            time.sleep(0.002)
            super().emit(rec)

    logging.basicConfig(handlers=[Slow(open(os.devnull, "w"))], force=True)
    stop = []

    def busy():
        while not stop:
            tasks.log_and_import(0)

    sys.stderr = open(os.devnull, "w")
    for _ in range(3):
        threading.Thread(target=busy, daemon=True).start()
    t0, n = time.monotonic(), 0
    while n < 25 and time.monotonic() - t0 < 18:
        stage(f"pool {n}")
        p = A(2)
        rs = p.batch([(tasks.log_and_import, i) for i in range(4)], 8)
        if any(k != "ok" for k, _ in rs):
            stop.append(1)
            return finish(
                p,
                ["hang" if any(k == "hang" for k, _ in rs) else "lost"],
                [f"pool {n}: {tally(rs)} {text(rs[0][1])[:90] if rs[0][1] else ''}"],
            )
        p.close()
        n += 1
    stop.append(1)
    return "ok", f"{n} pools"
