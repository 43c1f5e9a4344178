"""The policy that the bench measures allows its one call and refuses that call's neighbours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import regorus

POLICY = Path(__file__).resolve().parents[3] / "bench" / "policy"
FRONTEND = "spiffe://shop.example/ns/shop/sa/frontend"
PAYMENTS = "spiffe://shop.example/ns/shop/sa/payments"


def decide(rule: str, document: dict[str, Any]) -> Any:
    engine = regorus.Engine()
    for module in sorted(POLICY.glob("*.rego")):
        engine.add_policy(module.name, module.read_text())
    engine.set_input_json(json.dumps(document))
    return json.loads(engine.eval_rule_as_json(rule))


def inbound(**change: Any) -> dict[str, Any]:
    facts = {"principal": FRONTEND, "method": "POST", "path": ["charge"], "self": PAYMENTS}
    facts |= {"scope": ["payments:charge"]} | change
    return {
        "attributes": {
            "source": {"principal": facts["principal"]},
            "request": {"http": {"method": facts["method"]}},
        },
        "parsed_path": facts["path"],
        "narrowgate": {"identity": {"self": facts["self"]}, "token": {"scope": facts["scope"]}},
    }


def test_the_measured_call_is_allowed() -> None:
    assert decide("data.envoy.authz.allow", inbound()) is True


@pytest.mark.parametrize(
    "change",
    [
        {"principal": PAYMENTS},
        {"principal": ""},
        {"method": "DELETE"},
        {"path": ["admin"]},
        {"path": []},
        {"scope": ["payments:read"]},
        {"scope": []},
    ],
    ids=str,
)
def test_its_neighbours_are_not(change: dict[str, Any]) -> None:
    assert decide("data.envoy.authz.allow", inbound(**change)) is False


def test_the_held_request_is_allowed_at_the_frontend_only() -> None:
    hold = {"principal": "", "method": "GET", "path": ["hold"]}
    assert decide("data.envoy.authz.allow", inbound(**hold, self=FRONTEND)) is True
    assert decide("data.envoy.authz.allow", inbound(**hold)) is False


def test_outbound_hands_on_one_atom() -> None:
    document: dict[str, Any] = {
        "narrowgate": {
            "identity": {"self": FRONTEND},
            "destination": {"workload": PAYMENTS},
            "token": {"scope": ["payments:charge", "payments:read"]},
        }
    }
    rule = "data.narrowgate.outbound.allow"
    allowed = {"allowed": True, "narrowgate": {"scope": ["payments:charge"]}}
    assert decide(rule, document) == allowed
    document["narrowgate"]["token"] = None
    assert decide(rule, document) is False
