"""One package under the names of another: what `installation` and `_stock` put on ``sys.meta_path``."""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Sequence

__all__ = ["Alias"]


class Alias:
    """Finds `name`, and what lies in it, as the modules that ``find(the rest of the name)`` says.

    They are the same modules, under two names: nothing is loaded twice, and their own names stay.
    """

    def __init__(self, name: str, find: Callable[[str], str | None]) -> None:
        self._name = name
        self._find = find

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        """As importlib asks."""
        if fullname != self._name and not fullname.startswith(self._name + "."):
            return None
        if self._find(fullname[len(self._name) :]) is None:
            return None
        return ModuleSpec(fullname, self)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """An empty one will do: the other takes its place."""

    def exec_module(self, module: types.ModuleType) -> None:
        """Put the module that is meant under the name that is asked for."""
        fullname = module.__name__
        meant = self._find(fullname[len(self._name) :])
        assert meant is not None
        sys.modules[fullname] = importlib.import_module(meant)
