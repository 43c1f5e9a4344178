"""The authority itself: it alone holds the signing keys, and checks each thing that it signed.

Invariants: issuing is template -> sign -> re-validate with the very function a relying party uses;
nothing of a request but its public keys enters a certificate; nothing outlives the root. The root
is ECDSA P-256 with the trust domain as its URI SAN and path length 0 (X509-SVID 3.2).
"""

from __future__ import annotations

import hashlib
import secrets as random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca.keys import PublicParts, Secrets
from ca.spiffe import jws
from ca.spiffe.bundle import TrustBundle
from ca.spiffe.ids import SpiffeId, TrustDomain
from ca.spiffe.svid import SvidError, X509Svid, verify_svid
from ca.spiffe.wit import TYPE as WIT_TYPE
from ca.spiffe.wit import Wit, verify_wit

ISSUERS_TYPE: Final = "narrowgate-issuers+jwt"
ISSUERS_LIFETIME_S: Final = 3600
ROOT_LIFETIME: Final = timedelta(days=3650)
REFRESH_HINT_S: Final = 300
_BACKDATE: Final = timedelta(seconds=60)  # for relying parties whose clock is behind
_USAGES: Final = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


class AuthorityError(Exception):
    """The authority cannot issue: its root has run out, or what it signed did not validate."""


class Issued(NamedTuple):
    """One identity: the certificate, the WIT that goes with it, and both as verified."""

    svid: X509Svid
    wit: Wit


@dataclass(frozen=True, slots=True)
class IssuerRule:
    """Which external issuers an edge may accept, and the most that it may make of them."""

    workload: SpiffeId
    external_issuers: tuple[str, ...]
    scope: tuple[str, ...]
    lifetime_s_max: int = 60


class Authority:
    """Signs SVIDs, WITs and the issuer list of one trust domain."""

    def __init__(
        self, trust_domain: TrustDomain, secrets: Secrets, root: x509.Certificate, sequence: int
    ) -> None:
        self.trust_domain = trust_domain
        self.bundle = public_bundle(
            trust_domain, PublicParts(root, secrets.jwt_key.public_key()), sequence
        )
        self._secrets = secrets
        self._root = root
        self._kid = key_id(secrets.jwt_key.public_key())
        if root_trust_domain(root) != trust_domain:
            raise AuthorityError("the root certificate belongs to another trust domain")

    def issue(
        self,
        name: SpiffeId,
        key: ec.EllipticCurvePublicKey,
        hop_key: ec.EllipticCurvePublicKey,
        lifetime_s: int,
        now_s: float,
    ) -> Issued:
        """Issue an SVID and a WIT that expire together; raise `AuthorityError`."""
        if name.trust_domain != self.trust_domain or not name.path:
            raise AuthorityError(f"{name} is not a workload of {self.trust_domain}")
        svid = self._svid(name, key, lifetime_s, now_s)
        return Issued(svid, self._wit(name, hop_key, svid.not_after_s, now_s))

    def sign_issuers(self, rules: Sequence[IssuerRule], now_s: float) -> str:
        """Return the signed issuer list, valid for `ISSUERS_LIFETIME_S`."""
        claims = {
            "iat": int(now_s),
            "exp": int(now_s) + ISSUERS_LIFETIME_S,
            "issuers": [
                {
                    "workload": rule.workload.uri,
                    "external_issuers": list(rule.external_issuers),
                    "scope": list(rule.scope),
                    "lifetime_s_max": rule.lifetime_s_max,
                }
                for rule in rules
            ],
        }
        return jws.sign(claims, self._secrets.jwt_key, typ=ISSUERS_TYPE, headers={"kid": self._kid})

    def pseudonym_secret(self) -> bytes:
        """Return the 32 bytes that edges on the issuer list share."""
        return self._secrets.pseudonym_secret()

    def _svid(
        self, name: SpiffeId, key: ec.EllipticCurvePublicKey, lifetime_s: int, now_s: float
    ) -> X509Svid:
        now = datetime.fromtimestamp(int(now_s), UTC)
        not_after = now + timedelta(seconds=lifetime_s)
        if not_after > self._root.not_valid_after_utc:
            raise AuthorityError("the root certificate runs out before the SVID would: renew it")
        template = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._root.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATE)
            .not_valid_after(not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage("digital_signature"), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                critical=False,
            )
            # The subject is empty, so the name must be critical (RFC 5280 4.2.1.6).
            .add_extension(_names(name.uri), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    self._secrets.root_key.public_key()
                ),
                critical=False,
            )
        )
        certificate = template.sign(self._secrets.root_key, hashes.SHA256())
        return self._checked(certificate, name, key, now_s)

    def _checked(
        self,
        certificate: x509.Certificate,
        name: SpiffeId,
        key: ec.EllipticCurvePublicKey,
        now_s: float,
    ) -> X509Svid:
        try:
            svid = verify_svid([certificate], self.bundle, now_s)
        except SvidError as error:
            raise AuthorityError(f"what was signed is not an SVID: {error}") from error
        if svid.id != name or certificate.public_key() != key:
            raise AuthorityError("what was signed names another workload or key")
        return svid

    def _wit(
        self, name: SpiffeId, key: ec.EllipticCurvePublicKey, not_after_s: float, now_s: float
    ) -> Wit:
        claims = {
            "iss": f"spiffe://{self.trust_domain}",
            "sub": name.uri,
            "iat": int(now_s),
            "exp": int(not_after_s),
            "jti": random.token_urlsafe(16),
            "cnf": {"jwk": jws.ec_jwk(key)},
        }
        token = jws.sign(claims, self._secrets.jwt_key, typ=WIT_TYPE, headers={"kid": self._kid})
        try:
            wit = verify_wit(token, self.bundle, now_s)
        except SvidError as error:
            raise AuthorityError(f"what was signed is not a WIT: {error}") from error
        if wit.id != name or wit.key != key:
            raise AuthorityError("what was signed names another workload or key")
        return wit


def make_root(trust_domain: TrustDomain, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Return a fresh self-signed root, valid for ten years."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Narrowgate"),
            # A common name has at most 64 characters; the whole name is in the URI SAN.
            x509.NameAttribute(NameOID.COMMON_NAME, f"authority {trust_domain}"[:64]),
        ]
    )
    now = datetime.now(UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * _BACKDATE)  # a leaf must not begin before its root
        .not_valid_after(now + ROOT_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(_names(f"spiffe://{trust_domain}"), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def public_bundle(trust_domain: TrustDomain, public: PublicParts, sequence: int) -> TrustBundle:
    """Return the trust bundle; it needs no private key."""
    keys = {key_id(public.jwt_key): public.jwt_key}
    return TrustBundle(trust_domain, (public.root,), keys, sequence, REFRESH_HINT_S)


def key_id(key: ec.EllipticCurvePublicKey) -> str:
    """Return the `kid` of a JWT authority: its thumbprint, so that it never names two keys."""
    return hashlib.sha256(jws.thumbprint(jws.ec_jwk(key)).encode()).hexdigest()[:16]


def root_trust_domain(root: x509.Certificate) -> TrustDomain:
    """Return the trust domain that a root certificate names."""
    names = root.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return TrustDomain.parse(names.get_values_for_type(x509.UniformResourceIdentifier)[0])


def _usage(*wanted: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name in wanted for name in _USAGES})


def _names(uri: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
