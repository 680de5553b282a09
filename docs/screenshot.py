"""Draws what the programs show in the middle of a run, as docs/images.svg and docs/copy.svg: python docs/screenshot.py

The pictures are the real ones, of numbers that such runs have.
"""

import io
from pathlib import Path

from rich.console import Console

from procession.apps.driver import Progress
from procession.apps.view import Picture

FOLDER = Path(__file__).parent


class Clock:
    """Time that passes when it is told to."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def draw(name: str, noun: str, command: str, start: Progress, seconds: float, middle: Progress) -> None:
    """The picture of a run that has been going for some seconds since `start`."""
    clock = Clock()
    picture = Picture(noun, clock)
    picture.draw(start)
    clock.now_s = seconds
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True)
    console.print(f"$ {command}", highlight=False)
    console.print(picture.draw(middle))
    (FOLDER / f"{name}.svg").write_text(console.export_svg(title=f"procession {name}"))


def main() -> None:
    photos = ("2024/Lofoten/IMG_2231.JPG", "2024/Lofoten/IMG_2232.JPG", "2024/scans/map.tif", "2025/birds.webp")
    draw(
        "images",
        "images",
        "procession images photos thumbnails --size 256x256",
        Progress(12_480, 31_200_000_000, True, 1_204, 0, 1_200, 4, 0),
        52.0,
        Progress(12_480, 31_200_000_000, True, 6_310, 14_100_000_000, 1_200, 7, 14_096_000_000, photos),
    )
    files = ("home/ada/src/linux/fs/ext4/inode.c", "home/ada/mail/archive-2019", "var/lib/images/debian.qcow2")
    draw(
        "copy",
        "files",
        "procession copy /srv /mnt/backup/srv --exclude 'cache/'",
        Progress(20_000, 900_000_000, False, 0, 0, 0, 0, 0),
        31.0,
        Progress(418_220, 61_400_000_000, True, 231_904, 33_200_000_000, 1_450, 2, 33_100_000_000, files),
    )


if __name__ == "__main__":
    main()
