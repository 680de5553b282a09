"""`procession images` beside what people use instead: python -m benchmarks.images [--page docs/images.md]

Each side is a command, from its start to its end, with two processes and a warm cache, on 300 images of 0.1 to 12 megapixels
made from the sample photos.  The sides take turns; figures are medians.  vipsthumbnail and mogrify are run by `xargs -P 2`
with 25 files a call, since they use one core each.  `decode alone` opens each image, at reduced size where the format can,
and makes nothing of it: no program on the same decoders can be faster.  They are those that procession images uses: Pillow,
for PNG and WebP libvips where it is installed, and of progressive JPEGs only the scans that count.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import images_corpus, images_quality
from benchmarks.programs import peaks_mb, put_into_page, say, seconds_of, verdicts

SIZE = 128
COUNT = 300
GOALS = {
    "vipsthumbnail": 1.2,
    "mogrify": 2.0,
    "Pool.starmap": 2.5,
    "decode alone": 0.9,
    "procession images, one worker": 1.8,
}
"""How many times faster procession images is to be than these."""
MEMORY_GOAL_MB = 150
PROCESSION = "procession images"

STARMAP = """
import sys
from multiprocessing import Pool
from pathlib import Path
from PIL import Image

def shrink(path, out):
    Image.open(path).resize((%(size)d, %(size)d)).save(Path(out) / Path(path).name)

if __name__ == "__main__":
    out = sys.argv[1]
    with Pool(2) as pool:
        pool.starmap(shrink, [(str(path), out) for path in sorted(Path(sys.argv[2]).iterdir())])
"""
DECODE = """
import sys
from multiprocessing import Pool
from pathlib import Path
from PIL import Image
from procession.apps.images import vips
from procession.apps.images.shrink import draft, factors_of, fitted

BAND = 64

def decode(path):
    with open(path, "rb") as file, Image.open(file) as image:
        part, goal = fitted(image.size, (%(size)d, %(size)d))
        reader = vips.reader_of(file, image)
        if reader is None:
            image, _ = draft(image, part, goal)
            image.load()
        elif reader.can_scale:
            reader.scaled(min(factors_of(part, goal)))
        else:
            rows = reader.rows()
            for top in range(0, image.height, BAND):
                rows(top, min(BAND, image.height - top))

if __name__ == "__main__":
    paths = sorted(Path(sys.argv[2]).iterdir(), key=lambda path: -path.stat().st_size)
    with Pool(2, vips.allow, (None,)) as pool:
        for _ in pool.imap_unordered(decode, paths):
            pass
"""


def sides(corpus: Path) -> dict[str, Callable[[Path], list[str]]]:
    """A command for each side, which writes to the folder that it is given."""
    names = "\0".join(str(path) for path in sorted(corpus.iterdir()))
    (corpus.parent / "names").write_text(names)
    program = [sys.executable, "-m", "procession.cli", "images", str(corpus)]

    def many(command: str) -> list[str]:
        return ["sh", "-c", f"xargs -0 -n 25 -P 2 {command} < {corpus.parent / 'names'}"]

    def python(source: str, out: Path) -> list[str]:
        script = corpus.parent / "side.py"
        script.write_text(source % {"size": SIZE})
        return [sys.executable, str(script), str(out), str(corpus)]

    found: dict[str, Callable[[Path], list[str]]] = {
        PROCESSION: lambda out: [*program, str(out), "--workers", "2"],
        "procession images, one worker": lambda out: [*program, str(out), "--workers", "1"],
        "decode alone": lambda out: python(DECODE, out),
        "Pool.starmap": lambda out: python(STARMAP, out),
    }
    if shutil.which("vipsthumbnail"):
        found["vipsthumbnail"] = lambda out: many(f"vipsthumbnail --size {SIZE}x{SIZE} -o {out}/%s.jpg")
    if shutil.which("mogrify"):
        found["mogrify"] = lambda out: many(f"mogrify -path {out} -thumbnail {SIZE}x{SIZE}")
        hint = f"-define jpeg:size={2 * SIZE}x{2 * SIZE}"
        found["mogrify, told the size"] = lambda out: many(f"mogrify -path {out} {hint} -thumbnail {SIZE}x{SIZE}")
    for name in ("vipsthumbnail", "mogrify"):
        if name not in found:
            say(f"{name} is left out: it is not installed")
    return found


def timed(command: list[str], out: Path) -> tuple[float, float]:
    """Seconds from start to end, and of processors; each run has a folder of its own."""
    out.mkdir()
    before_s = processors_s()
    took_s, _ = seconds_of(command)
    return took_s, processors_s() - before_s


def processors_s() -> float:
    """What all children that have ended used of processors."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(corpus: Path, work: Path, rounds: int, only: list[str]) -> dict[str, dict[str, list[float]]]:
    """Seconds of each side, by rounds: from start to end, and of processors."""
    commands = {name: make for name, make in sides(corpus).items() if not only or name in only}
    for path in corpus.iterdir():
        path.read_bytes()
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    cpu: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds):
        for name, make in commands.items():
            out = work / f"{name.replace(' ', '-')}-{number}"
            elapsed_s, cpu_s = timed(make(out), out)
            seconds[name].append(elapsed_s)
            cpu[name].append(cpu_s)
            say(f"{name}: {elapsed_s:.2f} s, {cpu_s:.2f} s of processors")
    return {"seconds": seconds, "cpu": cpu}


