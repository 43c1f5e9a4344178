"""The doors of a worker: opened together, drained in order, closed for good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidecar.net.network import ListenError
from tests.simulation.world import Application, World

REQUEST = b"GET /charge/1 HTTP/1.1\r\nHost: payments\r\nX-Request-Id: %s\r\n\r\n"


class Client(asyncio.Protocol):
    """Sends one request and keeps what comes back."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.received = b""
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if not self.answered.done():
            self.answered.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await World.make(tmp_path, ("frontend", "payments"))
    yield made
    await made.close()


def call(world: World) -> Client:
    request = REQUEST % world.handle("frontend").encode()
    client = world.network.open(lambda: Client(request), ("127.0.0.1", 17201))
    assert isinstance(client, Client)
    return client


async def test_a_call_passes_both_gates(world: World) -> None:
    client = call(world)
    await client.answered
    assert client.received.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_port_that_is_taken_is_said(world: World) -> None:
    with pytest.raises(ListenError, match="17102"):
        await world.workers["payments"].gates.open()


async def test_draining_closes_what_is_idle_and_opens_nothing_new(world: World) -> None:
    client = call(world)
    await client.answered
    gates = world.workers["frontend"].gates
    await gates.drain()
    await client.lost
    with pytest.raises(ConnectionRefusedError):
        call(world)


async def test_draining_waits_for_what_is_in_flight(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.get_running_loop().create_future()

    def hold(self: Application, data: bytes) -> None:
        asked.set_result(self)

    monkeypatch.setattr(Application, "data_received", hold)
    client = call(world)
    application = await asked
    drained = asyncio.get_running_loop().create_task(world.workers["payments"].gates.drain())
    await asyncio.sleep(0)
    assert not drained.done()
    application.transport.write(Application.answer)
    await client.answered
    await drained
    assert client.received.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_after_close_nothing_is_left(world: World) -> None:
    client = call(world)
    await client.answered
    gates = world.workers["payments"].gates
    await gates.close()
    assert not gates.open_now
    assert gates.upstreams.pool.idle_count == 0
    assert all(not door.open or all(c.closed for c in door.open) for door in gates._doors)


async def test_a_rotation_changes_who_signs(world: World) -> None:
    worker = world.workers["frontend"]
    before = worker.gates._narrower
    assert before is not None
    old = before.signer
    worker.gates.rotated()
    assert before.signer is not old
