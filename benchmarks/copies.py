"""`procession copy` beside what people use instead: python -m benchmarks.copies [--page docs/copy.md]

Each side is a command, from its start to its end, with a warm cache.  The sides take turns; figures are medians, but a side
that took longer than SLOW_S the first time is not run again.  Every copy goes to a folder that was never there before, after
all that was written has reached the disk: what a side leaves to be written later would otherwise be paid by the next.  Copies
of many files stay on a disk until the end: some minutes after files were deleted, ext4 takes several times as long to make
others.
The limit is a program in C with two processes (copies.c) that does less.
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
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks import copies_memory
from benchmarks.programs import file_system, put_into_page, say, seconds_of, verdicts

HERE = Path(__file__).resolve().parent
PROCESSION = "procession copy"
LIMIT = "C, two processes"
TUTORIAL = "Pool(5) and a manager's queue"
MILLION = "million"
"""The tree that is about memory."""
SLOW_S = 10

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


TREES: dict[str, Callable[[Path], None]] = {"small": make_small, "real": make_real, "large": make_large}
CONTENTS = {
    "small": "20,000 files of 1 to 20 KB",
    "real": "site-packages and /usr/share",
    "large": "3 GB in 40 files",
}
GIGABYTES = {"small": 0.3, "real": 1.2, "large": 3.2}


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
    took_s, code = seconds_of([places.get(part, part) for part in command])
    if code:
        raise RuntimeError(f"{command[0]} ended with {code}")
    if count(target) < 0.9 * count(source):  # the tutorial's program leaves out links
        raise RuntimeError(f"{command[0]} did not copy everything")
    return took_s


def put_away(target: Path, *, is_removed: bool) -> None:
    """Give back the memory that a copy took, so that the next finds what this one found."""
    if is_removed:
        shutil.rmtree(target)
        return
    os.sync()
    for _, _, names, fd in os.fwalk(target):
        for name in names:
            try:
                file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd)
            except OSError:
                continue  # a link
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def measure_tree(
    tree: str, work: Path, commands: dict[str, list[str]], *, rounds: int, is_memory: bool
) -> dict[str, float]:
    """Medians of all sides, in a folder on one file system."""
    source = work / tree
    TREES[tree](source)
    seconds: dict[str, list[float]] = {side: [] for side in commands}
    for turn in range(rounds):
        for side, command in commands.items():
            if seconds[side] and seconds[side][0] > SLOW_S:
                continue
            target = work / f"{tree} {turn} {side}"
            seconds[side].append(measure(command, source, target))
            say(f"{tree}, {side}: {seconds[side][-1]:.2f} s")
            put_away(target, is_removed=is_memory or tree == "large")
    return {side: statistics.median(times) for side, times in seconds.items()}


def table(figures: dict[str, dict[str, float]]) -> str:
    """Seconds, and in brackets how many times faster procession copy is."""
    names = list(figures)
    lines = ["| seconds | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for side in dict.fromkeys(side for column in figures.values() for side in column):
        cells = []
        for column in figures.values():
            ratio = f" ({column[side] / column[PROCESSION]:.2f})" if side in column and side != PROCESSION else ""
            cells.append(f"{column[side]:.2f}{ratio}" if side in column else "")
        name = f"**{side}**" if side == PROCESSION else side
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def columns(trees: list[str], disk: Path, memory: Path) -> list[tuple[str, Path]]:
    """Which tree is copied where, in the order in which that disturbs the next the least."""
    places = [memory] if memory.is_dir() else []
    if not places or disk.stat().st_dev != memory.stat().st_dev:
        places.append(disk)
    # Large files are of interest where they are kept, and are deleted between; nothing else may be, on a disk.
    return [(tree, place) for tree in trees for place in (places if tree != "large" else [disk])]


def check_space(folder: Path, trees: list[str], rounds: int, sides: int) -> None:
    """Before any work, whether all the copies fit."""
    needed = sum(GIGABYTES[tree] * (2 if tree == "large" else 1 + rounds * sides) for tree in trees)
    free = shutil.disk_usage(folder).free / 1e9
    if free < needed:
        raise SystemExit(f"{folder} has room for {free:.0f} GB, and {needed:.0f} are needed: name another --folder")


def run(options: argparse.Namespace, disk: Path, memory: Path) -> dict[str, dict[str, float]]:
    """All columns, by their heads."""
    limit = disk / "limit"
    if shutil.which("cc"):
        subprocess.run(["cc", "-O2", "-o", limit, HERE / "copies.c"], check=True)
    commands = {}
    for side, command in sides(limit).items():
        if options.only and side not in (PROCESSION, *options.only):
            continue
        if shutil.which(command[0]):
            commands[side] = command
        else:
            say(f"{side} is left out: there is no {'C compiler' if side == LIMIT else command[0]}")
    trees = [tree for tree in options.tree or TREES if tree in TREES]
    check_space(disk, trees, options.rounds, len(commands))
    figures: dict[str, dict[str, float]] = {}
    for tree, place in columns(trees, disk, memory):
        kind = file_system(place)
        column = measure_tree(tree, place, commands, rounds=options.rounds, is_memory=place == memory)
        figures[f"{CONTENTS[tree]}, {kind}"] = column
        ratios = {side: seconds / column[PROCESSION] for side, seconds in column.items()}
        print("\n".join(verdicts(f"{tree}, {kind}", ratios, GOALS[tree])), flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default="/var/tmp", help="where to copy; on the disk to be measured")
    parser.add_argument(
        "--memory", type=Path, default="/dev/shm", help="a folder in memory, for the trees of small files"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tree", action="append", choices=[*TREES, MILLION], help="only this; may be repeated")
    parser.add_argument("--only", action="append", help="sides to measure, besides procession copy")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--page", type=Path, help="write the tables into this page, between their marks")
    options = parser.parse_args()
    with ExitStack() as stack:
        disk, memory = (
            Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix="copies-")))
            for folder in (options.folder, options.memory if options.memory.is_dir() else options.folder)
        )
        speeds = run(options, disk, memory)
        peaks = {}
        if not options.tree or MILLION in options.tree:
            peaks = copies_memory.measure(memory)
            print(copies_memory.verdict(peaks), flush=True)
        say("removing the copies")
    for mark, text in (
        ("speeds", table(speeds) if speeds else ""),
        ("memory", copies_memory.table(peaks) if peaks else ""),
    ):
        if text:
            print(f"\n{text}")
            if options.page:
                put_into_page(options.page, mark, text)
    if options.json:
        options.json.write_text(json.dumps({"seconds": speeds, "memory_mb": peaks}, indent=1))


if __name__ == "__main__":
    main()
