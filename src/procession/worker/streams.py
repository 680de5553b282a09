"""Random numbers in workers: streams that differ from all others, or that a pool's seed determines.

A forked process goes on with its parent's generators, and so do its siblings; a main module that seeds them does so anew in
each fresh interpreter.  This is about the global generators only, `random`'s and NumPy's, not those that a program makes for
itself.  NumPy is never imported for it.
"""

from __future__ import annotations

import functools
import os
import struct
import sys
import types
from collections.abc import Callable, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from typing import Any

__all__ = ["Seeded", "scatter", "seed_task"]

_NUMPY = "numpy.random"
_PLACE = struct.Struct("<QQ")
_WORDS = struct.Struct("<8I")


def scatter() -> None:
    """At a worker's start: from here on its streams are unlike those of its parent and its siblings."""
    generator = getattr(sys.modules.get("random"), "_inst", None)
    if generator is not None:  # the name may be another module's, the program's own
        generator.seed()
    numpy: Any = sys.modules.get(_NUMPY)
    if not hasattr(numpy, "seed"):
        return
    words = _WORDS.unpack(os.urandom(_WORDS.size))
    if hasattr(numpy, "get_bit_generator"):  # since NumPy 1.24
        generator = numpy.get_bit_generator()
        if not generator.lock.acquire(blocking=False):
            # By a thread of the parent that was drawing at the fork: it will not let go.
            numpy.set_bit_generator(type(generator)(words))
            return
        generator.lock.release()
    _seed_numpy(numpy, words)


def seed_task(seed: int | str | bytes, call: int, index: int) -> None:
    """Before a task: put the streams where these three, and nothing else, say.

    They are the pool's seed, the number of the call within the pool, and that of the item within the call.  A task that is
    the first to import NumPy finds its stream in the same place.

    Raises:
        TypeError: the seed is none of these.
    """
    import random
    from hashlib import blake2b

    digest = blake2b(_PLACE.pack(call, index), key=_key(seed)).digest()
    # Both are Mersenne twisters, which give the same numbers from the same key: each gets a half.
    random.seed(int.from_bytes(digest[:32], "little"))
    words = _WORDS.unpack_from(digest, 32)
    numpy: Any = sys.modules.get(_NUMPY)
    if hasattr(numpy, "seed"):
        _seed_numpy(numpy, words)
    else:
        _awaited.watch(words)


class Seeded:
    """A function of a pool with a seed: each of its tasks begins with streams of its own.

    It is called with the number of the call, the task's number within it, and then what the function itself gets.
    """

    def __init__(self, function: Callable[..., Any], seed: int | str | bytes, *, unpack: bool) -> None:
        self.function, self.seed, self.unpack = function, seed, unpack

    def __call__(self, call: int, index: int, item: Any, keywords: dict[str, Any] | None = None) -> Any:
        seed_task(self.seed, call, index)
        if self.unpack:
            return self.function(*item, **(keywords or {}))
        return self.function(item)

    def call_behind(
        self, call: int, index: int, item: Any, keywords: dict[str, Any] | None = None
    ) -> tuple[Callable[..., Any], Any, dict[str, Any]]:
        """The function, its arguments and its keywords: what messages tell of a task."""
        return self.function, item if self.unpack else (item,), keywords or {}


@functools.lru_cache(maxsize=16, typed=True)
def _key(seed: int | str | bytes) -> bytes:
    """As many bytes for any seed; 1 and "1" are not the same."""
    from hashlib import blake2b

    if isinstance(seed, bytes):
        return blake2b(seed, person=b"bytes").digest()
    if isinstance(seed, str):
        return blake2b(seed.encode("utf-8", "surrogatepass"), person=b"str").digest()
    if hasattr(seed, "__index__"):
        return blake2b(b"%x" % seed.__index__(), person=b"int").digest()
    raise TypeError(f"a seed is an int, a str or bytes, not {seed!r}")


def _seed_numpy(numpy: Any, words: Sequence[int]) -> None:
    generator = numpy.get_bit_generator() if hasattr(numpy, "get_bit_generator") else None
    if generator is None or isinstance(generator, numpy.MT19937):
        numpy.seed(words)
    else:  # the program's choice; seed() would keep a normal number that is left over
        numpy.set_bit_generator(type(generator)(words))


class _Awaited:
    """On ``sys.meta_path``: sees NumPy's import coming, and seeds it before anyone draws."""

    def __init__(self) -> None:
        self.words: Sequence[int] = ()
        self.pid = 0

    def watch(self, words: Sequence[int]) -> None:
        """Use these, in this process; what it forks is no part of the task."""
        self.words, self.pid = words, os.getpid()
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _NUMPY or self.pid != os.getpid():
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                spec.loader = _Seeding(spec.loader, self)  # type: ignore[assignment]
                return spec
        return None


class _Seeding:
    """Loads NumPy's module as its own loader does, and seeds it."""

    def __init__(self, loader: Any, awaited: _Awaited) -> None:
        self.loader, self.awaited = loader, awaited

    def create_module(self, spec: ModuleSpec) -> types.ModuleType | None:
        module: types.ModuleType | None = self.loader.create_module(spec)
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        _seed_numpy(module, self.awaited.words)
        sys.meta_path.remove(self.awaited)


_awaited = _Awaited()
