"""This interpreter as another one sees it: the command that starts one like it, and what that one must be told.

A frozen program is its own interpreter: it is started again, and becomes a child; see ``worker.frozen``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable

from procession import _os
from procession.errors import StartFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

__all__ = [
    "carry",
    "command_line",
    "frozen_command",
    "get_executable",
    "main_facts",
    "main_origin",
    "pending",
    "set_executable",
    "take_over",
]

_PACKAGE_PARENT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
# First on the command line of a frozen program that is to be a child: it has no -c.  Not the standard library's word for
# it: what freezes programs looks for that one, and expects the standard library's arguments behind it.
_FROZEN_MARK = "--procession-child"


# In a frozen program that was started to be a child and is not one yet: what makes it that.
pending: Callable[[], NoReturn] | None = None

_executable: str | bytes | None = None
_carried: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {}


def set_executable(exe: str | bytes | os.PathLike[str] | os.PathLike[bytes] | None) -> None:
    """The interpreter that spawn and the fork server start; None is this one's own."""
    global _executable
    _executable = os.fspath(exe) if exe is not None else None


def get_executable() -> str | bytes | None:
    """The interpreter that spawn and the fork server start."""
    return _executable if _executable is not None else sys.executable


def carry(name: str, give: Callable[[], Any], take: Callable[[Any], object]) -> None:
    """What a fresh interpreter is to take over: ``give()`` here becomes ``take(value)`` there, unless it is None.

    Both sides have registered it when the package is imported.
    """
    _carried[name] = give, take


def take_over(carried: dict[str, Any]) -> None:
    """In a fresh interpreter: be like the one that has given this."""
    for name, value in carried.items():
        _carried[name][1](value)


def command_line(module: str, numbers: Iterable[int]) -> list[str | bytes]:
    """The command that starts a fresh interpreter in which ``module.main(*numbers)`` runs.

    Raises:
        StartFailed: nobody knows where the interpreter is.
    """
    executable = get_executable()
    if not executable:
        raise StartFailed("no interpreter to start: sys.executable is empty; name one with set_executable(path)")
    arguments = [str(number) for number in numbers]
    if getattr(sys, "frozen", False):
        return [executable, _FROZEN_MARK, module, *arguments]
    import_entry = f"sys.path.append({_PACKAGE_PARENT!r}); from {module} import main; sys.path.pop()"
    return _os.interpreter_command(executable, f"import sys; {import_entry}; main(*sys.argv[1:])", arguments)


def frozen_command(argv: list[str] | None = None) -> list[str] | None:
    """In a frozen program that was started to be a child: the module that is to run, and its arguments."""
    if argv is None:
        argv = getattr(sys, "argv", []) if getattr(sys, "frozen", False) else []
    return argv[2:] if len(argv) > 2 and argv[1] == _FROZEN_MARK else None


def main_facts() -> dict[str, Any]:
    """What a fresh interpreter must know of this one before it can unpickle anything of the program's."""
    facts: dict[str, Any] = {
        "path": [entry if entry else os.getcwd() for entry in sys.path if isinstance(entry, str)],
        "argv": [str(argument) for argument in getattr(sys, "argv", [])],
        "folder": _current_folder(),
        "parent": os.getpid(),
        "carried": {name: value for name, (give, _) in _carried.items() if (value := give()) is not None},
    }
    origin = main_origin()
    if origin is not None:
        facts["main"] = origin
    return facts


def main_origin() -> tuple[str, str] | None:
    """Where another interpreter finds this program's main module; None if there is nothing to find.

    There is nothing of what was typed in, came by ``-c`` or a pipe, and nothing to import of a ``__main__.py``.

    ("name", its module name), ("path", its file), or ("frozen", the program that is both).
    """
    if getattr(sys, "frozen", False):
        return "frozen", str(sys.executable)
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        # A folder's or an archive's __main__ is nothing but the main part: it need not have a guard.
        return None if spec.name.rpartition(".")[2] == "__main__" else ("name", spec.name)
    path = getattr(main, "__file__", None)
    if path is None or not os.path.exists(path):  # noqa: PTH110
        return None
    return "path", os.path.abspath(path)  # noqa: PTH100


def _current_folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None
