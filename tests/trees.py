"""Trees for the tests of copies: one with everything that is odd, and a comparison of two that sees every difference."""

import os
import random
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

MEBIBYTE = 1 << 20


def write_sparse(path: Path, size: int, data: dict[int, bytes]) -> None:
    """A file that is a hole but for `data` at some offsets."""
    with open(path, "wb") as file:
        file.truncate(size)
        for offset, content in data.items():
            file.seek(offset)
            file.write(content)


def make_small_tree(root: Path, files: int = 300, seed: int = 1) -> Path:
    """Ordinary files of some kilobytes in a few folders, with times of their own."""
    rng = random.Random(seed)
    for number in range(files):
        folder = root / f"folder {number % 7}" / f"inner {number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"file {number}"
        path.write_bytes(rng.randbytes(rng.randrange(20_000)))
        os.utime(path, ns=(10**18 + number, 10**18 + rng.randrange(10**15)))
    return root


def make_odd_tree(root: Path) -> Path:
    """One of everything that can be copied."""
    root.mkdir()
    make_small_tree(root / "plain", 150)
    (root / "empty folder").mkdir()
    (root / "read-only folder").mkdir()
    (root / "read-only folder" / "file").write_text("x")
    (root / "empty").touch()
    (root / "middle").write_bytes(random.Random(2).randbytes(3 * MEBIBYTE + 17))
    names = ["new\nline", " space ", "-dash", "tab\t", "ünïcödé", "b\udcff\udcfe", "a" * 255, "é" * 127, "*", "'\"\\$"]
    (root / "names").mkdir()
    for name in names:
        (root / "names" / name).write_text(name, errors="surrogateescape")
    (root / "names" / ("d" * 255)).mkdir()
    (root / "names" / ("d" * 255) / ("f" * 255)).write_text("deep")
    _make_links(root / "links")
    _make_holes(root / "holes")
    for number, mode in enumerate((0o400, 0o444, 0o755, 0o4755, 0o2711, 0o000, 0o666, 0o1777)):
        path = root / f"mode {number}"
        path.write_text("mode")
        path.chmod(mode)
    try:
        os.setxattr(root / "middle", "user.colour", b"blue")
        os.setxattr(root / "mode 1", "user.empty", b"")
        os.setxattr(root / "empty folder", "user.folder", b"\0\1")
    except OSError:
        pass  # a file system without
    os.chmod(root / "read-only folder", 0o555)
    os.chmod(root / "empty folder", 0o2750)
    if os.geteuid() == 0:
        os.chown(root / "mode 2", 1234, 4321)
        os.chown(root / "mode 3", 1234, 4321)
        os.chmod(root / "mode 3", 0o4755)
        os.chown(root / "links" / "broken", 1234, 4321, follow_symlinks=False)
        os.chown(root / "empty folder", 1234, 4321)
    for number, (folder, _, _) in enumerate(list(os.walk(root))):
        os.utime(folder, ns=(10**18 + number, 1_234_567_890_123_456_789 + number))
    os.utime(root / "links" / "broken", ns=(5, 987_654_321_012_345_678), follow_symlinks=False)
    os.utime(root / "empty", ns=(0, 1))
    return root


def _make_links(folder: Path) -> None:
    folder.mkdir()
    (folder / "a" / "b" / "c").mkdir(parents=True)
    (folder / "z").mkdir()
    (folder / "first").write_text("several names")
    os.link(folder / "first", folder / "second")
    os.link(folder / "first", folder / "a" / "b" / "c" / "third")
    os.link(folder / "first", folder / "z" / "fourth")
    (folder / "z" / "outside").write_text("x")
    (folder / "broken").symlink_to("nowhere\n/at all")
    (folder / "loop").symlink_to("loop")
    (folder / "up").symlink_to("..")
    (folder / "to folder").symlink_to("a", target_is_directory=True)
    (folder / "to file").symlink_to("first")
    (folder / "absolute").symlink_to("/etc/passwd")
    (folder / "long").symlink_to("x" * 4000)


def _make_holes(folder: Path) -> None:
    folder.mkdir()
    write_sparse(folder / "all hole", 5 * MEBIBYTE + 5, {})
    write_sparse(folder / "begins", 4 * MEBIBYTE, {0: b"a" * 5000})
    write_sparse(folder / "ends", 4 * MEBIBYTE, {4 * MEBIBYTE - 10: b"b" * 10})
    write_sparse(folder / "middle", 8 * MEBIBYTE + 1, {3 * MEBIBYTE: b"c" * 100_000, 6 * MEBIBYTE: b"d"})
    write_sparse(folder / "small", 100_000, {50_000: b"e"})
    write_sparse(folder / "huge", 1 << 40, {1 << 39: b"f" * 4096})


