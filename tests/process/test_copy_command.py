"""`procession copy` as users start it: what it says, with which code it ends, and what Ctrl-C does."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import trees

DEADLINE_S = 30.0
PROMPT_S = 1.0
"""Ctrl-C must have ended the command by then."""
ON_ONE_LINE = r"[\d.]+ s, [\d.,]+ files/s, [\d.]+ [kM]?B(ytes)?/s"


def start(*arguments: object, **options: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "procession.cli", "copy", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "stdin": subprocess.DEVNULL}
    return subprocess.Popen(command, **{**pipes, "start_new_session": True, **options})  # type: ignore[call-overload,no-any-return]


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    with start(*arguments) as process:
        try:
            out, err = process.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def wait_until(is_true: Callable[[], object], what: str) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < end_s, f"{what}: not within {DEADLINE_S} s"
        time.sleep(0.002)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return trees.make_small_tree(tmp_path / "source", 60)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def test_it_copies_and_says_so_in_one_line(source: Path, target: Path) -> None:
    done = run(source, target)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(rf"copied 60 files \([\d.]+ kB\) in {ON_ONE_LINE}\n", done.stdout), done.stdout
    assert trees.differences(source, target) == []
    assert re.fullmatch(r"copied 0 files \(0 bytes\) in [\d.]+ s, 60 unchanged\n", run(source, target).stdout)


def test_failures_and_what_is_skipped_have_a_line_each(source: Path, target: Path) -> None:
    os.mkfifo(source / "pipe")
    (source / "in the\nway").write_text("x")
    (target / "in the\nway").mkdir(parents=True)
    done = run(source, target)
    first, second, last = done.stdout.splitlines()
    assert done.returncode == 1
    assert first == r"failed in the\nway: a folder is in its place in the target"
    assert second == "skipped pipe: it is a fifo"
    assert last.endswith(", 1 skipped, 1 failed")
    quiet = run(source, target, "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (1, "", first + "\n")


def test_a_dry_run_writes_nothing(source: Path, target: Path) -> None:
    done = run(source, target, "--dry-run")
    assert (done.returncode, done.stdout) == (0, "would copy 60 of 60 files\n")
    assert not target.exists()
    run(source, target)
    (target / "extra").touch()
    (source / "new").touch()
    before = sorted(target.rglob("*"))
    done = run(source, target, "-n", "--delete")
    assert done.stderr == "to be deleted, because SRC does not have it:\n  extra\n"
    assert done.stdout == "note: 1 would be deleted\nwould copy 1 of 61 files, 60 unchanged\n"
    assert sorted(target.rglob("*")) == before


def test_json_has_a_line_for_each_name_and_nothing_else(source: Path, target: Path) -> None:
    os.mkfifo(source / "pipe")
    odd = os.fsdecode(b"bad \xff\n")
    (source / odd).write_text("x")
    done = run(source, target, "--json", "--verify")
    found = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert len(found) == 62 and done.returncode == 0
    ends = {"status": "done", "source_bytes": 1, "result_bytes": 1}
    assert found[odd] == ends | {"name": odd, "xxh3_128": "5c7401c0ec22eeeeeaf06c6480b2cd11"}
    assert found["pipe"] == {"name": "pipe", "status": "skipped", "reason": "it is a fifo"}


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("option", ["--delete", "--json"])
def test_standard_streams_may_be_closed(source: Path, target: Path, closed: str, option: str) -> None:
    target.mkdir()
    (target / "extra").touch()
    line = f'exec "$@" {closed}'
    shell = ["sh", "-c", line, "sh", sys.executable, "-m", "procession.cli", "copy", source, target, option]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert (target / "extra").exists() is (option == "--json")


def test_what_can_start_no_worker_says_so_in_a_line(source: Path, target: Path) -> None:
    limit = ["prlimit", "--fsize=1000:1000", sys.executable, "-m", "procession.cli", "copy", source, target]
    done = subprocess.run(limit, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("procession: ") and done.stderr.count("\n") == 1


def test_delete_lists_and_removes_what_the_source_does_not_have(source: Path, target: Path) -> None:
    run(source, target)
    (target / "old" / "inner").mkdir(parents=True)
    (target / "old" / "inner" / "file").touch()
    (target / "folder 1" / "old").touch()
    (target / "old link").symlink_to(source, target_is_directory=True)
    (target / "kept.log").touch()
    done = run(source, target, "--delete", "--exclude", "*.log")
    assert done.stderr == ("to be deleted, because SRC does not have them:\n  folder 1/old\n  old\n  old link\n")
    assert done.stdout.endswith("60 unchanged, 3 deleted\n")
    assert trees.differences(source, target) == [f"only in {target}: 'kept.log'"]


def test_nothing_is_deleted_unless_all_was_copied(source: Path, target: Path) -> None:
    (source / "blocked").touch()
    (target / "blocked").mkdir(parents=True)
    (target / "extra").touch()
    done = run(source, target, "--delete")
    assert done.returncode == 1
    assert "note: nothing was deleted, because not everything could be copied\n" in done.stdout
    assert (target / "extra").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere", "target"), "procession: there is no folder nowhere; nothing was copied\n"),
        (("source", "source"), "procession: source and source are the same folder; choose another DST\n"),
        (("source",), "procession copy: needs SRC and DST\nTry: procession copy --help\n"),
        (("source", "target", "--exclude", "/"), "procession: a glob must name something, got '/'\n"),
    ],
)
def test_wrong_use_is_told_with_code_2(source: Path, arguments: tuple[str, ...], words: str) -> None:
    with start(*arguments, cwd=source.parent) as process:
        out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, out, err) == (2, "", words)
    assert os.listdir(source.parent) == ["source"]


@pytest.mark.parametrize("arguments", [("source", "target"), ("source", "target", "--json")])
def test_a_full_standard_output_is_told(source: Path, arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full, start(*arguments, cwd=source.parent, stdout=full) as process:
        _, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (1, "procession: standard output: No space left on device\n")
    assert {*os.listdir(source.parent)} <= {"source", "target"}


@pytest.mark.parametrize("arguments", [("source", "target"), ("source", "target", "--json"), ("--help",)])
def test_nobody_reading_ends_it_without_a_word(source: Path, arguments: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with start(*arguments, cwd=source.parent, stdout=writer) as process:
        os.close(writer)
        _, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (128 + signal.SIGPIPE, "")
    assert {*os.listdir(source.parent)} <= {"source", "target"}


@pytest.mark.parametrize("requests", [[signal.SIGINT], [signal.SIGINT] * 3, [signal.SIGHUP, signal.SIGTERM]])
def test_ctrl_c_ends_it_within_a_second_and_leaves_only_whole_files(
    tmp_path: Path, target: Path, requests: list[signal.Signals]
) -> None:
    source = trees.make_small_tree(tmp_path / "source", 100)
    data = os.urandom(10 << 20)
    for number in range(12):
        (source / f"large {number}").write_bytes(data)
    began_s = time.monotonic()
    with (tmp_path / "probe").open("wb") as probe:
        probe.write(data)
        os.fsync(probe.fileno())
    (tmp_path / "probe").unlink()
    disk_s = time.monotonic() - began_s  # no signal ends what a worker waits for while the disk writes
    with start(source, target, "--workers", 2, "--verify", "--fsync") as process:
        try:
            # In the new folder with the temporary name.
            wait_until(lambda: [*tmp_path.glob(".procession-*/*")] or process.poll() is not None, "the first file")
            interrupted_s = time.monotonic()
            for number in requests:
                os.killpg(process.pid, number)
                time.sleep(0.01)  # or they are one and the same to the kernel, too
            out, err = process.communicate(timeout=DEADLINE_S)
            took_s = time.monotonic() - interrupted_s
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert (process.returncode, err) == (130, "")
    assert out.startswith("interrupted: copied ") and out.endswith(" not done\n")
    assert took_s < PROMPT_S + 4 * disk_s
    assert sorted(os.listdir(tmp_path)) == ["source", "target"]
    for path in (path for path in target.rglob("*") if path.is_file()):
        original = source / path.relative_to(target)
        assert path.read_bytes() == original.read_bytes()
        assert path.stat().st_mtime_ns == original.stat().st_mtime_ns


# These copies are over before the first picture is due.
AT_ONCE = "from procession import cli; from procession.apps import view; view.FIRST_AFTER_S = 0.0; cli.main()"


def test_json_has_a_line_for_each_file_that_was_done_before_ctrl_c(tmp_path: Path, target: Path) -> None:
    source = trees.make_small_tree(tmp_path / "source", 3000)
    with start(source, target, "--json", "--verify", "--workers", 1) as process:
        wait_until(lambda: [*tmp_path.glob(".procession-*/*/*/*")] or process.poll() is not None, "the first file")
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    told = [outcome["name"] for outcome in map(json.loads, out.splitlines()) if outcome["status"] == "done"]
    assert sorted(told) == sorted(str(path.relative_to(target)) for path in target.rglob("file *"))


class Screen:
    """A command on a terminal of its own."""

    def __init__(self, *arguments: object, **environment: str) -> None:
        self.output = ""
        pid, self._fd = pty.fork()
        if pid == 0:
            os.environ.update({"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30", **environment})
            os.execv(sys.executable, [sys.executable, "-c", AT_ONCE, "copy", *map(str, arguments)])
        self._pid = pid

    def read_until(self, words: str) -> None:
        end_s = time.monotonic() + DEADLINE_S
        while words not in self.output:
            assert time.monotonic() < end_s, self.output
            self._read()

    def _read(self) -> bool:
        if not select.select([self._fd], [], [], 0.5)[0]:
            return True
        try:
            data = os.read(self._fd, 65536)
        except OSError:
            return False
        self.output += data.decode(errors="replace")
        return bool(data)

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def end(self) -> int:
        while self._read():
            pass
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


def test_a_terminal_shows_the_bar_and_takes_it_away(tmp_path: Path, target: Path) -> None:
    source = trees.make_small_tree(tmp_path / "source", 300)
    screen = Screen(source, target, "--workers", 2)
    screen.read_until(" files")
    assert screen.end() == 0
    assert re.search(r"\d+ of [\d,]+\+? files", screen.output)
    assert "\x1b[?25l" in screen.output and "\x1b[2K" in screen.output
    assert re.search(r"copied 300 files [^\n]*\n$", screen.output)
    plain = Screen(source, target, "--all", NO_COLOR="1")
    assert plain.end() == 0
    assert "\x1b[3" not in plain.output


@pytest.mark.parametrize(("answer", "code"), [("n", 2), ("y", 0)])
def test_a_terminal_is_asked_before_anything_is_deleted(source: Path, target: Path, answer: str, code: int) -> None:
    target.mkdir()
    (target / "extra").touch()
    screen = Screen(source, target, "--delete")
    screen.read_until("Delete them after the copy?")
    screen.type(f"{answer}\n")
    assert screen.end() == code
    assert (target / "extra").exists() == (code == 2)
    assert (target / "folder 1").exists() == (code == 0)
