"""The arguments of a program, by argparse: it loads in a fraction of the time of the others, which a short run would notice."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

WIDEST = 100
"""Columns of help: wider lines are hard to read."""


class WrongUse(Exception):
    """A mistake in the arguments.

    Args:
        program: the command that they were given to, as it is called.
    """

    def __init__(self, message: str, program: str) -> None:
        super().__init__(message)
        self.program = program


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Lines as they were written above the options, which are wrapped."""

    def __init__(self, prog: str) -> None:
        try:
            width = os.get_terminal_size().columns
        except (OSError, ValueError):
            width = 80
        super().__init__(prog, max_help_position=32, width=min(width, WIDEST))


class _Help(argparse.Action):
    """Not argparse's own, which says nothing if nobody reads what it prints."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(parser.format_help(), end="")
        raise SystemExit


class Parser(argparse.ArgumentParser):
    """Options, and names that stand before, between and after them; what all programs have comes last.

    Args:
        names: what is to be given besides options, for the help: "SRC DST".
        text: the help above the options.
    """

    def __init__(self, program: str, names: str, text: str) -> None:
        usage = f"{program} [OPTIONS] {names}"
        super().__init__(
            program, usage, description=text, formatter_class=Formatter, allow_abbrev=False, add_help=False
        )
        self.add_argument("names", nargs="*", help=argparse.SUPPRESS)

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """`names` and the options; all that comes behind `--` are names.

        Raises:
            WrongUse: they are not understood.
            SystemExit: the help was asked for, and was printed.
        """
        self.add_argument("--json", action="store_true", help="One line of JSON for each file, on standard output.")
        self.add_argument("-q", "--quiet", action="store_true", help="Say nothing but what failed.")
        self.add_argument("-h", "--help", action=_Help, nargs=0, help="Show this and exit.")
        end = arguments.index("--") if "--" in arguments else len(arguments)
        found = self.parse_intermixed_args(arguments[:end])
        found.names += arguments[end + 1 :]
        return found

    def error(self, message: str) -> NoReturn:
        """For what a program finds wrong with its names, too."""
        raise WrongUse(message, self.prog)


def ask(question: str) -> bool:
    """Whether somebody at the terminal says yes; nothing is no."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
