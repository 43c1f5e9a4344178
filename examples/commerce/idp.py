"""A stand-in for an external identity provider: one ES256 key, its JWKS file, access tokens.

It stands for whatever a company already has (any OpenID Connect provider). It also makes the
web certificate with which the edge meets the outside world.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

KEY_ID = "idp-1"


class IdentityProvider:
    """Issues access tokens as `issuer` for `audience`."""

    def __init__(self, issuer: str, audience: str) -> None:
        self._issuer = issuer
        self._audience = audience
        self._key = ec.generate_private_key(ec.SECP256R1())

    def write_jwks(self, path: Path) -> None:
        """The public key as a JWKS file (RFC 7517)."""
        point = self._key.public_key().public_numbers()
        key = {
            "kty": "EC",
            "crv": "P-256",
            "alg": "ES256",
            "use": "sig",
            "kid": KEY_ID,
            "x": _base64url(point.x.to_bytes(32, "big")),
            "y": _base64url(point.y.to_bytes(32, "big")),
        }
        path.write_text(json.dumps({"keys": [key]}))

    def access_token(
        self,
        scope: Sequence[str],
        *,
        subject: str = "alice",
        lifetime_s: float = 600,
        issuer: str | None = None,
        audience: str | None = None,
    ) -> str:
        """An access token (RFC 9068) for `subject`; a negative lifetime makes an expired one."""
        now_s = int(time.time())
        claims = {
            "iss": issuer or self._issuer,
            "aud": audience or self._audience,
            "sub": subject,
            "client_id": "shop-web",
            "scope": " ".join(scope),
            "iat": now_s if lifetime_s > 0 else now_s - 3600,
            "exp": int(now_s + lifetime_s),
            "jti": uuid.uuid4().hex,
        }
        return jwt.encode(claims, self._key, "ES256", headers={"typ": "at+jwt", "kid": KEY_ID})


def write_web_certificate(certificate: Path, key: Path) -> None:
    """A self-signed web certificate for `localhost` and 127.0.0.1, and its key (mode 0600)."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the shop's front door")])
    now = datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.touch(mode=0o600)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
