"""A fresh interpreter becomes a child: attach the arena, be like the parent, run what it was given."""

from __future__ import annotations

import os
import runpy
import sys
import types
from typing import Any, NoReturn

from procession import _core
from procession.engine import codec, launch, memory

__all__ = ["import_main", "main", "prepare", "run"]


def main(arena: str, identity: str) -> NoReturn:
    """Entry of a spawned child; the arguments are numbers on its command line."""
    memory.attach(int(arena), int(identity))
    run()


def run() -> NoReturn:
    """Be the child that the boot message of this process's slot describes."""

    def body() -> int:
        message = _core.message_of_boot()
        facts = codec.decode(codec.header_of(message))
        try:
            prepare(facts)
            task = codec.decode(message)
        except BaseException:
            if facts["quiet"]:
                return 1
            raise
        del message
        return int(task())

    launch.end_process(body)


def prepare(facts: dict[str, Any]) -> None:
    """Take over the parent's paths, arguments and main module."""
    sys.path[:] = facts["path"]
    sys.argv[:] = facts["argv"]
    if facts["folder"] is not None:
        try:
            os.chdir(facts["folder"])
        except OSError:
            pass  # removed since; what needs it will say so
    if "main" in facts:
        import_main(*facts["main"])


def import_main(kind: str, where: str) -> None:
    """Import the parent's main module under the name ``__mp_main__``, so that it does not run its main part."""
    current = sys.modules["__main__"]
    if getattr(current, "__mp_origin__", None) == (kind, where):
        return  # the fork server has done so
    if kind == "path":
        stem = os.path.splitext(os.path.basename(where))[0]  # noqa: PTH119, PTH122
        # The launcher of a notebook or a shell is not the user's code.
        if stem in ("ipython", "ipython3", "jupyter", "ipykernel_launcher") and not os.path.isdir(where):  # noqa: PTH112
            return
    elif where == "procession" or where.endswith(".__main__"):
        return
    module = types.ModuleType("__mp_main__")
    launch.set_booting(True)
    try:
        if kind == "name":
            content = runpy.run_module(where, run_name="__mp_main__", alter_sys=True)
        else:
            content = runpy.run_path(where, run_name="__mp_main__")
    finally:
        launch.set_booting(False)
    module.__dict__.update(content)
    module.__mp_origin__ = (kind, where)  # type: ignore[attr-defined]
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
