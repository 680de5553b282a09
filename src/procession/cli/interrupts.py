"""Requests to end: Ctrl-C, SIGTERM and SIGHUP are one and the same."""

import signal
import time

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE_S = 2.0
"""How long the tidying that one request brings about is not disturbed by the next; it rarely takes a tenth of that."""

_heard_s = -PATIENCE_S


def hear() -> None:
    """Have each request raise KeyboardInterrupt in the main thread, once."""
    for number in SIGNALS:
        # One that is ignored, as by nohup, stays so.
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _interrupt)


def ignore() -> None:
    """Nothing is left to interrupt."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _interrupt(number: int, frame: object) -> None:
    global _heard_s
    now_s = time.monotonic()
    if now_s - _heard_s >= PATIENCE_S:
        _heard_s = now_s
        raise KeyboardInterrupt
