"""The commands of `procession`; only the one that is called is imported."""

import sys
from importlib import import_module

from procession.cli.codes import ALL_DONE, WRONG_USE
from procession.cli.parsing import WrongUse
from procession.cli.telling import complain

SUMMARIES = {
    "copy": "Make a folder a copy of another, on all cores.",
    "images": "Make thumbnails of all the images in a folder.",
}
"""Each is the function `run` of the module of its name."""

HELP = """usage: procession [--help | --version] COMMAND ...

Programs that use all the cores of this machine.

commands:
{commands}

procession COMMAND --help tells more of each.

Exit codes: 0 all done, 1 some files failed, 2 wrong use and nothing done, 130 interrupted.
""".format(commands="\n".join(f"  {name:8}{summary}" for name, summary in SUMMARIES.items()))


def run_command(arguments: list[str]) -> int:
    """Run the command line and return the exit code; mistakes in the arguments are told in one or two lines."""
    try:
        return _run(arguments)
    except WrongUse as error:
        complain(str(error), error.program)
        print(f"Try: {error.program} --help", file=sys.stderr)
        return WRONG_USE
    except SystemExit:  # the help was shown
        return ALL_DONE


def _run(arguments: list[str]) -> int:
    first = arguments[0] if arguments else ""
    if first in ("", "-h", "--help"):
        print(HELP, end="")
        return ALL_DONE if first else WRONG_USE
    if first == "--version":
        from importlib.metadata import version

        print(f"procession {version('procession')}")
        return ALL_DONE
    if first not in SUMMARIES:
        raise WrongUse(f"there is no command {first!r}; there are {' and '.join(SUMMARIES)}", "procession")
    code = import_module(f"procession.cli.{first}").run(arguments[1:])
    assert isinstance(code, int)
    return code
