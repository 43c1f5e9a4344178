"""A mini authority with real keys, and workloads that sign whatever a test wants them to sign."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ca.spiffe import jws
from ca.spiffe.bundle import TrustBundle
from ca.spiffe.ids import SpiffeId, TrustDomain
from ca.spiffe.wit import Wit, verify_wit
from policy.call import Call, Gate, Grant, Posture
from policy.input import Needs
from policy.permit import Judge, Permit
from sidecar.token.issuers import IssuerList
from sidecar.token.signer import HopSigner
from sidecar.token.trust import Revocations, Trust

NOW_S: Final = 1_800_000_000.0
KID: Final = "authority-1"
SCOPE: Final = ("orders:read", "orders:write", "pay")


def prev(*texts: str) -> str:
    digest = hashlib.sha256("~".join(texts).encode()).digest()
    return jws.b64url_encode(digest).decode()


class Workload:
    """A workload's identity as its sidecar holds it."""

    def __init__(self, mesh: Mesh, name: str, life_s: float) -> None:
        self.id = SpiffeId.parse(f"spiffe://{mesh.domain}/ns/shop/sa/{name}")
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.jti = f"wit-{name}"
        self.text = mesh.wit_text(self.id, self.key, life_s=life_s, jti=self.jti)
        self.wit: Wit = verify_wit(self.text, mesh.bundle, NOW_S)

    @property
    def signer(self) -> HopSigner:
        return HopSigner(self.key, self.wit)


class Mesh:
    """One trust domain: authority key, workloads, issuer list, and forged tokens of every kind."""

    now_s = NOW_S

    def __init__(self, domain: str = "shop.example") -> None:
        self.domain = TrustDomain.parse(domain)
        self.authority_key = ec.generate_private_key(ec.SECP256R1())
        self.bundle = TrustBundle(self.domain, (), {KID: self.authority_key.public_key()}, 1)
        self.workloads: dict[str, Workload] = {}
        self.root_lifetime_s = 60.0

    def workload(self, name: str, *, life_s: float = 3600) -> Workload:
        if name not in self.workloads:
            self.workloads[name] = Workload(self, name, life_s)
        return self.workloads[name]

    def wit_text(
        self,
        name: SpiffeId,
        key: ec.EllipticCurvePrivateKey,
        *,
        life_s: float = 3600,
        jti: str = "wit",
        by: ec.EllipticCurvePrivateKey | None = None,
    ) -> str:
        claims = {
            "iss": f"spiffe://{self.domain}",
            "sub": name.uri,
            "iat": int(NOW_S) - 10,
            "exp": int(NOW_S + life_s),
            "jti": jti,
            "cnf": {"jwk": jws.ec_jwk(key.public_key())},
        }
        return jws.sign(claims, by or self.authority_key, typ="wit+jwt", headers={"kid": KID})

    def issuers_text(
        self, *, edge: str = "edge", exp_s: float = NOW_S + 3600, **changes: object
    ) -> str:
        item: dict[str, object] = {
            "workload": self.workload(edge).id.uri,
            "external_issuers": ["https://idp.example"],
            "scope": list(SCOPE),
            "lifetime_s_max": self.root_lifetime_s,
        }
        claims = {"iat": int(NOW_S), "exp": int(exp_s), "issuers": [item | changes]}
        return jws.sign(
            claims, self.authority_key, typ="narrowgate-issuers+jwt", headers={"kid": KID}
        )

    def issuers(self, *, now_s: float = NOW_S, **changes: object) -> IssuerList:
        return IssuerList.parse(self.issuers_text(**changes), self.bundle, now_s)  # type: ignore[arg-type]

    def trust(self, **changes: object) -> Trust:
        values: dict[str, object] = {
            "bundles": {self.domain: self.bundle},
            "bundle_sequence": 1,
            "issuers": self.issuers(),
            "revocations": Revocations(),
        }
        return Trust(**(values | changes))  # type: ignore[arg-type]

    def root(
        self,
        edge: str = "edge",
        *,
        scope: Iterable[str] = SCOPE,
        header: Mapping[str, object] | None = None,
        typ: str = "txntoken+jwt",
        key: ec.EllipticCurvePrivateKey | None = None,
        **changes: object,
    ) -> str:
        one = self.workload(edge)
        claims: dict[str, object] = {
            "iss": one.id.uri,
            "iat": int(NOW_S),
            "exp": int(NOW_S) + 60,
            "aud": self.domain.name,
            "txn": "txn-1",
            "sub": "pseudonym-1",
            "scope": " ".join(scope),
            "req_wl": one.id.uri,
        }
        claims = {name: value for name, value in (claims | changes).items() if value is not None}
        headers = {"wit": one.text} if header is None else header
        return jws.sign(claims, key or one.key, typ=typ, headers=headers)

    def authority_root(self, starts: str, **changes: object) -> str:
        """A replacement root (rule 7)."""
        values: dict[str, object] = {
            "iss": f"spiffe://{self.domain}",
            "req_wl": self.workload(starts).id.uri,
            "replaces": prev("the chain that it replaces"),
        }
        return self.root(key=self.authority_key, header={"kid": KID}, **(values | changes))  # type: ignore[arg-type]

    def hop(
        self,
        by: str,
        to: str,
        before: Sequence[str],
        *,
        scope: Iterable[str] = SCOPE,
        header: Mapping[str, object] | None = None,
        typ: str = "narrowgate-hop+jwt",
        key: ec.EllipticCurvePrivateKey | None = None,
        **changes: object,
    ) -> str:
        one = self.workload(by)
        claims: dict[str, object] = {
            "iss": one.id.uri,
            "aud": self.workload(to).id.uri,
            "txn": "txn-1",
            "scope": " ".join(scope),
            "iat": int(NOW_S),
            "exp": int(NOW_S) + 60,
            "prev": prev(*before),
        }
        claims = {name: value for name, value in (claims | changes).items() if value is not None}
        headers = {"wit": one.text} if header is None else header
        return jws.sign(claims, key or one.key, typ=typ, headers=headers)

    def chain(self, *names: str, root: str | None = None) -> tuple[str, str]:
        """A valid chain edge -> ... -> last, all of the same scope."""
        texts = [root or self.root(names[0])]
        for by, to in itertools.pairwise(names):
            texts.append(self.hop(by, to, texts))
        return texts[0], "~".join(texts[1:])


