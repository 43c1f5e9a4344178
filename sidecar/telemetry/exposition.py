"""A snapshot in the Prometheus text format.

Invariants: reads nothing but the snapshot, so it may run in a thread beside the gates; every series
has the name, help and labels of the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sidecar.telemetry.catalogue import CATALOGUE, POSTURES, Kind, Series
from sidecar.telemetry.snapshot import Cell, HistogramCell, Snapshot

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


def render(snapshot: Snapshot) -> bytes:
    """The text that a scrape of this snapshot gets."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_SnapshotCollector(snapshot))
    return generate_latest(registry)


class _SnapshotCollector(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot: Final = snapshot

    def collect(self) -> Iterator[Metric]:
        values: dict[str, list[Cell]] = {}
        histograms: dict[str, list[HistogramCell]] = {}
        for cell in (*self._snapshot["values"], *_postures(self._snapshot["posture"])):
            values.setdefault(cell[0], []).append(cell)
        for histogram in self._snapshot["histograms"]:
            histograms.setdefault(histogram[0], []).append(histogram)
        for name, series in CATALOGUE.items():
            if name in values:
                yield _values(series, values[name])
            elif name in histograms:
                yield _histogram(series, histograms[name])


def _postures(posture: str) -> list[Cell]:
    if not posture:
        return []
    return [("narrowgate_posture", [name], float(name == posture)) for name in POSTURES]


def _values(series: Series, cells: list[Cell]) -> Metric:
    family: CounterMetricFamily | GaugeMetricFamily
    if series.kind is Kind.COUNTER:
        family = CounterMetricFamily(series.name, series.help, labels=series.labels)
    else:
        family = GaugeMetricFamily(series.name, series.help, labels=series.labels)
    for _, labels, value in cells:
        family.add_metric(labels, float(value))
    return family


def _histogram(series: Series, cells: list[HistogramCell]) -> Metric:
    family = HistogramMetricFamily(series.name, series.help, labels=series.labels)
    bounds = [*map(str, series.bounds), "+Inf"]
    for _, labels, total, counts in cells:
        family.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), total)
    return family
