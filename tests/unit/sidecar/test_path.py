"""What both gates have in common: each reason with its status, retries, bodies, and faults."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from policy.engines import UNDEFINED
from policy.input import Needs
from policy.reason import Reason
from sidecar.http.head import Limits
from sidecar.passage import Passage
from sidecar.resilience.posture import Dependency
from tests.support.gates import SEES, Side, World, fault
from tests.support.http_peer import App, Client, Message, call, encode

BODY = replace(SEES, raw_body=True)


async def both(world: World, app: App, **options: object) -> tuple[Side, Side]:
    orders = await world.side("orders", app.port, **options)
    return await world.side("edge", **options), orders


async def out(edge: Side, method: str = "GET", body: bytes = b"") -> Message:
    return await call(edge.outbound, method, "/x", [], body, host="orders")


async def into(edge: Side, orders: Side, method: str = "GET", body: bytes = b"") -> Message:
    return await call(orders.inbound, method, "/x", [], body, host="orders", tls=edge.tls())


def panic(_document: object) -> object:
    raise type("PanicException", (BaseException,), {})("a Rust panic")


def tell_at_end(side: Side, told: asyncio.Event) -> None:
    """Set `told` when the record of a request is complete."""
    ended = side.journal.ended

    def end(passage: Passage) -> None:
        ended(passage)
        told.set()

    side.journal.ended = end  # type: ignore[method-assign]


async def never(_document: object = None) -> object:
    return await asyncio.get_running_loop().create_future()


ANSWERS: dict[Reason, object] = {
    Reason.POLICY_DENIED: False,
    Reason.POLICY_UNDEFINED: UNDEFINED,
    Reason.POLICY_MALFORMED: "yes",
    Reason.POLICY_ERROR: ValueError("a bug in an engine"),
    Reason.POLICY_CRASHED: panic,
    Reason.POLICY_TIMEOUT: never,
    Reason.POLICY_DISAGREED: fault(Reason.POLICY_DISAGREED),
    Reason.POLICY_UNAVAILABLE: fault(Reason.POLICY_UNAVAILABLE),
    Reason.OBLIGATION_REFUSED: {"allowed": True, "headers": {"txn-token": "x"}},
    Reason.SCOPE_WIDENED: {"allowed": True, "narrowgate": {"scope": ["admin"]}},
}


@pytest.mark.parametrize("gate", ["inbound", "outbound"])
@pytest.mark.parametrize("reason", ANSWERS, ids=lambda reason: reason.label)
async def test_whatever_a_decision_is_but_an_allow_denies(
    reason: Reason, gate: str, world: World, app: App
) -> None:
    edge, orders = await both(world, app, timeout_s=0.05)
    engine = edge.engine if gate == "outbound" else orders.in_engine
    engine.says = ANSWERS[reason]
    for _ in range(2):  # and a fault is not for ever
        answer = await (out(edge) if gate == "outbound" else into(edge, orders))
        assert (answer.status, answer.reason) == (reason.status, reason.label)
    assert not app.requests
    engine.says = True
    assert (await (out(edge) if gate == "outbound" else into(edge, orders))).status == 200


async def test_without_a_policy_everything_is_denied(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    edge.judge.swap(None)
    assert (await out(edge)).reason == Reason.POLICY_NOT_LOADED.label
    orders.in_judge.swap(None)
    assert (await into(edge, orders)).reason == Reason.POLICY_NOT_LOADED.label
    assert not app.requests


SEALS: dict[Reason, Callable[[World, Side], None]] = {
    Reason.SEALED_IDENTITY: lambda world, side: world.clock.advance(3600),
    Reason.SEALED_CLOCK: lambda world, side: jump(world, side, 6),
    Reason.SEALED_BUNDLE: lambda world, side: only_fresh(world, side, Dependency.REVOCATIONS),
    Reason.SEALED_REVOCATIONS: lambda world, side: only_fresh(world, side, Dependency.BUNDLE),
}


def jump(world: World, side: Side, seconds: float) -> None:
    world.clock.wall_s += seconds
    side.posture.watch_clock()


def only_fresh(world: World, side: Side, dependency: Dependency) -> None:
    """Everything else has been stale for longer than the SVID lives, which was renewed."""
    world.clock.advance(4000)
    fresh = world.identities.credentials(side.name, now_s=world.clock.time_s())
    side.posture.identity(fresh.svid.not_before_s, fresh.svid.not_after_s)
    side.posture.fresh(dependency)


@pytest.mark.parametrize("reason", SEALS, ids=lambda reason: reason.label)
async def test_a_sealed_gate_asks_no_engine(reason: Reason, world: World, app: App) -> None:
    edge, _ = await both(world, app)
    assert (await out(edge)).status == 200
    SEALS[reason](world, edge)
    answer = await out(edge)
    assert (answer.status, answer.reason) == (503, reason.label)
    assert len(edge.engine.asked) == len(app.requests) == 1


async def test_a_degraded_gate_can_only_subtract(world: World, app: App) -> None:
    edge, _ = await both(world, app)
    world.clock.advance(11)
    assert (await out(edge)).status == 200
    assert [one["narrowgate"]["posture"] for one in edge.engine.asked] == ["normal", "degraded"]
    edge.engine.says = lambda document: document["narrowgate"]["posture"] == "normal"
    assert (await out(edge)).reason == Reason.POLICY_DENIED.label
    edge.engine.says = lambda document: document["narrowgate"]["posture"] == "degraded"
    assert (await out(edge)).reason == Reason.POLICY_DENIED.label


@pytest.mark.parametrize("where", ["posture", "registry", "admission", "upstream", "journal"])
async def test_an_error_anywhere_forwards_nothing(
    where: str, world: World, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge, orders = await both(world, app)

    def broken(*_: object, **__: object) -> object:
        raise RuntimeError("a bug")

    target: dict[str, tuple[object, str]] = {
        "posture": (edge.posture, "check"),
        "registry": (type(edge.mesh.registry), "find"),
        "admission": (orders.admission, "check"),
        "upstream": (edge.upstreams, "gate"),
        "journal": (edge.metrics, "decision"),
    }
    held = await Client.open(orders.inbound, edge.tls())
    await held.request("GET", "/x", host="orders")
    monkeypatch.setattr(*target[where], broken)
    answer = await (held.request("GET", "/x", host="orders") if where == "admission" else out(edge))
    held.close()
    assert answer.status == Reason.INTERNAL.status
    assert len(app.requests) == 1
    monkeypatch.undo()
    assert (await out(edge)).status == 200


async def test_each_request_leaves_one_access_line_and_one_decision(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    await out(edge)
    edge.engine.says = False
    await out(edge)
    await call(edge.outbound, "GET", "/x", host="nobody")
    access, decisions = edge.records("access"), edge.records("decision")
    assert [line["status"] for line in access] == [200, 403, 502]
    assert [line["decision"] for line in access] == [line["decision"] for line in decisions]
    assert [line["outcome"] for line in decisions] == ["allow", "deny", "deny"]
    assert len(orders.records("access")) == 1


# --- attempts -------------------------------------------------------------------------------------


async def break_off_reused(app: App) -> None:
    """The application closes each connection at its second request, without an answer."""

    async def answer(_request: Message) -> bytes | None:
        if len(app.requests) == 2:
            return None
        return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    app.answer = answer


@pytest.mark.parametrize(
    ("method", "status", "decisions"),
    [("GET", 200, 3), ("PUT", 200, 3), ("DELETE", 200, 3), ("POST", 502, 2), ("PATCH", 502, 2)],
)
async def test_only_what_may_be_sent_twice_is_and_is_decided_twice(
    method: str, status: int, decisions: int, world: World, app: App
) -> None:
    edge, orders = await both(world, app)
    await break_off_reused(app)
    assert (await into(edge, orders)).status == 200
    answer = await into(edge, orders, method)
    assert answer.status == status
    assert len(orders.in_engine.asked) == decisions
    assert len(app.requests) == decisions
    if status != 200:
        assert answer.reason == Reason.DESTINATION_RESET.label


async def test_a_body_that_was_sent_is_not_sent_again(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    await break_off_reused(app)
    assert (await into(edge, orders)).status == 200
    assert (await into(edge, orders, "PUT", b"body")).reason == Reason.DESTINATION_RESET.label
    assert len(app.requests) == len(orders.in_engine.asked) == 2


async def test_a_fresh_connection_that_breaks_is_no_reason_to_try_again(
    world: World, app: App
) -> None:
    edge, orders = await both(world, app)

    async def break_off(_request: Message) -> bytes | None:
        return None

    app.answer = break_off
    assert (await into(edge, orders)).reason == Reason.DESTINATION_RESET.label
    assert len(app.requests) == 1


async def test_the_outbound_gate_decides_each_attempt(world: World, app: App) -> None:
    """The other gate closed the idle connection without saying so before our request."""
    edge, orders = await both(world, app)
    assert (await out(edge)).status == 200
    handler = orders.in_door.handler

    async def abort_once(stream: object) -> None:
        orders.in_door.handler = handler
        stream.reset()  # type: ignore[attr-defined]

    orders.in_door.handler = abort_once
    assert (await out(edge)).status == 200
    assert len(edge.engine.asked) == 3
    orders.in_door.handler = abort_once
    assert (await out(edge, "POST")).reason == Reason.DESTINATION_RESET.label
    assert len(edge.engine.asked) == 4
    assert len(app.requests) == 2


async def test_a_retry_with_everything_gone(world: World, app: App) -> None:
    """Between the attempts the clock jumps, the policy goes and the application dies."""
    edge, orders = await both(world, app)

    async def all_is_lost(_request: Message) -> bytes | None:
        if len(app.requests) < 2:
            return b"HTTP/1.1 204 No Content\r\n\r\n"
        orders.in_judge.swap(None)
        jump(world, orders, -60)
        app.stop()
        return None

    app.answer = all_is_lost
    assert (await into(edge, orders)).status == 204
    answer = await into(edge, orders)
    assert answer.reason == Reason.SEALED_CLOCK.label
    assert len(app.requests) == 2


# --- what the destination does --------------------------------------------------------------------

RAW: dict[Reason, bytes] = {
    Reason.DESTINATION_MALFORMED: b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nx",
    Reason.DESTINATION_RESET: b"HTTP/1.1 200",
}


@pytest.mark.parametrize("reason", RAW, ids=lambda reason: reason.label)
async def test_an_answer_that_is_none(reason: Reason, world: World, app: App) -> None:
    edge, orders = await both(world, app)

    def answers(_request: Message, writer: asyncio.StreamWriter) -> None:
        writer.write(RAW[reason])
        writer.close()

    app.at_head = answers
    answer = await into(edge, orders)
    assert (answer.status, answer.reason) == (502, reason.label)


async def test_an_application_that_is_not_there(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    app.stop()
    answer = await into(edge, orders)
    assert (answer.status, answer.reason) == (502, Reason.DESTINATION_UNREACHABLE.label)


async def silent(_request: Message) -> bytes | None:
    return await asyncio.get_running_loop().create_future()


async def test_an_application_that_does_not_answer(world: World, app: App) -> None:
    edge, orders = await both(world, app, first_byte_s=0.2)
    app.answer = silent
    answer = await into(edge, orders)
    assert (answer.status, answer.reason) == (504, Reason.DESTINATION_TIMEOUT.label)


async def test_a_deadline_of_policy_is_told_and_not_tried_again(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    assert (await into(edge, orders)).status == 200
    orders.in_engine.says = {"allowed": True, "narrowgate": {"deadline": 0.2}}
    app.answer = silent
    answer = await into(edge, orders)
    assert (answer.status, answer.reason) == (504, Reason.DESTINATION_TIMEOUT.label)
    assert len(app.requests) == 2


async def test_a_response_that_breaks_is_never_whole(world: World, app: App) -> None:
    """The response began: what goes wrong after that is a reset, not another answer."""
    edge, orders = await both(world, app)

    def half(_request: Message, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        writer.close()

    app.at_head = half
    async with await Client.open(edge.outbound) as client:
        await client.send(encode("GET", "/x", host="orders"))
        got = await client.closed()
    assert got == b"" or got.endswith(b"half")
    assert b"x-narrowgate-reason" not in got
    (record,) = orders.records("decision")
    assert record["outcome"] == "allow"


async def test_response_fields_of_policy_are_added(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    orders.in_engine.says = {"allowed": True, "response_headers_to_add": {"x-judged": "yes"}}
    assert (await into(edge, orders)).all("x-judged") == ["yes"]


async def test_fields_of_policy_reach_the_application(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    orders.in_engine.says = {
        "allowed": True,
        "headers": {"x-tier": "gold"},
        "request_headers_to_remove": ["x-gone"],
    }
    fields = [("x-gone", "1"), ("x-tier", "forged")]
    await call(orders.inbound, "GET", "/x", fields, host="orders", tls=edge.tls())
    assert app.last().all("x-tier") == ["gold"]
    assert not app.last().all("x-gone")


# --- bodies that policy reads ---------------------------------------------------------------------


async def test_a_body_that_policy_reads_is_judged_and_forwarded(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    orders.in_engine.needs = BODY
    assert (await into(edge, orders, "POST", b"amount=3")).status == 200
    assert orders.in_engine.asked[0]["attributes"]["request"]["http"]["body"] == "amount=3"
    assert app.last().body == b"amount=3"
    assert (await into(edge, orders)).status == 200
    async with await Client.open(orders.inbound, edge.tls()) as client:
        raw = encode("POST", "/x", [("Transfer-Encoding", "chunked")], host="orders")
        await client.send(raw + b"3\r\namo\r\n")
        await client.send(b"5\r\nunt=4\r\n0\r\n\r\n")
        assert (await client.response()).status == 200
    assert app.last().body == b"amount=4"


async def test_a_longer_body_than_policy_may_read_is_refused(world: World, app: App) -> None:
    edge, orders = await both(world, app, buffered_body_bytes_max=1000)
    orders.in_engine.needs = BODY
    assert (await into(edge, orders, "POST", b"x" * 1000)).status == 200
    for chunked in (False, True):
        async with await Client.open(orders.inbound, edge.tls()) as client:
            if chunked:
                head = encode("POST", "/x", [("Transfer-Encoding", "chunked")], host="orders")
                await client.send(head + b"3e9\r\n" + b"x" * 1001 + b"\r\n")
            else:
                await client.send(encode("POST", "/x", [("Content-Length", "1001")], host="orders"))
            answer = await client.response()
            assert (answer.status, answer.reason) == (413, Reason.BODY_TOO_LARGE.label)
            await client.closed()
    assert len(app.requests) == len(orders.in_engine.asked) == 1


async def test_a_truncated_body_denies(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    orders.in_engine.needs = BODY
    gone = asyncio.Event()
    tell_at_end(orders, gone)
    async with await Client.open(orders.inbound, edge.tls()) as client:
        raw = encode("POST", "/x", [("Content-Length", "10")], host="orders")
        await client.send(raw + b"half")
        client.close()
    async with asyncio.timeout(20):
        await gone.wait()
    assert not app.requests
    assert not orders.in_engine.asked
    assert orders.records("decision")[0]["reason"] == Reason.BODY_TRUNCATED.label


@pytest.mark.parametrize("allowed", [True, False])
async def test_expect_100_continue_with_a_policy_that_reads_bodies(
    allowed: bool, world: World, app: App
) -> None:
    edge, orders = await both(world, app)
    orders.in_engine.needs, orders.in_engine.says = BODY, allowed
    fields = [("Expect", "100-continue"), ("Content-Length", "4")]
    async with await Client.open(orders.inbound, edge.tls()) as client:
        await client.send(encode("POST", "/x", fields, host="orders"))
        assert (await client.response(final=False)).status == 100
        assert not orders.in_engine.asked
        await client.send(b"body")
        assert (await client.response()).status == (200 if allowed else 403)
    assert len(app.requests) == int(allowed)


async def test_expect_100_continue_is_not_answered_before_a_refusal(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    orders.in_engine.says = False
    fields = [("Expect", "100-continue"), ("Content-Length", "4")]
    for needs in (Needs(), BODY):
        orders.in_engine.needs = needs
        length = "4" if needs == Needs() else "70000"
        async with await Client.open(orders.inbound, edge.tls()) as client:
            head = encode("POST", "/x", [fields[0], ("Content-Length", length)], host="orders")
            await client.send(head)
            assert (await client.response(final=False)).status in (403, 413)
    assert not app.requests


async def test_a_body_over_the_gates_own_bound(world: World, app: App) -> None:
    edge, orders = await both(world, app, limits=Limits(body_bytes_max=10))
    app.keep_bodies = False
    answer = await into(edge, orders, "POST", b"x" * 11)
    assert (answer.status, answer.reason) == (413, Reason.BODY_TOO_LARGE.label)


async def test_a_policy_that_begins_to_read_bodies_meanwhile_denies(world: World, app: App) -> None:
    """The policy is replaced after the body could have been kept: it must not see an empty one."""
    edge, orders = await both(world, app)
    buffer = orders.in_gate._buffer

    async def swap_after(*arguments: object) -> None:
        await buffer(*arguments)  # type: ignore[arg-type]
        orders.in_engine.needs = BODY

    orders.in_gate._buffer = swap_after  # type: ignore[method-assign]
    answer = await into(edge, orders, "POST", b"body")
    assert answer.status == 503
    assert not app.requests


async def test_the_caller_goes_and_the_destination_is_told(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    told = asyncio.Event()

    async def wait_for_end(request: Message) -> bytes | None:
        app.arrived.set()
        return await asyncio.get_running_loop().create_future()

    app.answer = wait_for_end
    tell_at_end(orders, told)
    client = await Client.open(orders.inbound, edge.tls())
    await client.send(encode("GET", "/x", host="orders"))
    async with asyncio.timeout(20):
        await app.arrived.wait()
        client.reset()
        await told.wait()
    assert len(orders.handles) == 0


async def test_many_at_once_each_with_its_own_answer(world: World, app: App) -> None:
    edge, orders = await both(world, app)

    async def echo(request: Message) -> bytes | None:
        body = request.target.encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    app.answer = echo
    targets = [f"/{number}" for number in range(60)]
    answers = await asyncio.gather(
        *(call(edge.outbound, "GET", target, host="orders") for target in targets)
    )
    assert [answer.body.decode() for answer in answers] == targets
    assert len(orders.handles) == 0


async def test_at_its_bound_of_live_calls_a_gate_refuses(world: World, app: App) -> None:
    edge, orders = await both(world, app)
    orders.handles._handles_max = 0
    answer = await into(edge, orders)
    assert (answer.status, answer.reason) == (503, Reason.TOO_MANY.label)
    assert not app.requests
