"""What of the standard library's ``multiprocessing.spawn`` has an equivalent: the interpreter, the main module, freezing."""

from __future__ import annotations

import os
from collections.abc import Sequence

from procession.engine import program
from procession.engine.program import get_executable, set_executable
from procession.worker import boot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "freeze_support",
    "get_command_line",
    "get_executable",
    "get_preparation_data",
    "import_main_path",
    "is_forking",
    "prepare",
    "set_executable",
]

WINEXE = WINSERVICE = False


def is_forking(argv: Sequence[str]) -> bool:
    """Whether a frozen program with this command line was started to be a child."""
    return program.frozen_command(list(argv)) is not None


def freeze_support() -> None:
    """In a child of a frozen program: do the child's work, and do not come back.  Elsewhere nothing."""
    if program.pending is not None:
        program.pending()


def get_command_line(**kwds: int) -> list[str | bytes]:
    """The command that starts a child; its numbers in the order of ``worker.boot.main``: the arena and a process slot."""
    return program.command_line("procession.worker.boot", kwds.values())


def get_preparation_data(name: str) -> dict[str, Any]:
    """What prepare() needs to make an interpreter like this one."""
    return {"name": name, **program.main_facts()}


def prepare(data: dict[str, Any]) -> None:
    """Take over another interpreter's paths, arguments, main module and settings."""
    boot.prepare(data)


def import_main_path(main_path: str) -> None:
    """Import the main module from a file, as ``__mp_main__``."""
    boot.import_main("path", os.path.abspath(main_path))  # noqa: PTH100
