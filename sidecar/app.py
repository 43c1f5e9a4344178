"""The composition root: one worker of a sidecar, in one task group, from start to drain.

Invariants: gates open only when there is an identity, and stay sealed until every input is fresh;
whatever ends the worker closes everything it opened. A worker whose loop hangs is killed by a
watchdog that needs no interpreter: dead is shut.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Final

from policy.bundle import PolicyError, load_directory
from sidecar.config import Config
from sidecar.control.client import ControlClient
from sidecar.edge import EdgeError
from sidecar.gates import Gates
from sidecar.identity.credentials import Credentials, CredentialsError
from sidecar.identity.source import IdentitySource
from sidecar.net.network import ListenError, LoopNetwork, Network
from sidecar.overview import Overview
from sidecar.parts import Parts, StartError, run_folder
from sidecar.resilience.posture import Dependency

HANG_S: Final = 10.0
"""A loop that stands still for this long is killed."""
REARM_TICKS: Final = 8
FLUSH_TICKS: Final = 2
_WHY: Final = (StartError, EdgeError, CredentialsError, PolicyError, ListenError)

log = logging.getLogger("narrowgate")


class Worker:
    """One worker process of a sidecar."""

    def __init__(self, config: Config, config_file: Path, index: int, network: Network) -> None:
        """Build it; nothing is opened yet. Raises `StartError`."""
        parts = self.parts = Parts(config, index, network)
        self.identity = IdentitySource(
            config.authority,
            config.run_dir,
            parts.authority,
            parts.mesh,
            parts.clock,
            parts.entropy.fraction,
            self._rotated,
        )
        self.control = ControlClient(
            parts.authority,
            self.identity,
            parts.mesh,
            parts.posture,
            parts.clock,
            parts.entropy.fraction,
        )
        self.gates = Gates(parts, self.identity)
        self.overview = Overview(parts, self.identity, self.gates, config_file)
        parts.mesh.watch(self._mesh_changed)
        self._stop = asyncio.Event()
        self._ticks = 0

    async def run(self) -> int:
        """Run until told to stop; returns the exit code. Raises `StartError`."""
        parts = self.parts
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        parts.deadlines.every_tick(self._tick)
        parts.deadlines.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._live(tasks)
        except* _WHY as group:
            raise _first(group) from None
        finally:
            parts.deadlines.stop()
            faulthandler.cancel_dump_traceback_later()
            parts.access.sink.close()
            parts.decisions.sink.close()
        return 0

    async def _live(self, tasks: asyncio.TaskGroup) -> None:
        background = [tasks.create_task(self.identity.run(), name="identity")]
        try:
            await self.gates.open_surfaces(self.overview)
            if await self._identified(tasks):
                self._load_directory()
                background.append(tasks.create_task(self.control.run(), name="control"))
                await self.gates.open()
                gc.freeze()  # what is here now stays; the collector need not look at it again
                await self._stop.wait()
                log.info("draining")
                self.overview.draining = True
                await self.gates.drain()
        finally:
            for task in background:
                task.cancel()
            await self.gates.close()
            await self.parts.policies.close()

    async def _identified(self, tasks: asyncio.TaskGroup) -> bool:
        """Whether an identity came before the order to stop."""
        waits = [tasks.create_task(event.wait()) for event in (self.identity.obtained, self._stop)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return not self._stop.is_set()

    def _rotated(self, credentials: Credentials) -> None:
        svid = credentials.svid
        self.parts.posture.identity(svid.not_before_s, svid.not_after_s)
        self.gates.rotated()
        log.info("SVID serial %x until %s", svid.serial, int(svid.not_after_s))

    def _mesh_changed(self, changed: frozenset[str]) -> None:
        parts = self.parts
        parts.verifier.trust = parts.mesh.trust
        if "policy" in changed and parts.config.policy.source == "authority":
            parts.policies.offer(parts.mesh.policy)

    def _load_directory(self) -> None:
        folder = self.parts.config.policy.directory
        if folder is not None:
            self.parts.policies.offer(load_directory(folder))
            self.parts.posture.fresh(Dependency.POLICY)

    def _tick(self) -> None:
        parts = self.parts
        parts.posture.watch_clock()
        self._ticks += 1
        if self._ticks % FLUSH_TICKS == 0:
            parts.access.flush()
            parts.decisions.flush()
        if self._ticks % REARM_TICKS == 1:
            faulthandler.dump_traceback_later(HANG_S, exit=True)


def _first(group: BaseExceptionGroup[BaseException]) -> StartError:
    """What an operator has to know of why it does not start."""
    first = group.exceptions[0]
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return StartError(str(first))


def work(config: Config, config_file: Path, index: int) -> int:
    """Run worker `index` in this process until it is told to stop. Raises `StartError`."""
    import uvloop  # noqa: PLC0415 - not on platforms or paths that do not run gates

    async def main() -> int:
        network = LoopNetwork(shared=config.workers > 1)
        return await Worker(config, config_file, index, network).run()

    run_folder(config.run_dir)
    gc.set_threshold(50_000, 50, 100)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def run(config: Config, config_file: Path) -> int:
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
        return work(config, config_file, index)
    except _WHY as error:
        print(f"narrowgate: {error}", file=sys.stderr)
        return 1
