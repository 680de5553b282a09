"""A progressive JPEG without its fine scans is the same picture at an eighth of its size."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

pytest.importorskip("PIL")

from PIL import Image, ImageChops

from procession.apps.images.recipe import Recipe
from procession.apps.images.scans import MARKER, START_OF_SCAN, without_fine_scans
from procession.apps.images.thumbnail import ThumbnailTask, make_thumbnail

PHOTO = Path(__file__).parents[2] / "examples" / "photos" / "china.jpg"


def progressive(mode: str = "RGB", **options: object) -> bytes:
    with Image.open(PHOTO) as photo:
        buffer = BytesIO()
        photo.convert(mode).save(buffer, "JPEG", progressive=True, **options)
    return buffer.getvalue()


def at_an_eighth(data: bytes) -> Image.Image:
    with Image.open(BytesIO(data)) as image:
        image.draft(None, (image.width // 8, image.height // 8))
        image.load()
        return image.copy()


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("quality", [30, 95])
def test_an_eighth_of_it_has_the_same_pixels(mode: str, subsampling: str, quality: int) -> None:
    whole = progressive(mode, subsampling=subsampling, quality=quality)
    light = without_fine_scans(whole)
    assert light is not None and len(light) < 0.8 * len(whole)
    one, other = at_an_eighth(whole), at_an_eighth(light)
    assert one.size == other.size == (80, 54)
    assert one.tobytes() == other.tobytes()


def scans(data: bytes) -> Iterator[int]:
    """Where the scans' headers begin."""
    return (match.start() for match in MARKER.finditer(data) if data[match.start() + 1] == START_OF_SCAN)


def test_what_is_cut_off_or_unusual_is_left_as_it_is() -> None:
    whole = progressive()
    last = list(scans(whole))[-1]
    assert [without_fine_scans(whole[:length]) for length in (-2, len(whole) // 2, last + 4, last + 1, 100, 2, 0)] == [
        None
    ] * 7
    for offset, value in ((4, 2), (7, 0xFF), (8, 0), (9, 0x31)):
        damaged = bytearray(whole)
        damaged[last + offset] = value
        assert without_fine_scans(bytes(damaged)) is None, offset
    strange = whole[: last + 40] + b"\xff\x02" + whole[last + 40 :]
    assert without_fine_scans(strange) is None


def test_a_thumbnail_of_it_is_that_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(progressive())

    def thumbnail(name: str, size: int) -> Image.Image:
        output = tmp_path / name
        task = ThumbnailTask("a", str(tmp_path / "a.jpg"), str(output), str(tmp_path / ".tmp"), "JPEG", 1, 10**18)
        assert not make_thumbnail(task, Recipe((size, size))).failed
        with Image.open(output) as image:
            return image.convert("RGB")

    sizes: list[int] = []

    def spy(data: bytes) -> bytes | None:
        sizes.append(len(data))
        return without_fine_scans(data)

    monkeypatch.setattr("procession.apps.images.shrink.without_fine_scans", spy)
    light = [thumbnail("light.jpg", size) for size in (38, 41)]
    assert sizes == [(tmp_path / "a.jpg").stat().st_size]  # at 41 an eighth would be too small
    monkeypatch.setattr("procession.apps.images.shrink.without_fine_scans", lambda data: None)
    whole = [thumbnail("whole.jpg", size) for size in (38, 41)]
    for one, other in zip(light, whole, strict=True):
        assert ImageChops.difference(one, other).getbbox() is None
