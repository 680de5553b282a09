"""One thumbnail from source to output.  Runs in a worker, so it imports Pillow and nothing else of weight.

    open ── draft ── shrink ── turn ── plain colours ── a mode the format can write ── temporary file ── rename

Only a whole thumbnail ever has the output's name.  All colour work after the shrink is on a few thousand pixels and
costs nothing; what comes before it (16 bits, palettes) must, because resampling needs real colours.
"""

import errno
import os
import stat
import warnings
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import ExifTags, Image, UnidentifiedImageError

from procession.apps.outcome import Done, Outcome, done_with, failed, one_line

WHITE = 255
LARGEST_KEPT_PROFILE_BYTES = 8 * 1024
"""A colour profile larger than this would outweigh its thumbnail; the pixels are converted to sRGB instead."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation to what sets the picture upright; from 5 on, width and height change places."""

GREY_AND_COLOUR = ("L", "RGB")
ALL_WITH_ALPHA = ("L", "LA", "RGB", "RGBA")
WRITABLE_MODES = {
    "AVIF": ("RGB", "RGBA"),
    "BLP": ("P",),
    "DDS": ALL_WITH_ALPHA,
    "GIF": ("L", "RGB", "RGBA"),
    "ICO": ("RGB", "RGBA"),
    "JPEG2000": ALL_WITH_ALPHA,
    "MSP": ("1",),
    "PNG": ALL_WITH_ALPHA,
    "QOI": ("RGB", "RGBA"),
    "SGI": ("L", "RGB", "RGBA"),
    "TGA": ALL_WITH_ALPHA,
    "TIFF": ALL_WITH_ALPHA,
    "WEBP": ("RGB", "RGBA"),
    "XBM": ("1",),
}
"""What a format can hold; a format that is not here gets GREY_AND_COLOUR."""

PROFILE_SPACES = {"L": b"GRAY", "LA": b"GRAY", "RGB": b"RGB ", "RGBA": b"RGB ", "CMYK": b"CMYK"}
"""A mode and what the ICC profile of its pixels calls their colour space."""
PROFILE_FORMATS = frozenset({"AVIF", "JPEG", "PNG", "TIFF", "WEBP"})
SAVE_OPTIONS: dict[str, dict[str, object]] = {
    "AVIF": {"max_threads": 1},  # every core already has a worker
    "JPEG": {"quality": 85},
    "TIFF": {"compression": "tiff_adobe_deflate"},
}


@dataclass(frozen=True, slots=True)
class ThumbnailTask:
    """One image to shrink.  Paths are absolute strings: they may hold bytes that are not text."""

    name: str
    source: str
    output: str
    temporary: str
    """Next to `output`; short whatever the output's name is, since that may have the longest allowed length."""
    format: str
    """Pillow's name of the format to write."""
    size_bytes: int = 0

    @property
    def files(self) -> int:
        return 1


class Refused(Exception):
    """This file cannot or must not be made into a thumbnail; the message is the reason."""


def make_thumbnail(task: ThumbnailTask, size: tuple[int, int]) -> Done:
    """Fit `task.source` into `size` (width, height) and write it to `task.output`; never raises for a bad file."""
    try:
        with open(task.source, "rb", opener=open_without_waiting) as file, warnings.catch_warnings():
            # A worker's warnings would be written across the progress bar; what matters raises.
            warnings.simplefilter("ignore")
            status = check_source(file)
            data = encode(*read_small(file, size), task.format)
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
    """Remove what a worker that was killed may have left."""
    with suppress(OSError):
        Path(task.temporary).unlink()


# Reading


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


def read_small(file: BinaryIO, size: tuple[int, int]) -> tuple[Image.Image, bytes | None]:
    """The first picture in `file`, upright, fitted into `size`, in mode L, LA, RGB or RGBA; and its profile if kept."""
    with Image.open(file) as image:
        if image.format == "TIFF":
            image.load()  # Pillow turns a TIFF upright itself, but only while loading
        orientation = orientation_of(image)
        width, height = size
        box = (width, height) if orientation < 5 else (height, width)
        small = with_real_colours(image)
        # For JPEG this also lets the decoder skip most of the work (draft).
        small.thumbnail(box, Image.Resampling.LANCZOS, reducing_gap=2.0)
        if orientation in TURNS:
            small = small.transpose(TURNS[orientation])
        profile = image.info.get("icc_profile")
        return to_plain_colours(small, profile if isinstance(profile, bytes) else None)


