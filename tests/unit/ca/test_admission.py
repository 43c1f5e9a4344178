"""Admission: a bound on connections, and on how long one may say nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from ca.admission import Admission


async def _hello(_: web.Request) -> web.Response:
    return web.Response(text="hello")


@asynccontextmanager
async def _served(admission: Admission) -> AsyncIterator[Any]:
    application = web.Application(middlewares=[admission.middleware()])
    application.router.add_get("/", _hello)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    assert runner.server is not None
    admission.attach(runner.server)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(admission, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        yield lambda: asyncio.open_connection("127.0.0.1", port)
    finally:
        listener.close()
        await runner.cleanup()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    try:
        return (await reader.readline()).strip()
    except ConnectionResetError:
        return b""


async def test_over_the_bound_is_closed_and_then_admitted_again() -> None:
    async with _served(Admission(connections_max=1)) as connect:
        first = await connect()
        assert await _ask(*first) == b"HTTP/1.1 200 OK"
        second = await connect()
        assert await _ask(*second) == b""
        second[1].close()
        first[1].close()
        await first[1].wait_closed()
        answer = b""
        while answer == b"":  # until the server has seen the close
            again = await connect()
            answer = await _ask(*again)
            again[1].close()
        assert answer == b"HTTP/1.1 200 OK"


async def test_a_silent_connection_is_closed() -> None:
    async with _served(Admission(first_request_s=0.01)) as connect:
        reader, writer = await connect()
        assert await reader.read() == b""
        writer.close()


async def test_a_connection_that_has_asked_stays() -> None:
    admission = Admission(first_request_s=3600)
    async with _served(admission) as connect:
        reader, writer = await connect()
        assert await _ask(reader, writer) == b"HTTP/1.1 200 OK"
        assert not admission._waiting
        writer.close()


async def test_before_it_is_attached_nobody_comes_in() -> None:
    protocol = Admission()()
    assert not isinstance(protocol, web.RequestHandler)
