"""`procession images` end to end, as users start it: files in, thumbnails, words and an exit code out."""

import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

pytest.importorskip("PIL")

from PIL import Image

from conftest import Script

DEADLINE_S = 60.0
PROMPT_S = 1.0
"""Ctrl-C must have ended the command by then."""


def start(*arguments: object, **options: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "procession.cli", "images", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8"}
    # A session of its own is also a process group: a signal to it is what Ctrl-C in a terminal does.
    return subprocess.Popen(command, **{**pipes, "start_new_session": True, **options})  # type: ignore[call-overload,no-any-return]


def run(*arguments: object, given: str | None = None, **options: object) -> "subprocess.CompletedProcess[str]":
    with start(*arguments, **{"stdin": subprocess.DEVNULL if given is None else subprocess.PIPE, **options}) as process:
        try:
            out, err = process.communicate(given, timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def wait_until(is_true: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    end_s = time.monotonic() + deadline_s
    while not is_true():
        assert time.monotonic() < end_s, f"{what}: not within {deadline_s} s"
        time.sleep(0.005)


def files_under(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture(scope="module")
def large_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey noise that takes about 0.1 s to decode."""
    path = tmp_path_factory.mktemp("large") / "large.jpg"
    Image.effect_noise((4000, 3000), 80).convert("RGB").save(path, quality=95)
    return path


@pytest.fixture
def slow_source(source: Path, large_image: Path) -> Path:
    """400 names of one large JPEG: tens of seconds of work."""
    for number in range(400):
        os.link(large_image, source / f"{number:04}.jpg")
    return source


@pytest.fixture
def slow_run(slow_source: Path, target: Path) -> Iterator["subprocess.Popen[str]"]:
    """The command in the middle of its work."""
    with start(slow_source, target, "--workers", 2) as process:
        try:
            wait_until(lambda: target.exists() and any(target.glob("*.jpg")), "the first thumbnail")
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def test_every_image_becomes_a_thumbnail_under_its_name(source: Path, target: Path) -> None:
    (source / "sub" / "deep").mkdir(parents=True)
    names = {"a.png", "sub/b.jpg", "sub/deep/c.webp", "sub/deep/odd\nname.gif"}
    for name in names:
        Image.new("RGB", (300, 200), "red").save(source / name)
    done = run(source, target, "--size", "60x60")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"made 4 of 4 images in [\d.]+ s, [\d.]+ images/s, .* read, .* written\n", done.stdout)
    assert files_under(target) == names
    for name in names:
        with Image.open(target / name) as image:
            assert image.size == (60, 40)


def test_bad_files_are_named_with_their_reason_and_stop_nothing(source: Path, target: Path) -> None:
    Image.new("RGB", (300, 200), "red").save(source / "good.png")
    Image.effect_noise((300, 300), 50).save(source / "whole.jpg")
    (source / "cut.jpg").write_bytes((source / "whole.jpg").read_bytes()[:-2000])
    (source / "empty.jpg").touch()
    (source / "words.jpg").write_text("not a picture")
    (source / "notes.txt").write_text("not a picture")
    (source / "broken.png").symlink_to("nowhere")
    os.mkfifo(source / "pipe.png")
    (source / ".hidden").touch()
    done = run(source, target)
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert done.stderr == ""
    assert lines[0] == "failed broken.png: cannot be opened: No such file or directory"
    assert lines[1].startswith("failed cut.jpg: cannot be decoded: image file is truncated")
    assert lines[2:6] == [
        "failed empty.jpg: empty file",
        "failed notes.txt: not an image",
        "failed pipe.png: not a file but a fifo",
        "failed words.jpg: not an image, or damaged beyond recognition",
    ]
    assert lines[6].startswith("made 2 of 8 images in ")
    assert lines[6].endswith(", 6 failed")
    assert files_under(target) == {"good.png", "whole.jpg"}


def test_an_empty_folder_says_so(source: Path, target: Path) -> None:
    done = run(source, target)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"no images in {source}\n", "")
    assert not target.exists()


def test_a_second_run_makes_only_what_is_new_or_changed_or_asked_for_otherwise(source: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (300, 200), "red").save(source / name)
    target = source / "small"  # inside the source, and not taken for a part of it
    assert run(source, target, "--size", "60x60").stdout.startswith("made 2 of 2 images")
    before = {path.name: path.stat().st_ino for path in target.iterdir()}
    again = run(source, target, "--size", "60x60")
    assert (again.returncode, again.stdout.split(" in ")[0]) == (0, "made 0 of 2 images")
    assert again.stdout.endswith(", 2 unchanged\n")
    Image.new("RGB", (200, 300), "blue").save(source / "b.png")
    assert run(source, target, "--size", "60x60").stdout.endswith(", 1 unchanged\n")
    after = {path.name: path.stat().st_ino for path in target.iterdir()}
    assert [name for name in before if before[name] != after[name]] == ["b.png"]
    assert run(source, target, "--size", "30x30").stdout.startswith("made 2 of 2 images")
    assert run(source, target, "--size", "30x30", "--force").stdout.startswith("made 2 of 2 images")
    assert files_under(source) == {"a.png", "b.png", "small/a.png", "small/b.png"}
    with Image.open(target / "b.png") as image:
        assert image.size == (20, 30)


def test_options_reach_the_thumbnails(source: Path, target: Path) -> None:
    exif = Image.Exif()
    exif[0x013B] = "somebody"
    Image.effect_noise((300, 200), 80).convert("RGB").save(source / "a.png", exif=exif)
    options = ("--size", "50x50", "--fill", "--format", "webp", "--keep-metadata", "--timeout", "0", "--memory", "0")
    sizes = []
    for quality in ("10", "90"):
        assert run(source, target, *options, "--quality", quality).returncode == 0
        with Image.open(target / "a.webp") as image:
            assert (image.format, image.size, image.getexif()[0x013B]) == ("WEBP", (50, 50), "somebody")
        sizes.append((target / "a.webp").stat().st_size)
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("is_null", [False, True])
def test_a_list_on_standard_input_is_done(is_null: bool, source: Path, target: Path) -> None:
    (source / "sub").mkdir()
    names = ["sub/a.png", "b c.png", *(["odd\nname.png"] if is_null else [])]
    for name in names:
        Image.new("RGB", (300, 200), "red").save(source / name)
    given = ("\0" if is_null else "\n").join([*names, "gone.png"])
    done = run("-", target, *(["-0"] if is_null else []), given=given, cwd=source)
    assert (done.returncode, files_under(target)) == (1, set(names))
    assert done.stdout.splitlines()[0] == "failed gone.png: cannot be opened: No such file or directory"


def test_json_has_one_line_for_each_file_and_quiet_says_only_what_failed(source: Path, target: Path) -> None:
    odd = os.fsdecode(b"caf\xe9.png")
    for name in ("a.png", odd):
        Image.new("RGB", (300, 200), "red").save(source / name)
    (source / "notes.txt").touch()
    planned = run(source, target, "--json", "--dry-run")
    assert not target.exists()
    done = run(source, target, "--json")
    quiet = run(source, target, "--quiet")
    assert [each.returncode for each in (planned, done, quiet)] == [1, 1, 1]
    statuses = [
        {line["name"]: line["status"] for line in map(json.loads, each.stdout.splitlines())} for each in (planned, done)
    ]
    assert statuses == [{"a.png": status, odd: status, "notes.txt": "failed"} for status in ("planned", "done")]
    assert (done.stderr, quiet.stdout, quiet.stderr) == ("", "", "failed notes.txt: not an image\n")
    lines = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert os.path.exists(lines[odd]["output"])


def test_a_dry_run_says_what_it_would_do(source: Path, target: Path) -> None:
    Image.new("RGB", (300, 200), "red").save(source / "a.png")
    assert run(source, target, "--dry-run").stdout == "would have made 1 of 1 images\n"


def test_what_takes_too_much_memory_fails_alone_and_says_so(source: Path, target: Path) -> None:
    Image.new("RGB", (300, 200), "red").save(source / "good.png")
    header = b"IHDR" + struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    parts = (header, b"IDAT" + zlib.compress(bytes(100_000)))
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts]
    for number in range(3):
        (source / f"bomb{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    done = run(source, target, "--memory", "200MB")
    assert done.returncode == 1
    assert done.stdout.splitlines()[:3] == [
        f"failed bomb{number}.png: needs more memory than the 200.0 MB that an image may take" for number in range(3)
    ]
    assert files_under(target) == {"good.png"}


def test_what_takes_too_long_fails_alone_and_says_so(source: Path, target: Path) -> None:
    Image.new("RGB", (30, 20), "red").save(source / "good.png")
    Image.effect_noise((1000, 1000), 50).resize((7000, 7000), Image.Resampling.NEAREST).save(
        source / "slow.png", compress_level=1
    )
    done = run(source, target, "--timeout", "0.15", "--size", "1000x1000", "--format", "webp")
    assert done.stdout.splitlines()[0] == "failed slow.png: took longer than 0.15 s"
    assert files_under(target) == {"good.webp"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{source}"], "needs IN and OUT"),
        (["{source}/missing", "{target}"], "there is no file or folder"),
        (["{source}", "{source}"], "the same folder"),
        (["{source}", "{target}", "--size", "big"], "size must be WIDTHxHEIGHT"),
        (["{source}", "{target}", "--workers", "0"], "workers must be at least 1"),
        (["{source}", "{target}", "--timeout=-1"], "timeout must be"),
        (["{source}", "{target}", "--memory", "much"], "for example 500MB"),
        (["{source}", "{target}", "--quality", "0"], "quality must be"),
        (["{source}", "{target}", "--format", "bmp"], "format must be"),
        (["{source}", "{target}", "--sise", "1x1"], "unrecognized arguments: --sise"),
        (["{source}", "{source}/a.psd"], "not a folder"),
        (["{collision}", "{target}"], "would both become"),
    ],
)
def test_wrong_use_is_told_before_anything_is_written(
    arguments: list[str], message: str, source: Path, target: Path, tmp_path: Path
) -> None:
    (source / "a.psd").touch()
    collision = tmp_path / "collision"
    collision.mkdir()
    (collision / "a.psd").touch()
    (collision / "a.psd.png").touch()
    done = run(*(argument.format(source=source, target=target, collision=collision) for argument in arguments))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not target.exists()


@pytest.mark.parametrize("end", ["Ctrl-C", "SIGTERM"])
def test_a_request_to_end_is_followed_promptly_and_it_says_what_was_done(
    end: str, slow_run: "subprocess.Popen[str]", target: Path
) -> None:
    family = psutil.Process(slow_run.pid).children(recursive=True)
    started_s = time.monotonic()
    if end == "Ctrl-C":
        os.killpg(slow_run.pid, signal.SIGINT)
    else:
        slow_run.terminate()
    out, err = slow_run.communicate(timeout=DEADLINE_S)
    assert time.monotonic() - started_s < PROMPT_S
    assert slow_run.returncode == 130
    assert re.fullmatch(r"interrupted: made \d+ of 400 images in .*, \d+ not done\n", out)
    assert "Traceback" not in err
    assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    thumbnails = files_under(target)
    assert not [name for name in thumbnails if name.startswith(".")]
    for name in thumbnails:
        with Image.open(target / name) as image:
            image.load()


def test_a_killed_worker_costs_one_image_at_most(
    slow_run: "subprocess.Popen[str]", slow_source: Path, target: Path
) -> None:
    for unneeded in sorted(slow_source.iterdir())[30:]:
        unneeded.unlink()  # shortens the run: a file that vanished is one more failure with a reason
    busy: list[psutil.Process] = []

    def find_busy_worker() -> bool:
        for process in psutil.Process(slow_run.pid).children(recursive=True):
            try:
                is_busy = any(file.path.startswith(str(slow_source)) for file in process.open_files())
            except psutil.Error:
                continue
            if is_busy:
                busy.append(process)
                return True
        return False

    wait_until(find_busy_worker, "a worker that reads an image")
    busy[0].kill()
    out, _ = slow_run.communicate(timeout=DEADLINE_S)
    assert slow_run.returncode == 1
    failures = [line for line in out.splitlines() if line.startswith("failed") and "No such file" not in line]
    assert len(failures) <= 1
    assert all("SIGKILL" in line for line in failures)
    assert len(files_under(target)) >= 30 - len(failures)
    assert not [name for name in files_under(target) if name.startswith(".")]


def test_a_run_that_was_killed_leaves_only_whole_thumbnails_and_the_next_one_goes_on(
    slow_run: "subprocess.Popen[str]", slow_source: Path, target: Path
) -> None:
    os.killpg(slow_run.pid, signal.SIGKILL)
    slow_run.communicate(timeout=DEADLINE_S)
    done_before = {name for name in files_under(target) if not name.startswith(".")}
    (target / f".procession-{slow_run.pid}-399.tmp").write_bytes(b"half")
    for unneeded in sorted(slow_source.iterdir())[20:]:
        unneeded.unlink()
    again = run(slow_source, target)
    assert again.returncode == 0
    assert f"made {20 - len(done_before)} of 20 images" in again.stdout
    assert files_under(target) == {f"{number:04}.jpg" for number in range(20)}
    for name in files_under(target):
        with Image.open(target / name) as image:
            image.load()


@pytest.mark.parametrize("no_colour", [False, True])
def test_a_terminal_sees_a_bar_with_rate_and_time_left(no_colour: bool, source: Path, target: Path) -> None:
    Image.effect_noise((2000, 1500), 80).save(source / "0.png")
    for number in range(1, 20):
        os.link(source / "0.png", source / f"{number}.png")
    controller, terminal = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "FORCE_COLOR"}}
    environment |= {"TERM": "xterm-256color", "COLUMNS": "110", **({"NO_COLOR": "1"} if no_colour else {})}
    with start(source, target, stdout=terminal, stderr=terminal, env=environment) as process:
        os.close(terminal)
        screen = b"".join(read_terminal(controller))
        assert process.wait(timeout=DEADLINE_S) == 0
    os.close(controller)
    text = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", screen).decode()
    assert re.search(r"of 20 images, [\d.]+ MB of 60.1 MB\s+[\d.]+ images/s, [\d.]+ MB/s, [\d.]+ s left", text)
    assert "made 20 of 20 images" in text
    assert (re.search(rb"\x1b\[[0-9;]*3[0-9][;m]", screen) is None) == no_colour
    assert screen.count(b"\x1b[?25h") >= screen.count(b"\x1b[?25l")  # the cursor is back


def read_terminal(controller: int) -> Iterator[bytes]:
    end_s = time.monotonic() + DEADLINE_S
    while select.select([controller], [], [], max(0.0, end_s - time.monotonic()))[0]:
        try:
            data = os.read(controller, 65536)
        except OSError:  # what Linux says when the last writer is gone
            return
        if not data:
            return
        yield data


def test_a_worker_imports_neither_rich_nor_argparse(source: Path) -> None:
    program = (
        "import sys, procession.apps.images.thumbnail; print(*sorted({'rich', 'argparse', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "PIL\n"


def test_without_pillow_the_command_says_how_to_get_it(source: Path, target: Path) -> None:
    program = (
        "import sys; sys.modules['PIL'] = None; sys.argv[1:] = ['images', 'a', 'b'];"
        "import procession.cli; procession.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'procession[images]'" in done.stderr


LIBRARY = """
import sys, procession
from procession.apps.images import make_thumbnails

if __name__ == "__main__":
    method, source, target = sys.argv[1:]
    procession.set_start_method(method)
    names = []
    result = make_thumbnails(
        source, target, size=(60, 60), workers=2, progress=lambda now: names.extend(each.name for each in now.outcomes)
    )
    print(result.done, result.failed, *sorted(names))
"""


def test_the_function_works_under_every_start_method(method: str, script: Script, source: Path, target: Path) -> None:
    for name in ("a.png", "b.webp", "c.tif"):
        Image.new("RGB", (300, 200), "red").save(source / name)
    (source / "d.jpg").write_bytes(b"no picture")
    done = script.run(script.write(LIBRARY), method, source, target)
    assert (done.stdout, done.stderr) == ("3 1 a.png b.webp c.tif d.jpg\n", "")
    assert files_under(target) == {"a.png", "b.webp", "c.tif"}
