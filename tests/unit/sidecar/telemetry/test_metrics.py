"""What is counted is what is scraped, and memory stays bounded whatever is counted."""

from __future__ import annotations

import json
from math import inf

from prometheus_client.parser import text_string_to_metric_families

from policy.call import Gate, Posture
from sidecar.telemetry.catalogue import CATALOGUE, REQUEST_SERIES_MAX
from sidecar.telemetry.metrics import Metrics, Sources

A = "spiffe://shop.example/ns/shop/sa/orders"
B = "spiffe://shop.example/ns/shop/sa/payments"


def request(metrics: Metrics, *, source: str = A, status: int = 200, service: str = "pay") -> None:
    metrics.request(
        "inbound", status, "", "http", source, B, service, "mutual_tls", 0.0031, 120, 4500
    )


def scraped(text: bytes) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_everything_counted_is_scraped() -> None:
    metrics = Metrics(
        version="1.2.3",
        sources=Sources(
            posture=lambda: Posture.DEGRADED,
            ages_s=lambda: {"bundle": 2.5, "policy": inf},
            svid_expires_at_s=lambda: 99.0,
            policy_revision=lambda: "abc",
            pool=lambda: {"idle": 3},
            grants=lambda: 4,
            log_dropped=lambda: {"access": 5},
        ),
    )
    metrics.decision(Gate.INBOUND, "allow", "", 0.0001)
    metrics.decision("inbound", "deny", "policy_denied", 0.2)
    metrics.token_verification("ok")
    metrics.handshake("inbound", "peer_unverified")
    metrics.connection("inbound", 1)
    metrics.connection("inbound", 1)
    metrics.connection("inbound", -1)
    metrics.pool("opened")
    request(metrics)
    found = scraped(metrics.render())
    decision = {"gate": "inbound", "outcome": "allow", "reason": ""}
    assert (decision, 1.0) in found["narrowgate_decisions_total"]
    assert found["narrowgate_decision_seconds_count"] == [({"gate": "inbound"}, 2.0)]
    assert found["narrowgate_token_verifications_total"] == [({"result": "ok"}, 1.0)]
    handshake = {"gate": "inbound", "result": "peer_unverified"}
    assert found["narrowgate_handshakes_total"] == [(handshake, 1.0)]
    assert ({"gate": "inbound"}, 1.0) in found["narrowgate_connections"]
    assert ({"event": "opened"}, 1.0) in found["narrowgate_pool_events_total"]
    assert found["narrowgate_pool_connections"] == [({"state": "idle"}, 3.0)]
    assert found["narrowgate_grants"] == [({}, 4.0)]
    assert found["narrowgate_log_dropped_total"] == [({"log": "access"}, 5.0)]
    assert ({"posture": "degraded"}, 1.0) in found["narrowgate_posture"]
    assert ({"dependency": "policy"}, inf) in found["narrowgate_dependency_age_seconds"]
    assert found["narrowgate_svid_expiry_timestamp_seconds"] == [({}, 99.0)]
    assert found["narrowgate_policy_info"] == [({"revision": "abc"}, 1.0)]
    assert found["narrowgate_build_info"] == [({"version": "1.2.3"}, 1.0)]
    assert found["istio_requests_total"][0][1] == 1.0
    assert found["istio_request_duration_milliseconds_sum"][0][1] == 3.1
    assert found["istio_request_bytes_sum"][0][1] == 120
    assert found["istio_response_bytes_sum"][0][1] == 4500
    assert found["process_resident_memory_bytes"][0][1] > 0
    families = {f.name for f in text_string_to_metric_families(metrics.render().decode())}
    assert families == {name.removesuffix("_total") for name in CATALOGUE}


def test_a_value_on_a_bound_is_below_it() -> None:
    metrics = Metrics(version="1")
    metrics.decision("inbound", "allow", "", 0.001)
    buckets = scraped(metrics.render())["narrowgate_decision_seconds_bucket"]
    assert ({"gate": "inbound", "le": "0.001"}, 1.0) in buckets
    assert ({"gate": "inbound", "le": "0.0005"}, 0.0) in buckets


def test_unknown_words_are_counted_as_unknown() -> None:
    metrics = Metrics(version="1")
    for word in ("evil1", "evil2"):
        metrics.decision(word, word, word, 0.1)
        metrics.token_verification(word)
        metrics.handshake(word, word)
        metrics.pool(word)
        metrics.connection(word, 1)
        request(metrics, source=word, status=999)
    text = metrics.render()
    assert b"evil" not in text
    unknown = {"gate": "unknown", "outcome": "unknown", "reason": "unknown"}
    assert scraped(text)["narrowgate_decisions_total"] == [(unknown, 2.0)]


def test_request_labels_are_bounded_in_number() -> None:
    metrics = Metrics(version="1")
    total = 5 * REQUEST_SERIES_MAX
    for number in range(total):
        request(metrics, source=f"{A}-{number}")
        request(metrics, service=f"host-{number}")
    cells = metrics.snapshot()["values"]
    counted = [float(value) for name, _, value in cells if name == "istio_requests_total"]
    assert len(counted) <= REQUEST_SERIES_MAX + 1
    assert sum(counted) == 2 * total
    assert len(metrics._requests) <= 4 * REQUEST_SERIES_MAX


def test_istio_series_can_be_left_out() -> None:
    metrics = Metrics(version="1", istio_metrics=False)
    request(metrics)
    assert b"istio_" not in metrics.render()


def test_workers_add_up_through_json() -> None:
    one, two = Metrics(version="1"), Metrics(version="1")
    for metrics in (one, two):
        metrics.decision("inbound", "allow", "", 0.1)
        request(metrics)
    sent = json.loads(json.dumps(two.snapshot(), allow_nan=False))
    found = scraped(one.render([sent]))
    assert found["narrowgate_decisions_total"][0][1] == 2.0
    assert found["istio_requests_total"][0][1] == 2.0
    assert found["narrowgate_workers"] == [({}, 2.0)]
    assert found["narrowgate_build_info"][0][1] == 1.0


def test_a_snapshot_is_not_changed_by_what_is_counted_later() -> None:
    metrics = Metrics(version="1")
    metrics.decision("inbound", "allow", "", 0.1)
    request(metrics)
    before = metrics.snapshot()["histograms"]
    copy = json.loads(json.dumps(before))
    metrics.decision("inbound", "allow", "", 0.1)
    request(metrics)
    assert json.loads(json.dumps(before)) == copy
