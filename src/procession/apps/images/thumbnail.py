"""One thumbnail from source to output, in a worker.

    open ── small picture ── encode, in memory ── temporary file ── mark ── rename

Only a whole thumbnail ever has the output's name, and it has its mark by then.
"""

import errno
import os
import stat
import warnings
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError, _imaging

from procession.apps.images import formats, vips
from procession.apps.images.encode import encode
from procession.apps.images.pixels import read_small
from procession.apps.images.recipe import Recipe
from procession.apps.outcome import Done, Outcome, done_with, failed, one_line
from procession.apps.words import human_bytes


@dataclass(frozen=True, slots=True)
class ThumbnailTask:
    """One image to shrink.  Paths are strings: they may hold bytes that are not text."""

    name: str
    source: str
    output: str
    temporary: str
    """Next to `output`; short whatever the output's name is, since that may have the longest allowed length."""
    format: str
    """Pillow's name of the format to write."""
    size_bytes: int
    mark_ns: int
    """What its thumbnail is known by: see Recipe.mark_ns."""

    @property
    def files(self) -> int:
        return 1


class Refused(Exception):
    """This file cannot or must not be made into a thumbnail; the message is the reason."""


KEPT_BLOCKS = 3
"""Of Pillow's memory, 16 MiB each: a picture of twelve megapixels."""
KEPT_BYTES = 16 * 2**20
"""Of other memory: decoders want several of some megabytes for each picture."""

_memory_bytes = 0
"""What an image may take in this worker; 0 for no limit."""


def prepare_worker(needed: frozenset[str], memory_bytes: int | None) -> None:
    """Load what decodes these formats, and limit what an image may take of memory from here on."""
    global _memory_bytes
    formats.load(needed)
    # Pages that one picture has touched serve the next: new ones cost a tenth of the time.
    _imaging.set_blocks_max(KEPT_BLOCKS)
    # The C library gives back what is larger than any that was freed before; freeing this once, it keeps what is smaller.
    bytearray(KEPT_BYTES)
    vips.allow(memory_bytes)
    if memory_bytes is None:
        return
    import resource

    _memory_bytes = memory_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (data_bytes() + memory_bytes, hard))
    # What is too large is found by what it takes, not by a number of pixels: a JPEG of any size takes little.
    Image.MAX_IMAGE_PIXELS = None


def data_bytes() -> int:
    """What this process has of what RLIMIT_DATA limits."""
    import resource

    with open("/proc/self/statm") as file:
        return int(file.read().split()[5]) * resource.getpagesize()


def make_thumbnail(task: ThumbnailTask, recipe: Recipe) -> Done:
    """Make the thumbnail of one image; never raises for a bad file."""
    try:
        with open(task.source, "rb", opener=open_without_waiting) as file, warnings.catch_warnings():
            # They would be written across the picture of the progress; what matters raises.
            warnings.simplefilter("ignore")
            status = check_source(file)
            data = encode(read_small(file, recipe), recipe, task.format)
        # What was read is what the mark says: a source that has changed since it was listed is made again next time.
        write_whole(data, task, status)
    except Exception as error:
        return done_with(failed(task.name, reason_of(error)))
    made = Outcome(task.name, source_bytes=status.st_size, result_bytes=len(data), output=task.output)
    return done_with(made)


def lose_thumbnail(task: ThumbnailTask, reason: str) -> Done:
    """The task's worker has ended before it answered."""
    remove_temporary(task)
    return done_with(failed(task.name, reason))


def remove_temporary(task: ThumbnailTask) -> None:
    with suppress(OSError):
        os.unlink(task.temporary)


def open_without_waiting(path: str, flags: int) -> int:
    # A fifo that took the place of a listed file would block a plain open for ever.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def check_source(file: BinaryIO) -> os.stat_result:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise Refused("not a regular file")
    if status.st_size == 0:
        raise Refused("empty file")
    return status


def write_whole(data: bytes, task: ThumbnailTask, source: os.stat_result) -> None:
    """Write `data` so that the output's name shows all of it or what was there before."""
    try:
        if os.path.samestat(os.lstat(task.output), source):
            # A link inside the output folder can lead back into the source folder.
            raise Refused("the thumbnail would replace its own source")
    except FileNotFoundError:
        os.makedirs(os.path.dirname(task.output), exist_ok=True)
    try:
        with open(task.temporary, "xb") as file:
            file.write(data)
            file.flush()
            with suppress(OSError, OverflowError):
                os.utime(file.fileno(), ns=(task.mark_ns, task.mark_ns))
        os.replace(task.temporary, task.output)
    except BaseException:
        remove_temporary(task)
        raise


# Reasons


def reason_of(error: Exception) -> str:
    """Why there is no thumbnail, in one line for people."""
    match error:
        case Refused():
            return str(error)
        case UnidentifiedImageError():
            return "not an image, or damaged beyond recognition"
        case Image.DecompressionBombError():
            return f"too many pixels: {first_sentence(error).removeprefix('Image size ').strip('()')}"
        case MemoryError():
            allowed = f"the {human_bytes(_memory_bytes)} that an image may take" if _memory_bytes else "there is"
            return f"needs more memory than {allowed}"
        case OSError(errno=int(number)) if number in errno.errorcode:
            return os.strerror(number)
        case OSError() | SyntaxError() | ValueError() if str(error):
            return f"cannot be decoded: {first_sentence(error)}"
    return f"cannot be decoded: {type(error).__name__}: {first_sentence(error)}".rstrip(": ")


def first_sentence(error: Exception) -> str:
    return one_line(str(error)).split(", could be")[0]
