"""300 images of many kinds from a few photos: what a folder of pictures has, from 0.1 to 12 megapixels."""

import random
from functools import cache, partial
from pathlib import Path

from PIL import ExifTags, Image, ImageChops

import procession

SAMPLES = Path(__file__).parents[1] / "examples" / "photos"
SMALLEST, LARGEST = 0.1e6, 12e6
SIDEWAYS = 6
NEUTRAL = 128
# Of thirty, three quarters are JPEGs, as in a folder of photos.
KINDS = (
    ["jpeg"] * 16
    + ["sideways"] * 3
    + ["progressive"] * 2
    + ["cmyk"]
    + ["png"] * 2
    + ["png16", "palette", "rgba"]
    + ["webp", "gif", "tiff"]
)


@cache
def samples(photos: tuple[Path, ...]) -> list[Path]:
    return sorted(path for folder in photos for path in folder.rglob("*") if path.suffix in {".jpg", ".png"})


@cache
def grain() -> Image.Image:
    return Image.effect_noise((512, 512), 12).convert("RGB")


def make(folder: Path, count: int, photos: list[Path]) -> None:
    """Fill `folder`, unless it is there already."""
    if folder.exists() and sum(1 for _ in folder.iterdir()) == count:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with procession.Pool() as pool:
        list(pool.imap_unordered(partial(make_one, folder=folder, photos=(SAMPLES, *photos)), range(count)))


def make_one(number: int, *, folder: Path, photos: tuple[Path, ...]) -> None:
    """Image `number`: another cut-out of a photo, enlarged, with a grain like a camera's."""
    chance = random.Random(number)
    kind = KINDS[number % len(KINDS)]
    # Evenly over sizes as people name them; each kind has small and large ones.
    share = ((number // len(KINDS)) * 0.61803 + (number % len(KINDS)) * 0.37) % 1.0
    pixels = SMALLEST * (LARGEST / SMALLEST) ** share
    width = round((pixels * 4 / 3) ** 0.5)
    height = round(pixels / width)
    paths = samples(photos)
    with Image.open(paths[number % len(paths)]) as sample:
        photo = sample.convert("RGB")
    part = chance.uniform(0.7, 1.0)
    left, top = chance.uniform(0, photo.width * (1 - part)), chance.uniform(0, photo.height * (1 - part))
    box = (left, top, left + photo.width * part, top + photo.height * part)
    photo = photo.resize((width, height), Image.Resampling.BICUBIC, box)
    sheet = Image.new("RGB", photo.size)
    for x in range(0, width, 512):
        for y in range(0, height, 512):
            sheet.paste(grain(), (x, y))
    save(ImageChops.add(photo, sheet, offset=-NEUTRAL), kind, folder / f"{number:03}-{kind}")


def save(photo: Image.Image, kind: str, stem: Path) -> None:
    match kind:
        case "jpeg":
            photo.save(stem.with_suffix(".jpg"), quality=88)
        case "sideways":
            exif = Image.Exif()
            exif[ExifTags.Base.Orientation] = SIDEWAYS
            photo.transpose(Image.Transpose.ROTATE_90).save(stem.with_suffix(".jpg"), quality=88, exif=exif)
        case "progressive":
            photo.save(stem.with_suffix(".jpg"), quality=85, progressive=True)
        case "cmyk":
            photo.convert("CMYK").save(stem.with_suffix(".jpg"), quality=88)
        case "png":
            photo.save(stem.with_suffix(".png"), compress_level=4)
        case "png16":
            photo.convert("L").convert("I").point(lambda value: value * 257).convert("I;16").save(
                stem.with_suffix(".png"), compress_level=4
            )
        case "palette":
            photo.quantize(256).save(stem.with_suffix(".png"), compress_level=4)
        case "rgba":
            alpha = Image.radial_gradient("L").resize(photo.size).point(lambda value: 255 - value)
            photo.putalpha(alpha)
            photo.save(stem.with_suffix(".png"), compress_level=4)
        case "webp":
            photo.save(stem.with_suffix(".webp"), quality=80, method=2)
        case "gif":
            photo.quantize(256).save(stem.with_suffix(".gif"))
        case "tiff":
            photo.save(stem.with_suffix(".tif"), compression="tiff_lzw")
