"""A thousand files, valid, odd and broken: one outcome for each, none of them a crash, and only whole thumbnails.

The broken ones are photos and odd pictures, cut off at many places and with bits turned: what a failing disk or an
interrupted download leaves.
"""

import os
import random
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

pytest.importorskip("PIL")

from PIL import Image

from procession.apps.images import make_thumbnails
from procession.apps.outcome import Outcome

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "TIFF": ".tif", "BMP": ".bmp", "PPM": ".ppm"}
MODES = {
    "JPEG": ("L", "RGB", "CMYK"),
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("L", "P", "RGB"),
    "TIFF": ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "F"),
    "BMP": ("1", "L", "P", "RGB"),
    "PPM": ("1", "L", "RGB"),
}
SPECIAL_OPTIONS: dict[str, list[dict[str, object]]] = {
    "JPEG": [{"progressive": True}, {"quality": 5}, {"subsampling": 0}],
    "PNG": [{"compress_level": 0}, {"bits": 2}],
    "WEBP": [{"lossless": True}],
    "TIFF": [{"compression": "tiff_lzw"}, {"compression": "jpeg"}, {"compression": "packbits"}],
}
CUTS, FLIPS = 14, 11


def valid_files() -> Iterator[tuple[str, bytes]]:
    """Every mode of every format, some options of each, and photos as they are."""
    with Image.open(PHOTOS / "chelsea.png") as cat:
        picture = cat.convert("RGB").resize((150, 100))
    for format, suffix in SUFFIXES.items():
        for mode in MODES[format]:
            converted = Image.new(mode, picture.size, 30_000) if mode == "I;16" else picture.convert(mode)
            yield f"{format}-{mode.replace(';', '')}{suffix}", encoded(converted, format)
        for number, options in enumerate(SPECIAL_OPTIONS.get(format, ())):
            yield f"{format}-{number}{suffix}", encoded(picture, format, **options)
    for name in ("china.jpg", "flower.jpg"):
        yield f"photo-{name}", (PHOTOS / name).read_bytes()


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def broken(data: bytes, chance: random.Random) -> Iterator[bytes]:
    """Cut off, and with some bits turned; the first bytes are often the more interesting ones."""
    for number in range(CUTS):
        yield data[: chance.randrange(min(len(data), 2000 if number % 2 else len(data)))]
    for number in range(FLIPS):
        damaged = bytearray(data)
        for _ in range(1 + number):
            damaged[chance.randrange(min(len(data), 600 if number % 2 else len(data)))] ^= 1 << chance.randrange(8)
        yield bytes(damaged)


def odd_files(folder: Path, valid: dict[str, bytes]) -> Iterator[str]:
    """What is no image, is one under a wrong name, or has a name that is hard to say."""
    jpeg, png = valid["JPEG-RGB.jpg"], valid["PNG-RGB.png"]
    contents = {
        "empty.jpg": b"",
        "words.png": b"not a picture at all",
        "zeros.tif": bytes(10_000),
        "jpeg.png": jpeg,
        "png.jpg": png,
        "twice.jpg": jpeg + jpeg,
        "tail.png": png + b"something else",
        "notes.txt": b"words",
        "no_suffix": jpeg,
        "two\nlines\x1b[31m.jpg": jpeg,
        os.fsdecode(b"caf\xe9.jpg"): jpeg,
        "n" * 250 + ".jpg": jpeg,
        "-rf.jpg": jpeg,
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
        yield name
    (folder / "nowhere.jpg").symlink_to("missing")
    (folder / "circle.jpg").symlink_to("circle.jpg")
    os.mkfifo(folder / "pipe.png")
    yield from ("nowhere.jpg", "circle.jpg", "pipe.png")


@pytest.fixture
def corpus(tmp_path: Path) -> tuple[Path, set[str], set[str]]:
    """The folder, all names in it, and those of whole images."""
    folder = tmp_path / "in"
    folder.mkdir()
    chance = random.Random(7)
    valid = dict(valid_files())
    names = set(odd_files(folder, valid))
    for name, data in valid.items():
        (folder / name).write_bytes(data)
        stem, suffix = os.path.splitext(name)
        for number, damaged in enumerate(broken(data, chance)):
            names.add(f"{stem}-broken{number:02}{suffix}")
            (folder / f"{stem}-broken{number:02}{suffix}").write_bytes(damaged)
    return folder, names | set(valid), set(valid)


@pytest.mark.deadline(60)
def test_each_of_a_thousand_files_has_one_outcome(corpus: tuple[Path, set[str], set[str]], tmp_path: Path) -> None:
    folder, names, whole = corpus
    assert len(names) >= 1000
    result = make_thumbnails(folder, tmp_path / "out", workers=2, size=(64, 64), memory_bytes=300_000_000)
    outcomes = {outcome.name: outcome for outcome in result.outcomes}
    assert len(result.outcomes) == len(outcomes) and set(outcomes) == names
    assert (result.total, result.done + result.failed, result.missing) == (len(names), len(names), 0)
    assert [outcomes[name] for name in sorted(whole) if outcomes[name].is_failed] == []
    # What was broken fails, or its damage is where the picture is whole all the same; the others say why.
    assert 300 < result.failed < 1000
    reasons = {outcome.reason for outcome in result.failures}
    assert all(reason and "\n" not in reason and "worker" not in reason for reason in reasons)
    expected_files = {
        os.path.relpath(outcome.output, tmp_path / "out") for outcome in result.outcomes if outcome.output
    }
    assert set(os.listdir(tmp_path / "out")) == expected_files
    check_thumbnails(list(result.outcomes))


def check_thumbnails(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.status == "done":
            with Image.open(outcome.output) as image:
                image.load()
                assert 1 <= max(image.size) <= 64
