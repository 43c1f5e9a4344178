"""Group 1: a purchase through four hops, the scope shrinking at each."""

from __future__ import annotations

import uuid
from functools import partial

from examples.commerce import records
from examples.commerce.client import get, plain
from examples.commerce.mesh import Mesh
from examples.commerce.records import Decision
from examples.commerce.scenarios.outcome import Group, Outcome
from examples.commerce.topology import HOPS_TO, ROUTE_OF, SCOPE_AT, SERVICES, spiffe_id


def purchase(mesh: Mesh) -> Outcome:
    """A purchase: customer, storefront, orders, payments, ledger; and a message."""
    answer = mesh.buy()
    order = answer.json()
    actual = f"{answer} {order.get('status')}, notified {order.get('notified')}"
    return Outcome("201 paid, notified 1", actual)


def shrinking_scope(mesh: Mesh) -> Outcome:
    """The scope that each gate let in, from the decision records."""
    found = _decisions_of_a_purchase(mesh)
    notes = [f"{name:<14} {_scope(found.get(name))}" for name in SERVICES]
    good = all(name in found and found[name].scope == SCOPE_AT[name] for name in SERVICES)
    counts = ", ".join(str(len(found[name].scope) if name in found else 0) for name in SERVICES)
    expected = ", ".join(str(len(SCOPE_AT[name])) for name in SERVICES)
    actual = counts if good else f"{counts} but not as designed"
    return Outcome(f"{expected} atoms", f"{actual} atoms", tuple(notes))


def chain_of_hops(mesh: Mesh) -> Outcome:
    """Who signed the hops that each gate let in."""
    found = _decisions_of_a_purchase(mesh)
    notes = []
    wrong = []
    for name in SERVICES:
        hops = tuple(found[name].hops) if name in found else ("nothing recorded",)
        notes.append(f"{name:<14} {' > '.join(hop.rpartition('/')[2] for hop in hops) or 'edge'}")
        if hops != tuple(spiffe_id(hop) for hop in HOPS_TO[name]):
            wrong.append(name)
    return Outcome("as designed", f"wrong at {wrong}" if wrong else "as designed", tuple(notes))


def _decisions_of_a_purchase(mesh: Mesh) -> dict[str, Decision]:
    offsets = {name: records.size(mesh.around.decision_log(name)) for name in SERVICES}
    mesh.buy()
    found: dict[str, Decision] = {}
    for name in SERVICES:
        came_in = partial(_came_in, ROUTE_OF[name])
        log = mesh.around.decision_log(name)
        decision = records.await_decision(log, came_in, offsets[name])
        if decision is not None:
            found[name] = decision
    return found


def _came_in(path: str, decision: Decision) -> bool:
    return decision.gate != "outbound" and decision.path == path


def _scope(decision: Decision | None) -> str:
    return " ".join(sorted(decision.scope)) if decision else "nothing recorded"


def asked_twice(mesh: Mesh) -> Outcome:
    """The same purchase twice under one Idempotency-Key is paid once."""
    before = _entries(mesh)
    fields = {"Idempotency-Key": uuid.uuid4().hex}
    answers = [mesh.buy(fields=fields), mesh.buy(fields=fields)]
    actual = f"{answers[0]}, {answers[1]}, {_entries(mesh) - before} entry"
    return Outcome("201, 200, 1 entry", actual)


def _entries(mesh: Mesh) -> int:
    port = mesh.places["ledger"].application
    return int(plain(port, get("/balance")).json()["entries"])


def browsing_only(mesh: Mesh) -> Outcome:
    """A customer whose token is for browsing may look and not buy."""
    token = mesh.provider.access_token(["catalog:read"])
    port = mesh.places["storefront"].edge
    looked = mesh.customer.send(port, get("/products"), token)
    bought = mesh.explain(mesh.buy(token=token), "storefront")
    return Outcome("200, 403 policy_denied", f"{looked}, {bought}")


def no_token_in_an_application(mesh: Mesh) -> Outcome:
    """No application ever saw a token, ours or the customer's."""
    mesh.buy()
    seen = []
    lines = 0
    for name in SERVICES:
        for line in records.requests(mesh.processes.log_path(f"{name}-app")):
            lines += 1
            if {"authorization", "txn-token", "txn-hops"} & line.get("headers", {}).keys():
                seen.append(name)
    actual = f"seen by {sorted(set(seen))}" if seen else "none seen"
    return Outcome("none seen", actual if lines else "no request lines to look at")


GROUP = Group(
    1,
    "a purchase through four hops, the scope shrinking at each",
    [
        purchase,
        shrinking_scope,
        chain_of_hops,
        asked_twice,
        browsing_only,
        no_token_in_an_application,
    ],
)
