"""`procession copy` beside what people use instead: python -m benchmarks.copies [--page docs/copy.md]

Each side is a command, from its start to its end, with a warm cache.  The sides take turns; figures are medians.  Every copy
goes to a folder that was never there before, after all that was written has reached the disk: what a side leaves to be written
later would otherwise be paid by the next.  Copies of many files stay until the end: some minutes after files were deleted,
ext4 takes several times as long to make others.  The limit is a program in C with two processes (copies.c) that does less.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROCESSION = "procession copy"
LIMIT = "C, two processes"
TUTORIAL = "Pool(5) and a manager's queue"

COPYTREE = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2], symlinks=True)"
QUEUE = """
import os, sys
from multiprocessing import Manager, Pool

def copy_file(name, source, target, queue):
    path = os.path.join(target, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(os.path.join(source, name), "rb") as original, open(path, "wb") as copy:
        copy.write(original.read())
    queue.put(name)

if __name__ == "__main__":
    source, target = sys.argv[1:]
    names = []
    for folder, _, files in os.walk(source):
        names += [os.path.relpath(os.path.join(folder, name), source) for name in files]
    names = [name for name in names if os.path.isfile(os.path.join(source, name))]
    pool = Pool(5)
    queue = Manager().Queue()
    for name in names:
        pool.apply_async(copy_file, (name, source, target, queue))
    for done in range(1, len(names) + 1):
        queue.get()
        print(f"\\rcopied {100 * done / len(names):.2f} %", end="", file=sys.stderr)
    pool.close()
"""

GOALS: dict[str, dict[str, float]] = {
    "small": {"cp -a": 1.8, "rsync -a": 1.8, "tar pipe": 1.2, "shutil.copytree": 2.5, LIMIT: 1 / 1.5, TUTORIAL: 3},
    "large": {"cp -a": 1.4, "rsync -a": 3, "tar pipe": 1, "shutil.copytree": 1, LIMIT: 1 / 1.5, TUTORIAL: 3},
    "real": {"cp -a": 1.8, "rsync -a": 1, "tar pipe": 1, "shutil.copytree": 1, LIMIT: 1 / 1.5, TUTORIAL: 3},
}
"""How many times faster procession copy is to be."""


def make_small(root: Path) -> None:
    """20,000 files of 1 to 20 KB, 200 to a folder."""
    rng = random.Random(7)
    for number in range(20_000):
        folder = root / f"{number // 200:03}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:05}").write_bytes(rng.randbytes(rng.randrange(1000, 20_000)))


def make_large(root: Path) -> None:
    """3 GB in 40 files."""
    root.mkdir()
    data = random.Random(8).randbytes(75 << 20)
    for number in range(40):
        (root / f"{number:02}").write_bytes(data)


def make_real(root: Path) -> None:
    """This Python's packages and the system's shared files."""
    root.mkdir()
    for number, folder in enumerate((sysconfig.get_paths()["purelib"], "/usr/share")):
        subprocess.run(["cp", "-a", folder, root / f"part {number}"], check=True)


TREES: dict[str, Callable[[Path], None]] = {"small": make_small, "large": make_large, "real": make_real}


def sides(limit: Path) -> dict[str, list[str]]:
    """Command lines; SRC and DST stand for the folders."""
    return {
        PROCESSION: [sys.executable, "-m", "procession.cli", "copy", "SRC", "DST"],
        "cp -a": ["cp", "-a", "SRC", "DST"],
        "rsync -a": ["rsync", "-a", "SRC/", "DST"],
        "tar pipe": ["sh", "-c", 'mkdir "$2" && tar -C "$1" -cf - . | tar -C "$2" -xf -', "sh", "SRC", "DST"],
        "shutil.copytree": [sys.executable, "-c", COPYTREE, "SRC", "DST"],
        TUTORIAL: [sys.executable, "-c", QUEUE, "SRC", "DST"],
        LIMIT: [str(limit), "SRC", "DST", "2"],
    }


def count(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def measure(command: list[str], source: Path, target: Path) -> float:
    """Seconds for one copy to a new folder."""
    places = {"SRC": str(source), "DST": str(target), "SRC/": f"{source}/"}
    os.sync()
    started_s = time.perf_counter()
    subprocess.run(
        [places.get(part, part) for part in command],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=300,
    )
    took_s = time.perf_counter() - started_s
    if count(target) < 0.9 * count(source):  # the tutorial's program leaves out links
        raise RuntimeError(f"{command[0]} did not copy everything")
    return took_s


def table(figures: dict[str, dict[str, float]]) -> str:
    """Seconds, and in brackets how many times faster procession copy is."""
    names = list(figures)
    lines = ["| seconds | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for side in next(iter(figures.values())):
        cells = []
        for tree in names:
            ratio = figures[tree][side] / figures[tree][PROCESSION]
            cells.append(f"{figures[tree][side]:.2f}" + ("" if side == PROCESSION else f" ({ratio:.2f})"))
        name = f"**{side}**" if side == PROCESSION else side
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", default="/var/tmp", help="where to copy; on the file system to be measured")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tree", action="append", choices=list(TREES))
    parser.add_argument("--only", action="append", help="sides to measure, besides procession copy")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--page", type=Path, help="write the table into this page, between its marks")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="copies-") as name:
        work = Path(name)
        limit = work / "limit"
        subprocess.run(["cc", "-O2", "-o", limit, HERE / "copies.c"], check=True)
        commands = {
            side: command
            for side, command in sides(limit).items()
            if (not options.only or side in (PROCESSION, *options.only))
            and (shutil.which(command[0]) or Path(command[0]).exists())
        }
        figures: dict[str, dict[str, float]] = {}
        for tree in options.tree or TREES:
            source = work / tree
            TREES[tree](source)
            count(source)
            seconds: dict[str, list[float]] = {side: [] for side in commands}
            for turn in range(options.rounds):
                for side, command in commands.items():
                    target = work / f"{tree} {turn} {len(side)} {side[0]}"
                    seconds[side].append(measure(command, source, target))
                    if tree == "large":
                        shutil.rmtree(target)
            figures[tree] = {side: statistics.median(times) for side, times in seconds.items()}
            shutil.rmtree(source)
            print(table({tree: figures[tree]}), flush=True)
            for side, goal in GOALS[tree].items():
                if side in figures[tree]:
                    ratio = figures[tree][side] / figures[tree][PROCESSION]
                    print(f"{tree}, {side}: {ratio:.2f} times, goal {goal:.2f}: {'yes' if ratio >= goal else 'NO'}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))
    if options.page:
        begin, end = "<!-- speeds -->\n", "<!-- end of speeds -->"
        before, _, rest = options.page.read_text().partition(begin)
        options.page.write_text(f"{before}{begin}{table(figures)}\n{end}{rest.partition(end)[2]}")


if __name__ == "__main__":
    main()
