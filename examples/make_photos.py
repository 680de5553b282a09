"""Make many large JPEGs from the sample photos, to try `procession images` on something like a camera's memory card.

    python examples/make_photos.py OUT --count 500 --width 4000 --height 3000

Each file is another cut-out of a sample photo, enlarged, with a grain like a camera's: without it the files would be
small and quick to decode.  Every fourth is stored sideways with an EXIF orientation, as phones do.
"""

import argparse
import random
from functools import cache, partial
from pathlib import Path

from PIL import ExifTags, Image, ImageChops

import procession

SAMPLES = Path(__file__).parent / "photos"
GRAIN_SIDE = 512
GRAIN_SIGMA = 10
NEUTRAL = 128
SIDEWAYS = 6
QUALITY = 90


@cache
def samples() -> list[Path]:
    paths = sorted(path for path in SAMPLES.rglob("*") if path.suffix in {".jpg", ".png"})
    # The sky of stars and the grey picture are unlike what cameras see most.
    return [path for path in paths if path.stem not in {"hubble_deep_field", "camera"}]


@cache
def grain(width: int, height: int) -> Image.Image:
    """Noise around NEUTRAL that fills a photo; made once in each worker, since it costs more than a photo."""
    tile = Image.effect_noise((GRAIN_SIDE, GRAIN_SIDE), GRAIN_SIGMA)
    sheet = Image.new("L", (width, height))
    for left in range(0, width, GRAIN_SIDE):
        for top in range(0, height, GRAIN_SIDE):
            sheet.paste(tile.transpose(random.Random(left * height + top).choice(list(Image.Transpose))), (left, top))
    return sheet.convert("RGB")


def make_photo(number: int, *, folder: Path, width: int, height: int) -> int:
    """Write photo `number` and return its size in bytes."""
    chance = random.Random(number)
    with Image.open(samples()[number % len(samples())]) as sample:
        photo = sample.convert("RGB")
    share = chance.uniform(0.6, 0.9)
    cut_width = min(photo.width, round(photo.height * width / height)) * share
    cut_height = cut_width * height / width
    left, top = chance.uniform(0, photo.width - cut_width), chance.uniform(0, photo.height - cut_height)
    photo = photo.resize((width, height), Image.Resampling.BICUBIC, (left, top, left + cut_width, top + cut_height))
    photo = ImageChops.add(photo, grain(width, height), offset=-NEUTRAL)
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "procession"
    if number % 4 == 3:
        photo = photo.transpose(Image.Transpose.ROTATE_90)
        exif[ExifTags.Base.Orientation] = SIDEWAYS
    path = folder / f"{number // 100:03}" / f"photo-{number:05}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    photo.save(path, quality=QUALITY, exif=exif)
    return path.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description="Make large JPEGs from the sample photos.")
    parser.add_argument("folder", type=Path, metavar="OUT")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--width", type=int, default=4000)
    parser.add_argument("--height", type=int, default=3000)
    options = parser.parse_args()
    make = partial(make_photo, folder=options.folder, width=options.width, height=options.height)
    with procession.Pool() as pool:
        size_bytes = sum(pool.imap_unordered(make, range(options.count)))
    print(f"{options.count} photos, {size_bytes / 1e6:,.0f} MB, in {options.folder}")


if __name__ == "__main__":
    main()
