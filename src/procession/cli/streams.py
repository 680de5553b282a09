"""The standard streams, whatever they are: closed, full, or read by nobody."""

import os
import sys

from procession.cli.codes import ALL_DONE, BROKEN_PIPE, SOME_FAILED


def open_streams() -> None:
    """Have standard streams that take whatever is printed."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # closed, and the next file that is opened would have its number
            fd = os.open(os.devnull, os.O_RDWR)
            if fd != number:
                os.dup2(fd, number)
                os.close(fd)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file's name must not end the run on a narrow terminal


def write_out() -> int:
    """Write what was printed, and return the exit code that comes of it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return BROKEN_PIPE
    except OSError as error:
        return tell_of_output(error)
    return ALL_DONE


def tell_of_output(error: OSError) -> int:
    """Say that standard output takes no more."""
    print(f"procession: standard output: {error.strerror}", file=sys.stderr)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or what is left would be tried again
    return SOME_FAILED
