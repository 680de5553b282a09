"""What the benchmarks of the two programs have in common: goals, times, memory, pages, and a word for what is missing."""

import re
import subprocess
import sys
import threading
import time
from pathlib import Path

LIMIT_S = 300
"""After which a command is ended."""


def verdicts(what: str, ratios: dict[str, float], goals: dict[str, float]) -> list[str]:
    """A line for each goal that was measured: how many times as fast as a side we are, and whether that is enough."""
    return [
        f"{what}, {side}: {ratios[side]:.2f} times as fast, goal {goal:.2f}: {'yes' if ratios[side] >= goal else 'NO'}"
        for side, goal in goals.items()
        if side in ratios
    ]


def seconds_of(command: list[str]) -> tuple[float, int]:
    """How long it took, and its exit code.

    Not by `subprocess.run(..., timeout=...)`, which looks for the end every 50 ms: a tenth of what is measured here.
    """
    started_s = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        limit = threading.Timer(LIMIT_S, process.kill)
        limit.daemon = True
        limit.start()
        code = process.wait()
        took_s = time.perf_counter() - started_s
        limit.cancel()
    return took_s, code


def say(text: str) -> None:
    """To who waits; the figures go to standard output."""
    print(text, file=sys.stderr, flush=True)


def put_into_page(page: Path, mark: str, text: str) -> None:
    """Between `<!-- mark -->` and `<!-- end of mark -->`."""
    begin, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    whole, count = pattern.subn(lambda _: f"{begin}{text}\n{end}", page.read_text())
    if not count:
        raise SystemExit(f"{page} has no marks {begin.strip()} and {end}")
    page.write_text(whole)


def peaks_mb(command: list[str]) -> tuple[float, float]:
    """The most that the command's first process had resident, and the most that any that it started had."""
    import psutil

    own = others = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            own = max(own, _peak_bytes(process.pid))
            try:
                children = psutil.Process(process.pid).children(recursive=True)
            except psutil.Error:
                continue
            others = max([others, *(_peak_bytes(child.pid) for child in children)])
            time.sleep(0.02)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return own / 1e6, others / 1e6


def _peak_bytes(pid: int) -> int:
    """Its largest resident size so far; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def file_system(folder: Path) -> str:
    """Its kind: `ext4`, `tmpfs`."""
    import psutil

    path = folder.resolve()
    mounts = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
    return next((mounts[above] for above in (path, *path.parents) if above in mounts), "an unknown file system")
