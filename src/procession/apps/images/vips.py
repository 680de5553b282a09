"""libvips where it is installed: it decodes PNG and WebP faster than Pillow does, and never holds a whole picture.

    whole file? ── rows, a band at a time (PNG, WebP with alpha) ─┐
                ── already small (WebP)                           ┴─> shrink

It only reads pixels; what a file is, and everything of colours, is Pillow's.  It is asked only for files whose parts are all
there, since it may take a damaged one without a word.  Whatever it refuses is decoded by Pillow, which names the reason.

A process may use it that has not inherited it: after a fork the library would wait for threads that are not there.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, BinaryIO

from PIL import Image

OLDEST = (8, 13)
"""Earlier ones take damaged files, whatever they are asked."""
LEAST_PIXELS = 250_000
"""Smaller pictures are decoded before libvips has thought about it."""
LEAST_MEMORY_BYTES = 250 * 10**6
"""Where less is allowed, what the library itself takes would be missing."""
BYTES_PER_PIXEL = 4
"""Of what Pillow would hold: a picture that is too large for it must not depend on which libraries there are."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
NO_METADATA = frozenset({b"tIME", b"bKGD", b"pHYs"})
WEBP_PICTURES = (b"VP8 ", b"VP8L")

REAL_MODES = {"1": "L", "L": "L", "LA": "LA", "RGB": "RGB", "RGBA": "RGBA", "I;16": "I;16"}
"""Pillow's mode of a picture to what libvips makes of it, without what means transparent.  Palettes Pillow reads faster."""
WITH_ALPHA = {"L": "LA", "RGB": "RGBA"}
VIPS_MODES = {
    ("uchar", 1): "L",
    ("uchar", 2): "LA",
    ("uchar", 3): "RGB",
    ("uchar", 4): "RGBA",
    ("ushort", 1): "I;16",
}
SHARED_MODES = ("L", "RGBA")
"""Pillow takes such pixels as they lie in memory."""

_allowed_bytes = 0
"""What a picture may take in Pillow for this process to use libvips; 0 to leave it alone."""


class NotTaken(Exception):
    """libvips would make something else of this picture than Pillow does."""


def allow(memory_bytes: int | None) -> None:
    """Let this process use libvips if it is there, for pictures that Pillow could hold in so much memory."""
    global _allowed_bytes
    # Whoever has it already may be a fork of a process that has used it.
    is_inherited = "pyvips" in sys.modules
    allowed_bytes = sys.maxsize if memory_bytes is None else memory_bytes
    may_use = not is_inherited and allowed_bytes >= LEAST_MEMORY_BYTES and is_installed()
    _allowed_bytes = allowed_bytes if may_use else 0


@cache
def is_installed() -> bool:
    """Whether pyvips is there in its quick form; nothing is loaded."""
    return all(find_spec(name) is not None for name in ("pyvips", "_libvips"))


@cache
def library() -> Any:
    """pyvips, made to use one core and to keep nothing."""
    os.environ["VIPS_CONCURRENCY"] = "1"  # every core already has a worker
    os.environ["VIPS_WARNING"] = "0"  # on standard error, across the picture of the progress
    import pyvips

    if (pyvips.version(0), pyvips.version(1)) < OLDEST:
        raise NotTaken("an old libvips")
    pyvips.cache_set_max(0)
    return pyvips


