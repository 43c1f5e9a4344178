"""The outbound gate on real sockets: destination, correlation, the hop, what stays inside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from policy.reason import Reason
from sidecar.http.exchange import Exchange
from sidecar.token.correlation import Handles
from sidecar.token.siblings import Siblings, SiblingServer
from tests.support.gates import OPTIONAL, FakeEngine, Side, World
from tests.support.http_peer import App, Client, Fields, Message, call, encode
from tests.support.identities import service

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


async def both(world: World, app: App, **options: object) -> tuple[Side, Side]:
    """`edge`, whose application calls, and `orders`, which is called."""
    orders = await world.side("orders", app.port)
    return await world.side("edge", **options), orders


async def out(edge: Side, fields: Fields = (), method: str = "GET", **how: str) -> Message:  # type: ignore[assignment]
    return await call(edge.outbound, method, "/x?y=1", fields, host=how.get("host", "orders"))


def token_seen(orders: Side) -> object:
    """The grant with which the last call came to `orders`, None for workload identity only."""
    return orders.in_engine.asked[-1]["narrowgate"].get("token")


async def test_a_call_reaches_the_workload_of_its_host(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    for host in ("orders", "ORDERS:8080"):
        assert (await out(edge, host=host)).status == 200
    assert app.last().target == "/x?y=1"
    asked = orders.in_engine.asked[-1]
    assert asked["attributes"]["source"]["principal"] == edge.mesh.workload.uri
    assert token_seen(orders) is None
    record = edge.records("decision")[0]
    assert (record["destination"], record["handed_on"]) == (orders.mesh.workload.uri, [])


async def test_absolute_form_as_to_a_proxy(world: World, app: App) -> None:
    edge, _ = await both(world, app)
    answer = await call(edge.outbound, "GET", "http://orders/x", host="orders")
    assert (answer.status, app.last().target) == (200, "/x")


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("nobody", Reason.DESTINATION_UNKNOWN),
        ("127.0.0.1:17010", Reason.DESTINATION_UNKNOWN),
        ("edge", Reason.DESTINATION_SELF),
        ("Edge:80", Reason.DESTINATION_SELF),
    ],
)
async def test_only_hosts_of_others_in_the_registry(
    host: str, reason: Reason, world: World, app: App
) -> None:
    edge, _ = await both(world, app)
    answer = await out(edge, host=host)
    assert (answer.status, answer.reason) == (reason.status, reason.label)
    assert not app.requests
    assert edge.records("decision")[-1]["reason"] == reason.label


async def test_an_upgrade_is_refused(world: World, app: App) -> None:
    edge, _ = await both(world, app)
    answer = await out(edge, [("Connection", "Upgrade"), ("Upgrade", "websocket")])
    assert answer.reason == Reason.UPGRADE_REFUSED.label
    assert not app.requests


Carrier = Callable[[str], Fields]
BY_HANDLE: dict[str, Carrier] = {
    "x-request-id": lambda handle: [("X-Request-Id", handle)],
    "tracestate": lambda handle: [("Tracestate", f"ng={handle},other=1")],
    "after another": lambda handle: [("X-Request-Id", "their-own"), ("Tracestate", f"ng={handle}")],
    "traceparent": lambda _: [("Traceparent", TRACEPARENT)],
}


@pytest.mark.parametrize("how", BY_HANDLE)
async def test_a_call_carries_the_grant_of_the_one_it_belongs_to(
    how: str, world: World, app: App
) -> None:
    edge, orders = await both(world, app)
    grant = edge.grant()
    handle = edge.handle(grant, TRACE)
    assert (await out(edge, BY_HANDLE[how](handle))).status == 200
    seen = orders.in_engine.asked[-1]["narrowgate"]["token"]
    assert (seen["txn"], seen["scope"]) == (grant.txn, ["read", "write"])
    assert seen["hops"] == [edge.mesh.workload.uri]
    # Neither the handle nor a token reaches the next application.
    assert handle not in str(app.last())
    assert not [name for name, _ in app.last().fields if name.startswith("txn")]


async def test_a_handle_is_told_to_no_other_gate(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    handler, arrived = orders.in_door.handler, []

    async def look(stream: Exchange) -> None:
        arrived.extend(stream.head.fields)
        await handler(stream)

    orders.in_door.handler = look
    handle = edge.handle(edge.grant())
    fields = [("X-Request-Id", handle), ("Tracestate", f"a=1,ng={handle}")]
    assert (await out(edge, [*fields, ("Traceparent", TRACEPARENT)])).status == 200
    assert (b"traceparent", TRACEPARENT.encode()) in arrived
    assert handle.encode() not in b" ".join(value for _, value in arrived)


async def test_a_handle_that_is_over_is_nobodys(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    handle = edge.handle(edge.grant())
    edge.handles.close(handle, world.clock.time_s())
    for forged in (handle, "0" * 34, handle[:-2] + "07"):
        assert (await out(edge, [("X-Request-Id", forged)])).status == 200
        assert token_seen(orders) is None


async def test_a_trace_of_two_transactions_is_nobodys(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    edge.handle(edge.grant(), TRACE)
    edge.handle(edge.grant(), TRACE)
    assert (await out(edge, [("Traceparent", TRACEPARENT)])).status == 200
    assert token_seen(orders) is None
    edge.handle(None, TRACE)
    await out(edge, [("Traceparent", TRACEPARENT)])
    assert token_seen(orders) is None


async def test_a_grant_that_has_expired_denies(world: World, app: App) -> None:
    edge, _ = await both(world, app)
    handle = edge.handle(edge.grant(lifetime_s=20))
    world.clock.advance(20)
    answer = await out(edge, [("X-Request-Id", handle)])
    assert (answer.status, answer.reason) == (401, Reason.TOKEN_EXPIRED.label)
    assert not app.requests


async def test_no_scope_obligation_hands_on_the_empty_scope(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    edge.engine.says = True
    await out(edge, [("X-Request-Id", edge.handle(edge.grant()))])
    assert orders.in_engine.asked[-1]["narrowgate"]["token"]["scope"] == []


async def test_a_widening_policy_denies(world: World, app: App) -> None:
    edge, _ = await both(world, app)
    edge.engine.says = {"allowed": True, "narrowgate": {"scope": ["read", "admin"]}}
    answer = await out(edge, [("X-Request-Id", edge.handle(edge.grant()))])
    assert answer.reason == Reason.SCOPE_WIDENED.label
    assert not app.requests


FORGED = (
    *("txn-token", "txn-hops", "txn_token", "txn_hops", "TXN_Hops", "x-forwarded-client-cert"),
    *("x_forwarded_client_cert", "l5d-client-id", "x-envoy-peer", "x_narrowgate_identity"),
    *("x-jwt-payload", "authorization", "x-request-id", "x_request_id", "x-istio-a"),
)


@pytest.mark.parametrize("name", FORGED)
async def test_what_the_application_forges_reaches_no_other_gate(
    name: str, world: World, app: App
) -> None:
    edge, orders = await both(world, app)
    answer = await out(edge, [(name, "forged")])
    assert answer.status == 200
    assert "forged" not in str(app.last())
    assert token_seen(orders) is None


async def test_forged_trailers_reach_no_other_gate(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    async with await Client.open(edge.outbound) as client:
        head = encode("POST", "/x", [("Transfer-Encoding", "chunked")], host="orders")
        await client.send(head + b"1\r\nx\r\n0\r\ntxn-token: forged\r\ntxn_hops: forged\r\n\r\n")
        assert (await client.response()).status == 200
    assert "forged" not in str(app.last())
    assert token_seen(orders) is None


@pytest.mark.parametrize("what", ["nobody there", "no endpoint", "another workload", "revoked"])
async def test_a_destination_that_cannot_be_had(what: str, world: World, app: App) -> None:
    edge, orders = await both(world, app)
    thief = await world.side("thief", app.port)
    where, reason = f"127.0.0.1:{orders.inbound}", Reason.DESTINATION_IDENTITY
    if what == "nobody there":
        where, reason = "127.0.0.1:1", Reason.DESTINATION_UNREACHABLE
    elif what == "another workload":
        where = f"127.0.0.1:{thief.inbound}"
    elif what == "revoked":
        revoked = {"epoch": 1, "workloads": [orders.mesh.workload.uri]}
        empty = {name: [] for name in ("serials", "keys", "transactions", "tokens")}
        world.publish(revocations=revoked | empty)
    endpoints = [] if what == "no endpoint" else [where]
    if what == "no endpoint":
        reason = Reason.DESTINATION_UNREACHABLE
    if what != "revoked":
        world.services = [service("orders", *endpoints)]
        world.publish()
    answer = await out(edge, method="POST")
    assert (answer.status, answer.reason) == (502, reason.label)
    assert not app.requests
    # A request that was never sent may be tried again, and is then decided again.
    assert len(edge.engine.asked) == (0 if what == "no endpoint" else 2)


async def test_the_next_endpoint_is_tried_and_decided_anew(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    world.services = [service("orders", "127.0.0.1:1", f"127.0.0.1:{orders.inbound}")]
    world.publish()
    for _ in range(2):  # one of them meets the dead endpoint first
        assert (await out(edge, method="POST")).status == 200
    assert len(app.requests) == 2
    assert len(edge.engine.asked) == 3
    ports = [one["narrowgate"]["destination"]["port"] for one in edge.engine.asked]
    assert sorted(ports) == sorted([1, orders.inbound, orders.inbound])
    ids = [record["decision"] for record in edge.records("decision")]
    assert len(set(ids)) == 3


async def test_a_denied_second_attempt_is_not_sent(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    world.services = [service("orders", "127.0.0.1:1", f"127.0.0.1:{orders.inbound}")]
    world.publish()
    edge.engine.says = lambda _: len(edge.engine.asked) == 1
    answer = await out(edge)
    assert answer.reason == Reason.POLICY_DENIED.label
    assert not app.requests


async def test_a_connection_ends_with_the_svid_that_opened_it(world: World, app: App) -> None:
    edge, orders = await both(world, app, lifetime_s=40)
    assert (await out(edge)).status == 200
    assert (await out(edge)).status == 200
    assert edge.pool_events == ["opened", "reused"]
    world.clock.advance(30)
    fresh = world.identities.credentials("edge", now_s=world.clock.time_s())
    edge.held.adopt(fresh)
    edge.posture.identity(fresh.svid.not_before_s, fresh.svid.not_after_s)
    world.publish()
    assert (await out(edge)).status == 200  # rotation drops nothing
    world.clock.advance(10)
    world.publish()
    assert (await out(edge)).status == 200
    assert edge.pool_events == ["opened", "reused", "reused", "opened"]
    assert len(orders.in_door.open) == 1


async def test_a_destination_that_was_revoked_gets_nothing_more(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    assert (await out(edge)).status == 200
    serial = f"{orders.held.credentials.svid.serial:x}"
    empty = {name: [] for name in ("workloads", "keys", "transactions", "tokens")}
    world.publish(revocations={"epoch": 1, "serials": [serial], **empty})
    answer = await out(edge)
    assert answer.reason == Reason.DESTINATION_IDENTITY.label
    assert len(app.requests) == 1


async def test_a_handle_of_another_worker_is_found(world: World, app: App, tmp_path: Path) -> None:
    """Two workers of `edge`: the application answers a call of one through the other."""
    orders = await world.side("orders", app.port)

    def siblings(handles: Handles) -> Siblings:
        return Siblings(handles, tmp_path, workers=2)

    first = await world.side("edge", worker_index=0, siblings=siblings)
    other = Side(world, "edge", 1, routes=OPTIONAL, worker_index=1)
    other.mesh = first.mesh
    server = SiblingServer(other.handles, tmp_path, world.clock.time_s)
    await server.start()
    try:
        grant = first.grant()
        handle = other.handle(grant, TRACE)
        assert handle.endswith("01")
        for fields in ([("X-Request-Id", handle)], [("Traceparent", TRACEPARENT)]):
            assert (await out(first, fields)).status == 200
            assert orders.in_engine.asked[-1]["narrowgate"]["token"]["txn"] == grant.txn
        other.handles.close(handle, world.clock.time_s())
        await out(first, [("X-Request-Id", handle)])
        assert token_seen(orders) is None
    finally:
        other.close()
        await server.close()
    handle = first.handle(first.grant(), TRACE)
    await out(first, [("Traceparent", TRACEPARENT)])  # one worker cannot be asked: never guess
    assert token_seen(orders) is None
    await out(first, [("X-Request-Id", handle)])
    assert token_seen(orders) is not None


async def test_policy_sees_where_a_call_goes(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    await out(edge)
    (asked,) = edge.engine.asked
    assert asked["narrowgate"]["destination"] == {
        "workload": orders.mesh.workload.uri,
        "host": "127.0.0.1",
        "port": orders.inbound,
    }
    assert asked["narrowgate"]["gate"] == "outbound"


async def test_both_gates_at_once(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    edge.engine.says = False
    assert (await out(edge)).reason == Reason.POLICY_DENIED.label
    edge.engine.says, orders.in_engine.says = True, False
    answer = await out(edge)
    assert (answer.status, answer.reason) == (403, Reason.POLICY_DENIED.label)
    assert not app.requests
    assert isinstance(orders.in_engine, FakeEngine)
    await asyncio.sleep(0)
