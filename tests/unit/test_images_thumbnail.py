"""One thumbnail at a time: every kind of picture comes out right, every kind of bad file with a reason."""

import os
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

pytest.importorskip("PIL")

from PIL import ExifTags, Image, ImageChops, ImageCms, ImageDraw, ImageStat

from procession.apps.images import formats
from procession.apps.images.pixels import TURNS
from procession.apps.images.recipe import Recipe
from procession.apps.images.shrink import filled, fitted
from procession.apps.images.thumbnail import ThumbnailTask, make_thumbnail
from procession.apps.outcome import Outcome

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
Shrink = Callable[..., Outcome]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out" / "sub"


@pytest.fixture
def shrink(tmp_path: Path, output: Path) -> Shrink:
    def shrink(source: Path, size: tuple[int, int] = (40, 40), **wishes: object) -> Outcome:
        recipe = Recipe(size, **wishes)  # type: ignore[arg-type]
        format, name = formats.output_of(source.name, "")
        path = output / name
        task = task_of(source, path, format)
        (outcome,) = make_thumbnail(task, recipe).outcomes
        assert path.exists() == (not outcome.is_failed)
        assert not Path(task.temporary).exists()
        return outcome

    return shrink


MARK_NS = 1_600_000_000_000_007_000


def task_of(source: Path, output: Path, format: str = "PNG") -> ThumbnailTask:
    return ThumbnailTask(source.name, str(source), str(output), str(output.with_name(".tmp")), format, 1, MARK_NS)


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
    task = task_of(tmp_path / "a.png", output / "a.png")
    assert make_thumbnail(task, Recipe()).outcomes[0].reason == "the thumbnail would replace its own source"
    assert (tmp_path / "a.png").read_bytes() == before


def test_a_failed_write_leaves_the_old_thumbnail(tmp_path: Path, output: Path) -> None:
    quadrants().save(tmp_path / "a.png")
    (output / "a.png").mkdir(parents=True)
    task = task_of(tmp_path / "a.png", output / "a.png")
    assert make_thumbnail(task, Recipe()).outcomes[0].reason == "Is a directory"
    assert [path.name for path in output.iterdir()] == ["a.png"]


def test_a_thumbnail_has_its_mark_when_it_appears(tmp_path: Path, shrink: Shrink, output: Path) -> None:
    quadrants().save(tmp_path / "a.png")
    shrink(tmp_path / "a.png")
    assert (output / "a.png").stat().st_mtime_ns == MARK_NS


