"""Real programs, as they are and under ``python -m procession``: the same output, the same exit code, and how long each takes.

    python tests/compat/programs/run.py [--python PYTHON] [--only NAME] [--repeat N] [--write docs/compat.md]

Makes an environment of its own with the programs and procession in it, unless --python names one that has them.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import projects

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
METHODS = ("fork", "spawn", "forkserver")
PACKAGES = [
    "black",
    "django",
    "flake8",
    "joblib",
    "loky",
    "numpy",
    "pylint",
    "pytest",
    "pytest-xdist",
    "scikit-learn",
    "sphinx",
    "torch==2.13.0",
    "tqdm",
]
BEGIN, END = "<!-- programs -->\n", "<!-- end of programs -->\n"
LIMIT_S = 300


@dataclass(frozen=True)
class Program:
    """What is run, in a folder with `projects.write_all()` in it."""

    name: str
    arguments: list[str]
    needs: str = ""  # the module that must be there
    is_sorted: bool = False  # its lines come in any order
    makes: str = ""  # a folder that must be the same, too


def all_programs() -> Iterator[Program]:
    samples = HERE / "samples"
    for method in METHODS:
        yield Program(f"multiprocessing, {method}", [str(samples / "stdlib.py"), method])
    for method in METHODS:
        yield Program(f"concurrent.futures, {method}", [str(samples / "futures.py"), method])
    yield Program("flake8 -j 2", ["-m", "flake8", "-j", "2", "package"], "flake8")
    yield Program("pylint -j 2", ["-m", "pylint", "-j", "2", "--persistent=n", "package"], "pylint")
    yield Program("sphinx-build -j 2", ["-m", "sphinx", "-j", "2", "-E", "docs", "html"], "sphinx", makes="html")
    yield Program("black on a folder", ["-m", "black", "--workers", "2", "--diff", "package"], "black", is_sorted=True)
    for method in METHODS[:2]:
        arguments = ["site/manage.py", "test", "site", "--parallel", "2"]
        yield Program(f"Django's tests, {method}", [*arguments, "--start-method", method], "django")
    yield Program("pytest -n 2 (xdist)", ["-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "tests"], "xdist")
    for backend in ("multiprocessing", "loky", "threading"):
        yield Program(f"joblib, {backend}", [str(samples / "joblib_parallel.py"), backend], "joblib")
    yield Program("scikit-learn's grid search", [str(samples / "grid_search.py")], "sklearn")
    yield Program("tqdm's process_map", [str(samples / "process_map.py")], "tqdm")
    for method in METHODS:
        yield Program(f"PyTorch's DataLoader, {method}", [str(samples / "loader.py"), method], "torch")
    for method in METHODS:
        yield Program(f"torch.multiprocessing, {method}", [str(samples / "torch_processes.py"), method], "torch")


@dataclass(frozen=True)
class Outcome:
    """How a program ended, without what no two runs have in common."""

    code: int
    output: str
    errors: str
    made: tuple[tuple[str, bytes], ...]
    seconds: float


def run(python: str, program: Program, *, ours: bool) -> Outcome:
    """Run it in a folder of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        projects.write_all(folder)
        command = [python, *(["-m", "procession"] if ours else []), *program.arguments]
        environment = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
        start = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            stdin=subprocess.DEVNULL,
        )
        seconds = time.perf_counter() - start
        made = sorted((folder / program.makes).rglob("*.html")) if program.makes else []
        contents = tuple((str(path.relative_to(folder)), path.read_bytes()) for path in made)
        output, errors = (normal(text, folder, program) for text in (done.stdout, done.stderr))
        return Outcome(done.returncode, output, errors, contents, seconds)


def normal(text: str, folder: Path, program: Program) -> str:
    """Without paths, times and addresses."""
    text = text.replace(str(folder), "FOLDER")
    text = re.sub(r"\d+\.\d+ ?s\b|\d+\.\d+ seconds", "TIME", text)
    text = re.sub(r"\d\d:\d\d:\d\d\.\d+|\d\d:\d\d:\d\d", "TIME", text)
    text = re.sub(r"0x[0-9a-f]+|pid \d+", "NUMBER", text)
    return "\n".join(sorted(text.splitlines())) if program.is_sorted else text


def difference(plain: Outcome, ours: Outcome) -> str:
    """What is not the same; empty if all is."""
    for what in ("code", "output", "errors", "made"):
        one, other = getattr(plain, what), getattr(ours, what)
        if one != other:
            return f"{what}:\n  as it is: {one!r:.2000}\n  with procession: {other!r:.2000}"
    return ""


def make_environment(folder: str) -> str:
    """The Python of a new environment with everything in it."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(Path(folder) / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(ROOT), *PACKAGES], check=True)
    return python


def has(python: str, module: str) -> bool:
    """Whether that Python has the module."""
    return not module or subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0


def table(rows: list[tuple[str, float, float, bool]]) -> str:
    """For a page."""
    lines = ["| program | as it is | with procession | | same |", "|---|---:|---:|---:|---|"]
    for name, plain, ours, is_same in rows:
        lines.append(f"| {name} | {plain:.2f} s | {ours:.2f} s | {ours / plain:.2f} | {'yes' if is_same else 'NO'} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--repeat", type=int, default=3, help="runs of each, in turn; the medians count")
    parser.add_argument("--write", type=Path, help="a page that has the marks between which the table goes")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        python = options.python or make_environment(folder)
        for program in all_programs():
            if options.only and not any(word in program.name for word in options.only):
                continue
            if not has(python, program.needs):
                print(f"{program.name}: {program.needs} is not there")
                continue
            pairs = [(run(python, program, ours=False), run(python, program, ours=True)) for _ in range(options.repeat)]
            why = next(filter(None, (difference(*pair) for pair in pairs)), "")
            plain, ours = (median(pair[side].seconds for pair in pairs) for side in (0, 1))
            print(
                f"{program.name}: exit code {pairs[0][0].code}, {plain:.2f} s, {ours:.2f} s, {why or 'the same'}",
                flush=True,
            )
            rows.append((program.name, plain, ours, not why))
    print(table(rows))
    if options.write:
        text = options.write.read_text()
        before, after = text.index(BEGIN) + len(BEGIN), text.index(END)
        options.write.write_text(text[:before] + table(rows) + text[after:])
    return 0 if all(row[3] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
