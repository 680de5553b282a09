"""``python -m procession X`` is ``python X``: what the program sees of itself, what it prints, and how it ends."""

import os
import py_compile
import re
import signal
import zipfile

import pytest

# What a main module can see of itself, but for procession.
LOOK = """
import sys, os
frame = sys._getframe()
print(sorted((name, str(value)) for name, value in globals().items() if name != "__loader__"))
print(type(__loader__).__name__, getattr(__loader__, "path", None), __spec__ and (__spec__.name, __spec__.origin))
print(sys.argv, sys.path[:2], frame.f_code.co_filename, sys.flags)
print(sys.modules["__main__"].__dict__ is globals(), sys.stdin.read())
"""
FAIL = """
def fail(what):
    raise ValueError(what)

try:
    fail("first")
except ValueError as error:
    {again}
"""
ENDS = {
    "nothing": "print('done')",
    "raises": "def f():\n    1/0\nf()\n",
    "raises from": FAIL.format(again="raise KeyError('second') from error"),
    "raises in handling": FAIL.format(again="fail('second')"),
    "raises a group": "raise ExceptionGroup('some', [ValueError(1), KeyError(2)])",
    "a syntax error": "a = 1\nif a\n    b\n",
    "an exit": "raise SystemExit",
    "an exit with a code": "import sys\nsys.exit(7)",
    "an exit with words": "import sys\nsys.exit('words')",
    "an own hook": "import sys\nsys.excepthook = lambda *of: print(of[0], of[2].tb_lineno, of[2].tb_next)\n1/0\n",
    "a hook that raises": "import sys\ndef hook(*of): raise OSError('in the hook')\nsys.excepthook = hook\n1/0\n",
    "an interrupt": "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nwhile True: pass\n",
    "an interrupt that is raised": "raise KeyboardInterrupt",
    "a signal": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
    "atexit": "import atexit\natexit.register(print, 'at the end')\n1/0\n",
    "a warning": "import warnings\nwarnings.warn('look here')\n",
    "a warning's place": "import warnings\ndef f(): warnings.warn('look there', stacklevel=2)\nf()\n",
    "its traceback": "import traceback\ntry: 1/0\nexcept Exception: traceback.print_exc()\n",
    "a thread that raises": "import threading\nt = threading.Thread(target=lambda: 1/0)\nt.start()\nt.join()\n",
}


def both(script, *arguments, flags=(), **options):
    """How a plain Python ends with these arguments, and how it does with procession."""
    plain = script.run(*flags, *arguments, **options)
    ours = script.run(*flags, "-m", "procession", *arguments, **options)
    return [(done.returncode, strip(done.stdout), strip(done.stderr)) for done in (plain, ours)]


def strip(text):
    """Without what no two runs have in common."""
    text = re.sub(r"0x[0-9a-f]+", "0x", text)
    # Of the frames below the hook one is ours.
    return re.sub(r'  File "[^"]*main_part.py", line \d+, in show\n.*\n(?: *[~^]+\n)?', "", text)


AS_MODULE = ["raises", "raises in handling", "an exit with words", "an interrupt"]
AS_CODE = ["raises", "a syntax error", "an exit with a code", "an interrupt that is raised"]


@pytest.mark.parametrize(
    ("kind", "end"),
    [("file", end) for end in ENDS] + [("module", end) for end in AS_MODULE] + [("code", end) for end in AS_CODE],
)
def test_a_program_prints_and_ends_as_it_does_without(script, kind, end):
    script.write(ENDS[end], "program.py")
    arguments = {"file": ["program.py"], "module": ["-m", "program"], "code": ["-c", ENDS[end]]}[kind]
    plain, ours = both(script, *arguments)
    assert ours == plain


def layout(script):
    for name in ("plain.py", "sub/tool.py", "package/__init__.py", "package/__main__.py", "folder/__main__.py"):
        script.write(LOOK, name)
    (script.folder / "link.py").symlink_to("sub/tool.py")
    py_compile.compile(str(script.folder / "plain.py"), str(script.folder / "compiled.pyc"))
    with zipfile.ZipFile(script.folder / "app.zip", "w") as archive:
        archive.writestr("__main__.py", LOOK)


