"""The inbound gate on real sockets: what passes, what does not, and what the application sees."""

from __future__ import annotations

import json
import ssl

import pytest

from policy.reason import Reason
from sidecar.net.tls import context
from sidecar.routes import GrantRule
from sidecar.token.narrow import Narrower
from sidecar.token.refusal import TokenRefused
from tests.support.gates import Grant, Route, Side, World
from tests.support.http_peer import App, Client, Fields, Message, call, encode
from tests.support.identities import Identities, revocations, workload
from tests.unit.sidecar.token.conftest import permitted

REQUIRED = (Route("/", GrantRule.REQUIRED), Route("/open", GrantRule.OPTIONAL))
FORBIDDEN = (Route("/", GrantRule.FORBIDDEN),)


async def handed(side: Side, to: str, grant: Grant | None = None) -> Fields:
    """The token fields with which `side` calls `to`."""
    permit = await permitted(grant or side.grant(), workload(to), ("read",))
    now_s = side.world.clock.time_s()
    root, hops = Narrower(side.signer).hand_on(permit, workload(to), now_s)
    return [("Txn-Token", root), ("Txn-Hops", hops)]


async def from_mesh(
    world: World, to: Side, fields: Fields = (), target: str = "/x", **how: str
) -> Message:  # type: ignore[assignment]
    """One call over mTLS as `edge`."""
    tls = world.sides[0].tls()
    return await call(to.inbound, "GET", target, fields, tls=tls, host=how.get("host", to.name))


async def both(world: World, app: App, **options: object) -> tuple[Side, Side]:
    edge = await world.side("edge")
    return edge, await world.side("orders", app.port, **options)


async def test_a_call_with_its_grant_passes(world: World, app: App) -> None:
    edge, orders = await both(world, app, routes=REQUIRED)
    answer = await from_mesh(world, orders, await handed(edge, "orders"))
    assert (answer.status, answer.body) == (200, b"ok")
    (asked,) = orders.in_engine.asked
    assert asked["narrowgate"]["token"]["scope"] == ["read"]
    assert asked["attributes"]["source"]["principal"] == edge.mesh.workload.uri
    assert orders.records("decision")[0]["outcome"] == "allow"


