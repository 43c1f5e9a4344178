"""One record for each decision, permits and denials, and never a secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ca.spiffe.ids import SpiffeId
from policy.call import Call, Gate, Grant
from policy.permit import Denial
from policy.reason import Reason
from sidecar.config_values import LogTarget
from sidecar.telemetry.decision_log import DecisionLog
from sidecar.telemetry.sink import Sink

ORDERS = SpiffeId.parse("spiffe://shop.example/ns/shop/sa/orders")
PAY = SpiffeId.parse("spiffe://shop.example/ns/shop/sa/payments")
CALL = Call(
    gate=Gate.INBOUND,
    id="d1",
    time_s=1.5,
    method="POST",
    target="/pay?card=4111",
    path="/pay",
    query="card=4111",
    host="payments",
    protocol="HTTP/1.1",
    fields=((b"cookie", b"secret-cookie"),),
    size=4,
    body=b"secret-body",
    truncated=False,
    source=ORDERS,
    source_address=("127.0.0.1", 4),
    destination=PAY,
    destination_address=("127.0.0.1", 5),
    workload=PAY,
)
GRANT = Grant(
    txn="t1",
    subject="pseudonym",
    scope=frozenset({"pay", "read"}),
    requesting_workload=ORDERS,
    issuer=ORDERS,
    expires_at_s=9.0,
    hops=(ORDERS,),
    context={"amount": "secret-context"},
    root="secret-root",
    chain="secret-chain",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def log(path: Path) -> DecisionLog:
    return DecisionLog(Sink("decision", LogTarget("file", path)))


def test_a_denial_says_who_what_and_why(log: DecisionLog, path: Path) -> None:
    denial = Denial.of(Reason.POLICY_DENIED, "d1", "x" * 999)
    log.decided(CALL, GRANT, denial, "normal", "rev", 0.000_25)
    log.flush()
    text = path.read_text()
    record = json.loads(text)
    assert len(record.pop("detail")) == 256
    assert record == {
        "time": "1970-01-01T00:00:01.500Z",
        "decision": "d1",
        "gate": "inbound",
        "outcome": "deny",
        "reason": "policy_denied",
        "policy": "rev",
        "peer": ORDERS.uri,
        "workload": PAY.uri,
        "destination": PAY.uri,
        "method": "POST",
        "path": "/pay",
        "host": "payments",
        "txn": "t1",
        "scope": ["pay", "read"],
        "handed_on": [],
        "hops": [ORDERS.uri],
        "posture": "normal",
        "duration_us": 250,
    }
    assert "secret" not in text
    assert "4111" not in text


def test_a_refusal_before_there_is_a_call(log: DecisionLog, path: Path) -> None:
    log.record(1.0, "d2", "inbound", reason="malformed", path="/a?b")
    log.flush()
    record = json.loads(path.read_text())
    assert (record["outcome"], record["peer"], record["path"]) == ("deny", "", "/a")


def test_no_reason_is_an_allow(log: DecisionLog, path: Path) -> None:
    log.record(1.0, "d3", "outbound", reason="", scope=("b", "a"), handed_on={"a"})
    log.flush()
    record = json.loads(path.read_text())
    assert record["outcome"] == "allow"
    assert (record["scope"], record["handed_on"]) == (["a", "b"], ["a"])


def test_none_formats_nothing() -> None:
    log = DecisionLog(Sink("decision", LogTarget("none")))
    log.record(1.0, "d", "inbound", reason="")
    log.decided(CALL, None, Denial.of(Reason.INTERNAL, "d"), "normal", "", 0.0)
