"""Following the control stream: freshness, what ends it, and the waits between attempts."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest

from policy.call import Posture
from sidecar.control import client as module
from sidecar.control.client import RETRY_S_MAX, RETRY_S_MIN, ControlClient
from sidecar.control.mesh import Mesh
from sidecar.net.clock import ManualClock
from sidecar.net.deadlines import Deadlines
from sidecar.resilience.posture import PostureTable
from tests.support.identities import Identities, delta, revocations, workload
from tests.support.mesh import until
from tests.support.scripted import Scripted


class Bench:
    """A control client of a scripted authority."""

    def __init__(self, identities: Identities, scripted: Scripted, deadlines: Deadlines) -> None:
        self.scripted = scripted
        self.identities = identities
        self.clock = ManualClock()
        self.clock.now_s = self.clock.wall_s = identities_now(identities)
        self.mesh = Mesh(workload("orders"), identities.bundle)
        self.posture = PostureTable(
            self.clock, degraded_after_s=10, stale_after_s=None, clock_jump_s_max=5
        )
        self.posture.identity(self.clock.now_s, self.clock.now_s + 3600)
        self.client_context: ssl.SSLContext = identities.tls(identities.credentials("orders"))
        self.jitter = 0.5
        self.client = ControlClient(
            scripted.client(deadlines),
            self,
            self.mesh,
            self.posture,
            self.clock,
            lambda: self.jitter,
        )
        self.task = asyncio.create_task(self.client.run())

    async def applied(self, sequence: int) -> None:
        await until(lambda: self.mesh.sequence == sequence, "it is applied")

    async def streams(self, count: int) -> None:
        await until(lambda: self.scripted.streams >= count, "another stream")


def identities_now(identities: Identities) -> float:
    return identities.credentials("x").svid.not_before_s + 61


@pytest.fixture
async def bench(identities: Identities) -> AsyncIterator[Bench]:
    deadlines = Deadlines()
    deadlines.start()
    scripted = await Scripted(identities).start()
    scripted.lines = lambda _: [identities.snapshot(1)]
    made = Bench(identities, scripted, deadlines)
    yield made
    made.task.cancel()
    await asyncio.wait([made.task])
    scripted.stop()
    deadlines.stop()


async def test_a_snapshot_a_delta_and_a_heartbeat(bench: Bench) -> None:
    await bench.applied(1)
    assert bench.posture.posture() is Posture.NORMAL
    bench.scripted.say(delta(2, revocations=revocations(1)))
    await bench.applied(2)
    bench.clock.advance(10)
    assert bench.posture.posture() is Posture.DEGRADED
    bench.scripted.say({"type": "heartbeat", "sequence": 2})
    await until(lambda: bench.posture.posture() is Posture.NORMAL, "fresh again")
    assert bench.scripted.streams == 1


@pytest.mark.parametrize(
    "message",
    [
        {"type": "heartbeat", "sequence": 2},
        {"type": "heartbeat", "sequence": 0},
        {"type": "heartbeat"},
        {"type": "heartbeat", "sequence": "1"},
        delta(3, policy=None),
        delta(1, policy=None),
        delta(2, revocations={}),
        {"type": "else"},
        b"no json\n",
    ],
)
async def test_what_cannot_be_applied_ends_the_stream_and_freshness(
    bench: Bench, message: Any
) -> None:
    await bench.applied(1)
    trust = bench.mesh.trust
    bench.scripted.lines = lambda _: []
    bench.clock.advance(10)
    bench.scripted.say(message)
    await bench.streams(2)
    assert bench.mesh.trust is trust
    assert bench.posture.posture() is Posture.DEGRADED
    bench.scripted.lines = lambda _: [bench.identities.snapshot(1)]
    bench.scripted.break_off()
    await until(lambda: bench.posture.posture() is Posture.NORMAL, "fresh again")


@pytest.mark.parametrize(
    "first", [delta(2, policy=None), {"type": "heartbeat", "sequence": 1}, {"type": "heartbeat"}]
)
async def test_a_stream_that_does_not_begin_with_a_snapshot_is_left(
    bench: Bench, first: Any
) -> None:
    """Sequences say nothing across streams: what fits the last one by number proves nothing."""
    await bench.applied(1)
    bench.scripted.lines = lambda _: [first]
    bench.clock.advance(10)
    bench.scripted.break_off()
    await bench.streams(3)
    assert bench.mesh.sequence == 1
    assert bench.posture.posture() is Posture.DEGRADED


async def test_it_heals_when_the_authority_is_back(bench: Bench) -> None:
    await bench.applied(1)
    port = bench.scripted.port
    bench.scripted.stop()
    await bench.scripted.start(port)
    bench.scripted.lines = lambda _: [bench.identities.snapshot(5)]
    await bench.applied(5)


async def test_waits_grow_with_jitter_and_start_again_after_success(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.applied(1)
    slept: list[float] = []
    enough = asyncio.Event()
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 8:
            enough.set()
            await sleep(3600)
        await sleep(0)

    monkeypatch.setattr(module.asyncio, "sleep", note)
    bench.scripted.lines = lambda _: []
    bench.scripted.hold = False
    bench.scripted.break_off()
    async with asyncio.timeout(20):
        await enough.wait()
    monkeypatch.undo()
    expected = [min(RETRY_S_MIN * 2**step, RETRY_S_MAX) for step in range(8)]
    assert slept == pytest.approx(expected)


@pytest.mark.parametrize("jitter", [0.0, 1.0])
async def test_jitter_spreads_a_fleet(
    bench: Bench, jitter: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.applied(1)
    bench.jitter = jitter
    slept = asyncio.get_running_loop().create_future()
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        if not slept.done():
            slept.set_result(seconds)
        await sleep(seconds)

    monkeypatch.setattr(module.asyncio, "sleep", note)
    bench.scripted.break_off()
    async with asyncio.timeout(20):
        waited = await slept
    monkeypatch.undo()
    assert waited == pytest.approx(RETRY_S_MIN * (0.5 + jitter))


async def test_silence_ends_the_stream(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.applied(1)
    monkeypatch.setattr(module, "SILENCE_S", 0.1)
    bench.scripted.break_off()
    await bench.streams(4)
