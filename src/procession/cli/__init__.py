"""The command `procession`: parse, plan, run, report; a module here for each program.

    0  all done          1  some files failed          2  wrong use, nothing done          130  interrupted

A spawned worker imports this module again with its `__main__`, so argparse, rich and the programs are imported in functions
only.
"""

from __future__ import annotations

import gc
import os
import sys

from procession.cli import interrupts
from procession.cli.codes import BROKEN_PIPE, INTERRUPTED, SOME_FAILED
from procession.cli.streams import open_streams, write_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    gc.disable()  # until the program runs: what is imported is no garbage
    try:
        interrupts.hear()
        open_streams()
        from procession.cli.programs import run_command

        code = run_command(sys.argv[1:])
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        code = BROKEN_PIPE
    except OSError as error:  # not of a single file
        print(f"procession: {error}", file=sys.stderr)
        code = SOME_FAILED
    leave(code)


def leave(code: int) -> NoReturn:
    """Exit in order, but at once: to take 200 modules apart one by one would be a tenth of a short run."""
    import atexit

    interrupts.ignore()
    try:
        atexit._run_exitfuncs()
        end = write_out()
        code = code or end
    finally:
        os._exit(code)
