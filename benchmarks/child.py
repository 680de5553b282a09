"""One measurement of one side, in this fresh interpreter: `python -m benchmarks.child` (the harness calls it).

The subjects are imported here, at the top, as a program imports its own modules: processes started by spawn and
forkserver import this file again as their main module and must find the measured functions.
"""

from __future__ import annotations

import json
import sys
import traceback
from importlib import import_module
from pathlib import Path

from . import arrays, curves, locks, memory, pipes, pool, queues, start
from .measure import Curve, Figure, Measure, Setting, Skipped
from .peers import PACKAGES

MEASURES: dict[str, Measure | Curve] = {
    measure.name: measure
    for subject in (pool, queues, pipes, arrays, start, locks, memory, curves)
    for measure in subject.MEASURES
}


def main(name: str, side: str, module: str, method: str, workers: str, size: str, result_path: str) -> None:
    """Run one side of the measure `name` and write what came out as JSON: a value, a reason to skip, or an error."""
    outcome: dict[str, Figure | str]
    try:
        context = import_module(module).get_context(method)
        value = MEASURES[name].sides[side].run(Setting(side, method, int(workers), size, context))
        outcome = {"value": value}
    except Skipped as reason:
        outcome = {"skipped": str(reason)}
    except ModuleNotFoundError as error:
        traceback.print_exc()
        package = (error.name or "").partition(".")[0]
        is_peer = package in PACKAGES.values()
        outcome = {"skipped" if is_peer else "failed": f"{package} is not installed" if is_peer else str(error)}
    except Exception as error:
        traceback.print_exc()
        outcome = {"failed": f"{type(error).__name__}: {error}"}
    Path(result_path).write_text(json.dumps(outcome), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
