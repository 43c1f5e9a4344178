"""Group 3: stolen tokens, cut, spliced and replayed. The thief holds payments' keys."""

from __future__ import annotations

from examples.commerce.attacker import Loot
from examples.commerce.client import Answer, post
from examples.commerce.mesh import INTRUDER, Mesh
from examples.commerce.scenarios.outcome import Group, Outcome
from examples.commerce.scenarios.theft import ledger_entry, stolen
from examples.commerce.topology import FULL_SCOPE, spiffe_id

LEDGER = spiffe_id("ledger")


def _to_ledger(mesh: Mesh, loot: Loot, *, by: str = "payments") -> Answer:
    port = mesh.places["ledger"].inbound
    return mesh.identity(by).call(port, post("/entries", ledger_entry()), loot)


def within_its_bounds(mesh: Mesh) -> Outcome:
    """For comparison: the thief does with it exactly what payments may do."""
    payments = mesh.identity("payments")
    loot = payments.hand_on(stolen(mesh).first, LEDGER, scope=["ledger:append"])
    return Outcome("201", str(_to_ledger(mesh, loot)))


def replayed_by_another(mesh: Mesh) -> Outcome:
    """The stolen token replayed at payments by another workload."""
    port = mesh.places["payments"].inbound
    charge = post("/charges", {"order": "1", "amount_cents": 1})
    answer = mesh.identity(INTRUDER).call(port, charge, stolen(mesh).first)
    return Outcome("403 chain_sender", str(answer))


def handed_on_by_another(mesh: Mesh) -> Outcome:
    """Another workload signs the next hop, to the ledger, with its own key."""
    loot = mesh.identity(INTRUDER).hand_on(stolen(mesh).first, LEDGER)
    return Outcome("403 chain_broken", str(_to_ledger(mesh, loot, by=INTRUDER)))


def in_anothers_name(mesh: Mesh) -> Outcome:
    """Another workload signs the next hop in the name of payments."""
    loot = mesh.identity(INTRUDER).hand_on(
        stolen(mesh).first, LEDGER, claims={"iss": spiffe_id("payments")}
    )
    return Outcome("401 token_signature", str(_to_ledger(mesh, loot, by=INTRUDER)))


def passed_along_unsigned(mesh: Mesh) -> Outcome:
    """The chain as it came, sent on to the ledger without a hop of its own."""
    return Outcome("403 chain_sender", str(_to_ledger(mesh, stolen(mesh).first)))


def hops_cut_off(mesh: Mesh) -> Outcome:
    """The root alone, its hops cut off."""
    return Outcome("403 chain_missing", str(_to_ledger(mesh, Loot(stolen(mesh).first.root, ""))))


def root_cut_off(mesh: Mesh) -> Outcome:
    """The hops alone, their root cut off."""
    return Outcome("403 chain_rootless", str(_to_ledger(mesh, Loot("", stolen(mesh).first.hops))))


def hop_left_out(mesh: Mesh) -> Outcome:
    """The hop of orders left out of the chain."""
    loot = mesh.identity("payments").hand_on(stolen(mesh).first.first_hops(1), LEDGER)
    return Outcome("403 chain_broken", str(_to_ledger(mesh, loot)))


def started_anew(mesh: Mesh) -> Outcome:
    """A genuine root with a fresh chain that the thief begins."""
    loot = mesh.identity("payments").hand_on(
        Loot(stolen(mesh).first.root, ""), LEDGER, scope=FULL_SCOPE
    )
    return Outcome("403 chain_broken", str(_to_ledger(mesh, loot)))


def spliced(mesh: Mesh) -> Outcome:
    """One purchase's root with another purchase's hops."""
    first, second = stolen(mesh).first, stolen(mesh).second
    loot = mesh.identity("payments").hand_on(Loot(first.root, second.hops), LEDGER)
    return Outcome("403 chain_broken", str(_to_ledger(mesh, loot)))


def for_someone_else(mesh: Mesh) -> Outcome:
    """A hop that was signed for notifications, presented to the ledger."""
    loot = mesh.identity("payments").hand_on(stolen(mesh).first, spiffe_id("notifications"))
    return Outcome("403 chain_recipient", str(_to_ledger(mesh, loot)))


def self_made_root(mesh: Mesh) -> Outcome:
    """A root that the thief makes without being on the issuer list."""
    payments = mesh.identity("payments")
    loot = payments.hand_on(payments.make_root(FULL_SCOPE), LEDGER, scope=["ledger:append"])
    return Outcome("403 token_issuer", str(_to_ledger(mesh, loot)))


GROUP = Group(
    3,
    "a stolen token: replayed, cut, spliced",
    [
        within_its_bounds,
        replayed_by_another,
        handed_on_by_another,
        in_anothers_name,
        passed_along_unsigned,
        hops_cut_off,
        root_cut_off,
        hop_left_out,
        started_anew,
        spliced,
        for_someone_else,
        self_made_root,
    ],
)
