"""What the package looks like from outside: what an import costs, and that no module is a world of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

import procession

PACKAGE = Path(procession.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
)
HEAVY = [
    "rich",
    "typer",
    "click",
    "numpy",
    "PIL",
    "cloudpickle",
    "psutil",
    "threadpoolctl",
    "subprocess",
    "asyncio",
    "ctypes",
    "logging",
    "socketserver",
]
NEEDS = {"procession.apps.thumbnail": "PIL", "procession.apps.images": "PIL"}


def run(source):
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r})\n{source}"],
        capture_output=True,
        text=True,
        timeout=20,
    )


@pytest.mark.parametrize("module", MODULES)
def test_every_module_imports_alone(module):
    if module in NEEDS:
        pytest.importorskip(NEEDS[module])
    done = run(f"import {module}")
    assert done.returncode == 0, done.stderr


def test_importing_the_package_imports_nothing_heavy():
    done = run(f"import procession; print(*[name for name in {HEAVY} if name in sys.modules])")
    assert done.stdout.split() == [], done.stderr


def test_a_worker_imports_nothing_heavy():
    done = run(
        "import procession\n"
        "def look(_): return [name for name in HEAVY if name in sys.modules]\n"
        f"HEAVY = {[name for name in HEAVY if name not in ('subprocess', 'cloudpickle')]}\n"
        "with procession.get_context('fork').Pool(1) as pool: print(*pool.apply(look, (0,)))\n"
    )
    assert done.stdout.split() == [], done.stderr


def test_importing_the_package_is_not_much_slower_than_multiprocessing():
    """Counted in modules, which a busy machine does not change."""
    ours = run("import procession; print(len(sys.modules))")
    theirs = run("import multiprocessing.pool, multiprocessing.queues; print(len(sys.modules))")
    assert int(ours.stdout) <= int(theirs.stdout) + 40


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.p*[yx]*")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_is_too_long(path):
    if path.suffix in (".py", ".pyx", ".pxi", ".pyi"):
        assert len(path.read_text().splitlines()) <= 450


def test_public_names_are_those_of_the_standard_library():
    import multiprocessing

    assert set(procession.__all__) - {"__version__"} <= set(multiprocessing.__all__)
    for name in procession.__all__:
        assert getattr(procession, name) is not None
