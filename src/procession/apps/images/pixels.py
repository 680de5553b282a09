"""From an image file to a small picture in plain colours.

    open ── draft ── real colours ── shrink ── turn ── plain colours

All colour work after the shrink is on a few thousand pixels and costs nothing; what comes before it (16 bits, palettes) must,
because resampling needs real colours.
"""

from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import BinaryIO

from PIL import ExifTags, Image

from procession.apps.images.recipe import Recipe, Size

GAP = 2.0
"""Decoders and box filters may shrink to this many times the final size; the rest is Lanczos."""
LARGEST_KEPT_PROFILE_BYTES = 8 * 1024
"""A colour profile larger than this would outweigh its thumbnail; the pixels are converted to sRGB instead."""
LARGEST_KEPT_METADATA_BYTES = 64 * 1024 - 16

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

PLAIN_MODES = ("L", "LA", "RGB", "RGBA")
PREMULTIPLIED = {"LA": "La", "RGBA": "RGBa"}
PROFILE_SPACES = {"L": b"GRAY", "LA": b"GRAY", "RGB": b"RGB ", "RGBA": b"RGB ", "CMYK": b"CMYK"}
"""A mode and what the ICC profile of its pixels calls their colour space."""


@dataclass(slots=True)
class Small:
    """A small picture, in L, LA, RGB or RGBA, upright."""

    image: Image.Image
    profile: bytes | None = None
    """What its pixels' colours still need to be right."""
    exif: bytes = b""
    xmp: bytes = b""


def read_small(file: BinaryIO, recipe: Recipe) -> Small:
    """The first picture in `file`, made as the recipe says."""
    with Image.open(file) as image:
        if image.format == "TIFF":
            image.load()  # Pillow turns a TIFF upright itself, but only while loading
        orientation = orientation_of(image)
        exif, xmp = metadata_of(image) if recipe.keeps_metadata else (b"", b"")
        width, height = recipe.size
        box = (width, height) if orientation < 5 else (height, width)
        small = shrink(image, box, fills=recipe.fills)
        if orientation in TURNS:
            small = small.transpose(TURNS[orientation])
        profile = image.info.get("icc_profile")
        plain, kept = to_plain_colours(small, profile if isinstance(profile, bytes) else None)
        return Small(plain, kept, exif, xmp)


def orientation_of(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:
        return 1  # damaged EXIF must not cost the picture
    return orientation if orientation in TURNS else 1


def metadata_of(image: Image.Image) -> tuple[bytes, bytes]:
    """EXIF, without what is wrong of a thumbnail, and XMP; nothing of what is damaged or too large."""
    xmp = image.info.get("xmp")
    if not isinstance(xmp, bytes) or len(xmp) > LARGEST_KEPT_METADATA_BYTES:
        xmp = b""
    try:
        exif = image.getexif()
        if not exif:
            return b"", xmp
        exif.pop(ExifTags.Base.Orientation, None)
        details = exif.get_ifd(ExifTags.IFD.Exif)
        for tag in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight, ExifTags.Base.MakerNote):
            details.pop(tag, None)
        data = exif.tobytes()
    except Exception:
        return b"", xmp
    return (data if len(data) <= LARGEST_KEPT_METADATA_BYTES else b""), xmp


# Size


def shrink(image: Image.Image, size: Size, *, fills: bool) -> Image.Image:
    """`image` fitted into `size`, or cut to its shape and no larger; in a mode that was resampled rightly."""
    part, goal = (filled if fills else fitted)(image.size, size)
    if goal != image.size:
        # JPEG: lets the decoder skip most of the work.  The part is of what is there before the draft.
        before = image.size
        asked = (
            round(goal[0] * before[0] / (part[2] - part[0]) * GAP),
            round(goal[1] * before[1] / (part[3] - part[1]) * GAP),
        )
        if drafted := image.draft(None, asked):
            # What the picture takes of the smaller one: its last pixels may be there in part only.
            scale = drafted[1][2] / before[0], drafted[1][3] / before[1]
        else:
            scale = 1.0, 1.0
        part = (part[0] * scale[0], part[1] * scale[1], part[2] * scale[0], part[3] * scale[1])
    real = with_real_colours(image)
    if real.size == goal:
        return real
    # Pillow premultiplies by itself, but leaves out the quick reduction then.
    premultiplied = real.convert(PREMULTIPLIED[real.mode]) if real.mode in PREMULTIPLIED else real
    small = premultiplied.resize(goal, Image.Resampling.LANCZOS, part, reducing_gap=GAP)
    return small.convert(real.mode) if real.mode in PREMULTIPLIED else small


Part = tuple[float, float, float, float]


def fitted(whole: Size, size: Size) -> tuple[Part, Size]:
    """All of a picture, and the size that it has inside `size`."""
    scale = min(1.0, size[0] / whole[0], size[1] / whole[1])
    goal = (max(1, round(whole[0] * scale)), max(1, round(whole[1] * scale)))
    return (0.0, 0.0, float(whole[0]), float(whole[1])), goal


def filled(whole: Size, size: Size) -> tuple[Part, Size]:
    """The middle of a picture in the shape of `size`, and `size`; as large as it is if that is less."""
    scale = min(1.0, max(size[0] / whole[0], size[1] / whole[1]))
    width, height = min(whole[0], size[0] / scale), min(whole[1], size[1] / scale)
    if scale == 1.0:
        # Smaller than it should be in one direction at least: its shape counts.
        shape = min(whole[0] / size[0], whole[1] / size[1], 1.0)
        width, height = max(1.0, size[0] * shape), max(1.0, size[1] * shape)
    left, top = (whole[0] - width) / 2, (whole[1] - height) / 2
    return (left, top, left + width, top + height), (max(1, round(width * scale)), max(1, round(height * scale)))


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
        case "I;16" | "I;16L" | "I;16B" | "I;16N":
            return from_16_bits(image)
        case "L" | "RGB" if is_transparent:
            return image.convert("LA" if image.mode == "L" else "RGBA")
    image.load()
    return image


@cache
def nearest_of_256() -> list[int]:
    """For each number of 16 bits."""
    return [(value * 255 + 32767) // 65535 for value in range(65536)]


def from_16_bits(image: Image.Image) -> Image.Image:
    """16 bits to L, the nearest of 256."""
    if image.mode == "I;16":
        try:
            return image.point(nearest_of_256(), "L")
        except ValueError:
            pass  # a Pillow that has no tables for this
    return to_8_bits(image.convert("I"), white=65535)


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
    if image.mode in PLAIN_MODES:
        if profile is None or not fits_profile(image, profile):
            return image, None
        if len(profile) <= LARGEST_KEPT_PROFILE_BYTES:
            return image, profile
        return to_srgb(image, profile) or image, None
    if image.mode in ("CMYK", "LAB"):
        return to_srgb(image, profile) or image.convert("RGB"), None
    return image.convert("RGBA" if image.mode in ("La", "RGBa") else "RGB"), None


def fits_profile(image: Image.Image, profile: bytes) -> bool:
    """Whether a profile is for pixels such as these."""
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
