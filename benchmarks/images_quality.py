"""How like a full-size Lanczos reduction thumbnails are: the mean structural similarity (SSIM) of brightness.

The reference is decoded whole, set upright, brought to sRGB colours and reduced by Lanczos in one step; what is transparent
lies on white.  A missing thumbnail counts as 0.
"""

import io
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

import procession

WINDOW = 7
PILLOW = "Pillow's thumbnail(reducing_gap=2.0)"


def compare(corpus: Path, folders: dict[str, Path], size: int) -> dict[str, float]:
    """The mean over the corpus, for each folder of thumbnails and for Pillow's own way."""
    paths = sorted(corpus.iterdir())
    with procession.Pool() as pool:
        rows = list(pool.imap(partial(compare_one, folders=folders, size=size), paths))
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def compare_one(path: Path, folders: dict[str, Path], size: int) -> dict[str, float]:
    with Image.open(path) as image:
        whole = on_white(ImageOps.exif_transpose(image))
    scale = min(1.0, size / max(whole.size))
    goal = (max(1, round(whole.width * scale)), max(1, round(whole.height * scale)))
    reference = whole.resize(goal, Image.Resampling.LANCZOS)
    found = {PILLOW: likeness(reference, pillows(path, size))}
    for name, folder in folders.items():
        thumbnail = next(iter(folder.glob(f"{path.stem}.*")), None)
        if thumbnail is None:
            found[name] = 0.0
            continue
        with Image.open(thumbnail) as image:
            found[name] = likeness(reference, on_white(image))
    return found


def pillows(path: Path, size: int) -> Image.Image:
    """What its documentation shows, saved with the quality that procession takes."""
    with Image.open(path) as image:
        if image.mode == "P":
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")  # it would take the nearest pixel
        # Pillow has no quick reduction of 16 bits.
        gap = None if image.mode.startswith("I") else 2.0
        image.thumbnail((size, size), Image.Resampling.LANCZOS, reducing_gap=gap)
        upright = ImageOps.exif_transpose(image)
        buffer = io.BytesIO()
        if path.suffix == ".jpg":
            upright.convert("RGB").save(buffer, "JPEG", quality=85)
        elif path.suffix == ".webp":
            upright.save(buffer, "WEBP")
        elif path.suffix == ".gif":
            upright.save(buffer, "GIF")
        else:
            return on_white(upright)
    with Image.open(buffer) as saved:
        return on_white(saved)


def on_white(image: Image.Image) -> Image.Image:
    """In RGB."""
    if image.mode.startswith("I"):
        image = image.convert("I").point(lambda value: value / 257).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def likeness(reference: Image.Image, other: Image.Image) -> float:
    """SSIM of brightness with square windows; the other is brought to the reference's size if it differs."""
    if other.size != reference.size:
        other = other.resize(reference.size, Image.Resampling.BICUBIC)
    one, two = (np.asarray(image.convert("L"), dtype=np.float64) for image in (reference, other))
    if min(one.shape) < WINDOW:
        return 1.0
    mean_one, mean_two = means(one), means(two)
    variance_one = means(one * one) - mean_one**2
    variance_two = means(two * two) - mean_two**2
    covariance = means(one * two) - mean_one * mean_two
    small, smaller = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mean_one * mean_two + small) * (2 * covariance + smaller)
    bottom = (mean_one**2 + mean_two**2 + small) * (variance_one + variance_two + smaller)
    return float(np.mean(top / bottom))


def means(
    values: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]",
) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    """Of each window, by sums that run along."""
    sums = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    window = WINDOW
    return (
        sums[window:, window:] - sums[:-window, window:] - sums[window:, :-window] + sums[:-window, :-window]
    ) / window**2
