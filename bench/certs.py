"""Keys and certificates of the bench: SVIDs for Envoy, strangers, the edge, and an external issuer.

Narrowgate's own SVIDs are not made here: its authority issues them.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import time
from pathlib import Path
from typing import Final

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

TRUST_DOMAIN: Final = "shop.example"
ISSUER: Final = "https://idp.shop.example"
AUDIENCE: Final = "shop"
SCOPE: Final = "payments:charge"
LIFETIME_S: Final = 3600

_USAGE: Final = dict.fromkeys(
    [
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    ],
    False,
)


def spiffe_id(account: str) -> str:
    return f"spiffe://{TRUST_DOMAIN}/ns/shop/sa/{account}"


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


class Issuer:
    """A CA for one trust domain that writes `<name>.pem` and `<name>.key` into a directory."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory: Final = directory
        self._key: Final = ec.generate_private_key(ec.SECP256R1())
        self._name: Final = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._identifier: Final = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        usage = x509.KeyUsage(**{**_USAGE, "key_cert_sign": True, "crl_sign": True})
        root = x509.UniformResourceIdentifier(f"spiffe://{TRUST_DOMAIN}")
        certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(self._identifier, critical=False)
            .add_extension(x509.SubjectAlternativeName([root]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.file: Final = directory / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def leaf(self, name: str, alternatives: list[x509.GeneralName]) -> None:
        """Issue one certificate for both sides of TLS, with exactly these alternative names."""
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._identifier)
        certificate = (
            self._builder(x509.Name([]), key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**{**_USAGE, "digital_signature": True}), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(authority, critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        encoded = certificate.public_bytes(serialization.Encoding.PEM)
        (self._directory / f"{name}.pem").write_bytes(encoded)
        (self._directory / f"{name}.key").write_bytes(pem(key))

    def svid(self, name: str, account: str) -> None:
        self.leaf(name, [x509.UniformResourceIdentifier(spiffe_id(account))])

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(days=1))
        )


def make(directory: Path) -> None:
    """Write everything that needs no running authority.

    `ca.pem` with frontend, payments and rogue; `foreign.pem` with stranger, who claims to be the
    frontend under another CA; the edge's server certificate; `jwks.json` of the external issuer
    with `good.jwt` and `forged.jwt`.
    """
    directory.mkdir()
    authority = Issuer(directory, "ca")
    for account in ("frontend", "payments", "rogue"):
        authority.svid(account, account)
    Issuer(directory, "foreign").svid("stranger", "frontend")
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    Issuer(directory, "web").leaf("edge", [x509.DNSName("localhost"), loopback])
    _external(directory)


def _external(directory: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    jwk = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    jwk |= {"kid": "bench", "alg": "ES256", "use": "sig"}
    (directory / "jwks.json").write_text(json.dumps({"keys": [jwk]}))
    forger = ec.generate_private_key(ec.SECP256R1())
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "customer-7731",
        "scope": f"{SCOPE} payments:read",
        "iat": now,
        "nbf": now - 5,
        "exp": now + LIFETIME_S,
        "jti": "bench-1",
    }
    for name, signer in (("good", key), ("forged", forger)):
        token = jwt.encode(claims, signer, algorithm="ES256", headers={"kid": "bench"})
        (directory / f"{name}.jwt").write_text(token)
