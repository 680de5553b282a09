"""The examples do what they say, and the README shows them as they are."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ["processes", "queues", "locks", "values", "pool", "streams", "deaths"]
DEADLINE_S = 60.0

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
    closing = next(number for number in range(len(lines), 0, -1) if not lines[number - 1].startswith("# "))
    return text, "".join(f"{line.removeprefix('# ')}\n" for line in lines[closing:])


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("name", NAMES)
def test_the_example_prints_what_it_says(name: str, method: str) -> None:
    command = [sys.executable, "-c", WITH_METHOD, method, str(ROOT / "examples" / f"{name}.py")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    _, expected = parts_of(name)
    assert (run.stdout, run.stderr, run.returncode) == (expected, "", 0)


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_shows_the_example_as_it_is(name: str) -> None:
    code, _ = parts_of(name)
    assert f"```python\n{code}```" in (ROOT / "README.md").read_text()


def test_every_example_is_run() -> None:
    scripts = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert scripts - {"make_photos"} == set(NAMES)
