"""A child of a frozen program is the program itself, started again: its main module runs, but not its main part.

    import procession           the shared memory is taken over, and the main module's name becomes __mp_main__
    ...                         what the module defines, it defines; its guard is not passed
    the end of the module       the process becomes the child that it was started to be

It becomes that earlier where a program calls `freeze_support()`, starts a child, or imports procession in a function only,
which is to say behind its guard.
"""

from __future__ import annotations

import atexit
import importlib
import sys

from procession.engine import memory, program

TYPE_CHECKING = False
if TYPE_CHECKING:
    import types
    from typing import Any, NoReturn

__all__ = ["become_child", "begin"]


def begin() -> None:
    """In such a child, when procession is imported."""
    command = program.frozen_command()
    assert command is not None
    _module, arena, identity, *_fds = command
    memory.attach(int(arena), int(identity))
    program.pending = become_child
    main = sys.modules["__main__"]
    frame = _frame_of(main)
    if frame is None:
        return  # procession is imported before the main module runs, and that is to say when it has come to its end
    sys.modules["__mp_main__"] = main
    main.__name__ = "__mp_main__"
    frame.f_trace = _at_end
    sys.settrace(lambda *_: None)
    atexit.register(_if_pending)  # where nothing can be traced


def _frame_of(main: types.ModuleType) -> types.FrameType | None:
    """Of the main module's code, if this is an import at its top; what is behind its guard never goes on."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        is_code_of_module = frame.f_code.co_name == "<module>"
        if is_code_of_module and frame.f_globals is vars(main):
            return frame
        if (
            not is_code_of_module
            and not frame.f_code.co_filename.startswith("<frozen ")
            and frame.f_globals is vars(main)
        ):
            become_child()
        frame = frame.f_back
    return None


def _at_end(frame: types.FrameType, event: str, _: Any) -> Any:
    if event == "return":
        become_child()
    return _at_end


def _if_pending() -> None:
    if program.pending is not None:
        become_child()


def become_child() -> NoReturn:
    """Be what the command line says for the rest of this process's life."""
    sys.settrace(None)
    program.pending = None
    command = program.frozen_command()
    assert command is not None
    module, *numbers = command
    if module == "procession.worker.server":
        from procession.worker import server  # by name, so that what freezes programs finds it

        server.main(*numbers)
    importlib.import_module(module).main(*numbers)
    raise AssertionError("a child's entry does not return")
