"""Group 7: the authority is killed. What has an identity works until it expires, then nothing.

A kiosk, a second shop window with its own sidecar and an SVID of a few seconds, shows it in
seconds; the rest of the shop has SVIDs of an hour and shows that an outage is no stop.
"""

from __future__ import annotations

from examples.commerce.client import Answer, get, plain, post, through_proxy
from examples.commerce.mesh import KIOSK, Mesh
from examples.commerce.scenarios.outcome import Group, Outcome
from examples.commerce.topology import KIOSK_SVID_LIFETIME_S

SEALED = "503 sealed_identity"
ORDER = {"sku": "tea", "quantity": 1, "total_cents": 1, "email": "thief@example.com"}


def _buy_at_kiosk(mesh: Mesh) -> Answer:
    return mesh.buy(edge=KIOSK)


def existing_identity(mesh: Mesh) -> Outcome:
    """The authority is killed; the kiosk, whose SVID still lives, sells."""
    mesh.start_service(KIOSK, module="storefront")
    mesh.start_sidecar(KIOSK)
    mesh.await_ready(KIOSK)
    before = mesh.until(lambda: _buy_at_kiosk(mesh), "201")
    mesh.processes.kill("authority")
    return Outcome("201, killed, 201", f"{before}, killed, {_buy_at_kiosk(mesh)}")


def expired_identity(mesh: Mesh) -> Outcome:
    """Its SVID expires: the kiosk sells nothing any more."""
    answer = mesh.until(lambda: _buy_at_kiosk(mesh), SEALED, KIOSK_SVID_LIFETIME_S + 10.0, KIOSK)
    return Outcome(SEALED, mesh.explain(answer, KIOSK))


def sealed_outwards(mesh: Mesh) -> Outcome:
    """The kiosk's application cannot call out either."""
    port = mesh.places[KIOSK].outbound
    answer = through_proxy(port, post("http://orders/orders", ORDER))
    return Outcome(SEALED, mesh.explain(answer, KIOSK))


def probes(mesh: Mesh) -> Outcome:
    """The sealed kiosk is alive, and not ready."""
    port = mesh.places[KIOSK].health
    live, ready = plain(port, get("/live")), plain(port, get("/ready"))
    return Outcome("live 200, ready 503", f"live {live.status}, ready {ready.status}")


def others_go_on(mesh: Mesh) -> Outcome:
    """The rest of the shop, with SVIDs of an hour, goes on selling."""
    return Outcome("201", str(mesh.buy()))


def healed(mesh: Mesh) -> Outcome:
    """The authority is back: the kiosk attests again and sells."""
    mesh.start_authority()
    return Outcome("201", str(mesh.until(lambda: _buy_at_kiosk(mesh), "201", 30.0)))


GROUP = Group(
    7,
    "the authority killed, and back again",
    [existing_identity, expired_identity, sealed_outwards, probes, others_go_on, healed],
)
