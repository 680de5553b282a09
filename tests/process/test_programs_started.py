"""How programs are started: archives, folders, frozen ones, flags, other interpreters; and those that forget the guard."""

import os
import sys
import zipfile

import pytest

from conftest import METHODS

FRESH = ("spawn", "forkserver")

MAIN = """
import sys, procession
def triple(x): return 3 * x
if __name__ == '__main__':
    with procession.get_context(sys.argv[1]).Pool(2) as pool:
        print(pool.map(triple, [1, 2]))
    process = procession.get_context(sys.argv[1]).Process(target=triple, args=(1,)); process.start(); process.join()
    print(process.exitcode)
"""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["folder", "archive", "module"])
def test_a_main_part_in_a_folder_an_archive_or_a_module_works(script, method, kind):
    script.write(MAIN, "app/__main__.py")
    script.write(MAIN, "tool.py")
    with zipfile.ZipFile(script.folder / "app.zip", "w") as archive:
        archive.writestr("__main__.py", MAIN)
    arguments = {"folder": ["app"], "archive": ["app.zip"], "module": ["-m", "tool"]}[kind]
    done = script.run(*arguments, method)
    assert (done.stdout, done.stderr) == ("[3, 6]\n0\n", "")


@pytest.mark.parametrize("method", METHODS)
def test_a_main_py_of_a_folder_needs_no_guard(script, method):
    script.write(MAIN.replace("if __name__ == '__main__':", "if True:"), "app/__main__.py")
    done = script.run("app", method)
    assert (done.stdout, done.stderr) == ("[3, 6]\n0\n", "")


FROZEN = """#!{python}
import sys
sys.frozen = True
sys.executable = {program!r}
sys.path[:0] = {path!r}
import procession
print("main runs") if len(sys.argv) == 1 else None
FACTOR = 3
def triple(x): return FACTOR * x
class Box:
    def __init__(self, x): self.x = x
def box(x): return Box(x)
if __name__ == "__main__":
    {support}
    ctx = procession.get_context({method!r})
    with ctx.Pool(2) as pool:
        print(pool.map(triple, [1, 2]), type(pool.apply(box, (1,))) is Box)
    queue = ctx.Queue()
    process = ctx.Process(target=queue.put, args=(Box(5),)); process.start()
    print(queue.get(timeout=10).x, process.join(), process.exitcode)
"""


def freeze(script, method, support):
    program = script.folder / "frozen"
    path = [os.path.dirname(os.path.dirname(sys.modules["procession"].__file__))]
    script.write(
        FROZEN.format(python=sys.executable, program=str(program), path=path, support=support, method=method), "frozen"
    )
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("method", METHODS)
def test_a_frozen_programs_children_are_the_program_itself(script, method):
    done = script.run(freeze(script, method, "procession.freeze_support()"))
    assert (done.stdout, done.stderr) == ("main runs\n[3, 6] True\n5 None 0\n", "")


@pytest.mark.parametrize("method", FRESH)
def test_a_frozen_program_needs_no_freeze_support(script, method):
    done = script.run(freeze(script, method, "pass"))
    assert (done.stdout, done.stderr) == ("main runs\n[3, 6] True\n5 None 0\n", "")


LATE = {
    "a library": "import library as procession",
    "its guard's first line": "",
    "a function": "",
}


@pytest.mark.parametrize("where", LATE)
@pytest.mark.parametrize("method", FRESH)
def test_a_frozen_program_may_import_procession_in(script, method, where):
    program = freeze(script, method, "pass")
    script.write("from procession import *\nfrom procession import get_context\nLAST = 1\n", "library.py")
    source = program.read_text().replace("import procession\n", LATE[where] + "\n")
    if where != "a library":
        source = source.replace("    pass\n", "    import procession\n")
    if where == "a function":
        source = source.replace('if __name__ == "__main__":', "def main():") + 'if __name__ == "__main__": main()\n'
    program.write_text(source.replace("sys.path[:0] = ", f"sys.path[:0] = [{str(script.folder)!r}] + "))
    done = script.run(program)
    assert (done.stdout, done.stderr) == ("main runs\n[3, 6] True\n5 None 0\n", "")


@pytest.mark.parametrize("method", FRESH)
def test_locks_at_the_top_of_a_frozen_program_work(script, method):
    program = freeze(script, method, "pass")
    source = program.read_text().replace("FACTOR = 3", "FACTOR = 3\nLOCK = procession.Lock()")
    program.write_text(source.replace("return FACTOR * x", "\n    with LOCK: return FACTOR * x"))
    done = script.run(program)
    assert (done.stdout, done.stderr) == ("main runs\n[3, 6] True\n5 None 0\n", "")


