"""`--exclude` and `--include`: globs on names and on paths.

A glob without a slash is compared with the name, one with a slash with the path below SRC; `**` stands for any number of
folders, `*` and `?` do not cross a slash, and a slash at the end means folders only.  What matches an exclude and no include is
left out, with all that is in it if it is a folder; with includes alone, files that match none of them are.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from procession.apps.copy.folders import join


class Glob(NamedTuple):
    """One glob, ready to be compared."""

    pattern: re.Pattern[str]
    is_path: bool
    is_folder: bool

    def matches(self, folder: str, name: str, is_folder: bool) -> bool:
        if self.is_folder and not is_folder:
            return False
        return self.pattern.fullmatch(join(folder, name) if self.is_path else name) is not None


class Filters:
    """What is to be copied.

    Raises:
        ValueError: a glob is empty.
    """

    def __init__(self, exclude: Sequence[str] = (), include: Sequence[str] = ()) -> None:
        self._exclude = [parse(text) for text in exclude]
        self._include = [parse(text) for text in include]
        self.is_everything = not exclude and not include

    def keeps(self, folder: str, name: str, is_folder: bool) -> bool:
        """Whether the entry `name` of `folder` (relative to SRC) is copied."""
        if self.is_everything:
            return True
        if any(glob.matches(folder, name, is_folder) for glob in self._include):
            return True
        if any(glob.matches(folder, name, is_folder) for glob in self._exclude):
            return False
        return is_folder or bool(self._exclude) or not self._include


def parse(text: str) -> Glob:
    is_folder = text.endswith("/")
    glob = text.rstrip("/")
    is_path = "/" in glob
    glob = glob.removeprefix("/")
    if not glob:
        raise ValueError(f"a glob must name something, got {text!r}")
    return Glob(re.compile(translate(glob), re.DOTALL), is_path, is_folder)


def translate(glob: str) -> str:
    """A glob as a regular expression."""
    done, rest = [], glob
    while rest:
        if rest.startswith("**/"):
            done.append("(?:.*/)?")
            rest = rest[3:]
        elif rest.startswith("**"):
            done.append(".*")
            rest = rest[2:]
        elif rest[0] == "*":
            done.append("[^/]*")
            rest = rest[1:]
        elif rest[0] == "?":
            done.append("[^/]")
            rest = rest[1:]
        elif rest[0] == "[" and (found := re.match(r"\[(!?)(\]?[^\]]+)\]", rest)):
            inner = found[2].replace("\\", r"\\").replace("[", r"\[").replace("^", r"\^")
            done.append(f"(?!/)[{'^' if found[1] else ''}{inner}]")
            rest = rest[found.end() :]
        else:
            done.append(re.escape(rest[0]))
            rest = rest[1:]
    return "".join(done)
