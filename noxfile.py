"""The commands of contributors: nox -s check, test, compat, programs, core, bench, fuzz.  .ci/run calls the same."""

import nox

nox.options.sessions = ["check", "core", "test"]
nox.options.error_on_missing_interpreters = False


@nox.session
def check(session: nox.Session) -> None:
    """Style, types, rooms, and that the binding's stub tells the truth."""
    session.install(".[check]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports", "--no-logo", env={"PYTHONPATH": "src"})
    allowlist = ("--allowlist", ".ci/stub_differences", "--ignore-unused-allowlist", "--ignore-disjoint-bases")
    session.run("stubtest", "procession._core._binding", "procession.apps.copy._files", *allowlist)


@nox.session(python=["3.11", "3.12", "3.13"])
def test(session: nox.Session) -> None:
    """All tests, or those that are named, against the installed package."""
    session.install(".[test]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(python=["3.11", "3.12", "3.13"])
def compat(session: nox.Session) -> None:
    """Names, signatures, and CPython's own tests of multiprocessing under every start method."""
    session.install(".[test]")
    session.run("python", "-m", "pytest", "tests/compat", *session.posargs, env={"PROCESSION_METHODS": "all"})


@nox.session(python="3.11")
def programs(session: nox.Session) -> None:
    """Real programs as they are and under `python -m procession`, and the table of them in docs/compat.md."""
    session.run("python", "tests/compat/programs/run.py", *(session.posargs or ("--write", "docs/compat.md")))


@nox.session
def core(session: nox.Session) -> None:
    """The tests of the C core, plain and under each sanitizer."""
    session.run("tests/core/run.sh", *session.posargs, external=True)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Frames of every kind at a Listener: `nox -s fuzz -- 1000000`, with `--seed` one run again."""
    session.install(".")
    session.run("python", "tests/fuzz/fuzz_listener.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """The tables beside all peers, in docs/; or one: `-- images`, `-- copy`, `-- --only pool`, each with its options."""
    session.install(".[bench]")
    pages = {
        "": ("benchmarks", "--page", "docs", "--json", "docs/benchmarks.json"),
        "images": ("benchmarks.images", "--page", "docs/images.md"),
        "copy": ("benchmarks.copies", "--page", "docs/copy.md"),
    }
    first, *options = session.posargs or [""]
    if first not in pages:
        session.run("python", "-m", "benchmarks", *session.posargs)
        return
    for module, *page in [pages[first]] if first else pages.values():
        session.run("python", "-m", module, *(options or page))