def test_an_unreadable_file_has_a_reason(tmp_path: Path, shrink: Shrink, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied")

    quadrants().save(tmp_path / "a.png")
    monkeypatch.setattr("procession.apps.images.thumbnail.open_without_waiting", refuse)
    assert shrink(tmp_path / "a.png").reason == "Permission denied"


def test_what_is_out_of_memory_has_a_reason(tmp_path: Path, shrink: Shrink, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise MemoryError

    quadrants().save(tmp_path / "a.png")
    monkeypatch.setattr("procession.apps.images.thumbnail.read_small", fail)
    monkeypatch.setattr("procession.apps.images.thumbnail._memory_bytes", 500_000_000)
    assert shrink(tmp_path / "a.png").reason == "needs more memory than the 500.0 MB that an image may take"


# Sizes


@pytest.mark.parametrize(
    ("whole", "goal"),
    [((400, 200), (40, 20)), ((30, 20), (30, 20)), ((40, 400), (4, 40)), ((4000, 1), (40, 1)), ((41, 41), (40, 40))],
)
def test_fitting_keeps_proportions_and_never_enlarges(whole: tuple[int, int], goal: tuple[int, int]) -> None:
    assert fitted(whole, (40, 40)) == ((0, 0, *whole), goal)


@pytest.mark.parametrize(
    ("whole", "part", "goal"),
    [
        ((400, 200), (100, 0, 300, 200), (40, 40)),
        ((200, 400), (0, 100, 200, 300), (40, 40)),
        ((40, 40), (0, 0, 40, 40), (40, 40)),
        ((30, 20), (5, 0, 25, 20), (20, 20)),
        ((400, 20), (190, 0, 210, 20), (20, 20)),
    ],
)
def test_filling_takes_the_middle_and_never_enlarges(
    whole: tuple[int, int], part: tuple[float, ...], goal: tuple[int, int]
) -> None:
    assert filled(whole, (40, 40)) == (part, goal)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_filled_thumbnail_has_the_exact_size(
    orientation: int, suffix: str, tmp_path: Path, shrink: Shrink, output: Path
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored = quadrants(1600, 800)
    (stored if orientation == 1 else stored.transpose(TURNS[8])).save(tmp_path / f"a{suffix}", exif=exif)
    shrink(tmp_path / f"a{suffix}", (40, 30), fills=True)
    with Image.open(output / f"a{suffix}") as image:
        assert image.size == (40, 30)
    assert corner_colours(output / f"a{suffix}") == [RED, GREEN, BLUE, WHITE]


# Options


def test_quality_is_a_matter_of_size(tmp_path: Path, shrink: Shrink) -> None:
    Image.effect_noise((200, 200), 50).save(tmp_path / "a.jpg")
    sizes = [shrink(tmp_path / "a.jpg", quality=quality).result_bytes for quality in (20, 60, 95)]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_metadata_is_kept_on_request_but_for_what_would_be_wrong(
    suffix: str, tmp_path: Path, shrink: Shrink, output: Path
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "somebody"
    exif[ExifTags.Base.Orientation] = 3
    exif.get_ifd(ExifTags.IFD.Exif).update(
        {ExifTags.Base.DateTimeOriginal: "2024:01:02 03:04:05", ExifTags.Base.ExifImageWidth: 160}
    )
    quadrants().transpose(TURNS[3]).save(tmp_path / f"a{suffix}", exif=exif)
    shrink(tmp_path / f"a{suffix}", keeps_metadata=True)
    with Image.open(output / f"a{suffix}") as image:
        kept = image.getexif()
        details = kept.get_ifd(ExifTags.IFD.Exif)
    assert (kept[ExifTags.Base.Artist], kept.get(ExifTags.Base.Orientation)) == ("somebody", None)
    assert details == {ExifTags.Base.DateTimeOriginal: "2024:01:02 03:04:05"}
    assert corner_colours(output / f"a{suffix}") == [RED, GREEN, BLUE, WHITE]


# Quality


def test_alpha_does_not_let_colours_of_what_is_hidden_through(tmp_path: Path, shrink: Shrink, output: Path) -> None:
    image = Image.new("RGBA", (400, 400), (*GREEN, 0))
    image.paste((*RED, 255), (0, 0, 200, 400))
    image.save(tmp_path / "a.png")
    shrink(tmp_path / "a.png", (39, 39))
    with Image.open(output / "a.png") as thumbnail:
        edge = thumbnail.getpixel((19, 20))
    assert isinstance(edge, tuple)
    assert edge[0] > 200 and edge[1] < 40 and 0 < edge[3] < 255


def test_a_thumbnail_is_as_near_to_a_full_lanczos_as_pillow_s_own(tmp_path: Path, shrink: Shrink, output: Path) -> None:
    photos = Path(__file__).parents[2] / "examples" / "photos"
    for photo in sorted(photos.rglob("*.[jp][pn]g")):
        shrink(photo, (128, 128))
        with Image.open(photo) as image, Image.open(photo) as other, Image.open(output / photo.name) as ours:
            goal = ours.size
            exact = image.convert("RGB").resize(goal, Image.Resampling.LANCZOS)
            other.thumbnail(goal, Image.Resampling.LANCZOS, reducing_gap=2.0)
            buffer = BytesIO()
            other.convert(ours.mode).save(buffer, ours.format, **({"quality": 85} if ours.format == "JPEG" else {}))
            usual = Image.open(buffer).convert("RGB")
            assert difference(ours.convert("RGB"), exact) <= difference(usual, exact) + 0.05, photo.name


def difference(one: Image.Image, other: Image.Image) -> float:
    """Root of the mean square, in steps of 255."""
    squares = sum(ImageStat.Stat(ImageChops.difference(one, other)).sum2)
    return float((squares / (one.width * one.height * 3)) ** 0.5)
