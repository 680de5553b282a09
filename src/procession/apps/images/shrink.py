"""A picture made smaller: quickly by whole numbers of pixels to twice the size or more, the rest by Lanczos.

    JPEG: the decoder's own reduction ┐
    WebP, by libvips: the same        ┴─> Lanczos
    others: a band of rows at a time ── real colours ── mean of each box of pixels ─> Lanczos

Resampling needs real colours, and what makes them (palettes, 16 bits, alpha) takes several times the picture's own memory;
of a band it takes little, and stays in the processor's cache.
"""

from collections.abc import Callable
from io import BytesIO
from math import ceil

from PIL import Image

from procession.apps.images.colours import from_16_bits, is_16_bits, with_real_colours
from procession.apps.images.recipe import Size
from procession.apps.images.scans import without_fine_scans
from procession.apps.images.vips import Reader

GAP = 2.0
"""Decoders and boxes may shrink to this many times the final size; the rest is Lanczos."""
MOST_REDUCED = 1 / 8
"""What a JPEG's decoder reduces to at most: a pixel for a block."""
LANCZOS_REACH = 3.0
"""How many pixels of the result, to each side, a pixel depends on."""
BAND_PIXELS = 1 << 18
PREMULTIPLIED = {"LA": "La", "RGBA": "RGBa"}
GUESSED_MODES = ("I", "F")
"""Their darkest and lightest pixels must be known first."""

Part = tuple[float, float, float, float]
Rows = Callable[[int, int], Image.Image]
"""So many rows from a place on, in real colours, or 16 bits as mode I."""


def shrink(image: Image.Image, size: Size, *, fills: bool, reader: Reader | None = None) -> Image.Image:
    """`image` fitted into `size`, or cut to its shape and no larger; in a mode that was resampled rightly.

    Args:
        reader: what decodes it instead of Pillow.
    """
    part, goal = (filled if fills else fitted)(image.size, size)
    if goal == image.size:
        return with_real_colours(image)
    if reader is not None and reader.can_scale and (factor := min(factors_of(part, goal))) > 1:
        whole = image.size
        image = reader.scaled(factor)
        part = scaled(part, image.width / whole[0], image.height / whole[1])
        return resized(image, part, goal)
    image, part = draft(image, part, goal)
    factors = factors_of(part, goal)
    if max(factors) > 1:
        if reader is not None:
            return by_bands(in_real_colours(reader.rows()), image.size, part, goal, factors)
        if image.mode not in GUESSED_MODES and not is_plain(image):
            rows = in_real_colours(lambda top, height: image.crop((0, top, image.width, top + height)))
            return by_bands(rows, image.size, part, goal, factors)
    return resized(with_real_colours(image), part, goal)


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


def draft(image: Image.Image, part: Part, goal: Size) -> tuple[Image.Image, Part]:
    """Let the decoder skip most of the work, if it is one that can (JPEG).

    Returns:
        the image to go on with, and where `part` is in it.
    """
    before = image.size
    asked = (
        round(goal[0] * before[0] / (part[2] - part[0]) * GAP),
        round(goal[1] * before[1] / (part[3] - part[1]) * GAP),
    )
    drafted = image.draft(None, asked)
    if not drafted:
        return image, part
    # What the picture takes of the smaller one: its last pixels may be there in part only.
    across, down = drafted[1][2] / before[0], drafted[1][3] / before[1]
    if across <= MOST_REDUCED and image.info.get("progressive"):
        lighter = without_finer(image)
        if lighter is not None:
            lighter.draft(None, asked)
            image = lighter
    return image, scaled(part, across, down)


def without_finer(image: Image.Image) -> Image.Image | None:
    """A progressive JPEG anew, of those of its scans that count at the size that it was drafted to; None for what is none."""
    from PIL.JpegImagePlugin import JpegImageFile

    if not isinstance(image, JpegImageFile) or image.format != "JPEG" or image.fp is None:
        return None
    place = image.fp.tell()
    image.fp.seek(0)
    data = without_fine_scans(image.fp.read())
    image.fp.seek(place)
    return None if data is None else Image.open(BytesIO(data), formats=("JPEG",))


def scaled(part: Part, across: float, down: float) -> Part:
    return part[0] * across, part[1] * down, part[2] * across, part[3] * down


def factors_of(part: Part, goal: Size) -> tuple[int, int]:
    """How many pixels may become one before Lanczos, across and down."""
    across, down = (part[2] - part[0]) / goal[0] / GAP, (part[3] - part[1]) / goal[1] / GAP
    return max(1, int(across)), max(1, int(down))


def resized(image: Image.Image, part: Part, goal: Size) -> Image.Image:
    """`part` of an image in real colours, in the size `goal`."""
    if image.size == goal:
        return image
    # Pillow premultiplies by itself, but leaves out the quick reduction then.
    mode = image.mode
    premultiplied = image.convert(PREMULTIPLIED[mode]) if mode in PREMULTIPLIED else image
    small = premultiplied.resize(goal, Image.Resampling.LANCZOS, part, reducing_gap=GAP)
    return small.convert(mode) if mode in PREMULTIPLIED else small


def is_plain(image: Image.Image) -> bool:
    """Whether its pixels can be resampled as they are; Pillow does that to the whole best."""
    return image.mode in ("L", "RGB", "CMYK", "YCbCr", "LAB", "HSV") and not image.has_transparency_data


def in_real_colours(rows: Rows) -> Rows:
    """`rows` so that the mean of their pixels is right."""

    def real(top: int, height: int) -> Image.Image:
        band = rows(top, height)
        if is_16_bits(band):
            return band.convert("I")
        band = with_real_colours(band)
        return band.convert(PREMULTIPLIED[band.mode]) if band.mode in PREMULTIPLIED else band

    return real


def by_bands(rows: Rows, whole: Size, part: Part, goal: Size, factors: tuple[int, int]) -> Image.Image:
    """`part` of the picture that is `whole` large, in the size `goal`, without ever having all of it."""
    left, top, right, bottom = needed_for(part, whole, goal)
    height = max(1, BAND_PIXELS // (whole[0] * factors[1])) * factors[1]
    reduced: Image.Image | None = None
    for place in range(top, bottom, height):
        band = rows(place, min(height, bottom - place))
        small = band.reduce(factors, (left, 0, right, band.height))
        if reduced is None:
            reduced = Image.new(small.mode, (small.width, ceil((bottom - top) / factors[1])))
        reduced.paste(small, (0, (place - top) // factors[1]))
    assert reduced is not None
    box = scaled((part[0] - left, part[1] - top, part[2] - left, part[3] - top), 1 / factors[0], 1 / factors[1])
    small = reduced.resize(goal, Image.Resampling.LANCZOS, box)
    if small.mode == "I":
        return from_16_bits(small)
    real = next((mode for mode, other in PREMULTIPLIED.items() if other == small.mode), small.mode)
    return small.convert(real) if real != small.mode else small


def needed_for(part: Part, whole: Size, goal: Size) -> tuple[int, int, int, int]:
    """Which pixels have a share in `part` when it becomes `goal` large."""
    across = LANCZOS_REACH * (part[2] - part[0]) / goal[0]
    down = LANCZOS_REACH * (part[3] - part[1]) / goal[1]
    return (
        max(0, int(part[0] - across)),
        max(0, int(part[1] - down)),
        min(whole[0], ceil(part[2] + across)),
        min(whole[1], ceil(part[3] + down)),
    )
