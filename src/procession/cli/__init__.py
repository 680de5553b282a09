"""The command `procession`: parse, plan, run, report; a module here for each program.

    0  all done          1  some files failed          2  wrong use, nothing done          130  interrupted

A spawned worker imports this module again with its `__main__`, so click, rich and the programs are imported in functions
only.
"""

import os
import signal
import sys
from typing import NoReturn

from procession.cli.codes import INTERRUPTED


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        open_closed_streams()
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # a file's name must not end the run on a narrow terminal
        for number in (signal.SIGTERM, signal.SIGHUP):
            # One that is ignored, as by nohup, stays so.
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, interrupt)
        from procession.cli.programs import Programs
        from procession.cli.telling import run_command

        code = run_command(Programs(), "procession", sys.argv[1:])
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        code = close_broken_output()
    sys.exit(code)


def open_closed_streams() -> None:
    """Standard streams that were closed by who started the command lead nowhere: no other file may take their places."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (it stays open)


def interrupt(number: int, frame: object) -> NoReturn:
    """A polite request to end is a Ctrl-C: tidy up, say what was done."""
    raise KeyboardInterrupt


def close_broken_output() -> int:
    """Nobody reads standard output any more (`procession ... | head`): end as programs in C do, without a word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE
