"""Group 2: calls with no identity, and from workloads that policy does not allow."""

from __future__ import annotations

from examples.commerce.attacker import impostor, mesh_call, mesh_context
from examples.commerce.client import get, plain, post
from examples.commerce.idp import IdentityProvider
from examples.commerce.mesh import INTRUDER, Mesh
from examples.commerce.scenarios.outcome import Group, Outcome
from examples.commerce.scenarios.theft import stolen
from examples.commerce.topology import AUDIENCE, FULL_SCOPE, ISSUER, spiffe_id

UNANSWERED = "closed unanswered"


def no_certificate(mesh: Mesh) -> Outcome:
    """A caller without a client certificate at the gate of orders."""
    context = mesh_context(mesh.identity(INTRUDER).roots_pem)
    answer = mesh_call(context, mesh.places["orders"].inbound, post("/orders", {}))
    return Outcome(UNANSWERED, str(answer))


def no_tls(mesh: Mesh) -> Outcome:
    """A caller that speaks plain HTTP to the gate of orders."""
    return Outcome(UNANSWERED, str(plain(mesh.places["orders"].inbound, get("/healthz"))))


def self_made_certificate(mesh: Mesh) -> Outcome:
    """A self-made certificate that names the storefront's SPIFFE ID."""
    context = impostor(mesh.identity("storefront"))
    answer = mesh_call(context, mesh.places["orders"].inbound, get("/healthz"))
    return Outcome(UNANSWERED, str(answer))


def no_access_token(mesh: Mesh) -> Outcome:
    """A customer without an access token at the edge."""
    answer = mesh.explain(mesh.buy(token=None), "storefront")
    return Outcome("401 credential_missing", answer)


def access_token_of_another_key(mesh: Mesh) -> Outcome:
    """An access token signed by somebody who only says to be the provider."""
    forger = IdentityProvider(ISSUER, AUDIENCE)
    answer = mesh.buy(token=forger.access_token(FULL_SCOPE))
    return Outcome("401 credential_invalid", mesh.explain(answer, "storefront"))


def access_token_for_another_audience(mesh: Mesh) -> Outcome:
    """An access token that the provider made for another company."""
    token = mesh.provider.access_token(FULL_SCOPE, audience="another-shop")
    answer = mesh.buy(token=token)
    return Outcome("401 credential_invalid", mesh.explain(answer, "storefront"))


def workload_unknown_to_policy(mesh: Mesh) -> Outcome:
    """A workload with a good SVID that no policy names."""
    port = mesh.places["orders"].inbound
    known = mesh.identity("payments").call(port, get("/healthz"))
    unknown = mesh.identity(INTRUDER).call(port, get("/healthz"))
    return Outcome("neighbour 200, other 403 policy_denied", f"neighbour {known}, other {unknown}")


def workload_in_the_wrong_place(mesh: Mesh) -> Outcome:
    """Payments, with a genuine grant, where policy wants orders: notifications."""
    payments = mesh.identity("payments")
    loot = payments.hand_on(stolen(mesh).first, spiffe_id("notifications"))
    port = mesh.places["notifications"].inbound
    answer = payments.call(port, post("/messages", {"to": "a", "text": "b"}), loot)
    return Outcome("403 policy_denied", str(answer))


GROUP = Group(
    2,
    "no identity, or one that policy does not allow",
    [
        no_certificate,
        no_tls,
        self_made_certificate,
        no_access_token,
        access_token_of_another_key,
        access_token_for_another_audience,
        workload_unknown_to_policy,
        workload_in_the_wrong_place,
    ],
)
