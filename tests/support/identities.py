"""Real identities for tests inside one process: the authority's own code signs them."""

from __future__ import annotations

import io
import ssl
import time
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ca import cli
from ca.authority import IssuerRule
from ca.serve import open_authority
from ca.spiffe.bundle import TrustBundle
from ca.spiffe.ids import SpiffeId
from sidecar.identity.credentials import Credentials
from sidecar.net.tls import context

DOMAIN = "shop.example"
IDP = "https://idp.example"


def workload(name: str) -> SpiffeId:
    return SpiffeId.parse(f"spiffe://{DOMAIN}/ns/shop/sa/{name}")


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


class Identities:
    """A trust domain whose authority issues whatever a test asks for."""

    def __init__(self, folder: Path, domain: str = DOMAIN) -> None:
        state = folder / f"ca-{domain}"
        with redirect_stdout(io.StringIO()):
            assert cli.main(["ca", "init", "--state", str(state), "--trust-domain", domain]) == 0
        self._store, self.authority = open_authority(state, None)
        self.domain = domain

    def close(self) -> None:
        self._store.close()

    @property
    def bundle(self) -> TrustBundle:
        return self.authority.bundle

    def issue(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        hop_key: ec.EllipticCurvePrivateKey,
        *,
        lifetime_s: int = 3600,
        now_s: float | None = None,
    ) -> dict[str, object]:
        """What `/v1/attest` answers."""
        spiffe_id = SpiffeId.parse(f"spiffe://{self.domain}/ns/shop/sa/{name}")
        now_s = time.time() if now_s is None else now_s
        issued = self.authority.issue(
            spiffe_id, key.public_key(), hop_key.public_key(), lifetime_s, now_s
        )
        svid = "".join(
            one.public_bytes(serialization.Encoding.PEM).decode() for one in issued.svid.chain
        )
        return {"workload": spiffe_id.uri, "svid": svid, "wit": issued.wit.token}

    def credentials(
        self,
        name: str,
        *,
        lifetime_s: int = 3600,
        now_s: float | None = None,
        spiffe_id: str = "",
    ) -> Credentials:
        now_s = time.time() if now_s is None else now_s
        key, hop_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        full = SpiffeId.parse(spiffe_id or f"spiffe://{self.domain}/ns/shop/sa/{name}")
        issued = self.authority.issue(
            full, key.public_key(), hop_key.public_key(), lifetime_s, now_s
        )
        svid_pem = b"".join(
            one.public_bytes(serialization.Encoding.PEM) for one in issued.svid.chain
        )
        return Credentials(issued.svid, issued.wit, svid_pem, pem_of(key), hop_key, now_s)

    def tls(self, held: Credentials, *, server_side: bool = False) -> ssl.SSLContext:
        return context(
            server_side=server_side,
            chain_pem=held.svid_pem,
            key_pem=held.key_pem,
            roots_pem=self.bundle.pem(),
        )

    def issuers(self, *edges: str, scope: Iterable[str] = ("read", "write", "pay")) -> str:
        rules = [
            IssuerRule(
                SpiffeId.parse(f"spiffe://{self.domain}/ns/shop/sa/{edge}"), (IDP,), tuple(scope)
            )
            for edge in edges
        ]
        return self.authority.sign_issuers(rules, time.time())

    def sections(self, **changes: Any) -> dict[str, Any]:
        """All sections of a snapshot, empty but for `changes`."""
        sections: dict[str, Any] = {
            "bundles": {self.domain: self.bundle.document()},
            "policy": None,
            "registry": {"services": []},
            "issuers": self.issuers(),
            "revocations": revocations(),
            "pseudonyms": None,
        }
        return sections | changes

    def snapshot(self, sequence: int = 1, **changes: Any) -> dict[str, Any]:
        return {
            "type": "snapshot",
            "sequence": sequence,
            "sections": self.sections(**changes),
        }


def delta(sequence: int, **sections: Any) -> dict[str, Any]:
    return {"type": "delta", "sequence": sequence, "sections": sections}


def service(name: str, *endpoints: str, hosts: Iterable[str] = ()) -> dict[str, Any]:
    return {"id": workload(name).uri, "hosts": [name, *hosts], "endpoints": list(endpoints)}


def revocations(epoch: int = 0, **members: list[str]) -> Mapping[str, Any]:
    names = ("serials", "workloads", "keys", "transactions", "tokens")
    return {"epoch": epoch, **{name: members.get(name, []) for name in names}}
