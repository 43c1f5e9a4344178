"""Each request leaves one decision, one access line and its counts, whatever stage it ended at."""

from __future__ import annotations

from pathlib import Path

from policy.reason import Reason
from sidecar.config_values import LogTarget
from sidecar.telemetry.sink import Sink
from tests.support.gates import World
from tests.support.http_peer import App, call


async def test_a_call_that_passed(world: World, app: App) -> None:
    orders = await world.side("orders", app.port)
    edge = await world.side("edge")
    handle = edge.handle(edge.grant())
    fields = [("X-Request-Id", handle)]
    await call(edge.outbound, "POST", "/x?y=1", fields, b"body", host="orders")
    (line,) = orders.records("access")
    (record,) = orders.records("decision")
    assert line["decision"] == record["decision"]
    assert (line["status"], line["reason"], line["method"]) == (200, "", "POST")
    assert (line["source"], line["destination"]) == (
        edge.mesh.workload.uri,
        orders.mesh.workload.uri,
    )
    assert (line["bytes_in"], line["bytes_out"]) == (4, 2)
    assert line["upstream"] == f"127.0.0.1:{app.port}"
    assert record["scope"] == ["read", "write"]
    assert record["policy"] == "revision"
    metrics = orders.metrics.render().decode()
    assert 'outcome="allow"' in metrics
    assert 'narrowgate_token_verifications_total{result="ok"} 1' in metrics


async def test_no_secret_is_written(world: World, app: App) -> None:
    orders = await world.side("orders", app.port)
    edge = await world.side("edge")
    grant = edge.grant()
    fields = [("X-Request-Id", edge.handle(grant)), ("Authorization", "Bearer s3cret")]
    await call(edge.outbound, "GET", "/x?password=s3cret", fields, host="orders")
    written = str([side.records(log) for side in (edge, orders) for log in ("access", "decision")])
    assert "s3cret" not in written
    assert grant.root not in written
    assert grant.root.rpartition(".")[2] not in written


async def test_refused_before_there_was_a_call(world: World, app: App) -> None:
    edge = await world.side("edge", app.port)
    await call(edge.outbound, "GET", "/x", host="nobody")
    (record,) = edge.records("decision")
    (line,) = edge.records("access")
    assert record["reason"] == line["reason"] == Reason.DESTINATION_UNKNOWN.label
    assert record["decision"] == line["decision"]
    assert (record["host"], record["path"], record["method"]) == ("nobody", "/x", "GET")
    assert line["status"] == 502
    metrics = edge.metrics.render().decode()
    assert 'reason="destination_unknown"' in metrics


async def test_a_log_that_cannot_be_written_changes_no_outcome(
    world: World, app: App, tmp_path: Path
) -> None:
    """A full device: lines are dropped and counted, calls go on."""
    orders = await world.side("orders", app.port)
    edge = await world.side("edge")
    full = Sink("decision", LogTarget("file", Path("/dev/full")), pending_bytes_max=4096)
    orders.decisions.sink.close()
    orders.journal._decisions = type(orders.decisions)(full)
    for _ in range(30):
        assert (await call(edge.outbound, "GET", "/x", host="orders")).status == 200
    full.flush()
    assert full.dropped
    full.close()
