"""How the attacker comes by real tokens: they take over the host of payments for a moment.

The payments sidecar is stopped, the attacker's own listener takes its port with an SVID of
payments, a few purchases arrive, and the sidecar is started again. What was caught is genuine:
signed by the edge, handed on by storefront and orders, for payments.
"""

from __future__ import annotations

import uuid
from functools import cache
from typing import NamedTuple

from examples.commerce.attacker import Loot, Trap
from examples.commerce.mesh import Mesh
from examples.commerce.topology import FULL_SCOPE

ATTEMPTS_MAX = 20
SHORT_LIFETIME_S = 6


class Stolen(NamedTuple):
    """Chains caught on their way into payments, from four purchases."""

    first: Loot
    second: Loot
    short_lived: Loot
    doomed: Loot


class NothingCaught(RuntimeError):
    """No purchase reached the trap."""


@cache
def stolen(mesh: Mesh) -> Stolen:
    """Catch four chains, once per mesh; afterwards the shop is whole again."""
    identity = mesh.identity("payments")
    mesh.processes.stop("payments")
    try:
        with Trap(identity, mesh.places["payments"].inbound) as trap:
            first = _catch(mesh, trap)
            second = _catch(mesh, trap)
            doomed = _catch(mesh, trap)
            short_lived = _catch(mesh, trap, lifetime_s=SHORT_LIFETIME_S)
    finally:
        mesh.start_sidecar("payments")
        mesh.await_ready("payments")
    mesh.until(mesh.buy, "201")
    return Stolen(first, second, short_lived, doomed)


def _catch(mesh: Mesh, trap: Trap, lifetime_s: float = 600) -> Loot:
    before = len(trap.loot)
    for _ in range(ATTEMPTS_MAX):
        answer = mesh.buy(token=mesh.provider.access_token(FULL_SCOPE, lifetime_s=lifetime_s))
        if len(trap.loot) > before:
            return trap.loot[-1]
    raise NothingCaught(f"the last purchase ended with {answer}")


def ledger_entry() -> dict[str, object]:
    """What a thief would like to have in the ledger."""
    return {"account": "sales", "reference": f"thief-{uuid.uuid4().hex}", "amount_cents": 1}
