"""The policy in force: compiled when it arrives, activated for both gates at once or not at all.

Invariants: a bundle that does not compile for both decisions changes nothing, whatever was in force
stays; with nothing in force every decision is denied; each judge swaps between two decisions. An
engine that could not be asked (an OPA that is not up yet) is asked again, a bundle that does not
compile is not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from policy.bundle import PolicyBundle, PolicyError
from policy.engines import Engine, EngineFault
from policy.permit import Judge

log = logging.getLogger("narrowgate.policy")

AGAIN_S: Final = 1.0
"""How long to wait before an engine that could not be asked is asked again."""

Compile = Callable[[PolicyBundle, str], Awaitable[Engine]]
"""Makes an engine for a bundle and a decision. Raises `PolicyError`, or `EngineFault` for now."""


class Policies:
    """Feeds the judges of both gates. `refused` counts bundles that were not activated."""

    def __init__(
        self,
        compile_engine: Compile,
        inbound: tuple[Judge, str],
        outbound: tuple[Judge, str],
    ) -> None:
        """Each pair is a judge and the path of its decision."""
        self._compile = compile_engine
        self._judges = (inbound, outbound)
        self._latest: PolicyBundle | None = None
        self._task: asyncio.Task[None] | None = None
        self.revision = ""
        self.refused = 0

    def offer(self, bundle: PolicyBundle | None) -> None:
        """Activate `bundle` soon; a later offer wins over an earlier one."""
        self._latest = bundle
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._activate_latest())

    async def settled(self) -> None:
        """Wait until the last offer was activated or refused for good."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def close(self) -> None:
        """Let go of the engines; every decision is denied from now on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._swap([None] * len(self._judges))

    async def _activate_latest(self) -> None:
        while True:
            bundle = self._latest
            settled = await self._activate(bundle)
            if bundle is not self._latest:
                continue
            if settled:
                return
            await asyncio.sleep(AGAIN_S)

    async def _activate(self, bundle: PolicyBundle | None) -> bool:
        """Activate or refuse `bundle`; whether that is the last word on it."""
        if bundle is None:
            await self._swap([None] * len(self._judges))
            self.revision = ""
            return True
        if bundle.revision == self.revision:
            return True
        engines: list[Engine | None] = []
        try:
            for _, decision in self._judges:
                engines.append(await self._compile(bundle, decision))
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            await _close(engines)
            raise
        except BaseException as error:  # whatever it is (a Rust panic too), the old one stays
            await self._refuse(bundle, engines, error)
            return not isinstance(error, EngineFault)
        await self._swap(engines)
        self.revision = bundle.revision
        log.info("policy %s is in force", bundle.revision[:12])
        return True

    async def _refuse(
        self, bundle: PolicyBundle, engines: list[Engine | None], error: BaseException
    ) -> None:
        self.refused += 1
        names = bundle.revision[:12], self.revision[:12] or "nothing"
        known = isinstance(error, PolicyError | EngineFault)
        log.error("policy %s is refused, %s stays: %s", *names, error, exc_info=not known)
        await _close(engines)

    async def _swap(self, engines: list[Engine | None]) -> None:
        pairs = zip(self._judges, engines, strict=True)
        await _close([judge.swap(engine) for (judge, _), engine in pairs])  # first both gates


async def _close(engines: list[Engine | None]) -> None:
    for engine in engines:
        if engine is not None:
            await engine.close()
