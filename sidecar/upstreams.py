"""Connections from this gate onwards: to the application, and to other workloads' inbound gates.

Invariants: a connection to a gate is mTLS under our current SVID and pinned to the destination's
SPIFFE ID; one that was opened under an SVID that has since expired, ours or the peer's, or whose
peer was revoked, carries no further request; a connection to the application stays on loopback.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from functools import partial
from typing import Protocol

from ca.spiffe.ids import SpiffeId
from policy.reason import Reason
from sidecar.address import Address
from sidecar.http.client import ClientConnection
from sidecar.http.head import Limits, Refused
from sidecar.identity.admission import Admission
from sidecar.identity.credentials import Credentials
from sidecar.identity.peer import Peer
from sidecar.net.clock import Clock
from sidecar.net.deadlines import Deadlines
from sidecar.net.network import Network
from sidecar.net.pool import Pool


class Identity(Protocol):
    """The gate's current identity."""

    credentials: Credentials
    client_context: ssl.SSLContext


class Upstreams:
    """Opens, keeps and hands out connections."""

    def __init__(
        self,
        network: Network,
        deadlines: Deadlines,
        limits: Limits,
        clock: Clock,
        admission: Admission,
        identity: Identity,
        *,
        connect_s: float,
        handshake_s: float,
        idle_s: float,
        idle_max: int,
        count: Callable[[str], None],
    ) -> None:
        """`count` is told of each connection that was opened, reused or failed."""
        self._network = network
        self._deadlines = deadlines
        self._limits = limits
        self._clock = clock
        self._admission = admission
        self._identity = identity
        self._connect_s = connect_s
        self._handshake_s = handshake_s
        self._count = count
        self.pool: Pool[ClientConnection] = Pool(deadlines, idle_max=idle_max, idle_s=idle_s)

    async def application(self, where: Address, *, fresh: bool) -> ClientConnection:
        """A connection to the application; `fresh`: not an idle one. Raises `Refused`."""
        if not fresh and (idle := self.pool.take(where, _whole)) is not None:
            return self._reused(idle)
        return await self._open(where, where, None, None)

    async def gate(
        self, destination: SpiffeId, endpoint: Address, *, fresh: bool
    ) -> ClientConnection:
        """A connection to an inbound gate of `destination`. Raises `Refused`."""
        key = (destination.uri, endpoint)
        if not fresh and (idle := self.pool.take(key, self._still_good)) is not None:
            return self._reused(idle)
        admit = partial(self._admission.admit_only, destination)
        identity = self._identity  # it may rotate before the connection stands
        own_expiry_s = identity.credentials.svid.not_after_s
        connection = await self._open(key, endpoint, identity.client_context, admit)
        connection.good_until_s = min(connection.good_until_s, own_expiry_s)
        return connection

    def give_back(self, connection: ClientConnection) -> None:
        """The exchange is over: keep the connection if it may be kept."""
        self.pool.give_back(connection.key, connection)

    def close(self) -> None:
        """Close every idle connection."""
        self.pool.close_all()

    def _still_good(self, connection: ClientConnection) -> bool:
        now_s = self._clock.time_s()
        return now_s < connection.good_until_s and self._admission.good(connection.peer, now_s)

    def _reused(self, connection: ClientConnection) -> ClientConnection:
        connection.reused = True
        self._count("reused")
        return connection

    async def _open(
        self,
        key: object,
        where: Address,
        context: ssl.SSLContext | None,
        admit: Callable[[bytes | None], Peer] | None,
    ) -> ClientConnection:
        def factory() -> ClientConnection:
            connection = ClientConnection(self._deadlines, self._limits, context, admit)
            connection.deadline_s = self._deadlines.now_s + self._handshake_s
            return connection

        try:
            async with asyncio.timeout(self._connect_s):
                made = await self._network.connect(factory, where.host, where.port)
        except (OSError, TimeoutError):
            self._count("failed")
            raise Refused(Reason.DESTINATION_UNREACHABLE, f"no connection to {where}") from None
        if not isinstance(made, ClientConnection):
            raise TypeError("the network did not use the factory")
        try:
            await made.ready
        except Refused:
            self._count("failed")
            raise
        except asyncio.CancelledError:
            made.abort()
            raise
        made.key = key
        made.address = str(where)
        made.when_lost = self._lost
        if made.peer is not None:
            made.good_until_s = made.peer.not_after_s
        self._count("opened")
        return made

    def _lost(self, connection: ClientConnection) -> None:
        self.pool.forget(connection.key, connection)


def _whole(_connection: ClientConnection) -> bool:
    return True
