"""Admission of connections: how many at once, and how long one may stay without asking anything.

Invariants: over the bound a connection is closed before a byte of it is read as HTTP; a connection
that has not sent its first request in time is closed, so that idle strangers cannot use up the
authority's file descriptors.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

CONNECTIONS_MAX: Final = 8192
FIRST_REQUEST_S: Final = 15.0  # from accept on, the TLS handshake included


class Admission:
    """The protocol factory of the listeners, and the middleware that tells it who has asked."""

    def __init__(
        self, connections_max: int = CONNECTIONS_MAX, first_request_s: float = FIRST_REQUEST_S
    ) -> None:
        self._connections_max = connections_max
        self._first_request_s = first_request_s
        self._waiting: set[web.RequestHandler] = set()
        self._server: web.Server | None = None

    def attach(self, server: web.Server) -> None:
        """Say which server handles the connections that are admitted."""
        self._server = server

    def __call__(self) -> asyncio.Protocol:
        """Return the protocol for one accepted connection."""
        if self._server is None or len(self._server.connections) >= self._connections_max:
            return _Closed()
        protocol = self._server()
        self._waiting.add(protocol)
        loop = asyncio.get_running_loop()
        loop.call_later(self._first_request_s, self._expire, protocol)
        return protocol

    def middleware(self) -> Middleware:
        """Return the middleware that notes a connection's first request."""

        @web.middleware
        async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._waiting.discard(request.protocol)
            return await handler(request)

        return note

    def _expire(self, protocol: web.RequestHandler) -> None:
        if protocol in self._waiting:
            self._waiting.discard(protocol)
            protocol.force_close()


class _Closed(asyncio.Protocol):
    """Closes at once what came over the bound."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()
