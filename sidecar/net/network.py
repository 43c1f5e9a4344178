"""The network, injected: listening and connecting, so that a simulated one can take its place."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

BACKLOG: Final = 1024
Factory = Callable[[], asyncio.Protocol]


class ListenError(Exception):
    """A listener could not be opened; the text says which and what to do."""


class Listening(Protocol):
    """An open listener."""

    def close(self) -> None:
        """Stop accepting; open connections go on."""
        ...


class Network(Protocol):
    """How a gate reaches others and is reached."""

    async def listen(self, factory: Factory, host: str, port: int) -> Listening:
        """Accept connections at a TCP address. Raises `ListenError`."""
        ...

    async def listen_unix(self, factory: Factory, path: Path) -> Listening:
        """Accept connections at a unix socket, mode 0600. Raises `ListenError`."""
        ...

    async def connect(self, factory: Factory, host: str, port: int) -> asyncio.Protocol:
        """Connect by TCP. Raises `OSError`."""
        ...

    async def connect_unix(self, factory: Factory, path: str) -> asyncio.Protocol:
        """Connect to a unix socket. Raises `OSError`."""
        ...


class LoopNetwork:
    """The running event loop's own sockets. `shared`: several workers listen on one port."""

    def __init__(self, *, shared: bool = False) -> None:
        self._shared = shared

    async def listen(self, factory: Factory, host: str, port: int) -> Listening:
        """Accept at `host:port`; several workers share the port by SO_REUSEPORT."""
        try:
            listener = _bound(host, port, shared=self._shared)
            try:
                return await asyncio.get_running_loop().create_server(
                    factory, sock=listener, backlog=BACKLOG
                )
            except BaseException:
                listener.close()
                raise
        except OSError as error:
            raise ListenError(f"cannot listen on {host}:{port}: {_advice(error)}") from None

    async def listen_unix(self, factory: Factory, path: Path) -> Listening:
        """Accept at `path`; a socket left behind by an earlier run is replaced."""
        try:
            listener = _bound_unix(path)
            try:
                return await asyncio.get_running_loop().create_unix_server(
                    factory, sock=listener, backlog=BACKLOG
                )
            except BaseException:
                listener.close()
                raise
        except OSError as error:
            raise ListenError(f"cannot listen on {path}: {_advice(error)}") from None

    async def connect(self, factory: Factory, host: str, port: int) -> asyncio.Protocol:
        """Connect to `host:port`."""
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(factory, host, port)
        return protocol

    async def connect_unix(self, factory: Factory, path: str) -> asyncio.Protocol:
        """Connect to the unix socket `path`."""
        _, protocol = await asyncio.get_running_loop().create_unix_connection(factory, path)
        return protocol


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.setblocking(False)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def _bound_unix(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)
    try:
        if path.is_socket():
            path.unlink()
        listener.setblocking(False)
        listener.bind(str(path))
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


def _advice(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "something else is there; stop or remove it, or choose another address"
    if error.errno == errno.EACCES:
        return "this user may not; choose a port above 1023 or grant CAP_NET_BIND_SERVICE"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    return os.strerror(error.errno or 0)
