#!/usr/bin/env python
"""Fault-injection matrix.   run.py [--impl a,b] [--case regex] [--group pool|queue|...] [--jobs 2] [--out results.jsonl] [--resume]

Each case runs under a supervisor: init of its own PID and mount namespace (private /dev/shm) where allowed, else a child
subreaper; with its own TMPDIR. It stops the case at its hard limit, then counts what is left of it: processes, /dev/shm files, temporary files.
Outcomes: ok | hang (never resolves) | lost (other tasks or messages lost) | crash (the program dies) | broken (clear error, but the
pool is dead for good) | dup | wrong | leak | unbounded (memory) | unclear (error without the cause) | refused (clear error) | n/a | skip
"""

import argparse
import concurrent.futures as cf
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(tempfile.gettempdir(), "f")  # short: socket paths are limited to 108 bytes
PATH = os.pathsep.join(filter(None, [HERE, os.environ.get("PYTHONPATH")]))


def load(case, impl):
    import adapters
    import cases
    import ipc_cases  # noqa: F401  (registers its cases)

    c = cases.CASES[case]
    if c.group == "pool":
        A = type(impl, (adapters.POOLS[impl],), {"impl": impl})
        return c, A, (c.needs is None or c.needs in A.caps)
    k = adapters.KITS[impl]
    k.impl = impl
    return c, k, (not k.only or c.group == k.only)


def one(impl, case):
    """the case itself; its last line is its outcome"""
    import cases

    c, A, able = load(case, impl)
    if not able:
        return cases.stage("end", outcome="n/a", detail="not offered")
    try:
        out, detail = c.fn(A if c.group == "pool" else A.load())
    except BaseException as e:
        import traceback

        traceback.print_exc()
        out, detail = "unclear", "raised in the program: " + cases.text(e)[:200]
    cases.stage("end", outcome=out, detail=detail)
    if c.group != "pool" and A.manager:
        cases.deadline(A.mgr.shutdown, 3)
    if out == "hang" or c.group != "pool":  # threads of ours may be stuck
        os._exit(0)


