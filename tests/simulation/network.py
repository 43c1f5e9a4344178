"""A network in memory: the same gates run on it, and no packet leaves the process.

Every byte arrives by `loop.call_soon`, in order. A test can count, cut or hold connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sidecar.net.network import Factory, ListenError, Listening


class Wire(asyncio.Transport):
    """One end of a connection in memory."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: tuple[str, int]) -> None:
        super().__init__()
        self._loop = loop
        self._name = name
        self._over = False
        self._paused = False
        self._held: list[bytes] = []
        self.protocol: asyncio.Protocol
        self.other: Wire
        self.sent_bytes = 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": self.other._name, "sockname": self._name}.get(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._over and data:
            self.sent_bytes += len(data)
            self._loop.call_soon(self.other._arrive, bytes(data))

    def _arrive(self, data: bytes) -> None:
        if self._over:
            return
        if self._paused:
            self._held.append(data)
        else:
            self.protocol.data_received(data)

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        held, self._held = self._held, []
        for data in held:
            self._loop.call_soon(self._arrive, data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._loop.call_soon(self.other._end)

    def _end(self) -> None:
        if not self._over and not self.protocol.eof_received():
            self.close()

    def is_closing(self) -> bool:
        return self._over

    def close(self) -> None:
        if not self._over:
            self._over = True
            self._loop.call_soon(self.protocol.connection_lost, None)
            self._loop.call_soon(self.other._end)

    def abort(self) -> None:
        if not self._over:
            self._over = True
            self._loop.call_soon(self.protocol.connection_lost, None)
            self._loop.call_soon(self.other.abort)


class _Listener:
    def __init__(self, forget: Callable[[], None]) -> None:
        self._forget = forget

    def close(self) -> None:
        self._forget()


class MemoryNetwork:
    """See `sidecar.net.network.Network`. Addresses are `(host, port)` or a path."""

    def __init__(self) -> None:
        self._listeners: dict[object, Factory] = {}
        self.connections = 0

    async def listen(self, factory: Factory, host: str, port: int) -> Listening:
        return self._listen((host, port), factory)

    async def listen_unix(self, factory: Factory, path: Path) -> Listening:
        return self._listen(str(path), factory)

    async def connect(self, factory: Factory, host: str, port: int) -> asyncio.Protocol:
        return self.open(factory, (host, port))

    async def connect_unix(self, factory: Factory, path: str) -> asyncio.Protocol:
        return self.open(factory, path)

    def open(self, factory: Factory, where: object) -> asyncio.Protocol:
        accept = self._listeners.get(where)
        if accept is None:
            raise ConnectionRefusedError("nobody listens there")
        self.connections += 1
        loop = asyncio.get_running_loop()
        here, there = Wire(loop, ("127.0.0.1", 40000 + self.connections)), Wire(loop, _name(where))
        here.other, there.other = there, here
        there.protocol, here.protocol = accept(), factory()
        there.protocol.connection_made(there)
        here.protocol.connection_made(here)
        return here.protocol

    def _listen(self, where: object, factory: Factory) -> Listening:
        if where in self._listeners:
            raise ListenError(f"cannot listen on {where}: in use")
        self._listeners[where] = factory
        return _Listener(lambda: self._listeners.pop(where, None))


def _name(where: object) -> tuple[str, int]:
    match where:
        case (str(host), int(port)):
            return host, port
        case _:
            return "", 0