@pytest.mark.parametrize("method", METHODS)
def test_flags_are_the_parents(script, method):
    script.write(
        "import sys, warnings, procession\n"
        "def flags(_): return tuple(sys.flags), sys._xoptions, sys.warnoptions\n"
        "if __name__ == '__main__':\n"
        "    with procession.get_context(sys.argv[1]).Pool(1) as pool:\n"
        "        print(pool.apply(flags, (0,)) == flags(0))\n"
    )
    done = script.run("-O", "-B", "-X", "dev", "-X", "utf8", "-W", "error::UserWarning", "program.py", method)
    assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.mark.parametrize("kind", ["str", "bytes", "path"])
@pytest.mark.parametrize("method", FRESH)
def test_another_interpreter_may_be_named(script, method, kind):
    wrapper = script.write(f'#!/bin/sh\necho wrapped >&2\nexec {sys.executable} "$@"\n', "wrapper")
    wrapper.chmod(0o755)
    make = {"str": "str(path)", "bytes": "os.fsencode(path)", "path": "path"}[kind]
    script.write(
        "import os, pathlib, sys, procession\n"
        "if __name__ == '__main__':\n"
        "    path = pathlib.Path('wrapper').absolute()\n"
        f"    procession.set_executable({make})\n"
        "    process = procession.get_context(sys.argv[1]).Process(target=print, args=('child',))\n"
        "    process.start(); process.join()\n"
    )
    done = script.run("program.py", method)
    assert (done.stdout, done.stderr) == ("child\n", "wrapped\n")


@pytest.mark.parametrize("method", FRESH)
def test_without_an_interpreter_the_error_says_what_to_do(script, method):
    script.write(
        "import sys\n"
        "sys.executable = None\n"
        "import procession, procession.spawn\n"
        "if __name__ == '__main__':\n"
        "    try: procession.get_context(sys.argv[1]).Process().start()\n"
        "    except procession.ProcessError as error: print(error)\n"
        "    procession.set_executable('/usr/bin/no-such-python')\n"
        "    try: procession.get_context(sys.argv[1]).Process().start()\n"
        "    except FileNotFoundError as error: print(error)\n"
        "    print(procession.active_children())\n"
    )
    done = script.run("program.py", method)
    first, second, third = done.stdout.splitlines()
    assert "set_executable(path)" in first and "no-such-python" in second and third == "[]"
    assert done.stderr == ""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stream", [0, 1, 2])
def test_a_closed_standard_stream_does_no_harm(script, method, stream):
    script.write(
        "import os, sys, procession\n"
        "def tell(path, queue):\n"
        "    queue.put('told')\n"
        "    open(path, 'w').close()\n"
        "if __name__ == '__main__':\n"
        f"    os.close({stream})\n"
        "    ctx = procession.get_context(sys.argv[1])\n"
        "    queue = ctx.Queue()\n"
        "    process = ctx.Process(target=tell, args=('here', queue)); process.start(); process.join()\n"
        "    sys.exit(0 if process.exitcode == 0 and queue.get() == 'told' else 5)\n"
    )
    done = script.run("program.py", method)
    assert (script.folder / "here").exists(), done.stderr
    # Python itself may complain at its end of a standard output that is closed.
    assert done.returncode == (120 if stream == 1 and done.returncode == 120 else 0), done.stderr


@pytest.mark.parametrize("method", FRESH)
def test_a_method_may_be_chosen_without_a_guard(script, method):
    script.write(
        "import sys, procession\n"
        "procession.set_start_method(sys.argv[1])\n"
        "def method(_): return procession.get_start_method()\n"
        "if __name__ == '__main__':\n"
        "    with procession.Pool(1) as pool: print(pool.apply(method, (0,)))\n"
    )
    done = script.run("program.py", method)
    assert (done.stdout, done.stderr) == (f"{method}\n", "")


@pytest.mark.parametrize("kind", ["Process", "three of them", "Pool"])
@pytest.mark.parametrize("method", FRESH)
def test_a_missing_guard_is_told_once_and_in_few_lines(script, method, kind):
    use = {
        "Process": "p = ctx.Process(target=print)\np.start()\np.join()\nsys.exit(p.exitcode)\n",
        "three of them": (
            "ps = [ctx.Process(target=print) for _ in range(3)]\n"
            "for p in ps: p.start()\n"
            "for p in ps: p.join()\n"
            "sys.exit([p.exitcode for p in ps] == [1, 1, 1])\n"
        ),
        "Pool": "with ctx.Pool(4) as pool: pool.map(abs, [1])\n",
    }[kind]
    script.write(f"import sys, procession\nctx = procession.get_context('{method}')\n{use}")
    done = script.run("program.py")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("a child process was started while") == 1
    assert len(done.stderr.splitlines()) < 60, done.stderr


