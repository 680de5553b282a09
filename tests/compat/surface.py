"""What `multiprocessing` offers, name by name, and what ours has under the same names.

A surface is a table of *places*: modules, the classes in them, contexts, and objects that were made (some classes of the
standard library set their methods when an object is made).  A place has public members; a member's full name is
"place.member", or just "member" for the package itself.
"""

from __future__ import annotations

import fnmatch
import importlib
import inspect
import multiprocessing
import pkgutil
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

# Documented, or imported by other libraries, and not in the `__all__` of its module.
ALSO_PUBLIC = {
    "connection": "Client Connection Listener answer_challenge deliver_challenge wait",
    "context": "AuthenticationError BaseContext BufferTooShort DefaultContext ForkContext ForkProcess ForkServerContext "
    "ForkServerProcess Process ProcessError SpawnContext SpawnProcess TimeoutError "
    "assert_spawning get_spawning_popen set_spawning_popen",
    "dummy": "Array Value",
    "managers": "BaseManager BaseProxy Namespace SharedMemoryManager SyncManager",
    "pool": "AsyncResult MaybeEncodingError Pool RemoteTraceback ThreadPool TimeoutError",
    "shared_memory": "ShareableList SharedMemory",
    "sharedctypes": "Array RawArray RawValue Value copy synchronized",
    "synchronize": "Barrier",
}
# What statements and operators call; other members with underscores are nobody's business.
PROTOCOLS = {
    f"__{name}__" for name in ("enter", "exit", "iter", "next", "len", "getitem", "setitem", "call", "contains")
}
METHODS = ("fork", "spawn", "forkserver")
OBJECTS: dict[str, Callable[[Any], object]] = {
    "Lock()": lambda ctx: ctx.Lock(),
    "RLock()": lambda ctx: ctx.RLock(),
    "Semaphore()": lambda ctx: ctx.Semaphore(),
    "BoundedSemaphore()": lambda ctx: ctx.BoundedSemaphore(),
    "Condition()": lambda ctx: ctx.Condition(),
    "Event()": lambda ctx: ctx.Event(),
    "Barrier()": lambda ctx: ctx.Barrier(1),
    "Queue()": lambda ctx: ctx.Queue(),
    "JoinableQueue()": lambda ctx: ctx.JoinableQueue(),
    "SimpleQueue()": lambda ctx: ctx.SimpleQueue(),
    "Pipe()": lambda ctx: ctx.Pipe()[0],
    "Value('i')": lambda ctx: ctx.Value("i"),
    "Array('i')": lambda ctx: ctx.Array("i", 1),
    "Array('c')": lambda ctx: ctx.Array("c", 1),
}

Surface = dict[str, dict[str, object]]


def full_name(place: str, member: str) -> str:
    return f"{place}.{member}" if place else member


def _modules() -> Iterator[tuple[str, ModuleType]]:
    yield "", multiprocessing
    for found in pkgutil.walk_packages(multiprocessing.__path__, "multiprocessing."):
        if "win32" not in found.name:
            yield found.name.removeprefix("multiprocessing."), importlib.import_module(found.name)


def _public(place: object) -> dict[str, object]:
    names = {name for name in dir(place) if not name.startswith("_") or name in PROTOCOLS}
    return {name: getattr(place, name, None) for name in names}


def _standard() -> Surface:
    surface: Surface = {}
    for name, module in _modules():
        exported = {*getattr(module, "__all__", ()), *ALSO_PUBLIC.get(name, "").split()}
        surface[name] = {member: getattr(module, member) for member in sorted(exported) if hasattr(module, member)}
        for member, value in surface[name].copy().items():
            if inspect.isclass(value) and not issubclass(value, Exception):
                surface[full_name(name, member)] = _public(value)
    for method in METHODS:
        surface[f"get_context('{method}')"] = _public(multiprocessing.get_context(method))
    for label, make in OBJECTS.items():
        _made.append(thing := make(multiprocessing.get_context("fork")))
        surface[label] = _public(thing)
    return surface


_made: list[
    object
] = []  # for as long as the tests run: what they hold is there before the first test and after the last


def our_place(place: str) -> Any:
    """Ours of that name; None if there is none."""
    import procession

    if place in OBJECTS:
        try:
            thing = OBJECTS[place](procession.get_context("fork"))
        except (AttributeError, ImportError):
            return None
        _made.append(thing)
        return thing
    if place.startswith("get_context("):
        return procession.get_context(place.split("'")[1])
    found: object = procession
    for part in place.split(".") if place else ():
        if isinstance(found, ModuleType) and not hasattr(found, part):
            try:
                importlib.import_module(f"{found.__name__}.{part}")
            except ModuleNotFoundError:
                return None
        found = getattr(found, part, None)
    return found


STANDARD = _standard()
OUR_PLACES = {place: our_place(place) for place in STANDARD}


def is_missing(place: str, member: str) -> bool:
    ours = OUR_PLACES[place]
    if ours is None:
        return True
    if not place:
        return member not in ours.__all__  # a submodule that happens to be imported is none of the names
    return member not in dir(ours) and not (isinstance(ours, ModuleType) and hasattr(ours, member))


def reason_for(name: str, table: dict[str, str]) -> str | None:
    """The first entry of the table that speaks of the name; entries may hold wildcards."""
    return next((why for pattern, why in table.items() if fnmatch.fnmatchcase(name, pattern)), None)


def every_name() -> Iterator[tuple[str, str]]:
    for place, members in STANDARD.items():
        for member in members:
            yield place, member
