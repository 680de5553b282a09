"""The picture of results, docs/benchmarks.svg: the curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

from .curves import IDEAL
from .measure import OURS, Curve
from .results import Results, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

matplotlib.use("svg")

OUR_COLOR = "#c0392b"
COLORS = {
    "stdlib": "#1f4e79",
    "stdlib imap": "#1f4e79",
    "stdlib map": "#6fa8dc",
    "concurrent.futures": "#2e8b57",
    "joblib": "#8e44ad",
    "mpire": "#b7791f",
    "pebble": "#17a2a2",
    "ray": "#7f7f7f",
}
STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small, and legible at every size
    "svg.hashsalt": "procession",  # the same results give the same bytes
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "path.simplify": True,
}


def draw(results: Results, path: Path) -> None:
    """Write the picture."""
    import matplotlib.pyplot as plt

    with matplotlib.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
        figure.set_facecolor("white")
        figure.suptitle(f"procession and its peers, {results.run['workers']} workers, nothing tuned", fontsize=13)
        for axis, row in zip(axes, results.curves, strict=False):
            draw_curve(axis, row)
        for axis in axes[len(results.curves) :]:
            axis.set_axis_off()
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)


def draw_curve(axis: Axes, row: Row) -> None:
    """One line for each side, ours on top."""
    measure = row.measure
    assert isinstance(measure, Curve)
    ideal = row.sides[IDEAL].points if IDEAL in row.sides else {}
    for name, side in row.sides.items():
        if name == IDEAL:
            continue
        # Where there is an ideal, shares of it: rates over five decades would all look alike.
        points = [(measure.points[point], 100 * y / ideal[point] if ideal else y) for point, y in side.points.items()]
        if points:
            axis.plot(*zip(*points, strict=True), label=name, **look(name))
    axis.set_xscale("log")
    if ideal:
        axis.set_ylim(0, 105)
    else:
        axis.set_yscale("log")
    axis.set_xticks(list(measure.points.values()), list(measure.points), fontsize=9)
    axis.tick_params(axis="x", rotation=35)
    axis.minorticks_off()
    axis.set_xlabel(measure.axis)
    axis.set_ylabel("% of what the workers could do" if ideal else measure.unit.label)
    axis.set_title(measure.work, fontsize=10)
    axis.legend(fontsize=9, frameon=False)


def look(name: str) -> dict[str, Any]:
    """How the line of a side is drawn."""
    if name == OURS:
        return {"color": OUR_COLOR, "linewidth": 2.6, "marker": "o", "markersize": 4.5, "zorder": 3}
    return {"color": COLORS.get(name, "#999999"), "linewidth": 1.5, "marker": "o", "markersize": 3, "zorder": 2}
