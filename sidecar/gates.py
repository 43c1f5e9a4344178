"""The doors of one worker: gates, edge, health and metrics; opened in order, drained in order.

Invariants: the gates open only with an identity; draining finishes what came in before the
application loses its way out; after `close` nothing of a connection is left.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from functools import partial
from typing import Final

from sidecar.edge import EdgeGrants, edge_context
from sidecar.http.server import Door, Handler
from sidecar.identity.source import IdentitySource
from sidecar.inbound import InboundGate
from sidecar.net.clock import Clock
from sidecar.net.network import Listening
from sidecar.outbound import OutboundGate
from sidecar.overview import Overview
from sidecar.parts import Parts
from sidecar.path import Surroundings
from sidecar.telemetry.admin import ADMIN_PATHS, HEALTH_PATHS, METRICS_PATHS, Admin
from sidecar.telemetry.surface import Surface
from sidecar.token.narrow import Narrower
from sidecar.token.siblings import Siblings, SiblingServer
from sidecar.token.signer import HopSigner
from sidecar.upstreams import Upstreams

REUSE_S: Final = 1.0
"""How much longer the SVIDs behind an idle connection must live for it to be used again."""

log = logging.getLogger("narrowgate.gates")


class _Early:
    """The clock that idle connections are judged by: an SVID that ends before the request arrives
    would be refused at the other end."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.drift_s = clock.drift_s
        self.follow = clock.follow

    def time_s(self) -> float:
        return self._clock.time_s() + REUSE_S


