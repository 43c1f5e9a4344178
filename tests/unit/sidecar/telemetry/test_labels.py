"""Labels have bounded values, whatever is thrown at them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.reason import Reason
from sidecar.telemetry.catalogue import ISTIO_LABELS
from sidecar.telemetry.labels import FLAGS, RequestKey

A = "spiffe://shop.example/ns/shop/sa/orders"
B = "spiffe://shop.example/ns/bank/sa/payments"
KEY = RequestKey("inbound", 200, "", "http", A, B, "payments", "mutual_tls")


def labels(key: RequestKey) -> dict[str, str]:
    return dict(zip(ISTIO_LABELS, key.bounded().labels(), strict=True))


def test_istio_names_for_our_facts() -> None:
    assert labels(KEY) == {
        "reporter": "destination",
        "source_workload": "orders",
        "source_workload_namespace": "shop",
        "source_principal": A,
        "source_app": "orders",
        "destination_workload": "payments",
        "destination_workload_namespace": "bank",
        "destination_principal": B,
        "destination_app": "payments",
        "destination_service": "payments",
        "request_protocol": "http",
        "response_code": "200",
        "response_flags": "-",
        "connection_security_policy": "mutual_tls",
    }
    assert labels(KEY._replace(gate="outbound"))["reporter"] == "source"


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ({"status": 299}, "response_code"),
        ({"status": -1}, "response_code"),
        ({"protocol": "HTTP/1.1"}, "request_protocol"),
        ({"source": ""}, "source_principal"),
        ({"source": "evil"}, "source_workload"),
        ({"service": ""}, "destination_service"),
        ({"service": "a" * 254}, "destination_service"),
        ({"security": "x"}, "connection_security_policy"),
    ],
)
def test_what_is_not_known_is_unknown(change: dict[str, str], label: str) -> None:
    assert labels(KEY._replace(**change))[label] == "unknown"  # type: ignore[arg-type]


def test_every_reason_has_a_flag() -> None:
    assert set(FLAGS) == {"", *(reason.label for reason in Reason)}
    assert FLAGS["policy_denied"] == "UAEX"
    assert FLAGS["destination_timeout"] == "UT"


def test_anonymous_names_nobody() -> None:
    assert not {"orders", "payments", A, B} & set(KEY.anonymous().labels())


@given(st.text(), st.integers(), st.text())
def test_nothing_fails(text: str, status: int, other: str) -> None:
    key = RequestKey(text, status, other, text, f"spiffe://{text}", other, text, other)
    assert len(labels(key)) == len(ISTIO_LABELS)
