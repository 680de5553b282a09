"""All measures, in the order of the table."""

from __future__ import annotations

from . import arrays, curves, locks, managers, memory, pipes, pool, queues, start
from .measure import Curve, Measure

MEASURES: dict[str, Measure | Curve] = {
    measure.name: measure
    for subject in (pool, queues, pipes, arrays, start, locks, managers, memory, curves)
    for measure in subject.MEASURES
}
