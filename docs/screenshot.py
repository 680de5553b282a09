"""Draws what `procession images` shows in the middle of a run, as docs/images.svg: python docs/screenshot.py

The picture is the real one, of numbers that such a run has.
"""

import io
from pathlib import Path

from rich.console import Console

from procession.apps.driver import Progress
from procession.apps.view import Picture

COMMAND = "$ procession images photos thumbnails --size 256x256"
FOLDER = Path(__file__).parent


class Clock:
    """Time that passes when it is told to."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def main() -> None:
    clock = Clock()
    picture = Picture("images", clock)
    start = Progress(12_480, 31_200_000_000, True, 1_204, 0, 1_200, 4, 0)
    picture.draw(start)
    clock.now_s = 52.0
    running = ("2024/Lofoten/IMG_2231.JPG", "2024/Lofoten/IMG_2232.JPG", "2024/scans/map.tif", "2025/birds.webp")
    middle = Progress(12_480, 31_200_000_000, True, 6_310, 14_100_000_000, 1_200, 7, 14_096_000_000, running)
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True)
    console.print(COMMAND, highlight=False)
    console.print(picture.draw(middle))
    (FOLDER / "images.svg").write_text(console.export_svg(title="procession images"))


if __name__ == "__main__":
    main()
