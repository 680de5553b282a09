"""What of the standard library's ``multiprocessing.forkserver`` has an equivalent: starting the server, and its imports."""

from __future__ import annotations

from procession.engine import launch

__all__ = ["ensure_running", "set_forkserver_preload"]


class ForkServer:
    """This process's fork server."""

    @property
    def _forkserver_pid(self) -> int | None:
        return launch.fork_server_pid()

    def ensure_running(self) -> None:
        """Start it unless it runs; starting a child does so by itself."""
        launch.warm_up()

    def set_forkserver_preload(self, modules_names: list[str]) -> None:
        """What it imports before its first child; ``__main__`` stands for the main module.

        Raises:
            TypeError: these are no strings.
        """
        launch.preload(modules_names)

    def _stop(self) -> None:
        launch.stop_fork_server()


_forkserver = ForkServer()
ensure_running = _forkserver.ensure_running
set_forkserver_preload = _forkserver.set_forkserver_preload