def test_atexit_may_start_processes(script):
    script.write(
        "import atexit, procession\n"
        "def say(): print('from atexit', flush=True)\n"
        "def late():\n"
        "    process = procession.get_context('spawn').Process(target=say); process.start(); process.join()\n"
        "if __name__ == '__main__': atexit.register(late)\n"
    )
    done = script.run("program.py")
    assert (done.stdout, done.stderr) == ("from atexit\n", "")


@pytest.mark.parametrize("method", FRESH)
@pytest.mark.parametrize("first", ["multiprocessing.connection", "concurrent.futures.process", "procession"])
def test_the_order_of_imports_is_nothing_to_connections_of_the_standard_library(script, method, first):
    script.write(
        f"import sys, {first}, multiprocessing, procession\n"
        "def say(end): end.send('said')\n"
        "if __name__ == '__main__':\n"
        "    ours, theirs = multiprocessing.Pipe()\n"
        "    process = procession.get_context(sys.argv[1]).Process(target=say, args=(theirs,)); process.start()\n"
        "    print(ours.poll(10) and ours.recv(), process.join())\n"
    )
    done = script.run("program.py", method)
    assert (done.stdout, done.stderr) == ("said None\n", "")


def use_after_close(method, before=""):
    """A program that closes all descriptors that it did not open, and opens a file in their place."""
    return (
        "import os, sys, procession\n"
        "def say(): print('child', flush=True)\n"
        "if __name__ == '__main__':\n"
        f"    ctx = procession.get_context({method!r})\n"
        "    queue = ctx.Queue()\n"
        f"    {before or 'pass'}\n"
        "    os.closerange(3, 256)\n"
        "    files = [open(f'file{i}', 'w+b') for i in range(8)]\n"
        "    queue.put(bytes(40_000_000)); print(len(queue.get()), flush=True)\n"
        "    process = ctx.Process(target=say)\n"
        "    try: process.start(); process.join(); print(process.exitcode)\n"
        "    except procession.ProcessError as error: print(error)\n"
        "    print(sum(os.fstat(file.fileno()).st_size for file in files))\n"
    )


def test_a_program_that_has_closed_all_descriptors_can_fork(script):
    script.write(use_after_close("fork", "first = ctx.Process(target=say); first.start(); first.join(); first.close()"))
    done = script.run("program.py")
    assert (done.stdout, done.stderr) == ("child\n40000000\nchild\n0\n0\n", "")


@pytest.mark.parametrize("method", FRESH)
def test_a_program_that_has_closed_all_descriptors_is_told_why_it_cannot_start_another(script, method):
    script.write(use_after_close(method))
    done = script.run("program.py")
    first, why, size = done.stdout.splitlines()
    assert (first, size, done.stderr) == ("40000000", "0", "")
    assert "closed a descriptor of procession's" in why


@pytest.mark.parametrize("method", FRESH)
def test_a_missing_guard_is_told_in_the_programs_own_lines(script, method):
    script.write(f"import procession\np = procession.get_context('{method}').Process()\np.start()\np.join()\n")
    done = script.run("program.py")
    assert done.stderr.count('  File "') == 1
    assert 'program.py", line 3, in <module>' in done.stderr


@pytest.mark.parametrize(("rule", "times"), [("default", 1), ("always", 3), ("ignore", 0)])
def test_a_fork_with_threads_warns_as_often_as_the_filters_say(script, rule, times):
    script.write(
        "import threading, procession\n"
        "event = threading.Event(); threading.Thread(target=event.wait).start()\n"
        "for _ in range(3):\n"
        "    process = procession.get_context('fork').Process(); process.start(); process.join()\n"
        "event.set()\n"
    )
    done = script.run("-W", rule, "program.py")
    assert done.stderr.count("DeprecationWarning") == (times if sys.version_info >= (3, 12) else 0)


@pytest.mark.parametrize(
    "flags", [(), ("-W", "default::DeprecationWarning"), ("-W", "ignore::DeprecationWarning:__main__")]
)
def test_a_fork_beside_a_thread_warns_no_more_than_python_would(script, flags):
    script.write(
        "import threading, procession\n"
        "if __name__ == '__main__':\n"
        "    end = threading.Event()\n"
        "    threading.Thread(target=end.wait).start()\n"
        "    with procession.get_context('fork').Pool(2) as pool: print(pool.map(abs, [-1]))\n"
        "    end.set()\n"
    )
    done = script.run(*flags, "program.py")
    assert done.stdout == "[1]\n" and done.returncode == 0
    warns = sys.version_info >= (3, 12) and "default::DeprecationWarning" in flags
    assert done.stderr.count("DeprecationWarning") == done.stderr.count("multi-threaded") == warns, done.stderr
