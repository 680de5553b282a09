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

from . import arrays, locks, pool, queues, start
from .measure import Measure, Setting, Skipped

MEASURES: dict[str, Measure] = {
    measure.name: measure for subject in (pool, queues, arrays, start, locks) for measure in subject.MEASURES
}


def main(name: str, module: str, method: str, workers: str, is_quick: str, result_path: str) -> None:
    """Run the measure `name` on `module` and write what came out as JSON: a value, a reason to skip, or an error."""
    outcome: dict[str, float | str]
    try:
        context = import_module(module).get_context(method)
        value = MEASURES[name].run(Setting(context, int(workers), is_quick == "quick"))
        outcome = {"value": value}
    except Skipped as reason:
        outcome = {"skipped": str(reason)}
    except Exception as error:
        traceback.print_exc()
        outcome = {"failed": f"{type(error).__name__}: {error}"}
    Path(result_path).write_text(json.dumps(outcome), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
