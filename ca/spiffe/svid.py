"""X509-SVIDs: which certificate may stand for a workload, and which chain proves it.

Invariants: a name leaves this module only when every rule of X509-SVID 5.2 held for the leaf; a
chain is accepted only when it ends in an authority of the bundle of the leaf's own trust domain; a
critical extension that we do not evaluate refuses the chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from ca.spiffe.bundle import TrustBundle
from ca.spiffe.ids import SpiffeId, SpiffeIdError

CHAIN_MAX: Final = 8
PEM_BYTES_MAX: Final = 64 * 1024
_RSA_BITS_MIN: Final = 2048
_EVALUATED: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.NAME_CONSTRAINTS,
    }
)
_CURVES: Final = frozenset({"secp256r1", "secp384r1", "secp521r1"})
_T = TypeVar("_T", bound=x509.ExtensionType)
_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


class SvidError(ValueError):
    """The certificate, chain or WIT does not prove a SPIFFE ID."""


@dataclass(frozen=True, slots=True)
class X509Svid:
    """A leaf-first chain whose structure was checked; times are POSIX seconds."""

    id: SpiffeId
    chain: tuple[x509.Certificate, ...]
    not_before_s: float
    not_after_s: float
    serial: int

    @classmethod
    def parse_pem(cls, pem: bytes) -> Self:
        """Read leaf-first PEM; raise `SvidError`. Checks structure, not signatures or time."""
        if len(pem) > PEM_BYTES_MAX:
            raise SvidError(f"a chain is at most {PEM_BYTES_MAX} bytes of PEM")
        try:
            chain = x509.load_pem_x509_certificates(pem)
        except ValueError as error:
            raise SvidError("not a PEM certificate chain") from error
        return cls.of_chain(chain)

    @classmethod
    def of_chain(cls, chain: Sequence[x509.Certificate]) -> Self:
        """Check the structure of a leaf-first chain; raise `SvidError`."""
        if not 0 < len(chain) <= CHAIN_MAX:
            raise SvidError(f"a chain has 1 to {CHAIN_MAX} certificates")
        leaf = chain[0]
        name = leaf_id(leaf)
        for depth, certificate in enumerate(chain[1:]):
            _check_signing(certificate, depth)
        return cls(
            name,
            tuple(chain),
            leaf.not_valid_before_utc.timestamp(),
            leaf.not_valid_after_utc.timestamp(),
            leaf.serial_number,
        )


def leaf_id(certificate: x509.Certificate) -> SpiffeId:
    """Return the SPIFFE ID of a leaf that obeys X509-SVID 2, 3.1 and 4; raise `SvidError`."""
    try:
        extensions = certificate.extensions
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise SvidError("the certificate's extensions are malformed") from error
    _check_known(extensions)
    constraints = _find(extensions, x509.BasicConstraints)
    if constraints is not None and constraints.value.ca:
        raise SvidError("a leaf must not be a CA")
    usage = _key_usage(extensions)
    if not usage.digital_signature:
        raise SvidError("a leaf must set digitalSignature")
    if usage.key_cert_sign or usage.crl_sign:
        raise SvidError("a leaf must not set keyCertSign or cRLSign")
    extended = _find(extensions, x509.ExtendedKeyUsage)
    if extended is not None and not {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    } <= set(extended.value):
        raise SvidError("a leaf's extended key usage must hold serverAuth and clientAuth")
    return _uri(extensions)


def verify_svid(chain: Sequence[x509.Certificate], bundle: TrustBundle, now_s: float) -> X509Svid:
    """Verify a leaf-first chain against a bundle at `now_s` (POSIX seconds); raise `SvidError`.

    RFC 5280 section 6 reduced to what X509-SVID allows: names, signatures, validity, path length,
    URI name constraints. Extra certificates after the one that an authority signed are ignored.
    """
    svid = X509Svid.of_chain(chain)
    if svid.id.trust_domain != bundle.trust_domain:
        raise SvidError("the SVID belongs to another trust domain than the bundle")
    now = datetime.fromtimestamp(now_s, UTC)
    for depth, certificate in enumerate(chain):
        _check_strength(certificate)
        _check_time(certificate, now)
        if _anchored(certificate, bundle, depth, svid.id, now):
            return svid
        if depth + 1 == len(chain) or not _issued(certificate, chain[depth + 1]):
            break
        _check_name_constraints(chain[depth + 1], svid.id)
    raise SvidError("no authority of the bundle signed this chain")


def _anchored(
    certificate: x509.Certificate, bundle: TrustBundle, depth: int, name: SpiffeId, now: datetime
) -> bool:
    for authority in bundle.x509_authorities:
        if not _issued(certificate, authority):
            continue
        try:
            _check_signing(authority, depth)
            _check_strength(authority)
            _check_time(authority, now)
            _check_name_constraints(authority, name)
        except SvidError:
            continue  # another authority with the same name and key may still be in force
        return True
    return False


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _check_signing(certificate: x509.Certificate, depth: int) -> None:
    """Check a signing certificate with `depth` intermediates below it (X509-SVID 3.2, 4)."""
    try:
        extensions = certificate.extensions
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise SvidError("the certificate's extensions are malformed") from error
    _check_known(extensions)
    constraints = _find(extensions, x509.BasicConstraints)
    if constraints is None or not constraints.value.ca:
        raise SvidError("a signing certificate must be a CA")
    length = constraints.value.path_length
    if length is not None and depth > length:
        raise SvidError("the chain is longer than the path length that its authority allows")
    if not _key_usage(extensions).key_cert_sign:
        raise SvidError("a signing certificate must set keyCertSign")


def _check_known(extensions: x509.Extensions) -> None:
    for extension in extensions:
        if extension.critical and extension.oid not in _EVALUATED:
            raise SvidError(f"unknown critical extension {extension.oid.dotted_string}")


def _key_usage(extensions: x509.Extensions) -> x509.KeyUsage:
    usage = _find(extensions, x509.KeyUsage)
    if usage is None:
        raise SvidError("an SVID must have the key usage extension")
    return usage.value


def _find(extensions: x509.Extensions, kind: type[_T]) -> x509.Extension[_T] | None:
    try:
        return extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def _uri(extensions: x509.Extensions) -> SpiffeId:
    names = _find(extensions, x509.SubjectAlternativeName)
    uris = [] if names is None else names.value.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise SvidError("an SVID has exactly one URI subject alternative name")
    try:
        name = SpiffeId.parse(uris[0])
    except SpiffeIdError as error:
        raise SvidError("the URI subject alternative name is not a SPIFFE ID") from error
    if not name.path:
        raise SvidError("a leaf's SPIFFE ID has a path; a trust domain is not a workload")
    return name


def _check_strength(certificate: x509.Certificate) -> None:
    key = certificate.public_key()
    match key:
        case ec.EllipticCurvePublicKey():
            strong = key.curve.name in _CURVES
        case rsa.RSAPublicKey():
            strong = key.key_size >= _RSA_BITS_MIN
        case ed25519.Ed25519PublicKey():
            strong = True
        case _:
            strong = False
    if not strong:
        raise SvidError("the certificate's key is too weak or of an unknown kind")
    digest = certificate.signature_hash_algorithm  # None: Ed25519
    if digest is not None and not isinstance(digest, _HASHES):
        raise SvidError("the certificate is signed with a weak hash")


def _check_time(certificate: x509.Certificate, now: datetime) -> None:
    if now < certificate.not_valid_before_utc:
        raise SvidError("the certificate is not valid yet")
    if now > certificate.not_valid_after_utc:
        raise SvidError("the certificate has expired")


def _check_name_constraints(authority: x509.Certificate, name: SpiffeId) -> None:
    """Apply URI constraints to the trust domain (RFC 5280 4.2.1.10); refuse any other kind."""
    constraints = _find(authority.extensions, x509.NameConstraints)
    if constraints is None:
        return
    host = name.trust_domain.name
    if any(_covers(one, host) for one in constraints.value.excluded_subtrees or ()):
        raise SvidError("an authority excludes this trust domain")
    permitted = [_covers(one, host) for one in constraints.value.permitted_subtrees or ()]
    if permitted and not any(permitted):
        raise SvidError("an authority does not permit this trust domain")


def _covers(subtree: x509.GeneralName, host: str) -> bool:
    if not isinstance(subtree, x509.UniformResourceIdentifier):
        raise SvidError("an authority has a name constraint that is not a URI")
    base = subtree.value
    return host.endswith(base) if base.startswith(".") else host == base
