"""Follow the control stream for as long as the gate lives, and reconnect when it breaks.

Invariants: an input counts as fresh only when the authority has just confirmed it; a message that
cannot be applied ends the stream (and freshness) rather than being skipped; waits between attempts
grow with jitter, so that a fleet does not return as a herd.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import aclosing
from typing import Final, Protocol

from sidecar.control.authority import Authority, AuthorityError
from sidecar.control.mesh import ControlError, Mesh
from sidecar.net.clock import Clock
from sidecar.resilience.posture import Dependency, PostureTable

RETRY_S_MIN: Final = 0.2
RETRY_S_MAX: Final = 5.0
SILENCE_S: Final = 10.0

log = logging.getLogger("narrowgate.control")


class Contexts(Protocol):
    """Where the current client TLS context comes from."""

    @property
    def client_context(self) -> ssl.SSLContext:
        """mTLS with the gate's current SVID."""
        ...


class ControlClient:
    """Feeds `mesh` and `posture` from the authority's stream."""

    def __init__(
        self,
        authority: Authority,
        contexts: Contexts,
        mesh: Mesh,
        posture: PostureTable,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        """`jitter` gives numbers from 0 to 1."""
        self._authority = authority
        self._contexts = contexts
        self._mesh = mesh
        self._posture = posture
        self._clock = clock
        self._jitter = jitter
        self.connected = False

    async def run(self) -> None:
        """Follow the stream until cancelled."""
        wait_s = RETRY_S_MIN
        while True:
            try:
                await self._follow()
            except (AuthorityError, ControlError) as error:
                log.warning("control stream: %s; trying again", error)
            if self.connected:
                wait_s = RETRY_S_MIN
            self.connected = False
            await asyncio.sleep(wait_s * (0.5 + self._jitter()))
            wait_s = min(wait_s * 2, RETRY_S_MAX)

    async def _follow(self) -> None:
        context = self._contexts.client_context
        async with aclosing(self._authority.lines("/v1/control", context, SILENCE_S)) as lines:
            async for message in lines:
                self._take(message)
                self._posture.fresh(*Dependency)

    def _take(self, message: dict[str, object]) -> None:
        kind = message.get("type")
        if kind == "heartbeat":
            self._heartbeat(message)
            return
        if kind != "snapshot" and not self.connected:
            raise ControlError("a stream begins with a snapshot")
        self._mesh.apply(message, self._clock.time_s())
        self.connected = True

    def _heartbeat(self, message: dict[str, object]) -> None:
        """A heartbeat confirms exactly what was applied; another sequence means a lost delta."""
        if not self.connected or message.get("sequence") != self._mesh.sequence:
            raise ControlError("a heartbeat names a sequence that was not received")
