"""The examples do what they say, and the README shows them as they are and lists them all."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import METHODS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DEADLINE_S = 60.0
NEEDS_PILLOW = {"make_photos"}
NAMES = sorted({path.stem for path in (ROOT / "examples").glob("*.py")} - NEEDS_PILLOW)
SHOWN = [
    "processes",
    "queues",
    "locks",
    "values",
    "shared_object",
    "numpy_arrays",
    "pool",
    "streams",
    "deaths",
    "timeouts",
]

# Who comes first is left to the system.
ANY_ORDER = {"five_processes", "named_workers", "printing"}
SECONDS = r" +\d+\.\d\d s"
PATTERNS = {
    "pids": r"program (\d+)\nchild (?!\1\b)\d+, started by \1\n",
    "barrier": r"(\w+ is at the summit\n){3}(\w+ goes down, for all are there\n){3}",
    "ten_tasks": "".join(rf"task {number} ran on \w+PoolWorker-[123] for 0\.\d\d s\n" for number in range(10)),
    "side_by_side": r" +computing +waiting\n"
    + "".join(f"{way}{SECONDS}{SECONDS}\n" for way in ("one after the other", "processes", "threads", "asyncio")),
}

# The main module of a child is the example's file, as it is for `python examples/...`.
WITH_METHOD = """
import runpy, sys, procession
method, path = sys.argv[1:]
procession.set_start_method(method)
runpy.run_path(path, run_name="__main__")
"""


def parts_of(name: str) -> tuple[str, str]:
    """The code of an example without its docstring, and what it says that it prints."""
    _, _, text = (ROOT / "examples" / f"{name}.py").read_text().partition('"""\n\n')
    lines = text.rstrip().splitlines()
    closing = next(number for number in range(len(lines), 0, -1) if not lines[number - 1].startswith("#"))
    return text, "".join(f"{line.removeprefix('# ')}\n" for line in lines[closing:])


def shape_of(name: str) -> Callable[[str], object]:
    """What two runs of an example have in common."""
    if name in ANY_ORDER:
        return lambda output: sorted(output.splitlines())
    if name in PATTERNS:
        return lambda output: PATTERNS[name] if re.fullmatch(PATTERNS[name], output) else output
    return lambda output: output


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NAMES)
def test_the_example_prints_what_it_says(name: str, method: str) -> None:
    command = [sys.executable, "-c", WITH_METHOD, method, str(ROOT / "examples" / f"{name}.py")]
    # Unbuffered, the two halves of a print come apart, and with them the lines of several processes.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    run = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, env=environment)
    shape, (_, expected) = shape_of(name), parts_of(name)
    assert (shape(run.stdout), run.stderr, run.returncode) == (shape(expected), "", 0)


@pytest.mark.parametrize("name", sorted(PATTERNS))
def test_what_an_example_says_that_it_prints_is_one_of_the_possible_outputs(name: str) -> None:
    assert re.fullmatch(PATTERNS[name], parts_of(name)[1])


@pytest.mark.parametrize("name", SHOWN)
def test_the_readme_shows_the_example_as_it_is(name: str) -> None:
    code, _ = parts_of(name)
    assert f"```python\n{code}```" in README


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_points_to_the_example(name: str) -> None:
    assert f"](examples/{name}.py)" in README


@pytest.mark.parametrize("name", NAMES)
def test_no_example_hides_a_module_of_the_standard_library(name: str) -> None:
    """The folder of a script comes first on its path, and on that of its children."""
    assert name not in sys.stdlib_module_names