def orientation_of(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:
        return 1  # damaged EXIF must not cost the picture
    return orientation if orientation in TURNS else 1


# Colours


def with_real_colours(image: Image.Image) -> Image.Image:
    """`image` in a mode that can be resampled: no palette, single bits, 16 bits or colour that means transparent."""
    is_transparent = image.has_transparency_data
    match image.mode:
        case "P" | "PA":
            return image.convert("RGBA" if is_transparent else "RGB")
        case "1":
            return image.convert("L")
        case "I" | "F":
            return to_8_bits(image)
        case mode if mode.startswith("I;"):
            return to_8_bits(image.convert("I"), white=65535)
        case "L" | "RGB" if is_transparent:
            return image.convert("LA" if image.mode == "L" else "RGBA")
    return image


def to_8_bits(image: Image.Image, white: float | None = None) -> Image.Image:
    """Mode I or F to L, with `white` as 255.

    Unless `white` is given the range is guessed: 0 to 1 (F only), 255 or 65535, else from the darkest to the lightest.
    """
    black = 0.0
    if white is None:
        lowest, highest = (float(extreme) for extreme in image.getextrema() if isinstance(extreme, int | float))
        usual = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        white = next((limit for limit in usual if lowest >= 0 and highest <= limit), None)
        if white is None:
            black, white = lowest, max(highest, lowest + 1)
    scale = 255 / (white - black)
    # F before the scale: mode I would round it to a whole number.
    return image.convert("F").point(lambda value: value * scale + (-black * scale)).convert("L")


def to_plain_colours(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, bytes | None]:
    """`image` in L, LA, RGB or RGBA, with the profile that its pixels still need, if any."""
    if image.mode in ALL_WITH_ALPHA:
        if profile is None or not fits_profile(image, profile):
            return image, None
        if len(profile) <= LARGEST_KEPT_PROFILE_BYTES:
            return image, profile
        return to_srgb(image, profile) or image, None
    if image.mode in ("CMYK", "LAB"):
        return to_srgb(image, profile) or image.convert("RGB"), None
    return image.convert("RGBA" if image.mode in ("La", "RGBa") else "RGB"), None


def fits_profile(image: Image.Image, profile: bytes) -> bool:
    # Bytes 16 to 20 of a profile's header name the colour space.
    return profile[16:20] == PROFILE_SPACES.get(image.mode)


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image | None:
    """`image` converted through its profile, or None where that is impossible."""
    from PIL import ImageCms

    if image.mode != "LAB" and (profile is None or not fits_profile(image, profile)):
        return None
    try:
        source = (
            ImageCms.createProfile("LAB")
            if image.mode == "LAB" or profile is None
            else ImageCms.ImageCmsProfile(BytesIO(profile))
        )
        mode = image.mode if image.mode == "RGBA" else "RGB"
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None  # a damaged profile must not cost the picture


# Writing


def encode(image: Image.Image, profile: bytes | None, format: str) -> bytes:
    """`image` as a file of `format`, without the source's metadata but for the profile."""
    image = to_writable_mode(image, WRITABLE_MODES.get(format, GREY_AND_COLOUR))
    image.info = {}
    options = dict(SAVE_OPTIONS.get(format, {}))
    if profile is not None and format in PROFILE_FORMATS and fits_profile(image, profile):
        options["icc_profile"] = profile
    if format == "ICO":
        options["sizes"] = [image.size]
    # To memory first: thumbnails are small, and the time in which a death could leave a temporary file gets short.
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def to_writable_mode(image: Image.Image, modes: tuple[str, ...]) -> Image.Image:
    """A copy of `image` in one of `modes`; alpha is kept where that is possible, else laid on white."""
    if image.mode in modes:
        return image.copy()
    if image.mode in ("LA", "RGBA"):
        if "RGBA" in modes:
            return image.convert("RGBA")
        image = on_white(image)
        if image.mode in modes:
            return image
    mode = "RGB" if "RGB" in modes else modes[0]
    return image.convert(mode, palette=Image.Palette.ADAPTIVE)


def on_white(image: Image.Image) -> Image.Image:
    opaque = image.convert("RGB" if image.mode == "RGBA" else "L")
    white = Image.new(opaque.mode, opaque.size, (WHITE,) * len(opaque.getbands()))
    white.paste(opaque, mask=image.getchannel("A"))
    return white


def write_whole(data: bytes, task: ThumbnailTask, source: os.stat_result) -> None:
    """Write `data` so that the output's name shows all of it or what was there before."""
    output, temporary = Path(task.output), Path(task.temporary)
    try:
        if os.path.samestat(output.lstat(), source):
            # A link inside the output folder can lead back into the source folder.
            raise Refused("the thumbnail would replace its own source")
    except FileNotFoundError:
        output.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("xb") as file:
            file.write(data)
        temporary.replace(output)
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
            return "not enough memory to decode it"
        case OSError(errno=int(number)) if number in errno.errorcode:
            return os.strerror(number)
        case OSError() | SyntaxError() | ValueError() if str(error):
            return f"cannot be decoded: {first_sentence(error)}"
    return f"cannot be decoded: {type(error).__name__}: {first_sentence(error)}".rstrip(": ")


def first_sentence(error: Exception) -> str:
    return one_line(str(error)).split(", could be")[0]
