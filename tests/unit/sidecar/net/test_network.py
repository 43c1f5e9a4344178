"""Listening and connecting on the loop's own sockets."""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path
from typing import cast

import pytest

from sidecar.net import network
from sidecar.net.network import ListenError, LoopNetwork


class Hello(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.got = asyncio.get_running_loop().create_future()
        cast(asyncio.Transport, transport).write(b"hello")
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if not self.got.done():
            self.got.set_result(data)


def port_of(listening: object) -> int:
    return int(cast(asyncio.Server, listening).sockets[0].getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_tcp(host: str) -> None:
    net = LoopNetwork()
    listening = await net.listen(Hello, host, 0)
    made = cast(Hello, await net.connect(Hello, host, port_of(listening)))
    assert await made.got == b"hello"
    made.transport.close()
    listening.close()


async def test_a_taken_port_is_named_with_advice() -> None:
    net = LoopNetwork()
    listening = await net.listen(Hello, "127.0.0.1", 0)
    port = port_of(listening)
    with pytest.raises(ListenError, match=rf"127\.0\.0\.1:{port}: something else"):
        await net.listen(Hello, "127.0.0.1", port)
    listening.close()


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_port_that_is_bound_but_does_not_listen_yet_leaks_nothing() -> None:
    """`bind` passes, `listen` does not: the socket is closed (a leak would be a warning)."""
    one = network._bound("127.0.0.1", 0, shared=False)
    port = one.getsockname()[1]
    other = network._bound("127.0.0.1", port, shared=False)
    one.listen()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "_bound", lambda *_args, **_kwargs: other)
        with pytest.raises(ListenError):
            await LoopNetwork().listen(Hello, "127.0.0.1", port)
    assert other.fileno() == -1
    one.close()


async def test_workers_share_a_port() -> None:
    net = LoopNetwork(shared=True)
    first = await net.listen(Hello, "127.0.0.1", 0)
    second = await net.listen(Hello, "127.0.0.1", port_of(first))
    first.close()
    second.close()


async def test_an_address_of_another_machine() -> None:
    with pytest.raises(ListenError, match="no such address"):
        await LoopNetwork().listen(Hello, "192.0.2.1", 0)


async def test_unix_sockets_are_private_and_replace_a_stale_one(tmp_path: Path) -> None:
    path = tmp_path / "s"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    net = LoopNetwork()
    listening = await net.listen_unix(Hello, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    made = cast(Hello, await net.connect_unix(Hello, str(path)))
    assert await made.got == b"hello"
    made.transport.close()
    listening.close()


async def test_a_file_that_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("precious")
    with pytest.raises(ListenError, match="something else"):
        await LoopNetwork().listen_unix(Hello, path)
    assert path.read_text() == "precious"


async def test_nobody_listens(tmp_path: Path) -> None:
    free = network._bound("127.0.0.1", 0, shared=False)
    port = free.getsockname()[1]
    free.close()
    with pytest.raises(ConnectionRefusedError):
        await LoopNetwork().connect(Hello, "127.0.0.1", port)
    with pytest.raises(FileNotFoundError):
        await LoopNetwork().connect_unix(Hello, str(tmp_path / "none"))
    with pytest.raises(ListenError, match="cannot listen on"):
        await LoopNetwork().listen_unix(Hello, tmp_path / "no" / "folder")
