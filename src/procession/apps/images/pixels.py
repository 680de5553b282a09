"""From an image file to a small picture in plain colours.

    open ── shrink ── turn ── plain colours

All colour work after the shrink is on a few thousand pixels and costs nothing.
"""

from dataclasses import dataclass
from typing import BinaryIO

from PIL import ExifTags, Image

from procession.apps.images.colours import to_plain_colours
from procession.apps.images.recipe import Recipe
from procession.apps.images.shrink import shrink
from procession.apps.images.vips import Reader, reader_of

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
        reader = reader_of(file, image)
        if reader is not None:
            try:
                return small_of(image, recipe, reader)
            except Exception:
                pass  # if it is the file's fault, Pillow names it
        return small_of(image, recipe)


def small_of(image: Image.Image, recipe: Recipe, reader: Reader | None = None) -> Small:
    """`image` made as the recipe says; `reader` decodes it, if given."""
    exif = exif_of(image, is_read=reader is not None)
    orientation = orientation_of(exif)
    kept_exif, kept_xmp = metadata_of(image, exif) if recipe.keeps_metadata else (b"", b"")
    width, height = recipe.size
    box = (width, height) if orientation < 5 else (height, width)
    small = shrink(image, box, fills=recipe.fills, reader=reader)
    if orientation in TURNS:
        small = small.transpose(TURNS[orientation])
    profile = image.info.get("icc_profile")
    plain, kept_profile = to_plain_colours(small, profile if isinstance(profile, bytes) else None)
    return Small(plain, kept_profile, kept_exif, kept_xmp)


def exif_of(image: Image.Image, *, is_read: bool) -> Image.Exif | None:
    """EXIF, or None if it is damaged: that must not cost the picture.

    Args:
        is_read: all that there is has been seen.  Otherwise Pillow may decode a PNG first, for what comes after the pixels.
    """
    try:
        return Image.Image.getexif(image) if is_read else image.getexif()
    except Exception:
        return None


def orientation_of(exif: Image.Exif | None) -> int:
    try:
        orientation = 1 if exif is None else exif.get(ExifTags.Base.Orientation)
    except Exception:
        return 1
    return orientation if orientation in TURNS else 1


def metadata_of(image: Image.Image, exif: Image.Exif | None) -> tuple[bytes, bytes]:
    """EXIF, without what is wrong of a thumbnail, and XMP; nothing of what is damaged or too large."""
    xmp = image.info.get("xmp")
    if not isinstance(xmp, bytes) or len(xmp) > LARGEST_KEPT_METADATA_BYTES:
        xmp = b""
    try:
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
