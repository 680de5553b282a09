"""One thumbnail at a time: every kind of picture comes out right, every kind of bad file with a reason."""

import os
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

pytest.importorskip("PIL")

from PIL import ExifTags, Image, ImageCms, ImageDraw

from procession.apps.images.plan import list_output_formats
from procession.apps.images.thumbnail import TURNS, ThumbnailTask, make_thumbnail
from procession.apps.outcome import Outcome

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
Shrink = Callable[..., Outcome]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out" / "sub"


@pytest.fixture
def shrink(tmp_path: Path, output: Path) -> Shrink:
    def shrink(source: Path, size: tuple[int, int] = (40, 40)) -> Outcome:
        format, suffix = list_output_formats()[source.suffix]
        path = output / (source.name + suffix)
        task = ThumbnailTask(source.name, str(source), str(path), str(path.with_name(".tmp")), format)
        (outcome,) = make_thumbnail(task, size).outcomes
        assert path.exists() == (not outcome.is_failed)
        assert not Path(task.temporary).exists()
        return outcome

    return shrink


def quadrants(width: int = 160, height: int = 80) -> Image.Image:
    """Red, green / blue, white: shows which way up a picture is."""
    image = Image.new("RGB", (width, height), RED)
    draw = ImageDraw.Draw(image)
    draw.rectangle((width // 2, 0, width, height // 2 - 1), GREEN)
    draw.rectangle((0, height // 2, width // 2 - 1, height), BLUE)
    draw.rectangle((width // 2, height // 2, width, height), WHITE)
    return image


def corner_colours(path: Path) -> list[tuple[int, ...]]:
    """The four quadrants' colours, each part rounded to 0 or 255."""
    with Image.open(path) as image:
        rgb = image.convert("RGB")
    points = [(x, y) for y in (0.25, 0.75) for x in (0.25, 0.75)]
    pixels = [rgb.getpixel((int(x * rgb.width), int(y * rgb.height))) for x, y in points]
    return [tuple(255 if part > 127 else 0 for part in pixel) for pixel in pixels if isinstance(pixel, tuple)]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".gif", ".bmp", ".ppm", ".tga", ".jp2", ".ico"])
def test_proportions_and_format_are_kept(suffix: str, tmp_path: Path, shrink: Shrink, output: Path) -> None:
    source = tmp_path / f"a{suffix}"
    quadrants().save(source)
    outcome = shrink(source)
    made = output / source.name
    assert outcome == Outcome(f"a{suffix}", "done", "", source.stat().st_size, made.stat().st_size, str(made))
    with Image.open(source) as before, Image.open(output / source.name) as after:
        assert after.format == before.format
        assert after.width / after.height == pytest.approx(before.width / before.height, abs=0.1)
        assert max(after.size) == 40
    if suffix != ".ico":  # its writer makes squares
        assert corner_colours(output / source.name) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(
    orientation: int, suffix: str, tmp_path: Path, shrink: Shrink, output: Path
) -> None:
    undo = {6: TURNS[8], 8: TURNS[6]}.get(orientation, TURNS.get(orientation))
    upright = quadrants()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    (upright if undo is None else upright.transpose(undo)).save(tmp_path / f"a{suffix}", exif=exif)
    shrink(tmp_path / f"a{suffix}", (40, 30))
    with Image.open(output / f"a{suffix}") as image:
        assert image.size == (40, 20)
        assert image.getexif().get(ExifTags.Base.Orientation, 1) == 1
    assert corner_colours(output / f"a{suffix}") == [RED, GREEN, BLUE, WHITE]


def test_damaged_exif_does_not_cost_the_picture(tmp_path: Path, shrink: Shrink) -> None:
    quadrants().save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\xff\xff garbage")
    assert not shrink(tmp_path / "a.jpg").is_failed


def test_a_small_image_is_not_enlarged(tmp_path: Path, shrink: Shrink, output: Path) -> None:
    quadrants(6, 4).save(tmp_path / "a.png")
    shrink(tmp_path / "a.png")
    with Image.open(output / "a.png") as image:
        assert image.size == (6, 4)


def test_a_very_flat_image_keeps_one_row(tmp_path: Path, shrink: Shrink, output: Path) -> None:
    Image.new("RGB", (4000, 2)).save(tmp_path / "a.png")
    shrink(tmp_path / "a.png")
    with Image.open(output / "a.png") as image:
        assert image.size == (40, 1)


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_becomes_rgb_of_the_same_colours(suffix: str, tmp_path: Path, shrink: Shrink, output: Path) -> None:
    quadrants().convert("CMYK").save(tmp_path / f"a{suffix}")
    shrink(tmp_path / f"a{suffix}")
    with Image.open(output / f"a{suffix}") as image:
        assert image.mode == "RGB"
    assert corner_colours(output / f"a{suffix}") == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_are_scaled_and_not_cut_off(suffix: str, tmp_path: Path, shrink: Shrink, output: Path) -> None:
    Image.new("I;16", (80, 80), 128 * 257).save(tmp_path / f"a{suffix}")
    shrink(tmp_path / f"a{suffix}")
    with Image.open(output / f"a{suffix}") as image:
        assert image.mode == "L"
        assert image.getpixel((5, 5)) in (127, 128)


def test_numbers_from_0_to_1_are_scaled(tmp_path: Path, shrink: Shrink, output: Path) -> None:
    image = Image.new("F", (80, 80), 0.5)
    image.putpixel((0, 0), 1.0)
    image.save(tmp_path / "a.tif")
    shrink(tmp_path / "a.tif")
    with Image.open(output / "a.tif") as thumbnail:
        assert thumbnail.getpixel((20, 20)) in (127, 128)


def transparent_left() -> Image.Image:
    image = Image.new("RGBA", (80, 80), (*RED, 255))
    image.paste((*BLUE, 0), (0, 0, 40, 80))
    return image


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".gif"])
def test_alpha_is_kept(mode: str, suffix: str, tmp_path: Path, shrink: Shrink, output: Path) -> None:
    image = transparent_left()
    if mode == "P":
        image = image.quantize(8)
    elif mode != "RGBA":
        image = image.convert(mode)
    buffer = BytesIO()
    image.save(buffer, "TIFF" if mode == "PA" else "PNG")  # what is inside decides how it is read
    (tmp_path / f"a{suffix}").write_bytes(buffer.getvalue())
    shrink(tmp_path / f"a{suffix}")
    with Image.open(output / f"a{suffix}") as thumbnail:
        alpha = thumbnail.convert("RGBA").getchannel("A")
    assert (alpha.getpixel((5, 20)), alpha.getpixel((35, 20))) == (0, 255)


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".ppm"])
def test_where_alpha_cannot_be_kept_the_picture_lies_on_white(
    suffix: str, tmp_path: Path, shrink: Shrink, output: Path
) -> None:
    transparent_left().save(tmp_path / f"a{suffix}", "PNG")
    shrink(tmp_path / f"a{suffix}")
    assert corner_colours(output / f"a{suffix}") == [WHITE, RED, WHITE, RED]


