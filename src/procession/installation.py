"""Procession in the place of ``multiprocessing``, for a program and all that it starts with it.

    sys.modules   multiprocessing         -> procession
                  multiprocessing.pool    -> procession.pool            when it is asked for; see `aliases`
                  procession._stock...    -> the standard library's own, which goes on under this name

Children of every start method begin with it, before they import the program's main module.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import sys
import types
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader

from procession import _stdlib
from procession.aliases import Alias

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["install"]

_REPLACED = "multiprocessing"
_OURS = "procession"
# Whose modules keep what they have: the standard library's parts are each other's, and so are ours.
_APART = (_OURS, _REPLACED)
_FUTURES = "concurrent.futures.process"
# These go on with the standard library's: they are start methods of their own, built on what is private in it, and their
# processes are programs that procession knows nothing of.
_KEEPERS = ("joblib.externals.loky", "loky")


def install() -> None:
    """Have ``import multiprocessing``, wherever it stands, give procession: in this process and all that it starts.

    Modules that have imported it already get our functions, classes and modules in place of those that they have by name
    (``multiprocessing``, ``mp``, ``Pool``).  What they have made of them, objects and classes derived from theirs, stays as
    it is.
    """
    if _stdlib.is_aside():
        return
    sys.meta_path[:0] = [Alias(_REPLACED, _meant), _KeeperFinder]
    own = _stdlib.set_aside()
    sys.modules[_REPLACED] = sys.modules[_OURS]
    for name, _ in own:
        if name != _REPLACED:
            del sys.modules[name]
    _exchange(own)


def _meant(rest: str) -> str | None:
    """The module that is found as multiprocessing's `rest` (".pool"): ours; if we have none, the standard library's.

    Raises:
        ModuleNotFoundError: it is a name of ours only, by which it would be loaded a second time.
    """
    has_ours = importlib.util.find_spec(_OURS + rest) is not None
    if rest and not _stdlib.has_module(rest[1:]):
        if has_ours:
            raise ModuleNotFoundError(f"No module named {_REPLACED + rest!r}", name=_REPLACED + rest)
        return None
    return (_OURS if has_ours else _stdlib.ASIDE) + rest


def _exchange(own: list[tuple[str, types.ModuleType]]) -> None:
    """Give the modules that are loaded ours for what they have imported of the standard library's."""
    places: dict[int, tuple[str, str | None]] = {id(found): (name, None) for name, found in own} | {
        id(value): (name, attribute)
        for name, found in own
        for attribute, value in vars(found).items()
        if _is_its_own(found, attribute, value)
    }
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in _APART or _is_keeper(name) or not isinstance(module, types.ModuleType):
            continue
        names = vars(module)
        for attribute, value in list(names.items()):
            place = places.get(id(value))
            if place is not None:
                names[attribute] = _ours(*place, value)
    futures = sys.modules.get(_FUTURES)
    if futures is not None and not issubclass(futures._SafeQueue, futures.Queue):
        futures._SafeQueue = _derived_anew(futures._SafeQueue, futures.Queue)  # type: ignore[attr-defined]


def _is_its_own(module: types.ModuleType, attribute: str, value: Any) -> bool:
    if isinstance(value, types.MethodType):
        return module is _stdlib.package
    return isinstance(value, (type, types.FunctionType)) and value.__module__ == module.__name__


def _ours(name: str, attribute: str | None, value: Any) -> Any:
    """What stands in our module of that name for `value`; `value` if there is nothing."""
    try:
        module = importlib.import_module(name)
    except ImportError:
        return value
    return module if attribute is None else getattr(module, attribute, value)


def _derived_anew(kind: type, base: type) -> type:
    """The class `kind` as it is if derived from `base`."""
    cell = types.CellType()  # what ``super()`` without arguments looks into
    members: dict[str, Any] = {}
    for name, value in vars(kind).items():
        if name in ("__dict__", "__weakref__"):
            continue
        if isinstance(value, types.FunctionType) and "__class__" in value.__code__.co_freevars:
            value = types.FunctionType(value.__code__, value.__globals__, name, value.__defaults__, (cell,))
            value.__kwdefaults__ = vars(kind)[name].__kwdefaults__
        members[name] = value
    new = type(kind)(kind.__name__, (base,), members)
    cell.cell_contents = new
    return new


# ---- those that keep the standard library's ----


def _is_keeper(name: str) -> bool:
    return any(f"{name}.".startswith(f"{keeper}.") for keeper in _KEEPERS)


class _KeeperFinder:
    """Finds modules in which ``import multiprocessing`` is to give the standard library's."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        """As importlib asks."""
        if not _is_keeper(fullname):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _KeeperLoader(fullname, spec.loader.path)
        return spec


class _KeeperLoader(SourceFileLoader):
    def exec_module(self, module: types.ModuleType) -> None:
        """With an ``import`` of its own: code takes it from the built-in names of its module."""
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": _import_kept}
        super().exec_module(module)


def _import_kept(
    name: str, globals: Any = None, locals: Any = None, fromlist: Sequence[str] | None = (), level: int = 0
) -> Any:
    if level or not f"{name}.".startswith(f"{_REPLACED}."):
        return builtins.__import__(name, globals, locals, fromlist or (), level)
    found = builtins.__import__(_stdlib.ASIDE + name.removeprefix(_REPLACED), globals, locals, fromlist or (), 0)
    return found if fromlist else _stdlib.package
