"""The classic: a folder of photos, made small by all cores.  `procession images` does the same and minds what can go wrong."""

import tempfile
from pathlib import Path

from PIL import Image

import procession as multiprocessing

PHOTOS = Path(__file__).parent / "photos"


def make_thumbnail(path, folder):
    with Image.open(path) as image:
        image.thumbnail((128, 128))
        image.save(folder / path.name)
        return path.name, image.size


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name, multiprocessing.Pool() as pool:
        photos = sorted(path for path in PHOTOS.rglob("*") if path.suffix in (".jpg", ".png"))
        for name, size in pool.starmap(make_thumbnail, [(photo, Path(name)) for photo in photos]):
            print(name, *size)

# camera.png 128 128
# chelsea.png 128 85
# china.jpg 128 85
# coffee.png 128 85
# flower.jpg 128 85
# astronaut.png 128 128
# hubble_deep_field.jpg 128 112
# rocket.jpg 128 85
