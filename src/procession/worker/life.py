"""The life of a child, from its target's call to its exit code."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

from procession import _stdlib
from procession.engine import lifetime

__all__ = ["close_input", "live"]


_no_input: object = None


def close_input() -> None:
    """A child reads nothing of what is typed for its parent."""
    global _no_input
    if sys.stdin is _no_input:
        return  # the fork server has done so, or the child whose child this is
    try:
        sys.stdin.close()
        sys.stdin = _no_input = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    except (AttributeError, OSError, ValueError):
        pass


def live(run: Callable[[], object], name: str) -> int:
    """Call `run`, then what an orderly end owes; the exit code.  An uncaught exception is printed and gives 1."""
    code = 1
    _renumber_thread()
    try:
        try:
            run()
            code = 0
        finally:
            _stdlib.run_exit_hooks()
            lifetime.run_exit_callbacks()
    except SystemExit as error:
        code = exit_code(error.code)
    except BaseException:
        import traceback

        code = 1
        _complain(f"Process {name}:\n{traceback.format_exc()}")
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
    return code


def _renumber_thread() -> None:
    """After a fork the main thread has the system's number of the thread that forked; newer Pythons see to it."""
    renumber = getattr(threading.main_thread(), "_set_native_id", None)
    if renumber is not None:
        renumber()


def exit_code(code: object) -> int:
    """What ``sys.exit(code)`` gives the system; what is neither None nor a number is printed."""
    if code is None:
        return 0
    if isinstance(code, int):
        # Python itself makes all that a C long cannot hold 255.
        return int(code) if -(1 << 63) <= code < 1 << 63 else 255
    _complain(f"{code}\n")
    return 1


def _complain(text: str) -> None:
    try:
        sys.stderr.write(text)
    except (AttributeError, OSError, ValueError):
        pass  # closed, replaced, or nobody reads
