"""``python -m procession program.py ...``: the program runs as ``python program.py ...`` runs it, but for multiprocessing.

It is this process's main module, in a module object of its own.  What of us is on the stack is not seen in a traceback.
"""

from __future__ import annotations

import io
import os
import sys
import types
from importlib.machinery import BuiltinImporter, SourceFileLoader, SourcelessFileLoader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["main"]

USAGE = """\
usage: python -m procession program.py [argument ...]
       python -m procession -m module [argument ...]
       python -m procession -c code [argument ...]

Runs a program with procession in the place of multiprocessing, as python itself would run it: a file, a folder or an archive
with a __main__.py, a module, a piece of code, or the standard input, which is called -.
"""


def main() -> int | None:
    """Run what the command line names; a code to exit with if there is no such thing."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="", file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    first, *rest = arguments
    if first[:2] in ("-m", "-c"):
        if not first[2:] and not rest:
            return _complain(f"argument expected for the {first} option")
        what, rest = (first[2:], rest) if first[2:] else (rest[0], rest[1:])
        _become("-m" if first[1] == "m" else "-c", rest, None if first[1] == "m" else "")
        if first[1] == "m":
            _run_module(what, True)
        else:
            _run_text(what, "<string>")
    elif first == "-":
        _become("-", rest, "")
        vars(sys.modules["__main__"]).update(__file__="<stdin>", __cached__=None)
        _run_text(sys.stdin.buffer.read(), "<stdin>")
    elif first.startswith("-"):
        return _complain(f"unknown option {first}; options of python itself come before its -m")
    else:
        return _run_path(first, rest)
    return None


def _complain(what: str) -> int:
    print(f"procession: {what}\n{USAGE}", end="", file=sys.stderr)
    return 2


def _become(argument: str, rest: list[str], folder: str | None, *, always: bool = False) -> None:
    """Take over arguments and paths, and make room for the program's main module; procession is installed from here on."""
    from procession.installation import install

    install()
    sys.argv[:] = [argument, *rest]
    if not sys.flags.safe_path:
        if folder is not None:
            sys.path[0] = folder  # for -m it is the current one, for us as for the program
    elif always and folder is not None:
        sys.path.insert(0, folder)
    module = types.ModuleType("__main__")
    vars(module).update(__loader__=BuiltinImporter, __annotations__={}, __builtins__=sys.modules["builtins"])
    _kept.append(sys.modules["__main__"])
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module


_kept: list[types.ModuleType] = []  # its names are used as long as this process lives


def _run_path(path: str, rest: list[str]) -> int | None:
    where = path if os.path.isabs(path) else os.path.join(os.getcwd(), path)  # noqa: PTH117, PTH118
    if _holds_modules(where):
        _become(path, rest, where, always=True)
        _run_module("__main__", False)
        return None
    loader: SourceFileLoader | SourcelessFileLoader
    try:
        if where.endswith(".pyc"):
            loader = SourcelessFileLoader("__main__", where)
            text: bytes | None = None
            with io.open_code(where):
                pass
        else:
            loader = SourceFileLoader("__main__", where)
            with io.open_code(where) as file:
                text = file.read()
    except OSError as error:
        print(f"{sys.orig_argv[0]}: can't open file {where!r}: [Errno {error.errno}] {error.strerror}", file=sys.stderr)
        return 2
    _become(path, rest, os.path.dirname(os.path.realpath(path)))  # noqa: PTH120
    vars(sys.modules["__main__"]).update(__file__=where, __cached__=None, __loader__=loader)
    if text is None:
        _as_main(exec, _as_main(loader.get_code, "__main__"), vars(sys.modules["__main__"]))
    else:
        _run_text(text, where)
    return None


def _holds_modules(path: str) -> bool:
    """Whether it is a folder or an archive."""
    for hook in sys.path_hooks:
        try:
            hook(path)
        except ImportError:
            continue
        return True
    return False


def _run_text(text: str | bytes, name: str) -> None:
    if name == "<string>" and sys.version_info >= (3, 13):  # whose tracebacks show the lines
        import linecache

        assert isinstance(text, str)
        linecache.cache[name] = len(text), None, [line + "\n" for line in text.splitlines()], name
    code = _as_main(compile, text, name, "exec", 0, True)
    _as_main(exec, code, vars(sys.modules["__main__"]))


def _run_module(name: str, is_named: bool) -> None:
    import runpy

    _as_main(runpy._run_module_as_main, name, is_named)  # type: ignore[attr-defined]


def _as_main(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call it; an exception that leaves it is shown without what is before the call."""
    try:
        return function(*arguments)
    except BaseException as error:
        # With -i, an exit is shown like other exceptions.
        if not isinstance(error, SystemExit) or sys.flags.inspect or os.environ.get("PYTHONINSPECT"):
            frames = error.__traceback__
            _show_from(frames.tb_next if frames is not None else None)
        raise


def _show_from(frames: types.TracebackType | None) -> None:
    """Have the interpreter, which is about to end of an exception, show these frames only."""
    hook = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, _: types.TracebackType | None) -> None:
        sys.excepthook = hook
        sys.last_traceback = frames
        hook(kind, error.with_traceback(frames), frames)

    sys.excepthook = show
