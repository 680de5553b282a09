"""CPython's own tests of multiprocessing pass, but for those that expect.json lists with a reason each.

They are run by a program outside of the project, ../shared/conformance/cpython_suite.py beside the checkout, or in the folder
that PROCESSION_CONFORMANCE names: it rewrites the tests that are installed with the running Python.  One start method is
judged in full and a sample of the others, unless PROCESSION_METHODS is "all".
"""

from __future__ import annotations

import fnmatch
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import METHODS, children_of, wait_until

ROOT = Path(__file__).parents[2]
CONFORMANCE = Path(os.environ.get("PROCESSION_CONFORMANCE", ROOT.parent / "shared" / "conformance"))
SUITE = CONFORMANCE / "cpython_suite.py"
EXPECT = Path(__file__).with_name("expect.json")
EXPECTED: dict[str, str] = json.loads(EXPECT.read_text())
PASSES_UNDER = "; passes under "  # and the methods or suites, after a reason that holds only for the others
IN_FULL = METHODS if os.environ.get("PROCESSION_METHODS") == "all" else METHODS[:1]  # fork is the quickest
# Where the methods differ: how processes start and what they inherit, and each kind of object on its way to a child.
SAMPLE = (
    "MiscTestCase",
    "TestCloseFds",
    "TestFlags",
    "TestNoForkBomb",
    "TestSimpleQueue",
    "TestStartMethod",
    "TestStdinBadfiledescriptor",
    "WithProcessesTestArray",
    "WithProcessesTestBarrier",
    "WithProcessesTestConnection",
    "WithProcessesTestEvent",
    "WithProcessesTestLogging",
    "WithProcessesTestPoolWorkerLifetime",
    "WithProcessesTestProcess",
    "WithProcessesTestQueue",
    "WithProcessesTestSharedCTypes",
    "WithProcessesTestSubclassingProcess",
    "WithProcessesTestValue",
)
ONE_TEST_S = 60
DEADLINE_S = 1200.0  # stock's own takes one; the suite ends what hangs
FAILS = ("fail", "error", "timeout", "crash", "missing")


def is_installed(name: str) -> bool:
    """Whether this Python came with that part of its tests; some installations leave out some or all."""
    return importlib.util.find_spec("test") is not None and importlib.util.find_spec(f"test.{name}") is not None


needs_the_suite = pytest.mark.skipif(
    not SUITE.is_file() or not is_installed("_test_multiprocessing"),
    reason=f"needs {SUITE} (PROCESSION_CONFORMANCE names another folder) and CPython's installed tests",
)


def unneeded(test: str, suite: str, method: str) -> list[str]:
    """The entries that say of a test which passes that it does not."""

    def holds(reason: str) -> bool:
        return {suite, method}.isdisjoint(reason.partition(PASSES_UNDER)[2].split(", "))

    return [pattern for pattern, reason in EXPECTED.items() if fnmatch.fnmatch(test, pattern) and holds(reason)]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the suite has to say, by test, and the temporary files that it has left."""

    outcomes: dict[str, str]
    details: dict[str, str]
    stood_in: list[str]  # names that the suite had to make up, because the package lacks them
    left: list[str]


def judge(folder: Path, *arguments: str) -> Judgement:
    report = folder / "report.json"
    with tempfile.TemporaryDirectory(prefix="judged-") as temporary:  # short, for the addresses of sockets
        command = [sys.executable, SUITE, "--package", "procession", "--expect", EXPECT, "--json", report]
        limits = ["--jobs", str(os.cpu_count() or 1), "--timeout", str(ONE_TEST_S)]
        environment = {**os.environ, "TMPDIR": temporary}
        done = subprocess.run([*command, *limits, *arguments], capture_output=True, text=True, env=environment)
        print(done.stdout, done.stderr)
        assert report.is_file(), "the suite has judged nothing"
        said = json.loads(report.read_text())
        return Judgement(said["tests"], said["details"], said["stand_ins"], os.listdir(temporary))


def let_orphans_end(before: set[int]) -> None:
    """What the suite's processes have started ends with them; its zombies come to the reaper, which is this process."""

    def have_ended() -> bool:
        for pid in children_of(os.getpid()) - before:
            os.waitpid(pid, os.WNOHANG)
        return children_of(os.getpid()) <= before

    wait_until(have_ended, "the end of all that the suite has started")


@needs_the_suite
@pytest.mark.deadline(DEADLINE_S)
@pytest.mark.parametrize("suite", ["mp", "main", "futures", "futures-own"])
def test_what_cpythons_own_tests_ask_for_is_so(tmp_path, subreaper, method, suite):
    if suite.startswith("futures") and not is_installed("test_concurrent_futures"):
        pytest.skip("this Python does not come with its tests of concurrent.futures")
    if suite.startswith("futures") and method not in IN_FULL:
        pytest.skip("not in the sample")
    before = children_of(os.getpid())
    only = [] if method in IN_FULL or suite == "main" else [f"--only={name}" for name in SAMPLE]
    judged = judge(tmp_path, "--suite", suite, "--method", method, *only)
    let_orphans_end(before)
    assert judged.outcomes
    failed = {test: judged.details[test][-2000:] for test, outcome in judged.outcomes.items() if outcome in FAILS}
    assert failed == {}
    passed = {test: unneeded(test, suite, method) for test, outcome in judged.outcomes.items() if outcome == "pass"}
    assert {test: why for test, why in passed.items() if why} == {}, "narrow these entries of expect.json, or drop them"
    assert judged.stood_in == []
    assert judged.left == []


def deliberate_differences() -> set[str]:
    """The lines of docs/compat.md, each on one line."""
    text = (ROOT / "docs" / "compat.md").read_text()
    return {
        " ".join(item.split()) for item in re.findall(r"^- (.*?)(?=^- |^\*\*|^$|\Z)", text, re.MULTILINE | re.DOTALL)
    }


@pytest.mark.parametrize("test", EXPECTED)
def test_what_is_expected_to_fail_is_private_or_a_documented_difference_or_part_two(test):
    reason = EXPECTED[test].partition(PASSES_UNDER)[0]
    assert reason in deliberate_differences() or reason.startswith(("private: ", "part two: "))


@needs_the_suite
@pytest.mark.parametrize("pattern", EXPECTED)
def test_what_is_expected_to_fail_is_a_test_of_some_python(pattern):
    known = {test for file in CONFORMANCE.glob("classes_*.json") for test in json.loads(file.read_text())}
    if not pattern.startswith("ProcessPool"):  # these are of concurrent.futures, which is not in the lists
        assert fnmatch.filter(known, pattern)
