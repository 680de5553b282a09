"""Fixtures for all tests: a deadline that says where everybody stood, proof that nothing is left behind, contexts and pools.

A test that is over its deadline fails (SIGALRM, in the main thread, wherever it waits).  If not even that gets through, a
watchdog process makes the run dump its stacks and end: it never hangs.
"""

from __future__ import annotations

import ctypes
import faulthandler
import functools
import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import procession
from procession import _core
from procession.engine import launch, memory
from procession.engine.workers import Workers

HERE = Path(__file__).resolve().parent
# All start methods; PROCESSION_METHODS names those to be tested ("fork,spawn"), where not all are.
METHODS = ("fork", "spawn", "forkserver")
if named := set(os.environ.get("PROCESSION_METHODS", "all").split(",")) - {"all"}:
    assert named <= set(METHODS), f"PROCESSION_METHODS is all, or some of {METHODS}; it has {named - set(METHODS)}"
    METHODS = tuple(method for method in METHODS if method in named)
DEADLINE_S = 30.0
GRACE_S = 3.0  # for what ends by itself after a test: threads that were told to, processes that were killed
sys.path.insert(0, str(HERE))  # tests/tasks.py; children take the path over

_PACKAGE_PARENT = str(Path(procession.__file__).resolve().parents[1])
_WATCHDOG = """
import os, select, signal, sys
target, limit, buffer = int(sys.argv[1]), None, b""
while True:
    if not select.select([0], [], [], limit)[0]:
        os.kill(target, signal.SIGABRT)
        sys.exit()
    data = os.read(0, 4096)
    if not data:
        sys.exit()
    buffer += data
    *lines, buffer = buffer.split(b"\\n")
    if lines:
        limit = float(lines[-1]) or None
"""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"deadline(seconds): how long the test may take, {DEADLINE_S:g} unless told")
    # A fresh interpreter that gets SIGABRT says where it stood; a forked one inherits pytest's faulthandler.
    os.environ["PYTHONFAULTHANDLER"] = "1"
    memory.ensure()


def pytest_collection_finish(session: pytest.Session) -> None:
    gc.collect()
    gc.freeze()  # what is imported by now stays: collecting is quick


# ---- what there is ----


def children_of(pid: int) -> set[int]:
    """Direct children, zombies too."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            found.update(map(int, (task / "children").read_text().split()))
        except OSError:
            pass
    return found


def descendants_of(pid: int) -> set[int]:
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        new = children_of(waiting.pop()) - found
        found |= new
        waiting += new
    return found


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False


def wait_until(is_true: Callable[[], Any], what: str = "the condition", within_s: float = 10.0) -> Any:
    """Poll until `is_true()`, which is returned; fails after `within_s` seconds."""
    end = time.monotonic() + within_s
    while not (value := is_true()):
        assert time.monotonic() < end, f"{what} did not come within {within_s:g} s"
        time.sleep(0.003)
    return value


def start(ctx: Any, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """A process of the context `ctx` that runs the function."""
    process = ctx.Process(target=function, args=arguments, **options)
    process.start()
    return process


def join_all(processes: Iterable[Any], within_s: float = 20.0) -> None:
    """Wait until all have ended well."""
    for process in processes:
        process.join(within_s)
        assert process.exitcode == 0


def _descriptors() -> dict[int, str]:
    found: dict[int, str] = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass  # the listing's own
    return found


def _fork_server() -> tuple[set[int], set[int]]:
    """Pid and descriptors of the one fork server, which lives on by intent."""
    server = launch._fork_server
    fds = {server._socket.fileno()} if server._socket is not None else set()
    if server._server is None:
        return set(), fds
    return {server._server.pid, server.spare_pid}, fds | {server._server.sentinel}


class Snapshot:
    """What this process holds of the system, apart from the fork server."""

    def __init__(self) -> None:
        pids, fds = _fork_server()
        self.descriptors = {(fd, to) for fd, to in _descriptors().items() if fd not in fds}
        self.children = children_of(os.getpid()) - pids
        self.threads = Counter(thread.name for thread in threading.enumerate())
        self.shared_files = set(os.listdir("/dev/shm"))
        self.blocks = _core.arena_facts()["blocks"]

    def growth(self, before: Snapshot) -> dict[str, object]:
        """What there is now and was not before."""
        grown = {
            "descriptors": self.descriptors - before.descriptors,
            "children": {f"{pid} {_command(pid)}" for pid in self.children - before.children},
            "threads": dict(self.threads - before.threads),
            "/dev/shm": self.shared_files - before.shared_files,
            "arena blocks": max(0, self.blocks - before.blocks),
        }
        return {what: amount for what, amount in grown.items() if amount}


def _command(pid: int) -> str:
    try:
        return (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:120] or "(zombie)"
        )
    except OSError:
        return "(gone)"


# ---- deadline ----


@pytest.fixture(scope="session")
def watchdog() -> Iterator[Callable[[float], None]]:
    """Arms a process that ends the run, with stacks, if it is not armed anew in time; 0 disarms."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", _WATCHDOG, str(os.getpid())], stdin=subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None
    stdin = process.stdin.fileno()

    def arm(seconds: float) -> None:
        os.write(stdin, b"%g\n" % seconds)

    yield arm
    process.stdin.close()
    process.wait()
    _watchdogs.discard(process.pid)


