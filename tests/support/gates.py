"""Both gates of several workloads in one event loop: real sockets, TLS, tokens, journal and judge.

Only the policy engine is a fake, so that a test can say what it answers and count what it is asked.
The clock moves when a test moves it (`clock.advance`).
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policy.call import Gate, Grant
from policy.engines import EngineFault
from policy.input import FACTS, Needs
from policy.permit import Judge
from policy.reason import Reason
from sidecar.address import Address
from sidecar.config_values import LogTarget
from sidecar.control.mesh import Mesh
from sidecar.http.head import Limits
from sidecar.http.server import Door
from sidecar.identity.admission import Admission
from sidecar.identity.credentials import Credentials
from sidecar.inbound import EdgeCredentials, InboundGate
from sidecar.net.clock import ManualClock
from sidecar.net.deadlines import Deadlines
from sidecar.net.entropy import Entropy
from sidecar.net.network import LoopNetwork
from sidecar.outbound import OutboundGate
from sidecar.path import Surroundings
from sidecar.resilience.posture import Dependency, PostureTable
from sidecar.routes import GrantRule, Routes
from sidecar.telemetry.access_log import AccessLog
from sidecar.telemetry.decision_log import DecisionLog
from sidecar.telemetry.journal import Journal
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.sink import Sink
from sidecar.token.correlation import Handles
from sidecar.token.external import External
from sidecar.token.narrow import Narrower
from sidecar.token.pseudonym import Pseudonyms
from sidecar.token.root import RootMinter
from sidecar.token.siblings import Siblings
from sidecar.token.signer import HopSigner
from sidecar.token.verify import Verifier
from sidecar.upstreams import Upstreams
from tests.support.identities import IDP, Identities, service, workload

SEES = Needs(token=True, facts=FACTS)
"""All but fields, query and body."""
SCOPE = frozenset({"read", "write"})
PSEUDONYMS = {"key": "A" * 43}


class FakeEngine:
    """Answers what it is told: a JSON value, or what a function of the input gives or raises."""

    def __init__(self, says: object = True, needs: Needs | None = None) -> None:
        self.says = says
        self.needs = needs or SEES
        self.asked: list[dict[str, Any]] = []
        self.closed = False

    async def evaluate(self, document: bytes) -> object:
        self.asked.append(json.loads(document))
        answer = self.says
        if isinstance(answer, BaseException):
            raise answer
        if callable(answer):
            answer = answer(self.asked[-1])
        if isinstance(answer, Awaitable):
            answer = await answer
        return answer

    async def close(self) -> None:
        self.closed = True


def hand_on_all(document: dict[str, Any]) -> object:
    """Allow, with the whole scope that is held."""
    token = document["narrowgate"].get("token")
    return {"allowed": True, "narrowgate": {"scope": token["scope"] if token else []}}


class Held:
    """The identity of one workload; `renew` replaces it as a rotation does."""

    def __init__(self, identities: Identities, credentials: Credentials) -> None:
        self._identities = identities
        self.adopt(credentials)

    def adopt(self, credentials: Credentials) -> None:
        self.credentials = credentials
        self.server_context = self._identities.tls(credentials, server_side=True)
        self.client_context = self._identities.tls(credentials)


@dataclass
class Route:
    path: str
    grant: GrantRule
    methods: tuple[str, ...] | None = None


OPTIONAL = (Route("/", GrantRule.OPTIONAL),)


class World:
    """What the workloads share. Use `side()`, then `publish()`; `close()` at the end."""

    def __init__(self, identities: Identities, folder: Path) -> None:
        self.identities = identities
        self.folder = folder
        self.clock = ManualClock(time.time())
        self.deadlines = Deadlines()
        self.sides: list[Side] = []
        self.sequence = 0
        self.services: list[dict[str, Any]] | None = None
        self.deadlines.start()

    async def close(self) -> None:
        for side in self.sides:
            side.close()
        self.deadlines.stop()
        await asyncio.sleep(0)

    async def side(self, name: str, application: int = 1, **options: Any) -> Side:
        side = Side(self, name, application, **options)
        await side.open()
        self.sides.append(side)
        self.publish()
        return side

    def publish(self, **sections: Any) -> None:
        """Tell every workload the state of the mesh, as the authority does."""
        self.sequence += 1
        services = self.services
        if services is None:
            services = [
                service(side.name, f"127.0.0.1:{side.inbound}", hosts=side.hosts)
                for side in self.sides
            ]
        changed = {
            "registry": {"services": services},
            "issuers": self.identities.issuers("edge"),
            "pseudonyms": PSEUDONYMS,
            **sections,
        }
        message = self.identities.snapshot(self.sequence, **changed)
        for side in self.sides:
            side.mesh.apply(message, self.clock.time_s())
            side.verifier.trust = side.mesh.trust
            side.posture.fresh(*Dependency)


class Side:
    """One workload's two gates."""

    def __init__(
        self,
        world: World,
        name: str,
        application: int,
        *,
        routes: tuple[Route, ...] = OPTIONAL,
        edge: EdgeCredentials | None = None,
        hosts: tuple[str, ...] = (),
        limits: Limits | None = None,
        buffered_body_bytes_max: int = 65_536,
        first_byte_s: float = 10.0,
        worker_index: int = 0,
        siblings: Callable[[Handles], Siblings] | None = None,
        timeout_s: float = 1.0,
        lifetime_s: int = 3600,
    ) -> None:
        self.world, self.name, self.hosts = world, name, hosts
        self.limits = limits or Limits()
        self.held = Held(
            world.identities,
            world.identities.credentials(name, now_s=world.clock.time_s(), lifetime_s=lifetime_s),
        )
        self.mesh = Mesh(workload(name), world.identities.bundle)
        self.posture = PostureTable(
            world.clock, degraded_after_s=10, stale_after_s=None, clock_jump_s_max=5
        )
        svid = self.held.credentials.svid
        self.posture.identity(svid.not_before_s, svid.not_after_s)
        self.engine = FakeEngine(hand_on_all)
        self.in_engine = FakeEngine(True)
        self.judge = Judge(self.engine, timeout_s=timeout_s)
        self.in_judge = Judge(self.in_engine, timeout_s=timeout_s)
        self.admission = Admission(self.mesh, world.clock)
        self.handles = Handles(worker_index)
        self.verifier = Verifier(self.mesh.trust)
        self.signer = HopSigner(self.held.credentials.hop_key, self.held.credentials.wit)
        self.narrower = Narrower(self.signer)
        self.metrics = Metrics(version="test")
        self.pool_events: list[str] = []
        self.upstreams = Upstreams(
            LoopNetwork(),
            world.deadlines,
            self.limits,
            world.clock,
            self.admission,
            self.held,
            connect_s=2,
            handshake_s=5,
            idle_s=60,
            idle_max=16,
            count=self.pool_events.append,
        )
        self._access_file = world.folder / f"{name}-{worker_index}.access"
        self._decision_file = world.folder / f"{name}-{worker_index}.decision"
        self.access = AccessLog(Sink("access", LogTarget("file", self._access_file)))
        self.decisions = DecisionLog(Sink("decision", LogTarget("file", self._decision_file)))
        self.journal = Journal(
            self.metrics, self.access, self.decisions, lambda: "revision", workload(name).uri
        )
        self.around = Surroundings(
            self.mesh,
            world.clock,
            world.deadlines,
            Entropy(),
            self.posture,
            self.admission,
            self.upstreams,
            self.journal,
            first_byte_s=first_byte_s,
            idle_s=60,
            request_s=60,
            buffered_body_bytes_max=buffered_body_bytes_max,
        )
        table, where = Routes(routes), Address("127.0.0.1", application)
        parts = (self.around, self.in_judge, self.verifier, self.handles, table, where)
        self.in_gate = InboundGate(*parts)
        self.edge_gate = None if edge is None else InboundGate(*parts, edge)
        self.out_gate = OutboundGate(
            self.around,
            self.judge,
            self.handles,
            siblings(self.handles) if siblings is not None else None,
            self.narrower,
        )
        self.events: list[tuple[str, str]] = []
        self.inbound = self.outbound = self.edge = 0
        self._servers: list[asyncio.Server] = []
        self.doors: list[Door] = []

    async def open(self) -> None:
        self.in_door = self._door("inbound", self.in_gate)
        self.in_door.context = lambda: self.held.server_context
        self.in_door.admit = self.admission.admit
        self.inbound = await self._listen(self.in_door)
        self.outbound = await self._listen(self._door("outbound", self.out_gate))
        if self.edge_gate is not None:
            self.edge = await self._listen(self._door("edge", self.edge_gate))

    def close(self) -> None:
        for server in self._servers:
            server.close()
        for door in self.doors:
            for connection in list(door.open):
                connection.abort()
        self.upstreams.close()
        self.access.sink.close()
        self.decisions.sink.close()

    def _door(self, name: str, gate: InboundGate | OutboundGate) -> Door:
        door = Door(
            name=name,
            handler=gate.serve,
            deadlines=self.world.deadlines,
            limits=self.limits,
            handshake_s=5,
            head_s=10,
            idle_s=60,
            connections_max=100,
            event=lambda door, result: self.events.append((door, result)),
        )
        self.doors.append(door)
        return door

    async def _listen(self, door: Door) -> int:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(door.connection, "127.0.0.1", 0)
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    def tls(self) -> ssl.SSLContext:
        """The client side of mTLS as this workload."""
        return self.world.identities.tls(self.held.credentials)

    def records(self, log: str) -> list[dict[str, Any]]:
        """Everything written to the `access` or `decision` log so far."""
        sink = self.access.sink if log == "access" else self.decisions.sink
        sink.flush()
        path = self._access_file if log == "access" else self._decision_file
        return [json.loads(line) for line in path.read_text().splitlines()]

    def grant(self, scope: frozenset[str] = SCOPE, *, lifetime_s: float = 50) -> Grant:
        """A root minted here, as at the edge (`edge` is the one workload that may)."""
        now_s = self.world.clock.time_s()
        external = External(IDP, "alice", scope, now_s + lifetime_s, "")
        pseudonyms = Pseudonyms.from_section(PSEUDONYMS)
        return RootMinter(self.signer, pseudonyms).mint(external, self.mesh.trust.issuers, now_s)

    def handle(self, grant: Grant | None, trace_id: str | None = None) -> str:
        return self.handles.open(grant, trace_id=trace_id, now_s=self.world.clock.time_s())


def fault(reason: Reason) -> EngineFault:
    return EngineFault(reason, "as the test wants")


__all__ = ["Gate", "World"]
