"""How much memory `procession copy` takes, by the number of files: python -m benchmarks.copies --tree million

The trees have next to nothing in them but names: what is measured is what the program keeps for each.
"""

import os
import shutil
import sys
from pathlib import Path

from benchmarks.programs import peaks_mb, say

COUNTS = (100_000, 1_000_000)
IN_A_FOLDER = 200
MOST_GROWTH = 1.2
"""How many times as much for the most files as for the fewest is still called flat."""
HEAD = (
    "| files | folders | copied: main process, each worker, MB | found unchanged, MB | found to delete, MB |\n"
    "|---:|---:|---:|---:|---:|"
)

Peaks = tuple[float, float]


def make(root: Path, count: int, in_a_folder: int) -> None:
    """Files of 0 to 100 bytes; most have none, because each of the others takes a page of memory."""
    for first in range(0, count, in_a_folder):
        folder = root / f"{first:07}"
        folder.mkdir(parents=True)
        fd = os.open(folder, os.O_RDONLY)
        for number in range(first, min(count, first + in_a_folder)):
            file = os.open(f"a file with a number {number:07}", os.O_WRONLY | os.O_CREAT, dir_fd=fd)
            if number % 10 == 0:
                os.write(file, b"x" * (number % 101))
            os.close(file)
        os.close(fd)


def measure_tree(work: Path, count: int, in_a_folder: int) -> dict[str, Peaks]:
    """The peaks of the main process and of the largest worker when the tree is copied, copied again, and deleted."""
    source, empty, target = work / "source", work / "empty", work / "target"
    command = [sys.executable, "-m", "procession.cli", "copy", "--quiet"]
    empty.mkdir()
    make(source, count, in_a_folder)
    try:
        return {
            "copied": peaks_mb([*command, str(source), str(target)]),
            "unchanged": peaks_mb([*command, str(source), str(target)]),
            "deleted": peaks_mb([*command, "--delete", "--yes", str(empty), str(target)]),
        }
    finally:
        for folder in (source, empty, target):
            shutil.rmtree(folder)


def measure(work: Path, counts: tuple[int, ...] = COUNTS) -> dict[str, dict[str, Peaks]]:
    """By the number of files and of the folders that they are in."""
    figures = {}
    for in_a_folder in (IN_A_FOLDER, max(counts)):
        for count in counts:
            say(f"memory for {count:,} files")
            figures[f"{count:,} | {-(-count // in_a_folder):,}"] = measure_tree(work, count, in_a_folder)
    return figures


def table(figures: dict[str, dict[str, Peaks]]) -> str:
    """Markdown."""
    rows = [
        f"| {name} | {peaks['copied'][0]:.0f}, {peaks['copied'][1]:.0f} | {peaks['unchanged'][0]:.0f}"
        f" | {peaks['deleted'][0]:.0f} |"
        for name, peaks in figures.items()
    ]
    return "\n".join([HEAD, *rows])


def verdict(figures: dict[str, dict[str, Peaks]]) -> str:
    """Whether it is flat."""
    worst = max(
        max(rows[step][process] for rows in figures.values()) / min(rows[step][process] for rows in figures.values())
        for step in ("copied", "unchanged", "deleted")
        for process in (0, 1)
        if all(rows[step][process] for rows in figures.values())
    )
    is_flat = worst <= MOST_GROWTH
    return f"memory: at most {worst:.2f} times as much, goal {MOST_GROWTH:.2f}: {'yes' if is_flat else 'NO'}"
