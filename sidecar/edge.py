"""The edge: a caller from outside the mesh shows an access token, and it becomes a grant.

Invariants: only a workload on the authority's issuer list mints a root; keys of an issuer that are
too old verify nothing; the access token itself goes no further than this.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

from policy.call import Grant
from sidecar.config import Edge as EdgeSettings
from sidecar.config import Issuer
from sidecar.control.mesh import Mesh
from sidecar.net.tls import context
from sidecar.token.external import Credentials, ExternalIssuer, bearer
from sidecar.token.jwks import DOCUMENT_BYTES_MAX, Fetch, KeySet, file_source
from sidecar.token.root import RootMinter
from sidecar.token.signer import HopSigner

FILE_POLL_S: Final = 1.0
FETCH_S: Final = 5.0
PEM_BYTES_MAX: Final = 1 << 20
OK: Final = 200


class EdgeError(Exception):
    """The edge cannot be opened; the text says what to do."""


class EdgeGrants:
    """Makes grants from external access tokens. Call `signer_changed` on each rotation."""

    def __init__(
        self,
        settings: EdgeSettings,
        mesh: Mesh,
        signer: HopSigner,
        random: Callable[[int], bytes],
    ) -> None:
        issuers = [_issuer(one) for one in settings.issuers]
        self._credentials = Credentials(issuers)
        self._keys = [one.keys for one in issuers]
        self._mesh = mesh
        self._minter = RootMinter(signer, mesh.pseudonyms, random=random)
        mesh.watch(self._mesh_changed)

    def signer_changed(self, signer: HopSigner) -> None:
        """Sign roots with `signer` from now on."""
        self._minter.signer = signer

    async def grant(self, authorization: bytes, now_s: float) -> Grant:
        """The grant for an `Authorization` value. Raises `TokenRefused`."""
        token = bearer([(b"authorization", authorization)])
        external = await self._credentials.verify(token, now_s)
        return self._minter.mint(external, self._mesh.trust.issuers, now_s)

    async def close(self) -> None:
        """Give up fetches that are under way."""
        for keys in self._keys:
            await keys.close()

    def _mesh_changed(self, changed: frozenset[str]) -> None:
        if "pseudonyms" in changed:
            self._minter.pseudonyms = self._mesh.pseudonyms


def edge_context(settings: EdgeSettings) -> ssl.SSLContext:
    """The server TLS context of the edge: no client certificate is asked for.

    Raises:
        EdgeError: the certificate or the key cannot be used.
    """
    try:
        chain = _read(settings.certificate_file)
        key = _read(settings.key_file)
        if b"ENCRYPTED" in key:  # OpenSSL would ask the terminal for the passphrase
            raise OSError("the key is encrypted; store it without a passphrase, mode 0600")
        return context(server_side=True, chain_pem=chain, key_pem=key, roots_pem=None)
    except OSError as error:
        where = f"{settings.certificate_file} and {settings.key_file}"
        raise EdgeError(
            f"the edge's certificate or key cannot be used ({where}): {error}"
        ) from None


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(PEM_BYTES_MAX)


def _issuer(settings: Issuer) -> ExternalIssuer:
    if settings.jwks_file is not None:
        keys = KeySet(
            file_source(settings.jwks_file), max_age_s=settings.max_age_s, poll_s=FILE_POLL_S
        )
    else:
        keys = KeySet(_url_source(str(settings.jwks_url)), max_age_s=settings.max_age_s)
    return ExternalIssuer(settings.issuer, settings.audience, frozenset(settings.algorithms), keys)


def _url_source(url: str) -> Fetch:
    async def fetch() -> bytes | None:
        import aiohttp  # noqa: PLC0415 - it weighs, and only an edge with a URL needs it

        timeout = aiohttp.ClientTimeout(total=FETCH_S)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status != OK:
                raise ValueError(f"the issuer answered {response.status}")
            document = bytearray()
            async for piece in response.content.iter_chunked(DOCUMENT_BYTES_MAX):
                document += piece
                if len(document) > DOCUMENT_BYTES_MAX:
                    raise ValueError("the issuer's key set is over its bound")
            return bytes(document)

    return fetch
