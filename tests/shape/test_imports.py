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
NEEDS = {
    "procession.apps.images": "PIL",
    "procession.apps.images.plan": "PIL",
    "procession.apps.images.thumbnail": "PIL",
}


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


def test_a_pool_and_its_workers_import_nothing_that_only_describes():
    done = run(
        "import procession\n"
        "def look(_): return [name for name in ('dataclasses', 'inspect', 'typing', 'subprocess') if name in sys.modules]\n"
        "with procession.get_context('fork').Pool(1) as pool: print(*look(0), *pool.apply(look, (0,)))\n"
    )
    assert done.stdout.split() == [] and done.returncode == 0, done.stderr


# Beyond what multiprocessing itself loads: both are counted in modules, which a busy machine does not change.
LIGHT = {"__future__", "_cython", "atexit", "contextlib", "copyreg", "cython_runtime", "weakref"}
NOT_OURS = "{name.partition('_3_')[0] for name in sys.modules if not name.startswith('procession')}"


def test_importing_the_package_loads_little_that_multiprocessing_does_not():
    theirs = run(f"import multiprocessing; print(*{NOT_OURS})").stdout.split()
    ours = run(f"import procession; print(*{NOT_OURS})")
    assert set(ours.stdout.split()) - set(theirs) - LIGHT == set(), ours.stderr


def test_importing_the_package_loads_few_modules_of_its_own():
    done = run("import procession; print(sum(name.startswith('procession') for name in sys.modules))")
    assert int(done.stdout) <= 28, done.stderr


LOOK = """
import procession

def look(*_):
    import sys
    print(*[name for name in sys.modules if not name.startswith("procession")])
    print(sum(name.startswith("procession") for name in sys.modules), flush=True)

if __name__ == "__main__":
    context = procession.get_context({method!r})
    {start}
"""
START = {
    "process": "child = context.Process(target=look); child.start(); child.join()",
    "pool": "pool = context.Pool(1); pool.apply(look); pool.close(); pool.join()",
}
# The most that each may load, of the package; and what it may of others, besides what a program that imports the package has.
WORKERS = {
    "process": (30, set()),
    "pool": (45, {"warnings"}),
}


@pytest.mark.parametrize("kind", START)
def test_a_spawned_child_loads_what_it_needs_and_no_more(kind, tmp_path):
    most, others = WORKERS[kind]
    program = tmp_path / "program.py"
    program.write_text(LOOK.format(method="spawn", start=START[kind]))
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=30)
    names, count = done.stdout.splitlines()
    plain = run(f"import procession; print(*{NOT_OURS})").stdout.split()
    assert {name.partition("_3_")[0] for name in names.split()} - set(plain) - others == set(), done.stderr
    assert int(count) <= most


# What would be felt between the command and its first file; a terminal's picture is loaded when the workers work already.
DEAR = {
    "asyncio",
    "email",
    "http",
    "importlib.metadata",
    "logging",
    "numpy",
    "psutil",
    "pydantic",
    "rich",
    "ssl",
    "subprocess",
    "typer",
    "unittest",
}


def loaded_by_command(*arguments, folder):
    """The exit code of the command and the names of all modules that it has loaded."""
    program = "\n".join((
        "import atexit, sys",
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))",
        f"sys.argv[1:] = {arguments!r}",
        "from procession.cli import main",
        "main()",
    ))  # fmt: skip
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30)
    return done.returncode, set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("arguments", "program", "others"),
    [
        ("--help", "argparse", {"PIL", "procession.apps"}),
        ("copy --help", "procession.cli.copy", {"procession.cli.images", "procession.apps"}),
        (
            "copy source target",
            "procession.apps.copy",
            {"procession.apps.images", "dataclasses", "hashlib", "json", "pathlib", "random", "tempfile", "ctypes"},
        ),
        ("images --help", "procession.cli.images", {"procession.cli.copy", "procession.apps"}),
        ("images source target", "procession.apps.images", {"procession.apps.copy"}),
    ],
)
def test_a_command_loads_its_own_program_and_nothing_dear(arguments, program, others, tmp_path):
    (tmp_path / "source").mkdir()
    if program == "procession.apps.images":
        pytest.importorskip("PIL")
    code, names = loaded_by_command(*arguments.split(), folder=tmp_path)
    assert code == 0
    assert program in names
    assert (DEAR | others) & names == set()


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.p*[yx]*")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_is_too_long(path):
    if path.suffix in (".py", ".pyx", ".pxi", ".pyi"):
        assert len(path.read_text().splitlines()) <= 450


def test_public_names_are_those_of_the_standard_library():
    import multiprocessing

    assert set(procession.__all__) - {"__version__"} <= set(multiprocessing.__all__)
    for name in procession.__all__:
        assert getattr(procession, name) is not None
