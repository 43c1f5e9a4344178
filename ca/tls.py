"""The authority's own TLS identity: an X509-SVID that it issues to itself, again at half life.

Invariants: TLS 1.3 only, no resumption (a resumed session would skip looking at the certificate);
a client certificate is optional here and judged per request by the API; a renewed leaf serves new
handshakes of the same listener, and the private key touches the disk only encrypted under a
password that is forgotten at once.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from ca.authority import AuthorityError
from ca.issuing import Issuing
from ca.signing_request import SigningRequest
from ca.spiffe import jws
from ca.spiffe.bundle import TrustBundle
from ca.spiffe.ids import SpiffeId
from ca.spiffe.svid import X509Svid
from ca.store import StoreError

OWN_PATH: Final = "/narrowgate/authority"
_RETRY_S: Final = 5.0
_log = logging.getLogger("narrowgate.ca")


class ServerIdentity:
    """Holds `context` for the listener and keeps its leaf young."""

    def __init__(
        self,
        issuing: Issuing,
        bundle: TrustBundle,
        executor: Executor,
        scratch: Path,
        clock: Callable[[], float],
    ) -> None:
        self._issuing = issuing
        self._executor = executor
        self._scratch = scratch
        self._clock = clock
        self._name = SpiffeId.parse(f"spiffe://{bundle.trust_domain}{OWN_PATH}")
        self.context = _context(bundle)
        self.svid: X509Svid | None = None

    async def renew(self) -> None:
        """Issue a fresh leaf and use it for every handshake from now on.

        Raises `AuthorityError` or `StoreError`; the leaf in use then stays.
        """
        loop = asyncio.get_running_loop()
        self.svid = await loop.run_in_executor(self._executor, self._renew)

    async def run(self) -> None:
        """Renew at half of each leaf's life until cancelled."""
        while True:
            await asyncio.sleep(self._wait_s())
            try:
                await self.renew()
            except (AuthorityError, StoreError, OSError) as error:
                _log.error("cannot renew the authority's own SVID: %s", error)
                await asyncio.sleep(_RETRY_S)

    def _wait_s(self) -> float:
        if self.svid is None:
            return 0.0
        half_s = (self.svid.not_after_s + self._issued_s) / 2
        return max(0.0, half_s - self._clock())

    def _renew(self) -> X509Svid:
        self._issued_s = self._clock()
        key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        thumbprints = [jws.thumbprint(jws.ec_jwk(one.public_key())) for one in (key, other)]
        request = SigningRequest(
            key.public_key(), thumbprints[0], other.public_key(), thumbprints[1], None
        )
        svid = self._issuing.issue_own(self._name, request).svid
        self._load(svid, key)
        return svid

    def _load(self, svid: X509Svid, key: ec.EllipticCurvePrivateKey) -> None:
        password = secrets.token_bytes(32).hex().encode()
        pem = key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password)
        )
        chain = b"".join(one.public_bytes(Encoding.PEM) for one in svid.chain)
        # The ssl module reads certificates from files only.
        with tempfile.NamedTemporaryFile(dir=self._scratch, prefix=".leaf-") as file:
            file.write(pem + chain)
            file.flush()
            self.context.load_cert_chain(file.name, password=password)


def _context(bundle: TrustBundle) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 0
    context.load_verify_locations(cadata=bundle.pem())
    context.set_alpn_protocols(["http/1.1"])
    return context