_watchdogs: set[int] = set()


@pytest.fixture(autouse=True)
def deadline(request: pytest.FixtureRequest, watchdog: Callable[[float], None]) -> Iterator[None]:
    """Fails the test when its time is over, with all stacks of this process and of all its descendants."""
    marker = request.node.get_closest_marker("deadline")
    limit: float = marker.args[0] if marker else DEADLINE_S

    def expired(number: int, frame: object) -> None:
        sys.stderr.flush()
        faulthandler.dump_traceback(file=2, all_threads=True)
        _end_descendants(signal.SIGABRT)
        pytest.fail(f"the deadline of {limit:g} s has passed; see the stacks on stderr", pytrace=True)

    previous = signal.signal(signal.SIGALRM, expired)
    # Again every few seconds, for what waits in a `finally`.
    signal.setitimer(signal.ITIMER_REAL, limit, 5.0)
    watchdog(limit + 25.0)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, previous)
    watchdog(0)


def _end_descendants(first_signal: int) -> None:
    """Descendants get `first_signal`, then SIGKILL; the watchdog has a session of its own and is spared."""
    session = os.getsid(0)
    pids = set()
    for pid in descendants_of(os.getpid()):
        try:
            if os.getsid(pid) == session or b"select.select" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                pids.add(pid)
        except OSError:
            pass
    for number in (first_signal, signal.SIGKILL):
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        end = time.monotonic() + 0.5
        while any(map(is_running, pids)) and time.monotonic() < end:
            time.sleep(0.005)


# ---- leaks ----


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    if report.failed and report.when != "teardown":
        item.stash[_FAILED] = True


_FAILED = pytest.StashKey[bool]()


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest, deadline: None) -> Iterator[None]:
    """Descriptors, children, threads, files in /dev/shm and arena blocks are no more after the test than before."""
    before = Snapshot()
    yield
    if request.node.stash.get(_FAILED, False):
        # The report holds the frames of what failed, so nothing can be said about leaks; but the next test starts clean.
        for pool in [thing for thing in gc.get_objects() if isinstance(thing, Workers)]:
            pool.terminate()
        for pid in Snapshot().children - before.children:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        procession.active_children()
        return
    request.node.funcargs.clear()  # pytest would hold the fixtures' objects for longer than the test
    end = time.monotonic() + GRACE_S
    pause = 0.001
    while True:
        procession.active_children()
        growth = Snapshot().growth(before)
        if not growth or time.monotonic() > end:
            break
        _core.process_sweep_dead()  # orphans that a test has killed: nobody else looks for them
        gc.collect()  # only now: it takes a quarter of a second where much is imported
        time.sleep(pause)  # polling, with a deadline
        pause = min(0.05, pause * 2)
    broken = _core.arena_check()
    assert not growth, f"left behind: {growth}"
    assert broken is None, f"the arena: {broken}"


# ---- what tests work with ----


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    """A start method; tests that ask for it run under each."""
    return str(request.param)


@pytest.fixture
def fresh_fork_server() -> None:
    """The fork server keeps the stderr that it was started with: with capfd it must be a new one."""
    launch.stop_fork_server()


