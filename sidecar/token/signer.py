"""The hop key and the WIT that certifies it: what signs roots and hops of this workload.

Invariants: key and WIT belong together, or there is no signer; the key never leaves and never
shows in a `repr`. A rotation makes a new signer, which is swapped in by one assignment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from cryptography.hazmat.primitives.asymmetric import ec

from ca.spiffe.ids import SpiffeId
from ca.spiffe.jws import ec_jwk, protected_header, sign_protected, thumbprint
from ca.spiffe.wit import Wit


@final
class HopSigner:
    """Signs as `id` until `expires_at_s`, the expiry of its WIT in epoch seconds."""

    __slots__ = ("_headers", "_key", "expires_at_s", "id", "wit")

    id: SpiffeId
    expires_at_s: float
    wit: Wit

    def __init__(self, key: ec.EllipticCurvePrivateKey, wit: Wit) -> None:
        """Raises ValueError when the WIT does not certify `key`, JwsError when it is no P-256."""
        if thumbprint(ec_jwk(key.public_key())) != thumbprint(ec_jwk(wit.key)):
            raise ValueError("the WIT certifies another key")
        self.id = wit.id
        self.expires_at_s = wit.expires_at_s
        self.wit = wit
        self._key = key
        self._headers: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"HopSigner({self.id.uri!r}, expires_at_s={self.expires_at_s})"

    def sign(self, claims: Mapping[str, object], typ: str) -> str:
        """Sign `claims` as a compact JWT with ES256, the WIT in its header."""
        header = self._headers.get(typ)
        if header is None:
            header = self._headers[typ] = protected_header(typ, {"wit": self.wit.token})
        return sign_protected(header, claims, self._key)
