"""How thumbnails are to be made, checked; and the mark by which a later run knows that one is up to date.

Light: it is imported before Pillow, so that mistakes in the arguments are told at once.
"""

import re
import zlib
from dataclasses import dataclass
from typing import TypeAlias

Size: TypeAlias = tuple[int, int]

DEFAULT_SIZE: Size = (128, 128)
LARGEST_SIDE = 65535
FORMATS = {"keep": "", "jpeg": "JPEG", "jpg": "JPEG", "png": "PNG", "webp": "WEBP", "avif": "AVIF"}
"""What can be asked for, and Pillow's name of it; `keep` writes each file in its own format."""

EDITION = 2
"""Raised when the same recipe gives other pixels than before, so that thumbnails are made anew."""
SECOND_NS, MICROSECOND_NS = 1_000_000_000, 1_000

UNITS = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What each thumbnail is made by.

    Raises:
        ValueError: it makes no sense.
    """

    size: Size = DEFAULT_SIZE
    fills: bool = False
    """Cut to the shape of `size`, so that all thumbnails are alike; otherwise fitted inside it."""
    format: str = "keep"
    quality: int | None = None
    """Of the formats that lose something, 1 to 100."""
    keeps_metadata: bool = False

    def __post_init__(self) -> None:
        width, height = self.size
        if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
            raise ValueError(f"width and height must be from 1 to {LARGEST_SIDE}, got {width}x{height}")
        if self.format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {self.format!r}")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise ValueError(f"quality must be from 1 to 100, got {self.quality}")

    def mark_ns(self, size_bytes: int, modified_ns: int) -> int:
        """The time that a thumbnail gets: its source's second, and in place of the fraction what it was made from and how.

        So a changed source, and another recipe, are noticed without a list of what was made, which a killed run would leave
        wrong.  In whole microseconds, which most file systems keep.
        """
        made_from = f"{EDITION} {self} {size_bytes} {modified_ns}"
        fraction = zlib.crc32(made_from.encode()) % 1_000_000 * MICROSECOND_NS
        return modified_ns // SECOND_NS * SECOND_NS + fraction


def parse_size(text: str) -> Size:
    """`"128x96"` to (128, 96).

    Raises:
        ValueError: not two whole numbers from 1 to 65535 with an x between them.
    """
    match = re.fullmatch(r"([0-9]{1,5})[xX]([0-9]{1,5})", text.strip())
    if match is None:
        raise ValueError(f"size must be WIDTHxHEIGHT, for example 128x128, got {text!r}")
    width, height = int(match[1]), int(match[2])
    if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
        raise ValueError(f"width and height must be from 1 to {LARGEST_SIDE}, got {text!r}")
    return width, height


def parse_bytes(text: str) -> int:
    """`"500MB"` to 500,000,000; `"1GiB"` to 2 ** 30.

    Raises:
        ValueError: no size.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?i?)b?", text.strip().lower())
    if match is None or match[2] not in UNITS:
        raise ValueError(f"a size is a number with a unit, for example 500MB or 1GiB, got {text!r}")
    return int(float(match[1]) * UNITS[match[2]])
