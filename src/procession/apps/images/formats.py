"""Which files are tried, by their suffix, and what becomes of their names.

Pillow learns of its formats by importing a module for each.  The usual ones are known here, so that a folder of photos needs
only those modules that it has work for; all of them are loaded when a suffix is not known.
"""

import importlib
import os
from functools import cache

from PIL import Image, features

USUAL = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".gif": "GIF",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
    ".ppm": "PPM",
    ".pgm": "PPM",
}
MODULES = {
    "JPEG": "JpegImagePlugin",
    "PNG": "PngImagePlugin",
    "GIF": "GifImagePlugin",
    "BMP": "BmpImagePlugin",
    "TIFF": "TiffImagePlugin",
    "WEBP": "WebPImagePlugin",
    "PPM": "PpmImagePlugin",
    "AVIF": "AvifImagePlugin",
}
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "AVIF": ".avif"}
"""What a name gets when its format is changed."""

NOT_WRITTEN = frozenset({"BUFR", "GRIB", "HDF5", "ICNS", "PDF", "WMF"})
"""Formats that Pillow registers for writing, but only for a plugin to fill in or only in sizes of their own."""
SAME_FORMAT = {"MPO": "JPEG"}
"""Written as another format under the same suffix: an MPO with one picture is a JPEG."""
FALLBACK_FORMAT = "PNG"


def format_of(name: str) -> str:
    """Pillow's name of the format that files of this name have; empty if it reads none such."""
    suffix = os.path.splitext(name)[1].lower()
    if suffix in USUAL:
        return USUAL[suffix]
    return all_formats().get(suffix, "")


@cache
def all_formats() -> dict[str, str]:
    """By suffix, all that Pillow reads."""
    Image.init()
    # An MPO is opened as the JPEG that it begins with, so it is not registered for opening.
    return {
        suffix: format
        for suffix, format in Image.registered_extensions().items()
        if format in Image.OPEN or format in SAME_FORMAT
    }


def output_of(name: str, wanted: str) -> tuple[str, str]:
    """For a source of this name: the format to write, and the thumbnail's name.

    Args:
        wanted: the format that all thumbnails are to have; empty to keep each its own.
    """
    own = format_of(name)
    own = SAME_FORMAT.get(own, own)
    if wanted == own:
        return own, name
    if wanted:
        return wanted, os.path.splitext(name)[0] + SUFFIXES[wanted]
    is_written = own in MODULES or (own in Image.SAVE and own not in NOT_WRITTEN)
    # The suffix stays in the name: there may be a picture of that name already.
    return (own, name) if is_written else (FALLBACK_FORMAT, name + SUFFIXES[FALLBACK_FORMAT])


def is_supported(format: str) -> bool:
    """Whether this Pillow can write `format`, of those that can be asked for."""
    return format not in ("WEBP", "AVIF") or bool(features.check(format.lower()))


def load(formats: frozenset[str]) -> None:
    """Import what these formats need, before workers are forked or in a worker that was not."""
    Image.preinit()
    for format in formats:
        if format in MODULES:
            importlib.import_module(f"PIL.{MODULES[format]}")