class _Allow:
    """An engine that always allows, and hands on `scope`."""

    needs = Needs()

    def __init__(self, scope: Iterable[str] | None) -> None:
        self._answer: dict[str, object] = {"allowed": True}
        if scope is not None:
            self._answer["narrowgate"] = {"scope": sorted(scope)}

    async def evaluate(self, document: bytes) -> object:
        return self._answer

    async def close(self) -> None:
        return None


async def permitted(
    grant: Grant | None,
    destination: SpiffeId,
    scope: Iterable[str] | None = None,
    *,
    gate: Gate = Gate.OUTBOUND,
) -> Permit:
    """A permit from the real judge."""
    call = Call(
        gate=gate,
        id="decision",
        time_s=NOW_S,
        method="GET",
        target="/",
        path="/",
        query="",
        host="orders",
        protocol="HTTP/1.1",
        fields=(),
        size=0,
        body=None,
        truncated=False,
        source=None,
        source_address=("127.0.0.1", 1),
        destination=destination,
        destination_address=("127.0.0.1", 2),
        workload=destination,
    )
    permit = await Judge(_Allow(scope)).decide(call, grant, Posture.NORMAL)
    assert isinstance(permit, Permit), permit
    return permit


@pytest.fixture
def mesh() -> Mesh:
    return Mesh()


@pytest.fixture
def permit_for() -> object:
    return permitted


@pytest.fixture
def grant(mesh: Mesh) -> object:
    """Makes a grant as if it had been verified."""

    def make(scope: Iterable[str] = SCOPE, **changes: object) -> Grant:
        edge = mesh.workload("edge").id
        values: dict[str, object] = {
            "txn": "txn-1",
            "subject": "pseudonym-1",
            "scope": frozenset(scope),
            "requesting_workload": edge,
            "issuer": edge,
            "expires_at_s": NOW_S + 60,
            "hops": (edge,),
            "context": {"channel": "web"},
            "root": "root.text.a",
            "chain": "hop.text.a",
        }
        return Grant(**(values | changes))  # type: ignore[arg-type]

    return make