class Gates:
    """See the module."""

    def __init__(self, parts: Parts, identity: IdentitySource) -> None:
        self.open_now = False
        self.upstreams = _upstreams(parts, identity)
        self._parts = parts
        self._identity = identity
        self._narrower: Narrower | None = None
        self._edge: EdgeGrants | None = None
        self._siblings: Siblings | None = None
        self._sibling_server: SiblingServer | None = None
        self._doors: list[Door] = []
        self._listening: list[Listening] = []
        self._way_out: Listening | None = None

    async def open_surfaces(self, overview: Overview) -> None:
        """Open health, metrics and admin listeners, on the first worker. Raises `ListenError`."""
        parts, settings = self._parts, self._parts.config.telemetry
        if parts.index != 0:
            return
        for name, paths, where in (
            ("health", HEALTH_PATHS, settings.health_listen),
            ("metrics", METRICS_PATHS, settings.metrics_listen),
        ):
            door = self._surface(name, Admin(overview, paths))
            await self._listen(door, where.host, where.port)
        if settings.admin_socket is not None:
            door = self._surface("admin", Admin(overview, ADMIN_PATHS))
            listening = await parts.network.listen_unix(door.connection, settings.admin_socket)
            self._listening.append(listening)

    async def open(self) -> None:
        """Open both gates, and the edge if there is one. Raises `ListenError`, `EdgeError`."""
        parts, config = self._parts, self._parts.config
        signer = self._signer()
        self._narrower = Narrower(signer)
        if config.workers > 1:
            self._siblings = Siblings(parts.handles, config.run_dir, workers=config.workers)
            self._sibling_server = SiblingServer(parts.handles, config.run_dir, parts.clock.time_s)
            await self._sibling_server.start()
        around = self._surroundings()
        await self._open_inbound(around, signer)
        outbound = OutboundGate(
            around, parts.outbound_judge, parts.handles, self._siblings, self._narrower
        )
        where = config.outbound.listen
        self._way_out = await self._listen(
            self._door("outbound", outbound.serve), where.host, where.port
        )
        self.open_now = True
        log.info("gates are open for %s", config.workload)

    def rotated(self) -> None:
        """The identity has changed: sign with the new one from now on."""
        if self._narrower is not None:
            self._narrower.signer = self._signer()
        if self._edge is not None:
            self._edge.signer_changed(self._signer())

    async def drain(self) -> None:
        """Finish what is in flight; outbound stays open until the application is done."""
        for listening in self._listening:
            if listening is not self._way_out:
                listening.close()
        inbound = [door for door in self._doors if door.name in ("inbound", "edge")]
        outbound = [door for door in self._doors if door.name == "outbound"]
        drain_s = self._parts.config.timeouts.drain_s
        try:
            async with asyncio.timeout(drain_s):
                await _drained(inbound)
                if self._way_out is not None:
                    self._way_out.close()
                await _drained(outbound)
        except TimeoutError:
            log.warning("drain took over %s s: what is left is broken off", drain_s)

    async def close(self) -> None:
        """Close everything, at once."""
        self.open_now = False
        for listening in self._listening:
            listening.close()
        for door in self._doors:
            for connection in list(door.open):
                connection.abort()
        self.upstreams.close()
        if self._edge is not None:
            await self._edge.close()
        if self._siblings is not None:
            self._siblings.close()
        if self._sibling_server is not None:
            await self._sibling_server.close()

    async def _open_inbound(self, around: Surroundings, signer: HopSigner) -> None:
        parts, config = self._parts, self._parts.config
        routes = config.inbound.route_table()
        common = (around, parts.inbound_judge, parts.verifier, parts.handles, routes)
        if config.edge is not None:
            self._edge = EdgeGrants(config.edge, parts.mesh, signer, parts.entropy.octets)
            edge = InboundGate(*common, config.inbound.application, self._edge)
            door = self._door("edge", edge.serve)
            certificate = edge_context(config.edge)
            door.context = lambda: certificate
            await self._listen(door, config.edge.listen.host, config.edge.listen.port)
        inbound = InboundGate(*common, config.inbound.application)
        door = self._door("inbound", inbound.serve)
        door.context = lambda: self._identity.server_context
        door.admit = parts.admission.admit
        await self._listen(door, config.inbound.listen.host, config.inbound.listen.port)

    def _signer(self) -> HopSigner:
        held = self._identity.credentials
        return HopSigner(held.hop_key, held.wit)

    def _surroundings(self) -> Surroundings:
        parts, times = self._parts, self._parts.config.timeouts
        return Surroundings(
            parts.mesh,
            parts.clock,
            parts.deadlines,
            parts.entropy,
            parts.posture,
            parts.admission,
            self.upstreams,
            parts.journal,
            first_byte_s=times.first_byte_s,
            idle_s=times.idle_s,
            request_s=times.request_s,
            buffered_body_bytes_max=parts.config.limits.buffered_body_bytes_max,
        )

    def _door(self, name: str, handler: Handler) -> Door:
        parts, times = self._parts, self._parts.config.timeouts
        door = Door(
            name=name,
            handler=handler,
            deadlines=parts.deadlines,
            limits=parts.limits,
            handshake_s=times.handshake_s,
            head_s=times.head_s,
            idle_s=times.idle_s,
            connections_max=parts.config.limits.connections_max,
            event=parts.metrics.handshake,
            change=partial(parts.metrics.connection, name),
        )
        self._doors.append(door)
        return door

    def _surface(self, name: str, admin: Admin) -> Door:
        door = self._door(name, Surface(admin).serve)
        door.change = lambda _by: None
        return door

    async def _listen(self, door: Door, host: str, port: int) -> Listening:
        listening = await self._parts.network.listen(door.connection, host, port)
        self._listening.append(listening)
        return listening


def _upstreams(parts: Parts, identity: IdentitySource) -> Upstreams:
    times = parts.config.timeouts
    return Upstreams(
        parts.network,
        parts.deadlines,
        replace(parts.limits, body_bytes_max=None),  # that bound is for requests
        _Early(parts.clock),
        parts.admission,
        identity,
        connect_s=times.connect_s,
        handshake_s=times.handshake_s,
        idle_s=times.idle_s,
        idle_max=parts.config.limits.idle_upstream_max,
        count=parts.metrics.pool,
    )


async def _drained(doors: list[Door]) -> None:
    for door in doors:
        door.drain()
    for door in doors:
        await door.drained()
