"""The composition root: builds one worker of a sidecar, runs it in one task group, and drains it.

Invariants: gates open only when the gate has an identity; they stay sealed until every input is
fresh; shutting down finishes what is in flight inbound before the application loses its way out.
A worker whose loop hangs is killed by a watchdog that needs no interpreter: dead is shut.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import orjson

from ca.spiffe.bundle import TrustBundle
from policy.bundle import PolicyError, load_directory
from policy.permit import Judge
from sidecar.config import Config
from sidecar.control.authority import Authority
from sidecar.control.client import ControlClient
from sidecar.control.mesh import Mesh
from sidecar.edge import EdgeError, EdgeGrants, edge_context
from sidecar.engines import compiler
from sidecar.http.head import Limits
from sidecar.http.server import Door, Handler
from sidecar.identity.admission import Admission
from sidecar.identity.credentials import Credentials, CredentialsError
from sidecar.identity.source import IdentitySource
from sidecar.inbound import InboundGate
from sidecar.net.clock import Clock, SystemClock
from sidecar.net.deadlines import Deadlines
from sidecar.net.entropy import Entropy
from sidecar.net.network import ListenError, Listening, LoopNetwork, Network
from sidecar.outbound import OutboundGate
from sidecar.overview import Overview, own_version
from sidecar.path import Surroundings
from sidecar.policies import Policies
from sidecar.resilience.posture import Dependency, PostureTable
from sidecar.telemetry.access_log import AccessLog
from sidecar.telemetry.admin import ADMIN_PATHS, HEALTH_PATHS, METRICS_PATHS, Admin
from sidecar.telemetry.decision_log import DecisionLog
from sidecar.telemetry.journal import Journal
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.sink import Sink
from sidecar.telemetry.surface import Surface
from sidecar.token.correlation import Handles
from sidecar.token.narrow import Narrower
from sidecar.token.siblings import Siblings, SiblingServer
from sidecar.token.signer import HopSigner
from sidecar.token.verify import Verifier
from sidecar.upstreams import Upstreams

AUTHORITY_ANSWER_S: Final = 5.0
HANG_S: Final = 10.0
"""A loop that stands still for this long is killed."""
REUSE_S: Final = 1.0
"""How much longer the SVIDs behind an idle connection must live for it to be used again."""
REARM_TICKS: Final = 8
FLUSH_TICKS: Final = 2

log = logging.getLogger("narrowgate")


class StartError(Exception):
    """The sidecar cannot start; the text says what to do."""


class _Early:
    """The clock that idle connections are judged by: an SVID that ends before the request arrives
    would be refused at the other end."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.drift_s = clock.drift_s
        self.follow = clock.follow

    def time_s(self) -> float:
        return self._clock.time_s() + REUSE_S


