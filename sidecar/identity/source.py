"""Where the gate's identity comes from: attest once, then renew at half life, for ever.

Invariants: several workers share one identity through their run folder and one of them renews at a
time; a failed renewal changes nothing (the old identity lives until its own expiry); what listens
gets new TLS contexts in one assignment, so that no connection is dropped by a rotation.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from ca.spiffe.ids import SpiffeId
from sidecar.config import Authority as AuthoritySettings
from sidecar.control.authority import Authority, AuthorityError
from sidecar.control.mesh import Mesh
from sidecar.identity.credentials import Credentials, CredentialsError, KeyPair, load, save
from sidecar.net.clock import Clock
from sidecar.net.tls import context

RETRY_S_MIN: Final = 0.25
RETRY_S_MAX: Final = 10.0
RENEWAL_S_MIN: Final = 0.25
"""The least pause between two renewals, however short an SVID lives."""
TOKEN_BYTES_MAX: Final = 4096

log = logging.getLogger("narrowgate.identity")


class IdentitySource:
    """Keeps `credentials` and the two TLS contexts current. Call `run()` as one task."""

    server_context: ssl.SSLContext
    client_context: ssl.SSLContext
    credentials: Credentials

    def __init__(
        self,
        settings: AuthoritySettings,
        folder: Path,
        authority: Authority,
        mesh: Mesh,
        clock: Clock,
        jitter: Callable[[], float],
        rotated: Callable[[Credentials], None],
    ) -> None:
        """`rotated` is called with each new generation; `jitter` gives numbers from 0 to 1."""
        self._settings = settings
        self._folder = folder
        self._authority = authority
        self._mesh = mesh
        self._clock = clock
        self._jitter = jitter
        self._rotated = rotated
        self._have = False
        self.obtained = asyncio.Event()
        mesh.watch(self._mesh_changed)

    @property
    def held(self) -> Credentials | None:
        """The current credentials, None before there are any."""
        return self.credentials if self._have else None

    @property
    def workload(self) -> SpiffeId:
        """Who we are."""
        return self._mesh.workload

    async def run(self) -> None:
        """Obtain an identity, then renew it until cancelled."""
        wait_s = RETRY_S_MIN
        while True:
            try:
                await self._obtain()
                wait_s = RETRY_S_MIN
            except (AuthorityError, CredentialsError, OSError) as error:
                log.warning("identity: %s; trying again", error)
                await asyncio.sleep(wait_s * (0.5 + self._jitter()))
                wait_s = min(wait_s * 2, RETRY_S_MAX)
                continue
            await asyncio.sleep(self._renewal_due_in_s())

    def _renewal_due_in_s(self) -> float:
        held = self.credentials
        spread_s = (held.svid.not_after_s - held.begun_s) * 0.1 * (self._jitter() - 0.5)
        return max(RENEWAL_S_MIN, held.half_life_s + spread_s - self._clock.time_s())

    async def _obtain(self) -> None:
        async with self._alone():
            now_s = self._clock.time_s()
            stored = load(self._folder, self.workload, self._mesh.bundle, now_s)
            if stored is not None and now_s < stored.half_life_s and self._newer(stored):
                self._adopt(stored)
                return
            held = self.credentials if self._have else stored
            fresh = await self._ask(held)
            self._keep(fresh)
            self._adopt(fresh)

    def _newer(self, stored: Credentials) -> bool:
        return not self._have or stored.svid.serial != self.credentials.svid.serial

    async def _ask(self, held: Credentials | None) -> Credentials:
        keys = KeyPair()
        now_s = self._clock.time_s()
        if held is not None and now_s < held.svid.not_after_s:
            renewal = self._context(held, server_side=False)
            answer = await self._authority.post("/v1/renew", keys.request(), renewal)
        else:
            answer = await self._attest(keys)
        now_s = self._clock.time_s()
        return keys.credentials(answer, self.workload, self._mesh.bundle, now_s)

    async def _attest(self, keys: KeyPair) -> dict[str, object]:
        body = {"attestor": self._settings.attestor, **keys.request()}
        if self._settings.attestor == "unix":
            return await self._authority.post("/v1/attest", body | {"evidence": {}}, None)
        token = self._join_token()
        roots = context(
            server_side=False, chain_pem=b"", key_pem=b"", roots_pem=self._mesh.bundle.pem()
        )
        return await self._authority.post(
            "/v1/attest", body | {"evidence": {"token": token}}, roots
        )

    def _join_token(self) -> str:
        path = self._settings.join_token_file
        if path is None:
            raise CredentialsError("authority.join_token_file is not configured")
        try:
            return path.read_bytes()[:TOKEN_BYTES_MAX].decode("ascii").strip()
        except (OSError, UnicodeDecodeError):
            raise CredentialsError(
                f"cannot read the join token {path}; make one with `narrowgate ca token create`"
            ) from None

    def _keep(self, fresh: Credentials) -> None:
        try:
            save(self._folder, fresh)
        except OSError as error:
            log.warning(
                "identity: cannot store it in %s (%s): after a restart the gate must attest anew",
                self._folder,
                error.strerror,
            )

    def _adopt(self, credentials: Credentials) -> None:
        server = self._context(credentials, server_side=True)
        client = self._context(credentials, server_side=False)
        self.credentials, self.server_context, self.client_context = credentials, server, client
        self._have = True
        self._rotated(credentials)
        self.obtained.set()

    def _context(self, credentials: Credentials, *, server_side: bool) -> ssl.SSLContext:
        return context(
            server_side=server_side,
            chain_pem=credentials.svid_pem,
            key_pem=credentials.key_pem,
            roots_pem=self._mesh.bundle.pem(),
        )

    def _mesh_changed(self, changed: frozenset[str]) -> None:
        # Without any root there is no context; `Admission` then refuses every peer.
        if "bundles" in changed and self._have and self._mesh.bundle.x509_authorities:
            self._adopt(self.credentials)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """One worker of this sidecar at a time."""
        descriptor = os.open(self._folder / "identity.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            await asyncio.to_thread(fcntl.flock, descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