@dataclass(frozen=True, slots=True)
class Reader:
    """A picture that libvips can read, and Pillow has opened."""

    path: str
    format: str
    mode: str
    """Of the pixels that are read: L, LA, RGB, RGBA or I;16."""
    size: tuple[int, int]

    @property
    def can_scale(self) -> bool:
        """Whether it can be had smaller.  libwebp reduces colours without regard to alpha."""
        return self.format == "WEBP" and self.mode == "RGB"

    def scaled(self, factor: int) -> Image.Image:
        """All of it in about 1/factor of its size."""
        picture = self._open(scale=1 / factor)
        return Image.frombuffer(
            self.mode, (picture.width, picture.height), picture.write_to_memory(), "raw", self.mode, 0, 1
        )

    def rows(self) -> Callable[[int, int], Image.Image]:
        """A function that gives so many rows from a place on.

        It must be called with rising places, and what it has given is not to be used after the next call.
        """
        picture = self._open()
        if (picture.width, picture.height) != self.size:
            raise NotTaken(f"{picture.width}x{picture.height} instead of {self.size}")
        region = library().Region.new(picture)
        width = self.size[0]
        band = Image.new(self.mode, (0, 0))

        def fetch(top: int, height: int) -> Image.Image:
            nonlocal band
            data = region.fetch(0, top, width, height)
            if self.mode in SHARED_MODES:
                return Image.frombuffer(self.mode, (width, height), data, "raw", self.mode, 0, 1)
            if band.height != height:
                band = Image.new(self.mode, (width, height))
            band.frombytes(data)  # into the same memory each time
            return band

        return fetch

    def _open(self, **options: object) -> Any:
        """The picture in libvips."""
        vips = library()
        load = vips.Image.pngload_source if self.format == "PNG" else vips.Image.webpload_source
        # By a descriptor of its own: names may have bytes that are no text, and Pillow's has a place in the file.
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            source = vips.Source.new_from_descriptor(descriptor)
        finally:
            os.close(descriptor)  # libvips has a copy
        picture = load(source, access="sequential", fail_on="warning", **options)
        mode = VIPS_MODES.get((picture.format, picture.bands))
        if mode != self.mode:
            raise NotTaken(f"{picture.format} x {picture.bands} instead of {self.mode}")
        return picture


def reader_of(file: BinaryIO, image: Image.Image) -> Reader | None:
    """libvips's reader of what Pillow has opened as `image`, if it is likely to be quicker and to give the same."""
    pixels = image.width * image.height
    if not LEAST_PIXELS <= pixels <= _allowed_bytes // BYTES_PER_PIXEL or not isinstance(file.name, str):
        return None
    mode = REAL_MODES.get(image.mode)
    is_whole = {"PNG": is_whole_png, "WEBP": is_whole_webp}.get(image.format or "")
    if mode is None or is_whole is None or getattr(image, "is_animated", False) or image.info.get("interlace"):
        return None
    if image.has_transparency_data:
        mode = WITH_ALPHA.get(mode, mode)
    place = file.tell()
    try:
        if is_whole(file):
            return Reader(file.name, image.format or "", mode, image.size)
        return None
    finally:
        file.seek(place)


def is_whole_png(file: BinaryIO) -> bool:
    """Whether all parts of a PNG are there, and none that Pillow finds only after the pixels matters."""
    size_bytes = file.seek(0, os.SEEK_END)
    place, seen_pixels = len(PNG_SIGNATURE), False
    while place + 12 <= size_bytes:
        file.seek(place)
        header = file.read(8)
        length, kind = int.from_bytes(header[:4]), header[4:]
        place += 12 + length
        if kind == b"IEND":
            return seen_pixels and place <= size_bytes
        if kind == b"IDAT":
            seen_pixels = True
        elif seen_pixels and kind not in NO_METADATA and not (kind == b"tEXt" and is_plain_text(file.read(80))):
            return False
    return False


def is_plain_text(data: bytes) -> bool:
    """Whether a text in a PNG is none of those that hold EXIF or XMP."""
    return not data.startswith((b"Raw profile", b"XML:"))


def is_whole_webp(file: BinaryIO) -> bool:
    """Whether all parts of a WebP are there."""
    size_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    end = 8 + int.from_bytes(file.read(12)[4:8], "little")
    place, seen_pixels = 12, False
    while place + 8 <= end <= size_bytes:
        file.seek(place)
        header = file.read(8)
        seen_pixels = seen_pixels or header[:4] in WEBP_PICTURES
        length = int.from_bytes(header[4:], "little")
        place += 8 + length + length % 2
    return seen_pixels and place == end <= size_bytes
