"""Colours: real ones before a picture is shrunk, plain ones after it."""

from functools import cache
from io import BytesIO

from PIL import Image

LARGEST_KEPT_PROFILE_BYTES = 8 * 1024
"""A colour profile larger than this would outweigh its thumbnail; the pixels are converted to sRGB instead."""
PLAIN_MODES = ("L", "LA", "RGB", "RGBA")
PROFILE_SPACES = {"L": b"GRAY", "LA": b"GRAY", "RGB": b"RGB ", "RGBA": b"RGB ", "CMYK": b"CMYK"}
"""A mode and what the ICC profile of its pixels calls their colour space."""
SIXTEEN_BITS = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})


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
        case mode if mode in SIXTEEN_BITS:
            return from_16_bits(image)
        case "L" | "RGB" if is_transparent:
            return image.convert("LA" if image.mode == "L" else "RGBA")
    image.load()
    return image


def is_16_bits(image: Image.Image) -> bool:
    """Whether its pixels are from 0 to 65535."""
    return image.mode in SIXTEEN_BITS


@cache
def nearest_of_256() -> list[int]:
    """For each number of 16 bits."""
    return [(value * 255 + 32767) // 65535 for value in range(65536)]


def from_16_bits(image: Image.Image) -> Image.Image:
    """16 bits, also as mode I, to L: the nearest of 256."""
    return image.convert("I").point(nearest_of_256(), "L")


def to_8_bits(image: Image.Image) -> Image.Image:
    """Mode I or F to L.  The range is guessed: 0 to 1 (F only), 255 or 65535, else from the darkest to the lightest."""
    lowest, highest = (float(extreme) for extreme in image.getextrema() if isinstance(extreme, int | float))
    usual = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    black = 0.0
    white = next((limit for limit in usual if lowest >= 0 and highest <= limit), None)
    if white is None:
        black, white = lowest, max(highest, lowest + 1)
    scale = 255 / (white - black)
    # F before the scale: mode I would round it to a whole number.  Pillow cuts off, so a half makes it the nearest.
    return image.convert("F").point(lambda value: value * scale + (0.5 - black * scale)).convert("L")


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
