"""The list of series keeps to Prometheus' and our own rules of naming."""

from __future__ import annotations

import re

from sidecar.telemetry.catalogue import CATALOGUE, POSTURES, STATUSES, Kind, Merge

FORBIDDEN_LABELS = {"path", "method", "host", "user", "txn", "subject", "decision"}


def test_names_and_units() -> None:
    for name, series in CATALOGUE.items():
        assert re.fullmatch(r"(narrowgate|istio|process)_[a-z_]+", name)
        assert (series.kind is Kind.COUNTER) == name.endswith("_total")
        assert not FORBIDDEN_LABELS & set(series.labels)
        assert series.help.endswith(".") or name.endswith("_info")


def test_only_histograms_have_bounds_and_they_rise() -> None:
    for series in CATALOGUE.values():
        assert bool(series.bounds) == (series.kind is Kind.HISTOGRAM)
        assert list(series.bounds) == sorted(set(series.bounds))


def test_what_adds_up_is_summed() -> None:
    for series in CATALOGUE.values():
        if series.kind is not Kind.GAUGE:
            assert series.merge is Merge.SUM


def test_postures_go_from_best_to_worst() -> None:
    assert POSTURES == ("normal", "degraded", "sealed")
    assert {200, 403, 503} <= STATUSES
