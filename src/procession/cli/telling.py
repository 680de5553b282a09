"""How a run ends: what is told of mistakes in the arguments, of failures, and with which exit code."""

import gc
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from procession.cli import interrupts
from procession.cli.codes import ALL_DONE, INTERRUPTED, SOME_FAILED, WRONG_USE
from procession.cli.streams import tell_of_output

if TYPE_CHECKING:
    from typing import TypeVar

    from procession.apps.driver import ProgressCallback, Result

    ResultT = TypeVar("ResultT", bound=Result)


def complain(message: str, name: str = "procession") -> int:
    """Tell of a mistake in the arguments; nothing has been done."""
    print(f"{name}: {message}", file=sys.stderr)
    return WRONG_USE


def run_program(
    make: "Callable[[ProgressCallback], ResultT]",
    *,
    noun: str,
    verb: str,
    nothing: str,
    is_json: bool = False,
    is_quiet: bool = False,
    print_end: "Callable[[ResultT, bool], None] | None" = None,
) -> int:
    """Run `make` with a view of its progress, say what it did, and return the exit code.

    Args:
        noun, verb: "images", "made".
        nothing: what to say when there was nothing to do.
        print_end: says what was done, in place of the common summary; told whether the run was interrupted.
    """
    from procession.apps.driver import Interrupted, PlanError
    from procession.apps.report import JsonLines, OutputError, print_failures, print_summary
    from procession.apps.view import both, show_progress
    from procession.errors import ProcessionError

    gc.freeze()  # what workers inherit stays theirs as it is
    gc.enable()
    is_interrupted = False
    try:
        with show_progress(noun, is_quiet=is_quiet) as view:
            shown = both(view, JsonLines()) if is_json else view
            result = make(both(shown, interrupts.raise_if_heard))
    except (PlanError, ValueError) as error:
        return complain(str(error))
    except OutputError as error:
        return tell_of_output(error.args[0])
    except ProcessionError as error:  # no worker can be started, for one
        print(f"procession: {error}", file=sys.stderr)
        return SOME_FAILED
    except Interrupted as interrupted:
        result, is_interrupted = cast("ResultT", interrupted.result), True
    try:
        if is_quiet or is_json:
            # In JSON the failures are among the lines.
            if not is_json:
                print_failures(result, sys.stderr)
        elif print_end is not None:
            print_end(result, is_interrupted)
        elif result.total == 0 and not is_interrupted:
            print(nothing)
        else:
            print_summary(result, noun, verb, is_interrupted=is_interrupted)
    except BrokenPipeError:
        raise
    except OSError as error:
        return tell_of_output(error)
    if is_interrupted:
        return INTERRUPTED
    return SOME_FAILED if result.failed else ALL_DONE
