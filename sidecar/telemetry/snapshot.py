"""One worker's metric values at one instant, and the sum of several workers.

Invariants: plain JSON values, so that it can be sent between workers; only series of the catalogue
survive a merge; what a sibling of another build sends in another shape is left out, never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import isfinite
from operator import add
from typing import Final, TypedDict

from sidecar.telemetry.catalogue import CATALOGUE, POSTURES, Kind, Merge

Labels = tuple[str, ...]
Cell = tuple[str, list[str], float | str]
"""Series name, label values, value (`"+Inf"` and the like as text: JSON has no infinity)."""
HistogramCell = tuple[str, list[str], float, list[int]]
"""Series name, label values, sum, counts of each bucket (not cumulative, the last is +Inf)."""

_COMBINE: Final[dict[Merge, Callable[[float, float], float]]] = {
    Merge.SUM: add,
    Merge.MIN: min,
    Merge.MAX: max,
}


class Snapshot(TypedDict):
    """What `Metrics.snapshot` returns."""

    values: list[Cell]
    histograms: list[HistogramCell]
    posture: str


def finite(value: float) -> float | str:
    """`value` as JSON can carry it."""
    return value if isfinite(value) else ("+Inf" if value > 0 else "-Inf" if value < 0 else "NaN")


def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
    """All workers as one: counters add up, gauges as the catalogue says, the worst posture."""
    values: dict[tuple[str, Labels], float] = {}
    sums: dict[tuple[str, Labels], float] = {}
    buckets: dict[tuple[str, Labels], list[int]] = {}
    posture = -1
    for snapshot in snapshots:
        if snapshot["posture"] in POSTURES:
            posture = max(posture, POSTURES.index(snapshot["posture"]))
        for key, value in _values(snapshot):
            combine = _COMBINE[CATALOGUE[key[0]].merge]
            values[key] = combine(values[key], value) if key in values else value
        for key, total, counts in _histograms(snapshot):
            sums[key] = sums.get(key, 0.0) + total
            before = buckets.get(key)
            buckets[key] = (
                counts if before is None else [a + b for a, b in zip(before, counts, strict=True)]
            )
    return Snapshot(
        values=[(name, list(labels), finite(value)) for (name, labels), value in values.items()],
        histograms=[(key[0], list(key[1]), sums[key], buckets[key]) for key in buckets],
        posture=POSTURES[posture] if posture >= 0 else "",
    )


def _values(snapshot: Snapshot) -> Iterator[tuple[tuple[str, Labels], float]]:
    for name, labels, value in snapshot["values"]:
        series = CATALOGUE.get(name)
        if series and series.kind is not Kind.HISTOGRAM and len(series.labels) == len(labels):
            yield (name, tuple(labels)), float(value)


def _histograms(snapshot: Snapshot) -> Iterator[tuple[tuple[str, Labels], float, list[int]]]:
    for name, labels, total, counts in snapshot["histograms"]:
        series = CATALOGUE.get(name)
        if series is None or series.kind is not Kind.HISTOGRAM:
            continue
        if len(series.labels) == len(labels) and len(counts) == len(series.bounds) + 1:
            yield (name, tuple(labels)), float(total), list(counts)
