"""Group 5: tokens past their expiry, and revoked ones."""

from __future__ import annotations

import time

from examples.commerce.attacker import Loot
from examples.commerce.client import Answer, ask, get, post
from examples.commerce.mesh import INTRUDER, Mesh
from examples.commerce.scenarios.outcome import Group, Outcome
from examples.commerce.scenarios.theft import ledger_entry, stolen
from examples.commerce.topology import FULL_SCOPE, spiffe_id


def _use(mesh: Mesh, loot: Loot, **claims: object) -> Answer:
    """Payments hands the loot on to the ledger."""
    payments = mesh.identity("payments")
    onwards = payments.hand_on(loot, spiffe_id("ledger"), scope=["ledger:append"], claims=claims)
    port = mesh.places["ledger"].inbound
    return payments.call(port, post("/entries", ledger_entry()), onwards)


def expired_access_token(mesh: Mesh) -> Outcome:
    """A customer's access token past its expiry, at the edge."""
    answer = mesh.buy(token=mesh.provider.access_token(FULL_SCOPE, lifetime_s=-60))
    return Outcome("401 credential_expired", mesh.explain(answer, "storefront"))


def expired_transaction_token(mesh: Mesh) -> Outcome:
    """A transaction token past its expiry (that of the access token it came from)."""
    loot = stolen(mesh).short_lived
    while time.time() < loot.expires_at_s:  # the event waited for is the clock's
        time.sleep(min(0.2, max(0.01, loot.expires_at_s - time.time())))
    return Outcome("401 token_expired", str(_use(mesh, loot)))


def stretched(mesh: Mesh) -> Outcome:
    """A hop that is to live longer than the token it continues."""
    loot = stolen(mesh).first
    return Outcome("403 chain_widened", str(_use(mesh, loot, exp=loot.expires_at_s + 60)))


def revoked_transaction(mesh: Mesh) -> Outcome:
    """A transaction that the operator revokes: good before, refused after."""
    loot = stolen(mesh).doomed
    before = str(_use(mesh, loot))
    mesh.ca("revoke", "--transaction", loot.txn)
    after = mesh.until(lambda: _use(mesh, loot), "401 token_revoked")
    return Outcome("201, then 401 token_revoked", f"{before}, then {after}")


def revoked_identity(mesh: Mesh) -> Outcome:
    """An SVID that the operator revokes: on an open connection, and on a new one."""
    leaver = mesh.fresh_identity(INTRUDER)
    port = mesh.places["orders"].inbound
    connection = leaver.connect(port)
    try:
        before = ask(connection, get("/healthz"))
        mesh.ca("revoke", "--serial", leaver.serial)
        last = mesh.until(
            lambda: ask(connection, get("/healthz")), "403 peer_revoked", log="orders"
        )
        after = mesh.explain(last, "orders")
    finally:
        connection.close()
    anew = leaver.call(port, get("/healthz"))
    expected = "403 policy_denied, then 403 peer_revoked, anew closed unanswered"
    return Outcome(expected, f"{before}, then {after}, anew {anew}")


GROUP = Group(
    5,
    "past its expiry, or revoked",
    [
        expired_access_token,
        expired_transaction_token,
        stretched,
        revoked_transaction,
        revoked_identity,
    ],
)
