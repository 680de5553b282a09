"""A small picture as the bytes of a file."""

from io import BytesIO

from PIL import Image

from procession.apps.images.colours import PLAIN_MODES, fits_profile
from procession.apps.images.pixels import Small
from procession.apps.images.recipe import Recipe

WHITE = 255
GREY_AND_COLOUR = ("L", "RGB")
WRITABLE_MODES = {
    "AVIF": ("RGB", "RGBA"),
    "BLP": ("P",),
    "DDS": PLAIN_MODES,
    "GIF": ("L", "RGB", "RGBA"),
    "ICO": ("RGB", "RGBA"),
    "JPEG2000": PLAIN_MODES,
    "MSP": ("1",),
    "PNG": PLAIN_MODES,
    "QOI": ("RGB", "RGBA"),
    "SGI": ("L", "RGB", "RGBA"),
    "TGA": PLAIN_MODES,
    "TIFF": PLAIN_MODES,
    "WEBP": ("RGB", "RGBA"),
    "XBM": ("1",),
}
"""What a format can hold; a format that is not here gets GREY_AND_COLOUR."""

PROFILE_FORMATS = frozenset({"AVIF", "JPEG", "PNG", "TIFF", "WEBP"})
EXIF_FORMATS = frozenset({"AVIF", "JPEG", "PNG", "WEBP"})
XMP_FORMATS = frozenset({"AVIF", "JPEG", "WEBP"})
LOSSY_FORMATS = frozenset({"AVIF", "JPEG", "WEBP"})
SAVE_OPTIONS: dict[str, dict[str, object]] = {
    "AVIF": {"max_threads": 1},  # every core already has a worker
    "JPEG": {"quality": 85},
    "PNG": {"compress_level": 4},  # two thirds of the time of level 6, and half a percent larger
    "TIFF": {"compression": "tiff_adobe_deflate"},
}


def encode(small: Small, recipe: Recipe, format: str) -> bytes:
    """A file of `format`, with the profile and metadata that are to be kept and none of the source's other."""
    image = to_writable_mode(small.image, WRITABLE_MODES.get(format, GREY_AND_COLOUR))
    image.info = {}
    options = dict(SAVE_OPTIONS.get(format, {}))
    if recipe.quality is not None and format in LOSSY_FORMATS:
        options["quality"] = recipe.quality
    if small.profile is not None and format in PROFILE_FORMATS and fits_profile(image, small.profile):
        options["icc_profile"] = small.profile
    if small.exif and format in EXIF_FORMATS:
        options["exif"] = small.exif
    if small.xmp and format in XMP_FORMATS:
        options["xmp"] = small.xmp
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
    """Without alpha, as on paper."""
    opaque = image.convert("RGB" if image.mode == "RGBA" else "L")
    white = Image.new(opaque.mode, opaque.size, (WHITE,) * len(opaque.getbands()))
    white.paste(opaque, mask=image.getchannel("A"))
    return white
