"""A fresh interpreter becomes a child: attach the arena, be like the parent, run what it was given."""

from __future__ import annotations

import io
import os
import sys
import types

from procession import _core
from procession.engine import codec, descriptors, fork_server, interrupts, launch, lifetime, memory, program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

__all__ = ["be_like", "has_main", "import_main", "main", "prepare", "run"]

_TOLD_ONCE_NS = 10_000_000_000  # in which several children that fail for one and the same reason say so once
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep  # noqa: PTH100, PTH120


def main(arena: str, identity: str, *fds: str) -> NoReturn:
    """Entry of a spawned child; the arguments are numbers on its command line."""
    memory.attach(int(arena), int(identity))
    given = [int(fd) for fd in fds]
    for fd in given:
        os.set_inheritable(fd, False)
    lifetime.leave_by_hand()
    run(given)


def run(fds: list[int], flags: int | None = None, facts: dict[str, Any] | None = None) -> NoReturn:
    """Be the child that the boot message of this process's slot describes, with the descriptors that it mentions.

    What the parent is like it says in its header, with the flags (see fork_server.REQUEST), unless these are given.
    """

    def body() -> int:
        message = _core.message_of_boot()
        header = codec.header_of(message)
        its_facts: dict[str, Any] = codec.decode(header) if header else facts or {}
        its_flags = its_facts["flags"] if flags is None else flags
        if not its_flags & fork_server.DEAF:
            interrupts.hear_interrupts()
        try:
            if its_facts:
                prepare(its_facts)
            if fds:
                with descriptors.arriving(fds):
                    task = codec.decode(message)
            else:
                task = codec.decode(message)
        except SystemExit:
            raise
        except BaseException as error:
            is_quiet = its_flags & fork_server.QUIET or (
                launch.is_refusal(error) and not _core.process_tells(_TOLD_ONCE_NS)
            )
            if not is_quiet:
                error.__suppress_context__ = True
                frames = _theirs(error.__traceback__)
                sys.excepthook(type(error), error.with_traceback(frames), frames)
            return 1
        del message
        return int(task())

    launch.end_process(body)


def _theirs(frames: types.TracebackType | None) -> types.TracebackType | None:
    """Without what is ours and the interpreter's own: the program's lines tell where it went wrong."""
    kept: list[types.TracebackType] = []
    while frames is not None:
        where = frames.tb_frame.f_code.co_filename
        if not where.startswith((_OURS, "<frozen ")):
            kept.append(frames)
        frames = frames.tb_next
    if not kept:
        return None
    for frame, following in zip(kept, [*kept[1:], None], strict=True):
        frame.tb_next = following
    return kept[0]


def prepare(facts: dict[str, Any]) -> None:
    """Take over the parent's paths, arguments, main module, and what else `program.carry` has been told of."""
    be_like(facts)
    if "main" in facts:
        import_main(*facts["main"])


def be_like(facts: dict[str, Any]) -> None:
    """The same but for the main module."""
    sys.path[:] = facts["path"]
    sys.argv[:] = facts["argv"]
    if facts["folder"] is not None:
        try:
            os.chdir(facts["folder"])
        except OSError:
            pass  # removed since; what needs it will say so
    program.take_over(facts["carried"])


def has_main(facts: dict[str, Any]) -> bool:
    """Whether there is no main module, or it is imported already."""
    return "main" not in facts or getattr(sys.modules["__main__"], "__mp_origin__", None) == facts["main"]


def import_main(kind: str, where: str) -> None:
    """Import the parent's main module under the name ``__mp_main__``, so that it does not run its main part."""
    if kind == "frozen":
        return  # it is the program, and has come as far as its freeze_support()
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
        if kind == "path" and where.endswith((".py", ".pyw")):
            _run_file(where, module)
        else:
            import runpy

            if kind == "name":
                vars(module).update(runpy.run_module(where, run_name="__mp_main__", alter_sys=True))
            else:
                vars(module).update(runpy.run_path(where, run_name="__mp_main__"))
    finally:
        launch.set_booting(False)
    module.__mp_origin__ = (kind, where)  # type: ignore[attr-defined]
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module


def _run_file(path: str, module: types.ModuleType) -> None:
    """As runpy.run_path() does with a file that is source, without all that `runpy` imports."""
    with io.open_code(path) as file:
        code = compile(file.read(), path, "exec")
    vars(module).update(__file__=path, __cached__=None, __package__="")
    before, arguments = sys.modules.get(module.__name__), list(sys.argv)
    sys.modules[module.__name__] = module
    sys.argv[:1] = [path]
    try:
        exec(code, vars(module))
    except BaseException:
        sys.modules.pop(module.__name__)
        if before is not None:
            sys.modules[module.__name__] = before
        raise
    finally:
        sys.argv[:1] = arguments[:1]
