"""The text is what Prometheus' own parser understands."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from sidecar.telemetry.catalogue import DECISION_BOUNDS_S
from sidecar.telemetry.exposition import CONTENT_TYPE, render
from sidecar.telemetry.snapshot import Snapshot


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_counters_gauges_and_histograms() -> None:
    counts = [0] * (len(DECISION_BOUNDS_S) + 1)
    counts[0], counts[-1] = 2, 3
    found = samples(
        render(
            Snapshot(
                values=[
                    ("narrowgate_decisions_total", ["inbound", "deny", "internal"], 7),
                    ("narrowgate_dependency_age_seconds", ["policy"], "+Inf"),
                    ("narrowgate_build_info", ['0"\n\\'], 1),
                ],
                histograms=[("narrowgate_decision_seconds", ["inbound"], 4.5, counts)],
                posture="degraded",
            )
        )
    )
    gate = ("gate", "inbound")
    decided = (gate, ("outcome", "deny"), ("reason", "internal"))
    assert found["narrowgate_decisions_total", decided] == 7
    assert found["narrowgate_dependency_age_seconds", (("dependency", "policy"),)] == float("inf")
    assert found["narrowgate_build_info", (("version", '0"\n\\'),)] == 1
    bucket = "narrowgate_decision_seconds_bucket"
    assert found[bucket, (gate, ("le", "1e-05"))] == 2
    assert found[bucket, (gate, ("le", "1.0"))] == 2
    assert found[bucket, (gate, ("le", "+Inf"))] == 5
    assert found["narrowgate_decision_seconds_count", (gate,)] == 5
    assert found["narrowgate_decision_seconds_sum", (gate,)] == 4.5
    postures = {k[1][0][1]: v for k, v in found.items() if k[0] == "narrowgate_posture"}
    assert postures == {"normal": 0, "degraded": 1, "sealed": 0}


def test_nothing_known_is_nothing_said() -> None:
    assert render(Snapshot(values=[], histograms=[], posture="")) == b""
    assert CONTENT_TYPE.startswith("text/plain")