@pytest.fixture
def ctx(method: str) -> Any:
    return procession.get_context(method)


@pytest.fixture
def pool(ctx: Any) -> Iterator[Any]:
    """Two workers."""
    with ctx.Pool(2) as pool:
        yield pool
    pool.join()


@pytest.fixture
def manager(ctx: Any) -> Iterator[Any]:
    """One whose server was started by each method."""
    with ctx.Manager() as manager:
        yield manager


@pytest.fixture
def forked_manager() -> Iterator[Any]:
    """One for tests to which the start method is all one."""
    with procession.get_context("fork").Manager() as manager:
        yield manager


class Script:
    """Programs of their own, as a user would start them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen[str]] = []

    def write(self, source: str, name: str = "program.py") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        return path

    def start(self, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        """A Python with these arguments; in a session of its own, as if in its own terminal."""
        path = os.pathsep.join([_PACKAGE_PARENT, str(HERE), os.environ.get("PYTHONPATH", "")])
        under = options.pop("under", [])  # a command that runs the Python
        process = subprocess.Popen(
            [*under, sys.executable, *map(str, arguments)],
            **{
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "text": True,
                "start_new_session": True,
                "cwd": self.folder,
                "env": {**os.environ, "PYTHONPATH": path},
                **options,
            },
        )
        self._started.append(process)
        return process

    def run(self, *arguments: object, within_s: float = 20.0, **options: Any) -> subprocess.CompletedProcess[str]:
        """The same, to its end."""
        text = options.pop("input", None)
        if text is not None:
            options["stdin"] = subprocess.PIPE
        process = self.start(*arguments, **options)
        try:
            out, err = process.communicate(text, timeout=within_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGABRT)
            try:
                out, err = process.communicate(timeout=2)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                out, err = process.communicate()
            pytest.fail(f"the program did not end within {within_s:g} s\n--- stdout\n{out}\n--- stderr\n{err}")
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def end(self) -> None:
        for process in self._started:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Script]:
    script = Script(tmp_path)
    yield script
    script.end()


class Stock:
    """Programs of another Python that know only the standard library: see stock_peer.py."""

    def __init__(self, python: str) -> None:
        self._python = python
        self._started: list[subprocess.Popen[str]] = []

    def start(self, command: str, *arguments: object) -> subprocess.Popen[str]:
        return self._start(str(HERE / "stock_peer.py"), command, *map(repr, arguments))

    def start_code(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        """A program that is not among the peer's."""
        return self._start("-c", code, *arguments)

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [self._python, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        )  # fmt: skip
        self._started.append(process)
        return process

    def run(self, command: str, *arguments: object) -> str:
        """What it prints; it must end well."""
        return self.end_of(self.start(command, *arguments))

    def end_of(self, process: subprocess.Popen[str], text: str = "") -> str:
        """What it prints to the end after it has read this."""
        out, err = process.communicate(text, timeout=20)
        assert (err, process.returncode) == ("", 0)
        return out

    def end(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()


@functools.cache
def find_python(version: str) -> str | None:
    """The first Python of this version that really runs: a version manager has entries on PATH for those not offered now."""
    named = shutil.which(f"python{version}")
    under = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
    for candidate in ([named] if named else []) + [str(path) for path in under]:
        if subprocess.run([candidate, "-c", "import multiprocessing.connection"], capture_output=True).returncode == 0:
            return candidate
    return None


@pytest.fixture(params=["3.11", "3.12", "3.13"])
def stock(request: pytest.FixtureRequest) -> Iterator[Stock]:
    """Programs of the standard library of each Python that is here."""
    python = find_python(request.param)
    if python is None:
        pytest.skip(f"there is no Python {request.param} on PATH or under ~/.pyenv")
    stock = Stock(python)
    yield stock
    stock.end()


@pytest.fixture
def subreaper() -> Iterator[None]:
    """During the test orphans become this process's children, so that it can wait for them."""
    prctl, set_child_subreaper = ctypes.CDLL(None).prctl, 36
    prctl(set_child_subreaper, 1, 0, 0, 0)
    yield
    prctl(set_child_subreaper, 0, 0, 0, 0)