def table_of(facts: dict[str, object], count: int) -> str:
    """Markdown."""
    seconds: dict[str, list[float]] = facts["seconds"]  # type: ignore[assignment]
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ours = medians[PROCESSION]
    cpu: dict[str, list[float]] = facts.get("cpu", {})  # type: ignore[assignment]
    quality: dict[str, float] = facts.get("ssim", {})  # type: ignore[assignment]
    lines = [
        "| way, two processes | images/s | procession images is so many times as fast | goal | CPU ms per image | likeness |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, median in sorted(medians.items(), key=lambda item: item[1]):
        ratio = "" if name == PROCESSION else f"{median / ours:.2f}"
        goal = f"{GOALS[name]:g}" if name in GOALS else ""
        likeness = f"{quality[name]:.4f}" if name in quality else ""
        cost = f"{1000 * statistics.median(cpu[name]) / count:.1f}" if name in cpu else ""
        lines.append(f"| {name} | {count / median:.1f} | {ratio} | {goal} | {cost} | {likeness} |")
    for name in sorted(set(quality) - set(medians)):
        lines.append(f"| {name} | | | | | {quality[name]:.4f} |")
    if "memory_mb" in facts:
        lines += ["", f"Largest worker: {facts['memory_mb']:.0f} MB (goal: less than {MEMORY_GOAL_MB})."]
    return "\n".join(lines)


def goals_of(facts: dict[str, object]) -> list[str]:
    """Whether each is reached."""
    seconds: dict[str, list[float]] = facts["seconds"]  # type: ignore[assignment]
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    lines = verdicts("images", {name: median / medians[PROCESSION] for name, median in medians.items()}, GOALS)
    if "memory_mb" in facts:
        is_small = facts["memory_mb"] < MEMORY_GOAL_MB  # type: ignore[operator]
        lines.append(
            f"images, largest worker: {facts['memory_mb']:.0f} MB, goal {MEMORY_GOAL_MB}: {'yes' if is_small else 'NO'}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="procession images beside its peers.")
    parser.add_argument(
        "--corpus", type=Path, help="folder for the images, made there once; a temporary one if not given"
    )
    parser.add_argument("--photos", type=Path, action="append", default=[], help="more photos to make them from")
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", default=[], help="only these sides; may be repeated")
    parser.add_argument(
        "--quality", action=argparse.BooleanOptionalAction, default=True, help="compare the pictures, too"
    )
    parser.add_argument("--page", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        corpus = (options.corpus or work) / "corpus"
        images_corpus.make(corpus, options.count, options.photos)
        facts: dict[str, object] = dict(measure(corpus, work, options.rounds, options.only))
        if not options.only:
            out = work / "memory"
            facts["memory_mb"] = peaks_mb(sides(corpus)[PROCESSION](out))[1]
        if options.quality:
            folders = {name: work / f"{name.replace(' ', '-')}-0" for name in facts["seconds"]}  # type: ignore[attr-defined]
            folders = {name: folder for name, folder in folders.items() if any(os.scandir(folder))}
            facts["ssim"] = images_quality.compare(corpus, folders, SIZE)
        table = table_of(facts, options.count)
        print(table)
        print("\n".join(goals_of(facts)))
        if options.json:
            options.json.write_text(json.dumps(facts, indent=1))
        if options.page:
            put_into_page(options.page, "figures", table)


if __name__ == "__main__":
    main()
