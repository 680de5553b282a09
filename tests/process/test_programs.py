"""Whole programs: scripts, packages, sessions typed in by hand."""

import pytest

from conftest import METHODS

FRESH = ("spawn", "forkserver")


@pytest.mark.parametrize("method", METHODS)
def test_functions_of_a_script_work(script, method):
    script.write(
        "import sys, procession\n"
        "def square(x): return x * x\n"
        "class Point:\n"
        "    def __init__(self, x): self.x = x\n"
        "def move(p): return Point(p.x + 1)\n"
        "if __name__ == '__main__':\n"
        "    procession.freeze_support()\n"
        "    procession.set_start_method(sys.argv[1])\n"
        "    assert procession.get_start_method() == sys.argv[1]\n"
        "    with procession.Pool(2) as pool:\n"
        "        print(pool.map(square, range(5)), pool.apply(move, (Point(1),)).x,\n"
        "              type(pool.apply(move, (Point(1),))) is Point)\n"
        "    queue = procession.Queue()\n"
        "    process = procession.Process(target=queue.put, args=(square(3),)); process.start()\n"
        "    print(queue.get(), process.join(), process.exitcode)\n"
    )
    done = script.run("program.py", method)
    assert (done.stdout, done.stderr) == ("[0, 1, 4, 9, 16] 2 True\n9 None 0\n", "")


@pytest.mark.parametrize("method", METHODS)
def test_functions_and_classes_defined_under_the_guard_work(script, method):
    script.write(
        "import sys, procession\n"
        "if __name__ == '__main__':\n"
        "    factor = 3\n"
        "    def scale(x): return factor * x\n"
        "    class Box:\n"
        "        def __init__(self, x): self.x = x\n"
        "    def unbox(box): return box.x\n"
        "    with procession.get_context(sys.argv[1]).Pool(2) as pool:\n"
        "        print(pool.map(scale, [1, 2]), pool.map(lambda x: x + factor, [1, 2]))\n"
        "        print(pool.map(unbox, [Box(1), Box(2)]))\n"
    )
    done = script.run("program.py", method)
    assert (done.stdout, done.stderr) == ("[3, 6] [4, 5]\n[1, 2]\n", "")


@pytest.mark.parametrize("method", METHODS)
def test_a_package_run_with_m_works(script, method):
    script.write("", "package/__init__.py")
    script.write("def double(x): return 2 * x\n", "package/helpers.py")
    source = (
        "import sys, procession\n"
        "from .helpers import double\n"
        "def triple(x): return 3 * x\n"
        "if __name__ == '__main__':\n"
        "    with procession.get_context(sys.argv[1]).Pool(2) as pool:\n"
        "        print(pool.map(double, [1, 2]), pool.map(triple, [1, 2]))\n"
    )
    script.write(source, "package/tool.py")
    script.write(source, "package/__main__.py")
    for name in ("package.tool", "package"):
        done = script.run("-m", name, method)
        assert (done.stdout, done.stderr) == ("[2, 4] [3, 6]\n", ""), name


SESSION = """
import procession
def square(x):
    return x * x

class Box:
    def __init__(self, x):
        self.x = x

pool = procession.get_context("METHOD").Pool(2)
print(pool.map(square, [1, 2, 3]))
print(pool.map(lambda x: x + 1, [1, 2, 3]))
print(pool.map(lambda b: b.x, [Box(1), Box(2)]), type(pool.apply(Box, (5,))) is Box)
queue = procession.Queue()
process = procession.get_context("METHOD").Process(target=lambda: queue.put("from a lambda"))
process.start()
print(queue.get(timeout=10), process.join())
pool.terminate()
pool.join()
"""
ANSWERS = ["[1, 4, 9]", "[2, 3, 4]", "[1, 2] True", "from a lambda None"]


@pytest.mark.parametrize("how", ["-i", "stdin", "-c"])
@pytest.mark.parametrize("method", METHODS)
def test_what_is_typed_in_by_hand_works(script, method, how):
    source = SESSION.replace("METHOD", method)
    if how == "-c":
        done = script.run("-c", source)
    else:
        done = script.run("-i" if how == "-i" else "-", "-q" if how == "-i" else "", input=source)
    assert done.stdout.splitlines() == ANSWERS, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("method", FRESH)
@pytest.mark.parametrize("kind", ["Process", "Pool"])
def test_a_missing_guard_gives_one_clear_error_and_no_storm(script, method, kind):
    use = {
        "Process": "p = ctx.Process(target=print); p.start(); p.join()\nprint('exit', p.exitcode)\n",
        "Pool": "with ctx.Pool(2) as pool:\n    print(pool.map(abs, [1]))\n",
    }[kind]
    script.write(f"import procession\nprint('imported')\nctx = procession.get_context('{method}')\n" + use)
    done = script.run("program.py", within_s=15)
    assert "if __name__ == '__main__':" in done.stderr
    assert done.stderr.count("RuntimeError: a child process was started") == 1, done.stderr
    if kind == "Pool":
        assert done.returncode == 1
        assert done.stdout.count("imported") <= 8


@pytest.mark.parametrize("method", METHODS)
def test_paths_arguments_and_folder_are_the_parents(script, method):
    script.write(
        "import os, sys, procession\n"
        "def facts(_): return sys.argv, os.getcwd(), 'extra' in sys.path\n"
        "if __name__ == '__main__':\n"
        "    sys.path.append('extra'); os.makedirs('sub', exist_ok=True); os.chdir('sub')\n"
        "    with procession.get_context(sys.argv[1]).Pool(1) as pool:\n"
        "        argv, folder, extra = pool.apply(facts, (0,))\n"
        "    print(argv == sys.argv, folder == os.getcwd(), extra)\n"
    )
    done = script.run("program.py", method)
    assert (done.stdout, done.stderr) == ("True True True\n", "")


@pytest.mark.parametrize("method", METHODS)
def test_what_a_child_prints_comes_out_once(script, method):
    script.write(
        "import sys, procession\n"
        "def hello(i): print('hello', i)\n"
        "if __name__ == '__main__':\n"
        "    print('before')\n"
        "    for i in range(2):\n"
        "        process = procession.get_context(sys.argv[1]).Process(target=hello, args=(i,))\n"
        "        process.start(); process.join()\n"
        "    print('after')\n"
    )
    done = script.run("program.py", method)
    # Into a pipe, what the parent has buffered comes out at its own time; but each line once.
    assert sorted(done.stdout.splitlines()) == ["after", "before", "hello 0", "hello 1"]


def test_a_method_can_be_chosen_once(script):
    script.write(
        "import procession as P\n"
        "assert P.get_start_method(allow_none=True) is None\n"
        "P.set_start_method('spawn')\n"
        "try: P.set_start_method('fork')\n"
        "except RuntimeError as error: print(error)\n"
        "P.set_start_method('fork', force=True)\n"
        "print(P.get_start_method(), P.get_context().get_start_method(), sorted(P.get_all_start_methods()))\n"
        "try: P.get_context('fork').set_start_method('spawn')\n"
        "except ValueError as error: print('ValueError')\n"
        "try: P.get_context('thread')\n"
        "except ValueError as error: print(error)\n"
    )
    done = script.run("program.py")
    assert done.stdout.splitlines() == [
        "context has already been set",
        "fork fork ['fork', 'forkserver', 'spawn']",
        "ValueError",
        "cannot find context for 'thread'",
    ], done.stderr
