"""The only file that touches the real multiprocessing: shared identity, no shared mechanism.

Other libraries ask ``isinstance(p, multiprocessing.process.BaseProcess)`` or register reducers with
``multiprocessing.reduction.ForkingPickler``; they agree with procession because the classes are the same.

Where procession has taken its place (see `installation`) the real package goes on under another name, `ASIDE`.
"""

from __future__ import annotations

import itertools
import multiprocessing as package
import pickle
import sys
import types
from collections.abc import Callable
from multiprocessing import AuthenticationError, BufferTooShort, ProcessError, TimeoutError
from multiprocessing import context as _context
from multiprocessing import process as _process
from multiprocessing.context import assert_spawning, get_spawning_popen, set_spawning_popen
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "ASIDE",
    "AuthenticationError",
    "BaseContext",
    "BaseProcess",
    "BufferTooShort",
    "ForkingPickler",
    "ProcessError",
    "TimeoutError",
    "add_reducer",
    "assert_spawning",
    "authkey",
    "get_spawning_popen",
    "has_extra_reducers",
    "has_module",
    "is_aside",
    "make_pickler",
    "manager_token",
    "module",
    "package",
    "run_exit_hooks",
    "run_fork_hooks",
    "set_aside",
    "set_current_process",
    "set_main_name",
    "set_spawning_popen",
]

BaseContext: Any = _context.BaseContext

ASIDE = "procession._stock"
_place = package.__name__

_reducers: dict[type, Callable[..., Any]] = ForkingPickler._extra_reducers  # type: ignore[attr-defined]
# What `reduction` itself registers (methods, partials, sockets) plain pickle does as well or refuses loudly.  What others
# add must be asked first: torch for its tensors, and the standard library's own connections, which plain pickle would send
# as the bare number of a descriptor.
_known_count = -1
_has_extra = False
# By type: the standard library's reducer, which would use its own means, and ours.
_own_reducers: dict[type, tuple[Callable[..., Any] | None, Callable[..., Any]]] = {}


def add_reducer(kind: type, reduce: Callable[..., Any]) -> None:
    """How our picklers take `kind` apart if plain pickle refuses it, unless a program has registered another way."""
    _own_reducers[kind] = _reducers.get(kind), reduce


def has_extra_reducers() -> bool:
    """Whether anybody has registered reducers with ForkingPickler."""
    global _known_count, _has_extra
    if len(_reducers) != _known_count:
        _known_count = len(_reducers)
        _has_extra = any(reduce.__module__ != ForkingPickler.__module__ for reduce in tuple(_reducers.values()))
    return _has_extra


def make_pickler(file: Any, buffer_callback: Callable[[pickle.PickleBuffer], Any] | None) -> ForkingPickler:
    """A pickler that knows the reducers registered with ForkingPickler, at the protocol that has buffers."""
    pickler: Any = ForkingPickler(file, 5, True, buffer_callback)
    for kind, (stock, ours) in _own_reducers.items():
        if pickler.dispatch_table.get(kind) is stock:
            pickler.dispatch_table[kind] = ours
    return pickler  # type: ignore[no-any-return]


def set_current_process(process: BaseProcess, parent: BaseProcess) -> None:
    """Tell the standard library which process this is now, and that it has no children yet.

    ``logging`` asks it for ``processName``, other libraries whether they are in a child.
    """
    _process._current_process = process  # type: ignore[attr-defined]
    _process._parent_process = parent  # type: ignore[attr-defined]
    _process._children = set()  # type: ignore[attr-defined]
    _process._process_counter = itertools.count(1)  # type: ignore[attr-defined]


def set_main_name(name: str) -> None:
    """The program's first process has another name now."""
    _process.current_process().name = name


def authkey() -> bytes:
    """The program's key, made by the standard library when it was imported."""
    return bytes(_process.current_process().authkey)


# ---- its modules, and the name that they go by ----


def module(name: str) -> Any:
    """The real module of that name."""
    full_name = f"{_place}.{name}"
    __import__(full_name)
    return sys.modules[full_name]


def has_module(name: str) -> bool:
    """Whether there is a real module of that name."""
    import importlib.util

    try:
        return importlib.util.find_spec(f"{_place}.{name}") is not None
    except ModuleNotFoundError:
        return False  # nor is there what it would be in


def _loaded(name: str) -> Any:
    return sys.modules.get(f"{_place}.{name}")


def is_aside() -> bool:
    """Whether something else goes by the real package's name."""
    return _place == ASIDE


def set_aside() -> list[tuple[str, types.ModuleType]]:
    """Have the real package go by the name `ASIDE`, so that what it imports of itself later is its own.

    Returns:
        what is loaded of it, by the names that are free now.
    """
    global _place
    own = [(name, found) for name, found in sys.modules.items() if f"{name}.".startswith("multiprocessing.")]
    _place = ASIDE
    shared = (AuthenticationError, BaseProcess, BufferTooShort, ForkingPickler, ProcessError, TimeoutError)
    for name, found in own:
        aside = ASIDE + name.removeprefix("multiprocessing")
        for value in vars(found).values():
            # Not the functions of reducers: other programs are to read what is written with them.
            if (
                isinstance(value, (type, types.FunctionType))
                and value.__module__ == name
                and value not in shared
                and not value.__name__.startswith("_re")
            ):
                value.__module__ = aside
        sys.modules[aside] = found
        found.__name__ = aside
        found.__package__ = aside if hasattr(found, "__path__") else aside.rpartition(".")[0]
        if found.__spec__ is not None:
            found.__spec__.name = aside
    return own


# ---- what ours and its own owe each other ----


def run_fork_hooks() -> None:
    """In a forked child, once it is known which process this is: what stock objects of the parent have registered."""
    util = _loaded("util")
    if util is not None:
        util._finalizer_registry.clear()
        util._run_after_forkers()


def run_exit_hooks() -> None:
    """What stock objects have left for the end of a process: a queue's thread, say, is waited for."""
    util = _loaded("util")
    if util is not None:
        util._exit_function()


def manager_token(ours: type[Any], typeid: str, address: Any, ident: str) -> Any:
    """The name of a manager's object, as the standard library's clients read it."""
    if is_aside():
        ours.__module__ = "multiprocessing.managers"  # where they find theirs, and this process `ours`
        return ours(typeid, address, ident)
    return module("managers").Token(typeid, address, ident)
