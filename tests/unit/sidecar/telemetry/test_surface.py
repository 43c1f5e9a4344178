"""The admin endpoints over the gates' own HTTP driver, on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sidecar.http.head import Limits
from sidecar.http.server import Door
from sidecar.net.deadlines import Deadlines
from sidecar.telemetry.admin import METRICS_PATHS, Admin
from sidecar.telemetry.surface import Surface
from tests.support.http_peer import Client, call, encode


class Inputs:
    text: bytes | Exception = b"metric 1\n"

    def ready(self) -> bool:
        return True

    def status(self) -> Any:
        raise AssertionError("not on this surface")

    def metrics(self) -> bytes:
        if isinstance(self.text, Exception):
            raise self.text
        return self.text


@pytest.fixture
async def served() -> AsyncIterator[tuple[Inputs, int]]:
    deadlines, inputs = Deadlines(), Inputs()
    deadlines.start()
    door = Door(
        name="metrics",
        handler=Surface(Admin(inputs, METRICS_PATHS)).serve,
        deadlines=deadlines,
        limits=Limits(),
        handshake_s=5,
        head_s=5,
        idle_s=5,
        connections_max=10,
    )
    server = await asyncio.get_running_loop().create_server(door.connection, "127.0.0.1", 0)
    yield inputs, server.sockets[0].getsockname()[1]
    server.close()
    for connection in list(door.open):
        connection.abort()
    deadlines.stop()
    await asyncio.sleep(0)


async def test_what_is_served_is_never_stored(served: tuple[Inputs, int]) -> None:
    answer = await call(served[1], "GET", "/metrics?x=1")
    assert (answer.status, answer.body) == (200, b"metric 1\n")
    assert answer.one("cache-control") == "no-store"
    assert answer.one("content-type").startswith("text/plain")


async def test_head_and_keep_alive(served: tuple[Inputs, int]) -> None:
    async with await Client.open(served[1]) as client:
        answer = await client.request("HEAD", "/metrics")
        assert (answer.status, answer.body, answer.one("content-length")) == (200, b"", "9")
        assert (await client.request("GET", "/metrics")).body == b"metric 1\n"


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [("GET", "/status", 404), ("GET", "/", 404), ("POST", "/metrics", 405)],
)
async def test_other_paths_and_methods(
    method: str, target: str, status: int, served: tuple[Inputs, int]
) -> None:
    assert (await call(served[1], method, target)).status == status


async def test_a_body_is_not_read_and_ends_the_connection(served: tuple[Inputs, int]) -> None:
    async with await Client.open(served[1]) as client:
        await client.send(encode("GET", "/metrics", [("Content-Length", "5")]))
        assert (await client.response()).status == 200
        assert not await client.closed()


async def test_a_failure_is_an_answer_and_not_the_end(served: tuple[Inputs, int]) -> None:
    inputs, port = served
    inputs.text = RuntimeError("a gauge broke, and knows a secret")
    async with await Client.open(port) as client:
        answer = await client.request("GET", "/metrics")
        assert answer.status == 500
        assert b"secret" not in answer.body
        inputs.text = b"metric 2\n"
        assert (await client.request("GET", "/metrics")).status == 200