class Worker:
    """One worker process of a sidecar."""

    def __init__(self, config: Config, config_file: Path, index: int, network: Network) -> None:
        """Build everything that needs no identity. Raises `StartError`."""
        self.config = config
        self.index = index
        self.network = network
        self.clock = SystemClock()
        self.entropy = Entropy()
        self.deadlines = Deadlines()
        self.mesh = Mesh(config.workload, _bootstrap(config))
        self.posture = PostureTable(
            self.clock,
            degraded_after_s=config.posture.degraded_after_s,
            stale_after_s=config.posture.stale_after_s,
            clock_jump_s_max=config.posture.clock_jump_s_max,
        )
        self.authority = Authority(
            config.authority.address,
            config.authority.socket,
            config.workload.trust_domain,
            network,
            self.deadlines,
            answer_s=AUTHORITY_ANSWER_S,
        )
        self.identity = IdentitySource(
            config.authority,
            config.run_dir,
            self.authority,
            self.mesh,
            self.clock,
            self.entropy.fraction,
            self._rotated,
        )
        self.control = ControlClient(
            self.authority,
            self.identity,
            self.mesh,
            self.posture,
            self.clock,
            self.entropy.fraction,
        )
        self.handles = Handles(
            index, handles_max=config.limits.handles_max, random=self.entropy.octets
        )
        self.inbound_judge = Judge(None, timeout_s=config.policy.timeout_s)
        self.outbound_judge = Judge(None, timeout_s=config.policy.timeout_s)
        self.policies = Policies(
            compiler(config.policy, first=index == 0),
            (self.inbound_judge, config.policy.inbound_decision),
            (self.outbound_judge, config.policy.outbound_decision),
        )
        self.verifier = Verifier(self.mesh.trust)
        self.mesh.watch(self._mesh_changed)
        self.admission = Admission(self.mesh, self.clock)
        self.limits = _limits(config)
        self.metrics = Metrics(version=own_version(), istio_metrics=config.telemetry.istio_metrics)
        self.upstreams = self._upstreams()
        self.access, self.decisions = _logs(config)
        self.overview = Overview(self, config_file)
        self.narrower: Narrower | None = None
        self.edge: EdgeGrants | None = None
        self.siblings: Siblings | None = None
        self.draining = False
        self.gates_open = False
        self._stop = asyncio.Event()
        self._ticks = 0
        self._doors: list[Door] = []
        self._listening: list[Listening] = []

    @property
    def credentials(self) -> Credentials | None:
        """The current identity, None before there is one."""
        return self.identity.held

    # Life

    async def run(self) -> int:
        """Run until told to stop; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        self.deadlines.every_tick(self._tick)
        self.deadlines.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._live(tasks)
        except* (StartError, EdgeError, PolicyError, ListenError) as group:
            raise _first(group) from None
        finally:
            self.deadlines.stop()
            faulthandler.cancel_dump_traceback_later()
            self.access.sink.close()
            self.decisions.sink.close()
        return 0

    async def _live(self, tasks: asyncio.TaskGroup) -> None:
        background = [tasks.create_task(self.identity.run(), name="identity")]
        try:
            await self._open_surfaces()
            if await self._identified(tasks):
                self._load_directory()
                background.append(tasks.create_task(self.control.run(), name="control"))
                await self._open_gates()
                await self._stop.wait()
                await self._drain()
        finally:
            for task in background:
                task.cancel()
            await self._close()

    async def _identified(self, tasks: asyncio.TaskGroup) -> bool:
        """Whether an identity came before the order to stop."""
        waits = [tasks.create_task(event.wait()) for event in (self.identity.obtained, self._stop)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return not self._stop.is_set()

    async def _open_surfaces(self) -> None:
        settings = self.config.telemetry
        if self.index == 0:
            health, metrics = settings.health_listen, settings.metrics_listen
            await self._listen(self._surface("health", HEALTH_PATHS), health.host, health.port)
            await self._listen(self._surface("metrics", METRICS_PATHS), metrics.host, metrics.port)
            if settings.admin_socket is not None:
                door = self._surface("admin", ADMIN_PATHS)
                self._listening.append(
                    await self.network.listen_unix(door.connection, settings.admin_socket)
                )

    async def _open_gates(self) -> None:
        config = self.config
        signer = HopSigner(self.identity.credentials.hop_key, self.identity.credentials.wit)
        self.narrower = Narrower(signer)
        around = self._surroundings()
        routes = config.inbound.route_table()
        if config.workers > 1:
            self.siblings = Siblings(self.handles, config.run_dir, workers=config.workers)
            self._sibling_server = SiblingServer(self.handles, config.run_dir, self.clock.time_s)
            await self._sibling_server.start()
        parts = (around, self.inbound_judge, self.verifier, self.handles, routes)
        inbound = InboundGate(*parts, config.inbound.application)
        self._inbound = self._door("inbound", inbound.serve)
        self._inbound.context = lambda: self.identity.server_context
        self._inbound.admit = self.admission.admit
        outbound = OutboundGate(
            around, self.outbound_judge, self.handles, self.siblings, self.narrower
        )
        self._outbound = self._door("outbound", outbound.serve)
        if config.edge is not None:
            self.edge = EdgeGrants(config.edge, self.mesh, signer, self.entropy.octets)
            edge = InboundGate(*parts, config.inbound.application, self.edge)
            door = self._door("edge", edge.serve)
            certificate = edge_context(config.edge)
            door.context = lambda: certificate
            await self._listen(door, config.edge.listen.host, config.edge.listen.port)
        where = config.inbound.listen
        await self._listen(self._inbound, where.host, where.port)
        where = config.outbound.listen
        self._way_out = await self.network.listen(self._outbound.connection, where.host, where.port)
        self._listening.append(self._way_out)
        self.gates_open = True
        log.info("gates are open for %s", config.workload)

    async def _drain(self) -> None:
        """Finish what is in flight; outbound stays open until the application is done."""
        self.draining = True
        log.info("draining")
        for listening in self._listening:
            if listening is not self._way_out:
                listening.close()
        others = [door for door in self._doors if door.name in ("inbound", "edge")]
        try:
            async with asyncio.timeout(self.config.timeouts.drain_s):
                for door in others:
                    door.drain()
                for door in others:
                    await door.drained()
                self._way_out.close()
                self._outbound.drain()
                await self._outbound.drained()
        except TimeoutError:
            log.warning(
                "drain took over %s s: what is left is broken off", self.config.timeouts.drain_s
            )

    async def _close(self) -> None:
        for listening in self._listening:
            listening.close()
        for door in self._doors:
            for connection in list(door.open):
                connection.abort()
        self.upstreams.close()
        await self.policies.close()
        if self.edge is not None:
            await self.edge.close()
        if self.siblings is not None:
            self.siblings.close()
            await self._sibling_server.close()

    # What changes while it runs

    def _rotated(self, credentials: Credentials) -> None:
        svid = credentials.svid
        self.posture.identity(svid.not_before_s, svid.not_after_s)
        signer = HopSigner(credentials.hop_key, credentials.wit)
        if self.narrower is not None:
            self.narrower.signer = signer
        if self.edge is not None:
            self.edge.signer_changed(signer)
        log.info("SVID serial %x until %s", svid.serial, int(svid.not_after_s))

    def _mesh_changed(self, changed: frozenset[str]) -> None:
        self.verifier.trust = self.mesh.trust
        if "policy" in changed and self.config.policy.source == "authority":
            self.policies.offer(self.mesh.policy)

    def _load_directory(self) -> None:
        if self.config.policy.directory is not None:
            self.policies.offer(load_directory(self.config.policy.directory))
            self.posture.fresh(Dependency.POLICY)

    def _tick(self) -> None:
        self.posture.watch_clock()
        self._ticks += 1
        if self._ticks % FLUSH_TICKS == 0:
            self.access.flush()
            self.decisions.flush()
        if self._ticks % REARM_TICKS == 1:
            faulthandler.dump_traceback_later(HANG_S, exit=True)

    # Parts

    def _surroundings(self) -> Surroundings:
        times = self.config.timeouts
        journal = Journal(
            self.metrics,
            self.access,
            self.decisions,
            lambda: self.policies.revision,
            self.config.workload.uri,
        )
        return Surroundings(
            self.mesh,
            self.clock,
            self.deadlines,
            self.entropy,
            self.posture,
            self.admission,
            self.upstreams,
            journal,
            first_byte_s=times.first_byte_s,
            idle_s=times.idle_s,
            request_s=times.request_s,
            buffered_body_bytes_max=self.config.limits.buffered_body_bytes_max,
        )

    def _upstreams(self) -> Upstreams:
        times = self.config.timeouts
        return Upstreams(
            self.network,
            self.deadlines,
            replace(self.limits, body_bytes_max=None),  # that bound is for requests
            _Early(self.clock),
            self.admission,
            self.identity,
            connect_s=times.connect_s,
            handshake_s=times.handshake_s,
            idle_s=times.idle_s,
            idle_max=self.config.limits.idle_upstream_max,
            count=self.metrics.pool,
        )

    def _door(self, name: str, handler: Handler) -> Door:
        times = self.config.timeouts
        door = Door(
            name=name,
            handler=handler,
            deadlines=self.deadlines,
            limits=self.limits,
            handshake_s=times.handshake_s,
            head_s=times.head_s,
            idle_s=times.idle_s,
            connections_max=self.config.limits.connections_max,
            event=self.metrics.handshake,
            change=partial(self.metrics.connection, name),
        )
        self._doors.append(door)
        return door

    def _surface(self, name: str, paths: frozenset[str]) -> Door:
        door = self._door(name, Surface(Admin(self.overview, paths)).serve)
        door.change = lambda _by: None
        return door

    async def _listen(self, door: Door, host: str, port: int) -> None:
        self._listening.append(await self.network.listen(door.connection, host, port))


def _first(group: BaseExceptionGroup[BaseException]) -> StartError:
    """What an operator has to know of why it does not start."""
    first = group.exceptions[0]
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return StartError(str(first))


def _bootstrap(config: Config) -> TrustBundle:
    path = config.authority.bundle_file
    advice = "write it with `narrowgate ca bundle`"
    try:
        document = orjson.loads(path.read_bytes())
        return TrustBundle.parse(config.workload.trust_domain, document)
    except OSError as error:
        raise StartError(
            f"cannot read the trust bundle {path}: {error.strerror}; {advice}"
        ) from None
    except (ValueError, TypeError, AttributeError) as error:
        raise StartError(f"{path} is no trust bundle: {error}; {advice}") from None


def _limits(config: Config) -> Limits:
    bounds = config.limits
    return Limits(
        head_bytes_max=bounds.head_bytes_max,
        line_bytes_max=bounds.target_bytes_max,
        fields_max=bounds.fields_max,
        field_bytes_max=bounds.field_bytes_max,
        body_bytes_max=bounds.body_bytes_max,
    )


def _logs(config: Config) -> tuple[AccessLog, DecisionLog]:
    settings = config.telemetry
    try:
        return (
            AccessLog(Sink("access", settings.access_log)),
            DecisionLog(Sink("decision", settings.decision_log)),
        )
    except OSError as error:
        raise StartError(f"cannot open a log: {error}") from None


def prepare(config: Config) -> None:
    """Make the run folder, for us alone. Raises `StartError`."""
    folder = config.run_dir
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise StartError(f"cannot use the run folder {folder}: {error.strerror}") from None


def work(config: Config, config_file: Path, index: int) -> int:
    """Run worker `index` in this process until it is told to stop."""
    import uvloop  # noqa: PLC0415 - not on platforms or paths that do not run gates

    async def main() -> int:
        network = LoopNetwork(shared=config.workers > 1)
        return await Worker(config, config_file, index, network).run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def run(config: Config, config_file: Path = Path("-")) -> int:
    """Run the sidecar; returns the exit code."""
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    faulthandler.enable()
    if config.workers == 1:
        return _started(config, config_file, 0)
    from sidecar.supervisor import supervise  # noqa: PLC0415 - one worker needs none

    return supervise(config.workers, partial(_started, config, config_file))


def _started(config: Config, config_file: Path, index: int) -> int:
    """Run a worker; one that cannot start says why in one line and returns 1."""
    try:
        prepare(config)
        return work(config, config_file, index)
    except (StartError, EdgeError, CredentialsError, PolicyError, ListenError) as error:
        print(f"narrowgate: {error}", file=sys.stderr)
        return 1
