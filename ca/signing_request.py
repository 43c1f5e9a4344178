"""What a workload may ask to have signed: one TLS key by CSR, one hop key by JWK.

Invariants: of a CSR only the public key and the proof of possession are used; a CSR that asks for
more than a leaf (CA, certificate signing, several names) is refused, not silently reduced; both
keys are EC P-256 and differ from each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from ca.refusal import Reason, Refused
from ca.spiffe import jws
from ca.spiffe.ids import SpiffeId, SpiffeIdError

CSR_BYTES_MAX: Final = 8 * 1024
_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_PARSE_ERRORS: Final = (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension)


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """Both public keys with their RFC 7638 thumbprints; `name` is what the CSR asked for."""

    key: ec.EllipticCurvePublicKey
    key_thumbprint: str
    hop_key: ec.EllipticCurvePublicKey
    hop_key_thumbprint: str
    name: SpiffeId | None

    @classmethod
    def parse(cls, csr: object, hop_key: object) -> SigningRequest:
        """Read the two members of the request body; raise `Refused`."""
        key, name = _csr(csr)
        hop = _hop_key(hop_key)
        if hop == key:
            raise Refused(Reason.HOP_KEY, "the hop key must differ from the key of the CSR")
        thumbprints = [jws.thumbprint(jws.ec_jwk(one)) for one in (key, hop)]
        return cls(key, thumbprints[0], hop, thumbprints[1], name)


def _csr(text: object) -> tuple[ec.EllipticCurvePublicKey, SpiffeId | None]:
    if not isinstance(text, str) or not text.isascii():
        raise Refused(Reason.CSR, "`csr` is a PEM text")
    if len(text) > CSR_BYTES_MAX:
        raise Refused(Reason.CSR, f"`csr` is at most {CSR_BYTES_MAX} bytes")
    try:
        request = x509.load_pem_x509_csr(text.encode("ascii"))
        key = request.public_key()
        extensions = request.extensions
        digest = request.signature_hash_algorithm
    except _PARSE_ERRORS as error:
        raise Refused(Reason.CSR, "`csr` is not a readable PKCS #10 request") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise Refused(Reason.CSR, "the key of `csr` must be EC P-256")
    if not isinstance(digest, _HASHES):
        raise Refused(Reason.CSR, "`csr` must be signed with SHA-256, SHA-384 or SHA-512")
    try:
        valid = request.is_signature_valid
    except (InvalidSignature, UnsupportedAlgorithm, ValueError) as error:
        raise Refused(Reason.CSR, "the signature of `csr` cannot be checked") from error
    if not valid:
        raise Refused(Reason.CSR, "`csr` is not signed by its own key")
    return key, _asked_name(extensions)


def _asked_name(extensions: x509.Extensions) -> SpiffeId | None:
    """Refuse what a leaf may not have, and return the one URI name when there is one."""
    name: SpiffeId | None = None
    for extension in extensions:
        match extension.value:
            case x509.BasicConstraints(ca=True):
                raise Refused(Reason.CSR, "`csr` asks for a CA certificate")
            case x509.KeyUsage() as usage if usage.key_cert_sign or usage.crl_sign:
                raise Refused(Reason.CSR, "`csr` asks for the right to sign certificates")
            case x509.SubjectAlternativeName() as names:
                name = _only_uri(names)
            case _:
                continue
    return name


def _only_uri(names: x509.SubjectAlternativeName) -> SpiffeId:
    asked = list(names)
    if len(asked) != 1 or not isinstance(asked[0], x509.UniformResourceIdentifier):
        raise Refused(Reason.CSR, "`csr` may name exactly one SPIFFE ID and nothing else")
    try:
        return SpiffeId.parse(asked[0].value)
    except SpiffeIdError as error:
        raise Refused(Reason.CSR, "the name in `csr` is not a SPIFFE ID") from error


def _hop_key(jwk: object) -> ec.EllipticCurvePublicKey:
    if not isinstance(jwk, dict):
        raise Refused(Reason.HOP_KEY, "`hop_key` is a public JWK")
    try:
        key = jws.jwk_to_key(jwk)
    except jws.JwsError as error:
        raise Refused(Reason.HOP_KEY, "`hop_key` is not a public EC P-256 JWK") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise Refused(Reason.HOP_KEY, "`hop_key` must be EC P-256")
    return key