PROGRAMS = {
    "a file": ["plain.py", "-x", "a b"],
    "a file here": ["./plain.py"],
    "a file in a folder": ["sub/tool.py", "--", "-m"],
    "a file by its way": ["sub/../plain.py"],
    "a link": ["link.py"],
    "a compiled file": ["compiled.pyc", "1"],
    "a folder": ["folder", "1"],
    "an archive": ["app.zip", "1"],
    "a module": ["-m", "plain", "-m", "x"],
    "a module in one word": ["-mplain", "x"],
    "a module in a package": ["-m", "package.__main__"],
    "a package": ["-m", "package", "x"],
    "code": ["-c", LOOK, "-c", "x"],
    "the input": ["-", "x"],
}


FLAGS = [("-P",), ("-O", "-B", "-X", "utf8")]


@pytest.mark.parametrize(
    ("what", "flags"),
    [(what, ()) for what in PROGRAMS]
    + [(what, flags) for what in ("a file", "a folder", "a module") for flags in FLAGS],
)
def test_a_program_sees_of_itself_what_it_sees_without(script, what, flags):
    layout(script)
    plain, ours = both(script, *PROGRAMS[what], flags=flags, input=LOOK)
    assert ours == plain
    assert plain[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["missing.py"],
        ["sub/missing.py"],
        ["-m", "missing"],
        ["-m", "sub.missing"],
        ["sub"],
        ["empty.zip"],
        ["-m", "unready"],
        ["-m", "json"],
    ],
    ids=" ".join,
)
def test_what_is_not_there_is_told_as_python_tells_it(script, arguments):
    script.write("", "sub/nothing")
    script.write("", "unready/__init__.py")
    with zipfile.ZipFile(script.folder / "empty.zip", "w"):
        pass
    plain, ours = both(script, *arguments)
    assert ours == plain
    assert plain[0] != 0


def test_after_an_interrupt_the_process_has_ended_of_it(script):
    script.write("import time\nprint('here', flush=True)\ntime.sleep(60)\n")
    process = script.start("-m", "procession", "program.py")
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    assert (
        err.splitlines()[1].strip().startswith('File "' + os.path.join(os.path.realpath(script.folder), "program.py"))
    )


@pytest.mark.parametrize("end", ["x = 1", "x = 1; 1/0", "x = 1; raise SystemExit(3)"])
def test_a_program_can_be_looked_at_when_it_has_ended(script, end):
    script.write(end)
    plain, ours = both(script, "program.py", flags=("-i", "-q"), input="print('x is', x, __name__)\n")
    assert ours == plain
    assert "x is 1 __main__" in plain[1]


def test_the_debugger_finds_the_frame_that_failed(script):
    script.write("def f(answer): 1/0\nf(42)\n")
    done = script.run("-i", "-q", "-m", "procession", "program.py", input="import pdb\npdb.pm()\nanswer\n")
    assert "42" in done.stdout, done.stderr


@pytest.mark.parametrize("arguments", [[], ["-x", "program.py"], ["-m"], ["-c"]], ids=" ".join)
def test_a_wrong_command_line_is_told(script, arguments):
    done = script.run("-m", "procession", *arguments)
    assert done.returncode == 2
    assert "usage: python -m procession program.py" in done.stderr


def test_help_says_what_it_is_for(script):
    done = script.run("-m", "procession", "--help")
    assert done.returncode == 0
    assert "in the place of multiprocessing" in done.stdout


def test_nothing_heavy_is_imported_for_a_program(script):
    script.write(
        "import sys, multiprocessing\n"
        "print(*[name for name in ('typing', 'inspect', 'subprocess', 'logging', 'ctypes') if name in sys.modules])\n"
    )
    plain, ours = both(script, "program.py")
    assert ours == plain
