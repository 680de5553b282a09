"""Requests to end: the first one ends the run and is never lost; those that come while it tidies up change nothing."""

import os
import signal
import time

PATIENCE_S = 2.0
"""A request this long after the first ends the tidying, too."""
NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_first_s: float | None = None
_process = 0


def hear() -> None:
    """From now on Ctrl-C and polite kills raise KeyboardInterrupt: tidy up, say what was done.

    One that is ignored, as by nohup, stays so.
    """
    global _process
    _process = os.getpid()
    for number in NUMBERS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: object) -> None:
    global _first_s
    if os.getpid() != _process:
        return  # a worker, which has its parent to end it
    now_s = time.monotonic()
    if _first_s is None:
        _first_s = now_s
    elif now_s - _first_s < PATIENCE_S:
        return
    raise KeyboardInterrupt


def raise_if_heard(progress: object = None) -> None:
    """Raise again what was raised where nothing can be: Python only prints what a hook of fork or a destructor raises."""
    if _first_s is not None:
        raise KeyboardInterrupt


def ignore() -> None:
    """All is said, and nothing is left to interrupt."""
    for number in NUMBERS:
        signal.signal(number, signal.SIG_IGN)
