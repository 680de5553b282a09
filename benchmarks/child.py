"""One measurement of one side, in this fresh interpreter: `python -m benchmarks.child` (the harness calls it).

Processes started by spawn and forkserver import this file again as their main module.  So it is a program of a few lines,
which imports only the subject that is measured: the rows about starting are not about the imports of the others.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from .measure import Setting, Skipped

if TYPE_CHECKING:
    from .measure import Figure, Side


def find(name: str, side: str) -> Side:
    """That side of the measure `name`, whose first word is the file that it is in."""
    subject = import_module(f"benchmarks.{name.partition('.')[0]}")
    found: Side = next(measure for measure in subject.MEASURES if measure.name == name).sides[side]
    return found


def main(name: str, side: str, module: str, method: str, workers: str, size: str, result_path: str) -> None:
    """Run one side of the measure `name` and write what came out as JSON: a value, a reason to skip, or an error."""
    outcome: dict[str, Figure | str]
    try:
        context = import_module(module).get_context(method)
        outcome = {"value": find(name, side).run(Setting(side, method, int(workers), size, context))}
    except Skipped as reason:
        outcome = {"skipped": str(reason)}
    except Exception as error:
        outcome = explain(error)
    import json

    with open(result_path, "w", encoding="utf-8") as file:
        json.dump(outcome, file)


def explain(error: Exception) -> dict[str, Figure | str]:
    """A peer that is not installed is no failure."""
    import traceback

    from .peers import PACKAGES

    traceback.print_exc()
    if (
        isinstance(error, ModuleNotFoundError)
        and (package := (error.name or "").partition(".")[0]) in PACKAGES.values()
    ):
        return {"skipped": f"{package} is not installed"}
    return {"failed": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main(*sys.argv[1:])