def make_special(root: Path) -> list[str]:
    """What cannot be copied; the names."""
    os.mkfifo(root / "fifo")
    # The name of a socket may have only some hundred bytes, so it is made from within.
    here = os.getcwd()
    os.chdir(root)
    try:
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind("socket")
    finally:
        os.chdir(here)
    return ["fifo", "socket"]


def make_deep(root: Path, levels: int, name: str = "n" * 200) -> None:
    """Folders in folders, deeper than a path can be long, with a file in the last."""
    fd = os.open(root, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=fd)
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = inner
    file = os.open("bottom", os.O_WRONLY | os.O_CREAT, dir_fd=fd)
    os.write(file, b"deep")
    os.close(file)
    os.close(fd)


# ---- comparing ----


def entries_of(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every name below `root`, with what it is; the root is `.`."""
    yield ".", os.lstat(root)
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            yield os.path.relpath(path, root), os.lstat(path)


def facts_of(path: str, found: os.stat_result) -> dict[str, object]:
    """All that two copies must have in common."""
    facts: dict[str, object] = {
        "mode": oct(found.st_mode),
        "owner": (found.st_uid, found.st_gid),
        "mtime": found.st_mtime_ns,
    }
    if stat.S_ISLNK(found.st_mode):
        return facts | {"leads to": os.readlink(path)}
    if stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode):
        facts["attributes"] = {name: os.getxattr(path, name) for name in os.listxattr(path)}
    if stat.S_ISREG(found.st_mode):
        facts |= {"size": found.st_size, "names": found.st_nlink, "is sparse": found.st_blocks * 512 < found.st_size}
        facts["content"] = content_of(path)
    return facts


def content_of(path: str) -> dict[int, int]:
    """Hashes of the data, by where it is: reads no holes, so files of a terabyte are looked at in no time."""
    found: dict[int, int] = {}
    fd = os.open(path, os.O_RDONLY)
    try:
        offset, end = 0, os.fstat(fd).st_size
        while offset < end:
            try:
                start = os.lseek(fd, offset, os.SEEK_DATA)
            except OSError:
                break
            stop = os.lseek(fd, start, os.SEEK_HOLE)
            for place in range(start, stop, MEBIBYTE):
                data = os.pread(fd, min(MEBIBYTE, stop - place), place)
                # A file system may have written zeros where another has a hole.
                for page in range(0, len(data), 4096):
                    part = data[page : page + 4096]
                    if part.strip(b"\0"):
                        found[place + page] = hash(part)
            offset = stop
    finally:
        os.close(fd)
    return found


def differences(first: Path, second: Path) -> list[str]:
    """Each way in which two trees differ, in words; nothing if they are the same."""
    trees = []
    for root in (first, second):
        entries = dict(entries_of(root))
        groups: dict[tuple[int, int], list[str]] = {}
        for name, found in entries.items():
            if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
                groups.setdefault((found.st_dev, found.st_ino), []).append(name)
        trees.append((root, entries, sorted(sorted(group) for group in groups.values())))
    (_, ours, our_links), (_, theirs, their_links) = trees
    found = [f"only in {first}: {name!r}" for name in ours.keys() - theirs.keys()]
    found += [f"only in {second}: {name!r}" for name in theirs.keys() - ours.keys()]
    for name in sorted(ours.keys() & theirs.keys()):
        facts = facts_of(os.path.join(first, name), ours[name]), facts_of(os.path.join(second, name), theirs[name])
        found += [
            f"{name!r}: {fact} is {facts[0].get(fact)!r:.200} and {facts[1].get(fact)!r:.200}"
            for fact in facts[0].keys() | facts[1].keys()
            if facts[0].get(fact) != facts[1].get(fact)
        ]
    if our_links != their_links:
        found.append(f"hard links: {our_links} and {their_links}")
    return found


def remove_deep(root: Path) -> None:
    """Remove what make_deep() made, which is too deep for others."""
    from procession.apps.copy.folders import remove_tree

    fd = os.open(root.parent, os.O_RDONLY)
    remove_tree(root.name, fd)
    os.close(fd)