def test_a_colour_that_means_transparent_stays_transparent(tmp_path: Path, shrink: Shrink, output: Path) -> None:
    quadrants().save(tmp_path / "a.png", transparency=RED)
    shrink(tmp_path / "a.png")
    with Image.open(output / "a.png") as image:
        assert image.mode == "RGBA"
        assert image.getpixel((2, 2)) == (0, 0, 0, 0)


def test_an_animation_gives_its_first_frame(tmp_path: Path, shrink: Shrink, output: Path) -> None:
    frames = [Image.new("RGB", (80, 80), colour) for colour in (RED, GREEN, BLUE)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    shrink(tmp_path / "a.gif")
    with Image.open(output / "a.gif") as image:
        assert getattr(image, "n_frames", 1) == 1
    assert corner_colours(output / "a.gif") == [RED] * 4


def test_the_format_follows_the_name_and_not_the_content(tmp_path: Path, shrink: Shrink, output: Path) -> None:
    quadrants().save(tmp_path / "a.jpg", "PNG")
    shrink(tmp_path / "a.jpg")
    with Image.open(output / "a.jpg") as image:
        assert image.format == "JPEG"


def test_a_small_profile_is_kept_and_other_metadata_is_not(tmp_path: Path, shrink: Shrink, output: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "somebody"
    quadrants().save(tmp_path / "a.jpg", icc_profile=SRGB, exif=exif, comment=b"a word")
    shrink(tmp_path / "a.jpg")
    with Image.open(output / "a.jpg") as image:
        assert image.info["icc_profile"] == SRGB
        assert not image.getexif()
        assert "comment" not in image.info


@pytest.mark.parametrize("profile", [b"garbage", b"\0" * 9000, SRGB[:200] + b"\0" * 9000])
def test_a_profile_that_does_not_fit_is_dropped(profile: bytes, tmp_path: Path, shrink: Shrink, output: Path) -> None:
    quadrants().save(tmp_path / "a.jpg", icc_profile=profile)
    shrink(tmp_path / "a.jpg")
    with Image.open(output / "a.jpg") as image:
        assert "icc_profile" not in image.info
    assert corner_colours(output / "a.jpg") == [RED, GREEN, BLUE, WHITE]


def truncated_jpeg() -> bytes:
    buffer = BytesIO()
    Image.effect_noise((300, 300), 50).save(buffer, "JPEG")
    return buffer.getvalue()[:-2000]


def bomb() -> bytes:
    """A PNG of a few bytes that claims 2,500 megapixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 1, 0, 0, 0, 0)
    data = b"IDAT"
    chunks = [
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in (header, data)
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"no picture at all", "not an image, or damaged beyond recognition"),
        (truncated_jpeg(), "cannot be decoded: image file is truncated"),
        (bomb(), "too many pixels"),
    ],
    ids=["empty", "text", "truncated", "bomb"],
)
def test_a_bad_file_has_a_reason(content: bytes, reason: str, tmp_path: Path, shrink: Shrink) -> None:
    (tmp_path / "a.png").write_bytes(content)
    outcome = shrink(tmp_path / "a.png")
    assert reason in outcome.reason
    assert "\n" not in outcome.reason


def test_a_file_that_vanished_has_a_reason(tmp_path: Path, shrink: Shrink) -> None:
    assert shrink(tmp_path / "gone.png").reason == "No such file or directory"


def test_a_fifo_that_took_the_place_of_a_file_does_not_block(tmp_path: Path, shrink: Shrink) -> None:
    os.mkfifo(tmp_path / "a.png")
    assert shrink(tmp_path / "a.png").reason == "not a regular file"


def test_a_source_that_links_lead_back_to_is_not_replaced(tmp_path: Path, shrink: Shrink, output: Path) -> None:
    quadrants().save(tmp_path / "a.png")
    output.parent.mkdir()
    output.symlink_to(tmp_path)
    before = (tmp_path / "a.png").read_bytes()
    task = ThumbnailTask("a.png", str(tmp_path / "a.png"), str(output / "a.png"), str(output / ".tmp"), "PNG")
    assert make_thumbnail(task, (40, 40)).outcomes[0].reason == "the thumbnail would replace its own source"
    assert (tmp_path / "a.png").read_bytes() == before


def test_a_failed_write_leaves_the_old_thumbnail(tmp_path: Path, output: Path) -> None:
    quadrants().save(tmp_path / "a.png")
    (output / "a.png").mkdir(parents=True)
    task = ThumbnailTask("a.png", str(tmp_path / "a.png"), str(output / "a.png"), str(output / ".tmp"), "PNG")
    assert make_thumbnail(task, (40, 40)).outcomes[0].reason == "Is a directory"
    assert [path.name for path in output.iterdir()] == ["a.png"]
