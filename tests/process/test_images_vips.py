"""procession images with libvips: the same thumbnails, and never for a file that it might take and Pillow would not."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PIL")

from PIL import ExifTags, Image, ImageChops, ImageCms, ImageStat
from test_images_corpus import corpus  # noqa: F401

import image_tasks
import procession
from conftest import METHODS
from procession.apps.images import make_thumbnails, vips

# It is not imported: forked workers would inherit it, and then leave it alone.
if not vips.is_installed():
    pytest.skip("pyvips is not installed", allow_module_level=True)

SIZE = (60, 50)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
Shrink = Callable[..., Path]


@pytest.fixture(params=METHODS)
def ctx(request: pytest.FixtureRequest) -> Any:
    return procession.get_context(request.param)


@pytest.fixture
def workers(ctx: Any) -> Iterator[tuple[Any, Any]]:
    """A worker with libvips and one without."""
    with ctx.Pool(1, image_tasks.prepare, (True,)) as with_vips, ctx.Pool(1, image_tasks.prepare, (False,)) as without:
        yield with_vips, without


@pytest.fixture
def worker() -> Iterator[Any]:
    with procession.Pool(1, image_tasks.prepare, (True,)) as pool:
        yield pool


def photo(width: int = 700, height: int = 500) -> Image.Image:
    """Large enough for libvips, and not smooth."""
    with Image.open(Path(__file__).parents[2] / "examples" / "photos" / "chelsea.png") as cat:
        return cat.convert("RGB").resize((width, height))


def grey_16() -> Image.Image:
    return photo().convert("L").convert("I").point(lambda value: value * 257).convert("I;16")


def with_alpha() -> Image.Image:
    picture = photo()
    picture.putalpha(Image.radial_gradient("L").resize(picture.size))
    return picture


PICTURES: dict[str, Callable[[], Image.Image]] = {
    "1": lambda: photo().convert("1"),
    "L": lambda: photo().convert("L"),
    "LA": lambda: with_alpha().convert("LA"),
    "RGB": photo,
    "RGBA": with_alpha,
    "I16": grey_16,
    "odd": lambda: photo(1013, 761),
    "flat": lambda: photo(9001, 31),
    "P": lambda: photo().quantize(200),
}


@pytest.mark.parametrize("fills", [False, True])
def test_a_png_gives_the_same_thumbnail_to_the_last_bit(workers: tuple[Any, Any], fills: bool, tmp_path: Path) -> None:
    outputs = []
    for name, make in PICTURES.items():
        source = tmp_path / f"{name}.png"
        make().save(source, compress_level=1)
        outputs.append([tmp_path / f"{number}" / source.name for number in range(2)])
        calls = [
            pool.apply_async(image_tasks.shrink, (source, output, SIZE, {"fills": fills}))
            for pool, output in zip(workers, outputs[-1], strict=True)
        ]
        assert [call.get() for call in calls] == [("", True), ("", False)] or name == "1"
    assert [one.name for one, other in outputs if one.read_bytes() != other.read_bytes()] == []


@pytest.mark.parametrize("fills", [False, True])
@pytest.mark.parametrize("make", [photo, with_alpha], ids=["RGB", "RGBA"])
@pytest.mark.parametrize("options", [{"quality": 90}, {"lossless": True}], ids=["lossy", "lossless"])
def test_a_webp_gives_a_thumbnail_that_nobody_can_tell_apart(
    worker: Any, make: Callable[[], Image.Image], options: dict[str, object], fills: bool, tmp_path: Path
) -> None:
    make().save(tmp_path / "a.webp", method=0, **options)
    answer = worker.apply(
        image_tasks.shrink, (tmp_path / "a.webp", tmp_path / "b.webp", SIZE, {"fills": fills, "quality": 100})
    )
    assert answer == ("", True)
    without = image_tasks.shrink(tmp_path / "a.webp", tmp_path / "c.webp", SIZE, {"fills": fills, "quality": 100})
    assert without == ("", False)
    with Image.open(tmp_path / "b.webp") as one, Image.open(tmp_path / "c.webp") as other:
        assert (one.size, one.mode) == (other.size, other.mode)
        rest = ImageStat.Stat(ImageChops.difference(one.convert("RGBA"), other.convert("RGBA")))
        assert max(rest.rms) < 4


def test_orientation_profile_and_metadata_are_kept(worker: Any, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Artist] = "somebody"
    for suffix in (".png", ".webp"):
        photo().save(tmp_path / f"a{suffix}", exif=exif, icc_profile=SRGB)
        output = tmp_path / f"b{suffix}"
        options = {"keeps_metadata": True}
        assert worker.apply(image_tasks.shrink, (tmp_path / f"a{suffix}", output, SIZE, options)) == ("", True)
        with Image.open(output) as image:
            assert image.size == (36, 50)
            assert (image.getexif()[ExifTags.Base.Artist], image.info["icc_profile"]) == ("somebody", SRGB)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(picture: Image.Image, **options: Any) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG", compress_level=1, **options)
    return buffer.getvalue()


def rgb_of_16_bits() -> bytes:
    header = struct.pack(">IIBBBBB", 700, 500, 16, 2, 0, 0, 0)
    data = zlib.compress(bytes(500 * (1 + 700 * 6)), 1)
    return vips.PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def webp(picture: Image.Image, **options: Any) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "WEBP", method=0, **options)
    return buffer.getvalue()


def test_only_files_of_which_nothing_is_doubtful_are_read_by_libvips(worker: Any, tmp_path: Path) -> None:
    whole = png(photo())
    end = whole[-12:]
    turned = chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0")
    doubtful = {
        "small.png": png(photo(300, 200)),
        "cut.png": whole[:-4000],
        "no_end.png": whole[:-12],
        "exif_behind.png": whole[:-12] + turned + end,
        "text_behind.png": whole[:-12] + chunk(b"tEXt", b"Raw profile type exif\0") + end,
        "animated.png": png(photo(), save_all=True, append_images=[photo().rotate(180)]),
        "palette.png": png(photo().quantize(200)),
        "animated.webp": webp(photo(), save_all=True, append_images=[photo().rotate(180)]),
    }
    clear = {
        "whole.png": whole,
        "tail.png": whole + b"something else",
        "date_behind.png": whole[:-12] + chunk(b"tEXt", b"date:create\0today") + chunk(b"tIME", bytes(7)) + end,
        "whole.webp": webp(photo()),
        os.fsdecode(b"caf\xe9.png"): whole,
    }
    for name, data in (doubtful | clear).items():
        (tmp_path / name).write_bytes(data)
    found = {name for name in doubtful | clear if worker.apply(image_tasks.has_reader, (tmp_path / name,))}
    assert found == set(clear)
    assert [vips.is_whole_webp(BytesIO(clear["whole.webp"][:length])) for length in (None, -500, 20)] == [
        True,
        False,
        False,
    ]


def test_what_libvips_would_make_otherwise_is_left_to_pillow(worker: Any, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(rgb_of_16_bits())
    assert worker.apply(image_tasks.has_reader, (tmp_path / "a.png",))
    assert worker.apply(image_tasks.shrink, (tmp_path / "a.png", tmp_path / "b.png", SIZE, {})) == ("", True)


def test_exif_behind_the_pixels_sets_the_picture_upright(worker: Any, tmp_path: Path) -> None:
    whole = png(photo())
    turned = chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0")
    (tmp_path / "a.png").write_bytes(whole[:-12] + turned + whole[-12:])
    assert worker.apply(image_tasks.shrink, (tmp_path / "a.png", tmp_path / "b.png", SIZE, {})) == ("", False)
    with Image.open(tmp_path / "b.png") as image:
        assert image.size == (36, 50)


def test_a_picture_that_pillow_could_not_hold_is_not_read(tmp_path: Path) -> None:
    photo().save(tmp_path / "a.png")
    header = struct.pack(">IIBBBBB", 9000, 9000, 1, 0, 0, 0, 0)
    data = zlib.compress(bytes(9000 * (1 + 9000 // 8)), 1)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    (tmp_path / "large.png").write_bytes(vips.PNG_SIGNATURE + parts)
    has = []
    for memory_bytes in (400_000_000, 300_000_000, 200_000_000):
        with procession.Pool(1, image_tasks.prepare, (True, memory_bytes)) as pool:
            has.append(pool.map(image_tasks.has_reader, [tmp_path / "a.png", tmp_path / "large.png"]))
    assert has == [[True, True], [True, False], [False, False]]  # of the last, libvips itself would take too much


def test_a_process_that_has_inherited_it_leaves_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo().save(tmp_path / "a.png")
    monkeypatch.setitem(image_tasks.sys.modules, "pyvips", None)
    with procession.get_context("fork").Pool(1, image_tasks.prepare, (True,)) as pool:
        assert not pool.apply(image_tasks.has_reader, (tmp_path / "a.png",))


@pytest.mark.deadline(60)
def test_each_of_a_thousand_files_has_the_same_outcome(
    corpus: tuple[Path, set[str], set[str]],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vips, "LEAST_PIXELS", 0)
    ends = []
    for name in ("with", "without"):
        if name == "without":
            monkeypatch.setattr(vips, "is_installed", lambda: False)
        result = make_thumbnails(corpus[0], tmp_path / name, size=(16, 16), workers=2, memory_bytes=300_000_000)
        ends.append({outcome.name: (outcome.status, outcome.reason) for outcome in result.outcomes})
    assert ends[0] == ends[1]
    pngs = [name for name, (status, _) in ends[0].items() if status == "done" and name.endswith(".png")]
    different = [
        name for name in pngs if (tmp_path / "with" / name).read_bytes() != (tmp_path / "without" / name).read_bytes()
    ]
    assert different == []
