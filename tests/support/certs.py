"""A certificate authority for tests: real keys, real X509-SVIDs, and whatever else a test wants."""

from __future__ import annotations

import datetime as dt
import ssl
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca.spiffe.bundle import TrustBundle
from ca.spiffe.ids import SpiffeId, TrustDomain
from sidecar.net.tls import context

LONG = dt.timedelta(days=1)


@dataclass(frozen=True)
class Issued:
    """A certificate with its private key, both as PEM."""

    id: SpiffeId
    certificate: x509.Certificate
    chain_pem: bytes
    key_pem: bytes

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def not_after_s(self) -> float:
        return self.certificate.not_valid_after_utc.timestamp()


class CertificateAuthority:
    """One trust domain's root."""

    def __init__(self, domain: str = "shop.example") -> None:
        self.domain = TrustDomain.parse(domain)
        self._key = ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        self._name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, domain)])
        public = self._key.public_key()
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - LONG)
            .not_valid_after(now + LONG)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.bundle = TrustBundle(self.domain, (self.certificate,), {}, 1)

    @property
    def pem(self) -> str:
        return self.bundle.pem()

    def issue(
        self,
        name: str,
        *,
        curve: ec.EllipticCurve | None = None,
        life_s: float = 3600,
        began_s: float = 60,
        uris: int = 1,
    ) -> Issued:
        """A leaf for `spiffe://<domain>/<name>`; `uris` is how often the name stands in it."""
        key = ec.generate_private_key(curve or ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        named = SpiffeId.parse(f"spiffe://{self.domain}/{name}")
        names = [x509.UniformResourceIdentifier(named.uri)] * uris
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(seconds=began_s))
            .not_valid_after(now + dt.timedelta(seconds=life_s))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .add_extension(
                x509.SubjectAlternativeName(names or [x509.DNSName("localhost")]), critical=True
            )
        )
        certificate = builder.sign(self._key, hashes.SHA256())
        return Issued(
            named,
            certificate,
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )

    def server(self, issued: Issued, *, mutual: bool = True) -> ssl.SSLContext:
        """The gate's own server context for `issued`."""
        return context(
            server_side=True,
            chain_pem=issued.chain_pem,
            key_pem=issued.key_pem,
            roots_pem=self.pem if mutual else None,
        )

    def client(self, issued: Issued | None) -> ssl.SSLContext:
        """The gate's own client context; None: without a certificate."""
        return context(
            server_side=False,
            chain_pem=b"" if issued is None else issued.chain_pem,
            key_pem=b"" if issued is None else issued.key_pem,
            roots_pem=self.pem,
        )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