def reap(keep):
    """what init does: orphans do not stay zombies"""
    try:
        while (x := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and x.si_pid != keep:
            os.waitpid(x.si_pid, 0)
    except ChildProcessError:
        pass


def supervise(impl, case):
    import cases

    c, _, able = load(case, impl)
    cases.subreaper()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # not ignored in the children
    private = (
        subprocess.call(f"mount -t tmpfs -o size={c.shm} none /dev/shm", shell=True, stderr=subprocess.DEVNULL) == 0
    )
    os.makedirs(ROOT, exist_ok=True)
    tmp = tempfile.mkdtemp(dir=ROOT, prefix="")
    env = dict(
        os.environ, TMPDIR=tmp, FAULT_OUT=tmp + "/out", PYTHONPATH=PATH, PYTHONUNBUFFERED="1", RAY_DEDUP_LOGS="0"
    )
    before, t0 = set(os.listdir("/dev/shm")), time.monotonic()
    with open(tmp + "/err", "w+b") as err:
        p = subprocess.Popen(
            [sys.executable, "run.py", "--one", impl, case],
            cwd=HERE,
            env=env,
            stdout=err,
            stderr=err,
            stdin=subprocess.DEVNULL,
        )
        while (rc := p.poll()) is None and time.monotonic() - t0 < c.timeout:
            reap(p.pid)
            time.sleep(0.02)
        if rc is None:
            p.kill()
            p.wait()
        sec = time.monotonic() - t0
        last = [json.loads(x) for x in open(env["FAULT_OUT"])] if os.path.exists(env["FAULT_OUT"]) else []
        end = {"stage": last[-1]["stage"] if last else "start"}
        for x in last:
            end.update({k: x[k] for k in ("outcome", "detail") if k in x})
        out, notes = end.get("outcome", "ok"), [end.get("detail", "")]
        if rc is None:
            notes.append(
                f"not finished after {c.timeout} s, at: "
                + ("interpreter exit" if end["stage"] == "end" else end["stage"])
            )
            out = "hang"
        elif end["stage"] != "end" or rc < 0:
            notes.append(f"program died, rc {rc}, at: {end['stage']}")
            out = "crash"
        while (left := cases.descendants(os.getpid())) and rc is not None and time.monotonic() - t0 - sec < 4:
            reap(0)
            time.sleep(0.05)
        shm = sorted(set(os.listdir("/dev/shm")) - before) if private else []
        if out not in ("hang", "crash", "n/a", "leak") and (left or shm):
            cmds = {
                re.sub(r"[^\x20-\x7e]+", " ", open(f"/proc/{x}/cmdline").read())[-60:]
                for x in left
                if os.path.exists(f"/proc/{x}")
            }
            notes.append(f"left 4 s after exit: {len(left)} processes {sorted(cmds)[:2]} /dev/shm {shm[:3]}")
            out = cases.worst([out, "leak"])
        for _ in range(50):  # only our own descendants, by id
            if not (left := cases.descendants(os.getpid())):
                break
            for x in left:
                try:
                    os.kill(x, 9)
                except OSError:
                    pass
            time.sleep(0.02)
        err.seek(0)
        tail = err.read().decode(errors="replace")
    files = [x for x in os.listdir(tmp) if x not in ("out", "err", "child.err", "r") and not x.startswith("a.")]
    if files:
        notes.append(f"TMPDIR left: {files[:2]}")
    shutil.rmtree(tmp, ignore_errors=True)
    print(
        json.dumps(
            dict(
                impl=impl,
                case=case,
                group=c.group,
                outcome=out,
                detail="; ".join(filter(None, notes)),
                sec=round(sec, 1),
                stderr_lines=tail.count("\n"),
                stderr=tail[-1500:] if out not in ("ok", "n/a") else "",
            )
        )
    )


def launch(impl, case):
    cmd = [sys.executable, os.path.join(HERE, "run.py"), "--supervise", impl, case]
    for flags in ("-mpf", "-Urmpf"):  # root, or a user namespace; else without isolation
        ns = ["unshare", flags, "--mount-proc", "--kill-child"]
        if subprocess.call(ns + ["true"], stderr=subprocess.DEVNULL) == 0:
            cmd = ns + cmd
            break
    p = subprocess.run(cmd, capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=PATH))
    try:
        return json.loads(p.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return dict(impl=impl, case=case, group="?", outcome="skip", detail="harness: " + p.stderr[-300:], sec=0)


def matrix(rows, order):
    """markdown matrix per family (pools / IPC) and totals"""
    out = []
    for fam in ("pool", "ipc"):
        rs = [r for r in rows if (r["group"] == "pool") == (fam == "pool")]
        impls = [i for i in order if any(r["impl"] == i for r in rs)]
        cell = {(r["impl"], r["case"]): r["outcome"] for r in rs}
        if not rs:
            continue
        out += ["| case | " + " | ".join(impls) + " |", "|---" * (len(impls) + 1) + "|"]
        for c in dict.fromkeys(r["case"] for r in rs):
            out.append(f"| {c} | " + " | ".join(cell.get((i, c), "") for i in impls) + " |")
        tot = []
        for i in impls:
            v = [o for (a, _), o in cell.items() if a == i and o not in ("n/a", "skip")]
            tot.append(f"{v.count('ok')}/{len(v)}")
        out += ["| **ok / run** | " + " | ".join(tot) + " |", ""]
    c = {}
    for r in rows:
        c[r["outcome"]] = c.get(r["outcome"], 0) + 1
    return (
        "\n".join(out)
        + "\nTOTAL "
        + str(len(rows))
        + " runs: "
        + ", ".join(f"{k} {v}" for k, v in sorted(c.items(), key=lambda x: -x[1]))
    )


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for a in ["--impl", "--case", "--group"]:
        ap.add_argument(a)
    ap.add_argument("--jobs", type=int, default=2)
    ap.add_argument("--out", default=os.path.join(HERE, "results.jsonl"))
    ap.add_argument("--resume", action="store_true", help="keep what --out has, run the rest")
    ap.add_argument("--print", action="store_true", help="only print the matrix of --out")
    for a in ["--one", "--supervise", "--child"]:
        ap.add_argument(a, nargs=2, help=argparse.SUPPRESS)
    a = ap.parse_args()
    if a.one:
        return one(*a.one)
    if a.supervise:
        return supervise(*a.supervise)
    import adapters
    import cases
    import ipc_cases

    if a.child:
        impl, scenario = a.child
        if scenario.startswith("shm"):
            return ipc_cases.run_child(adapters.KITS[impl], scenario)
        return cases.run_child(type(impl, (adapters.POOLS[impl],), {"impl": impl}), scenario)
    rows = [json.loads(x) for x in open(a.out)] if (a.resume or a.print) and os.path.exists(a.out) else []
    done = {(r["impl"], r["case"]) for r in rows}
    todo = [
        (i, c)
        for c in cases.CASES.values()
        for i in (adapters.POOLS if c.group == "pool" else adapters.KITS)
        if (not a.impl or i in a.impl.split(","))
        and (not a.case or re.search(a.case, c.name))
        and (not a.group or c.group == a.group)
        and (i, c.name) not in done
        and not a.print
    ]
    with open(a.out, "a" if a.resume or a.print else "w") as f:
        for heavy, jobs in ((False, a.jobs), (True, 1)):
            with cf.ThreadPoolExecutor(jobs) as ex:
                for r in cf.as_completed([ex.submit(launch, i, c.name) for i, c in todo if c.heavy == heavy]):
                    rows.append(r.result())
                    f.write(json.dumps(rows[-1]) + "\n")
                    f.flush()
                    print("{impl:13} {case:26} {outcome:10} {sec:5} {detail:.150}".format(**rows[-1]), flush=True)
    rank = {c: i for i, c in enumerate(cases.CASES)}
    rows.sort(key=lambda r: rank.get(r["case"], 999))
    print("\n" + matrix(rows, list(dict.fromkeys(list(adapters.POOLS) + list(adapters.KITS)))))


if __name__ == "__main__":
    main()
