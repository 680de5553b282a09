"""How a run ends: what is told of mistakes in the arguments, of failures, and with which exit code."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from typing import TypeVar

    import typer

    from procession.apps.driver import ProgressCallback, Result

    ResultT = TypeVar("ResultT", bound=Result)

ALL_DONE = 0
SOME_FAILED = 1
WRONG_USE = 2
INTERRUPTED = 130


def run_app(app: "typer.Typer", name: str) -> int:
    """Run the commands of `app` and return the exit code; mistakes in the arguments are told in one or two lines."""
    from typer.main import get_command

    # What typer raises is an exception of click, its own copy or the package, by its version.
    command = get_command(app)
    try:
        code = command(prog_name=name, standalone_mode=False)
    except Exception as error:
        if not hasattr(error, "format_message") or not hasattr(error, "exit_code"):
            if type(error).__name__ == "Abort":
                return INTERRUPTED
            raise
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else name
        message = missing_arguments(error) or error.format_message()
        if message:  # without arguments it was the help, which has been shown
            complain(message, path)
            print(f"Try: {path} --help", file=sys.stderr)
        return int(error.exit_code)
    return code if isinstance(code, int) else ALL_DONE


def missing_arguments(error: Exception) -> str:
    """Of a command whose first argument may be many, what there must be: click would miss the first when the last is."""
    param, context = getattr(error, "param", None), getattr(error, "ctx", None)
    if type(error).__name__ != "MissingParameter" or context is None or getattr(param, "nargs", 1) != -1:
        return ""
    names = [each.metavar for each in context.command.params if each.param_type_name == "argument" and each.required]
    return f"needs {' and '.join(names)}"


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
    from procession.apps.report import JsonLines, print_failures, print_summary
    from procession.apps.view import both, show_progress

    is_interrupted = False
    try:
        with show_progress(noun, is_quiet=is_quiet) as view:
            result = make(both(view, JsonLines()) if is_json else view)
    except (PlanError, ValueError) as error:
        return complain(str(error))
    except Interrupted as interrupted:
        result, is_interrupted = cast("ResultT", interrupted.result), True
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
    if is_interrupted:
        return INTERRUPTED
    return SOME_FAILED if result.failed else ALL_DONE
