"""Several workers make one: sums, the worst posture, nothing guessed."""

from __future__ import annotations

import json
from math import inf

from sidecar.telemetry.catalogue import DECISION_BOUNDS_S
from sidecar.telemetry.snapshot import Snapshot, finite, merge

BUCKETS = [1] * (len(DECISION_BOUNDS_S) + 1)


def snapshot(posture: str = "normal", age_s: float = 1.0, expiry_s: float = 50.0) -> Snapshot:
    return Snapshot(
        values=[
            ("narrowgate_decisions_total", ["inbound", "allow", ""], 2),
            ("narrowgate_dependency_age_seconds", ["bundle"], finite(age_s)),
            ("narrowgate_svid_expiry_timestamp_seconds", [], expiry_s),
        ],
        histograms=[("narrowgate_decision_seconds", ["inbound"], 0.5, BUCKETS)],
        posture=posture,
    )


def values(merged: Snapshot) -> dict[str, float]:
    return {name: float(value) for name, _, value in merged["values"]}


def test_each_kind_merges_in_its_way() -> None:
    merged = merge([snapshot("normal", 1.0, 50.0), snapshot("degraded", 3.0, 40.0)])
    assert values(merged) == {
        "narrowgate_decisions_total": 4,
        "narrowgate_dependency_age_seconds": 3.0,
        "narrowgate_svid_expiry_timestamp_seconds": 40.0,
    }
    assert merged["histograms"] == [
        ("narrowgate_decision_seconds", ["inbound"], 1.0, [2] * len(BUCKETS))
    ]
    assert merged["posture"] == "degraded"


def test_one_sealed_worker_is_shown() -> None:
    assert merge([snapshot("sealed"), snapshot("normal")])["posture"] == "sealed"


def test_it_survives_json_with_an_infinite_age() -> None:
    sent = json.loads(json.dumps(snapshot(age_s=inf), allow_nan=False))
    assert values(merge([sent, snapshot()]))["narrowgate_dependency_age_seconds"] == inf


def test_another_shape_is_left_out() -> None:
    strange = Snapshot(
        values=[("unheard_of", [], 1), ("narrowgate_decisions_total", ["inbound"], 1)],
        histograms=[("narrowgate_decision_seconds", ["inbound"], 1.0, [1, 2])],
        posture="cheerful",
    )
    assert merge([strange]) == Snapshot(values=[], histograms=[], posture="")


def test_merging_does_not_change_what_it_was_given() -> None:
    one = snapshot()
    merge([one, snapshot()])
    assert one == snapshot()
