"""The benchmark of procession images: what it makes its figures from, and how it tells them."""

from pathlib import Path

import pytest

pytest.importorskip("PIL")

from benchmarks import images, images_corpus, images_quality, programs
from PIL import Image, ImageFilter


def test_the_table_names_the_goals_and_how_much_faster_we_are() -> None:
    seconds = {images.PROCESSION: [4.0, 2.0, 3.0], "vipsthumbnail": [6.0], "decode alone": [2.4]}
    facts = {"seconds": seconds, "ssim": {"vipsthumbnail": 0.95}, "memory_mb": 120.4, "cpu": {"vipsthumbnail": [12.0]}}
    assert images.table_of(facts, 300).splitlines()[2:] == [
        "| decode alone | 125.0 | 0.80 | 0.9 |  |  |",
        "| procession images | 100.0 |  |  |  |  |",
        "| vipsthumbnail | 50.0 | 2.00 | 1.2 | 40.0 | 0.9500 |",
        "",
        "Largest worker: 120 MB (goal: less than 150).",
    ]
    assert images.goals_of(facts) == [
        "images, vipsthumbnail: 2.00 times as fast, goal 1.20: yes",
        "images, decode alone: 0.80 times as fast, goal 0.90: NO",
        "images, largest worker: 120 MB, goal 150: yes",
    ]


def test_the_figures_take_the_place_of_the_old_ones(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- figures -->\nold\n<!-- end of figures -->\nafter\n")
    programs.put_into_page(page, "figures", "new")
    assert page.read_text() == "before\n<!-- figures -->\nnew\n<!-- end of figures -->\nafter\n"


def test_what_is_alike_has_1_and_what_is_blurred_less() -> None:
    noise = Image.effect_noise((100, 80), 60).convert("RGB")
    blurred = noise.filter(ImageFilter.GaussianBlur(1))
    more = noise.filter(ImageFilter.GaussianBlur(3))
    values = [images_quality.likeness(noise, other) for other in (noise, blurred, more)]
    assert values[0] == pytest.approx(1.0)
    assert 1 > values[1] > values[2] > 0


def test_the_corpus_has_every_kind_and_its_images_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images_corpus, "LARGEST", 0.11e6)
    for number in range(len(images_corpus.KINDS)):
        images_corpus.make_one(number, folder=tmp_path, photos=(images_corpus.SAMPLES,))
    assert {path.stem.partition("-")[2] for path in tmp_path.iterdir()} == set(images_corpus.KINDS)
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            image.load()
            assert 90_000 < image.width * image.height < 120_000