async def test_the_application_never_sees_a_token(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    await from_mesh(world, orders, await handed(edge, "orders"))
    seen = app.last()
    assert not [name for name, _ in seen.fields if name.startswith("txn")]
    assert seen.one("x-forwarded-client-cert").endswith(f"URI={edge.mesh.workload.uri}")
    assert len(seen.one("x-request-id")) == 34
    assert seen.one("tracestate") == f"ng={seen.one('x-request-id')}"


FORGED = (
    *("x-request-id", "tracestate", "txn_token", "txn_hops", "x_request_id", "trace_parent"),
    *("x-forwarded-client-cert", "x_forwarded_client_cert", "x-forwarded_client-cert"),
    *("l5d-client-id", "l5d_client_id", "l5d-remote-ip", "l5d-server-id"),
    *("x-pomerium-jwt-assertion", "x-pomerium-claim-email", "x-pomerium-claim-groups"),
    *("x-jwt-payload", "x_jwt_payload", "x-envoy-original-path", "x_envoy_peer_metadata"),
    *("x-istio-attributes", "x-narrowgate-peer", "x_narrowgate_peer", "X-Narrowgate-Reason"),
)
"""Every name in the table of the doorway, and its variants with `_`."""
KEPT = {"trace_parent"}  # not one of ours in any spelling


@pytest.mark.parametrize("name", FORGED)
async def test_forged_identity_fields_stay_outside(name: str, world: World, app: App) -> None:
    _, orders = await both(world, app)
    await from_mesh(world, orders, [(name, "forged")])
    values = [value for key, value in app.last().fields if "forged" in value]
    assert bool(values) == (name in KEPT)


async def test_forged_fields_in_trailers_stay_outside(world: World, app: App) -> None:
    _, orders = await both(world, app)
    names = ["txn-token", "txn_token", "x-request-id", "x_forwarded_client_cert", "authorization"]
    trailers = "".join(f"{name}: forged\r\n" for name in [*names, "tracestate", "x-narrowgate-a"])
    raw = encode("POST", "/x", [("Transfer-Encoding", "chunked")], host="orders")
    async with await Client.open(orders.inbound, world.sides[0].tls()) as client:
        await client.send(raw + b"2\r\nhi\r\n0\r\nx-plain: 1\r\n" + trailers.encode() + b"\r\n")
        assert (await client.response()).status == 200
    seen = app.last()
    assert seen.body == b"hi"
    assert not [value for _, value in seen.fields if value == "forged"]


async def test_an_authorization_for_the_application_passes_within_the_mesh(
    world: World, app: App
) -> None:
    _, orders = await both(world, app)
    await from_mesh(world, orders, [("Authorization", "Basic eDp5")])
    assert app.last().one("authorization") == "Basic eDp5"


@pytest.mark.parametrize("name", ["Txn-Token", "Txn-Hops", "Authorization"])
async def test_an_identity_field_twice_is_refused(name: str, world: World, app: App) -> None:
    _, orders = await both(world, app)
    answer = await from_mesh(world, orders, [(name, "a"), (name, "b")])
    assert (answer.status, answer.reason) == (400, Reason.DUPLICATE_FIELD.label)
    assert not app.requests


@pytest.mark.parametrize(
    ("routes", "cut", "reason"),
    [
        (REQUIRED, 0, Reason.TOKEN_MISSING),
        (REQUIRED, 1, Reason.CHAIN_MISSING),
        (FORBIDDEN, 2, Reason.TOKEN_FORBIDDEN),
        (REQUIRED, -1, Reason.CHAIN_ROOTLESS),
    ],
)
async def test_what_comes_without_its_grant_is_refused(
    routes: tuple[Route, ...], cut: int, reason: Reason, world: World, app: App
) -> None:
    edge, orders = await both(world, app, routes=routes)
    fields = await handed(edge, "orders")
    answer = await from_mesh(world, orders, fields[1:] if cut < 0 else fields[:cut])
    assert (answer.status, answer.reason) == (reason.status, reason.label)
    assert not app.requests


async def test_a_token_is_of_no_use_to_another(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    thief = await world.side("thief")
    fields = await handed(edge, "orders")
    answer = await call(orders.inbound, "GET", "/x", fields, tls=thief.tls(), host="orders")
    assert answer.reason == Reason.CHAIN_SENDER.label
    fields = await handed(edge, "thief")
    answer = await from_mesh(world, orders, fields)
    assert answer.reason == Reason.CHAIN_RECIPIENT.label
    assert not app.requests


@pytest.mark.parametrize("value", ["\u00e9", "not.a.token", " "])
async def test_a_token_that_is_none_is_refused(value: str, world: World, app: App) -> None:
    _, orders = await both(world, app)
    answer = await from_mesh(world, orders, [("Txn-Token", value), ("Txn-Hops", value)])
    assert answer.status in (401, 403)
    assert not app.requests


async def test_an_expired_and_a_revoked_grant(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    fields = await handed(edge, "orders")
    assert (await from_mesh(world, orders, fields)).status == 200
    txn = orders.in_engine.asked[0]["narrowgate"]["token"]["txn"]
    world.publish(revocations=revocations(1, transactions=[txn]))
    assert (await from_mesh(world, orders, fields)).reason == Reason.TOKEN_REVOKED.label
    fields = await handed(edge, "orders")
    world.clock.advance(51)
    assert (await from_mesh(world, orders, fields)).reason == Reason.TOKEN_EXPIRED.label
    assert len(app.requests) == 1


async def test_another_workloads_authority_is_misdirected(world: World, app: App) -> None:
    _, orders = await both(world, app)
    for host in ("edge", "EDGE:8080"):
        answer = await from_mesh(world, orders, host=host)
        assert (answer.status, answer.reason) == (421, Reason.MISDIRECTED.label)
    assert (await from_mesh(world, orders, host="orders:80")).status == 200
    assert len(app.requests) == 1


async def test_an_upgrade_is_refused(world: World, app: App) -> None:
    _, orders = await both(world, app)
    fields = [("Connection", "Upgrade"), ("Upgrade", "websocket")]
    answer = await from_mesh(world, orders, fields)
    assert (answer.status, answer.reason) == (501, Reason.UPGRADE_REFUSED.label)
    assert not app.requests


@pytest.mark.parametrize("what", ["workload", "serial", "domain"])
async def test_a_peer_that_is_revoked_is_refused_on_its_next_request(
    what: str, world: World, app: App, strangers: Identities
) -> None:
    edge, orders = await both(world, app)
    async with await Client.open(orders.inbound, edge.tls()) as client:
        assert (await client.request("GET", "/x", host="orders")).status == 200
        reason = Reason.PEER_REVOKED
        if what == "workload":
            world.publish(revocations=revocations(1, workloads=[edge.mesh.workload.uri]))
        elif what == "serial":
            serial = f"{edge.held.credentials.svid.serial:x}"
            world.publish(revocations=revocations(1, serials=[serial]))
        else:  # a bundle without keys: all of them are revoked
            document = {**world.identities.bundle.document(), "keys": []}
            jwt = world.identities.bundle.document()["keys"][1:]  # type: ignore[index]
            world.publish(bundles={world.identities.domain: {**document, "keys": jwt}})
            reason = Reason.PEER_UNVERIFIED
        answer = await client.request("GET", "/x", host="orders")
        assert (answer.status, answer.reason) == (403, "")
    assert len(app.requests) == 1
    assert orders.records("decision")[-1]["reason"] == reason.label


async def test_a_peer_whose_svid_expires_is_refused_on_its_next_request(
    world: World, app: App
) -> None:
    edge = await world.side("edge", lifetime_s=30)
    orders = await world.side("orders", app.port)
    async with await Client.open(orders.inbound, edge.tls()) as client:
        assert (await client.request("GET", "/x", host="orders")).status == 200
        world.clock.advance(30)
        answer = await client.request("GET", "/x", host="orders")
    assert (answer.status, answer.reason) == (403, "")  # no longer anybody who may learn why
    assert orders.records("decision")[-1]["reason"] == Reason.PEER_EXPIRED.label
    assert len(app.requests) == 1


async def test_strangers_do_not_get_a_connection(
    world: World, app: App, strangers: Identities
) -> None:
    _, orders = await both(world, app)
    stranger = strangers.credentials("edge")
    tls = context(
        server_side=False,
        chain_pem=stranger.svid_pem,
        key_pem=stranger.key_pem,
        roots_pem=world.identities.bundle.pem(),
    )
    async with await Client.open(orders.inbound, tls) as client:
        await client.send(encode("GET", "/x", host="orders"))
        assert not await client.closed()
    assert not app.requests


async def test_without_a_certificate_there_is_no_connection(world: World, app: App) -> None:
    _, orders = await both(world, app)
    tls = ssl.create_default_context(cadata=world.identities.bundle.pem())
    tls.check_hostname = False
    async with await Client.open(orders.inbound, tls) as client:
        await client.send(encode("GET", "/x", host="orders"))
        assert not await client.closed()
    assert not app.requests


class Guests:
    """Edge credentials that are good when they are "Bearer good"."""

    def __init__(self) -> None:
        self.side: Side | None = None

    async def grant(self, authorization: bytes, now_s: float) -> Grant:
        if authorization != b"Bearer good" or self.side is None:
            raise TokenRefused(Reason.CREDENTIAL_INVALID)
        return self.side.grant()


async def at_edge(world: World, app: App, **options: object) -> Side:
    guests = Guests()
    guests.side = await world.side("edge", app.port, edge=guests, **options)
    return guests.side


async def test_the_edge_takes_the_credential_and_keeps_it(world: World, app: App) -> None:
    edge = await at_edge(world, app, routes=REQUIRED)
    answer = await call(edge.edge, "GET", "/x", [("Authorization", "Bearer good")], host="shop")
    assert answer.status == 200
    seen = app.last()
    assert not seen.all("authorization")
    assert seen.one("x-forwarded-proto") == "https"
    assert not seen.all("x-forwarded-client-cert")
    (asked,) = edge.in_engine.asked
    assert "principal" not in asked["attributes"]["source"]
    assert asked["narrowgate"]["token"]["scope"] == ["read", "write"]


async def test_what_an_outsider_forges_stays_outside(world: World, app: App) -> None:
    edge = await at_edge(world, app)
    names = ("x-forwarded-for", "x-forwarded-host", "forwarded", "x_forwarded_for", "txn-token")
    answer = await call(edge.edge, "GET", "/x", [(name, "forged") for name in names], host="shop")
    assert answer.status == 200
    assert not [value for _, value in app.last().fields if value == "forged"]
    assert app.last().all("x-forwarded-for") == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("routes", "authorization", "reason"),
    [
        (REQUIRED, "", Reason.CREDENTIAL_MISSING),
        (REQUIRED, "Bearer bad", Reason.CREDENTIAL_INVALID),
        (FORBIDDEN, "Bearer good", Reason.TOKEN_FORBIDDEN),
    ],
)
async def test_the_edge_says_nothing_to_an_outsider(
    routes: tuple[Route, ...], authorization: str, reason: Reason, world: World, app: App
) -> None:
    edge = await at_edge(world, app, routes=routes)
    fields = [("Authorization", authorization)] if authorization else []
    answer = await call(edge.edge, "GET", "/x", fields, host="shop")
    assert answer.status == reason.status
    assert not answer.reason
    assert set(json.loads(answer.body)) == {"type", "title", "status"}
    record = edge.records("decision")[-1]
    assert record["reason"] == reason.label
    assert record["decision"] == answer.one("x-narrowgate-decision")
    assert not app.requests


async def test_the_scope_that_policy_narrows_is_what_the_application_can_use(
    world: World, app: App
) -> None:
    edge, orders = await both(world, app)
    orders.in_engine.says = {"allowed": True, "narrowgate": {"scope": []}}
    held: list[frozenset[str]] = []

    async def look(request: Message) -> bytes | None:
        grant = orders.handles.find(request.one("x-request-id"), world.clock.time_s())
        assert grant is not None
        held.append(grant.scope)
        return b"HTTP/1.1 204 No Content\r\n\r\n"

    app.answer = look
    assert (await from_mesh(world, orders, await handed(edge, "orders"))).status == 204
    assert held == [frozenset()]
    assert len(orders.handles) == 0


async def test_a_second_attempt_is_decided_under_its_own_grant(world: World, app: App) -> None:
    """The idle connection broke, and by then policy narrows: the handle is narrowed too."""
    edge, orders = await both(world, app)
    held: list[frozenset[str]] = []
    fields = await handed(edge, "orders")

    async def look(request: Message) -> bytes | None:
        if len(app.requests) == 2:
            return None
        grant = orders.handles.find(request.one("x-request-id"), world.clock.time_s())
        held.append(grant.scope if grant else frozenset({"none"}))
        return b"HTTP/1.1 204 No Content\r\n\r\n"

    def narrower(_document: dict[str, object]) -> object:
        scope = [] if len(orders.in_engine.asked) == 3 else ["read"]
        return {"allowed": True, "narrowgate": {"scope": scope}}

    app.answer, orders.in_engine.says = look, narrower
    assert (await from_mesh(world, orders, fields)).status == 204
    assert (await from_mesh(world, orders, fields)).status == 204
    assert held == [frozenset({"read"}), frozenset()]
    assert len(orders.in_engine.asked) == 3
    ids = [record["decision"] for record in orders.records("decision")]
    assert len(set(ids)) == 3
    assert len(orders.handles) == 0


async def test_a_grant_that_expires_before_the_second_attempt_denies_it(
    world: World, app: App
) -> None:
    edge, orders = await both(world, app)
    fields = await handed(edge, "orders")

    async def break_off(request: Message) -> bytes | None:
        if len(app.requests) == 2:
            world.clock.advance(51)
            return None
        return b"HTTP/1.1 204 No Content\r\n\r\n"

    app.answer = break_off
    assert (await from_mesh(world, orders, fields)).status == 204
    answer = await from_mesh(world, orders, fields)
    assert answer.reason == Reason.TOKEN_EXPIRED.label
    assert len(app.requests) == 2
