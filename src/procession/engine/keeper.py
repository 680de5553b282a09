"""The thread that drives a pool while work is out and nobody waits for it, so that callbacks come and the dead are replaced.

It does not keep the pool alive, and it makes way for whoever wants to drive.
"""

from __future__ import annotations

import gc
import threading
import weakref

from procession.engine.clock import clock_ns, deadline_after

TYPE_CHECKING = False
if TYPE_CHECKING:
    from procession.engine.workers import Workers

__all__ = ["Keeper"]

_DELAY = 0.02  # seconds without a driver before it steps in
_TURN = 0.5  # seconds that it drives at most before it looks around


class Keeper:
    """Started with the first work that is not waited for at once.

    Attributes:
        is_idle: it sleeps until wake().
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = weakref.ref(workers, self._gone)
        self._event = threading.Event()
        self._pause = threading.Event()  # never set: for waiting
        self._soon = False
        self.is_idle = True
        threading.Thread(target=self._run, name="procession-keeper", daemon=True).start()

    def wake(self, soon: bool) -> None:
        """There may be work; with `soon`, callbacks wait for it."""
        if soon:
            self._soon = True
        self.is_idle = False
        self._event.set()

    def _gone(self, _: object) -> None:
        self._event.set()

    def _run(self) -> None:
        while True:
            self._event.wait()
            workers = self._workers()
            if workers is None or workers.is_over:
                return
            if workers.is_let_go:
                del workers
                self._finish()
                return
            if not workers.has_work():
                self._event.clear()
                self.is_idle = True
                if workers.has_work():
                    self.wake(False)
                continue
            soon, self._soon = self._soon, False
            before = workers.submitted
            if not soon:
                del workers
                self._pause.wait(_DELAY)
                workers = self._workers()
            # Who submits will wait soon, and does better undisturbed.
            if workers is not None and (soon or self._soon or before == workers.submitted):
                self._drive(workers)
            del workers

    def _finish(self) -> None:
        """The pool is gone.  Who waits for results refers to the workers; if nobody does, the collector ends them."""
        pause, began = _TURN, clock_ns()
        while (workers := self._workers()) is not None and not workers.is_over:
            if not workers.has_work():
                workers.terminate()
                return
            self._drive(workers, _DELAY)
            del workers
            self._pause.wait(_DELAY)
            if clock_ns() - began > pause * 1e9:
                gc.collect()
                pause, began = 2 * pause, clock_ns()

    def _drive(self, workers: Workers, seconds: float = _TURN) -> None:
        turns, deadline = workers.turns, deadline_after(seconds)
        if not turns.begin():
            self._pause.wait(_DELAY)  # somebody drives; look again later
            return
        turns.is_kept = True
        try:
            while not turns.is_wanted and workers.has_work() and clock_ns() < deadline and not workers.is_over:
                workers.drive(deadline)
        finally:
            turns.is_kept = turns.is_wanted = False
            turns.end()
