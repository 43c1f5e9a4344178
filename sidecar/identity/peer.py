"""Who is at the other end: a verified X.509-SVID, parsed once per connection.

OpenSSL has verified the chain against the trust bundle; here the SPIFFE rules for the leaf are
applied (X509-SVID section 4 and 5) and the facts that are checked again on every use are kept.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ca.spiffe.ids import SpiffeId
from ca.spiffe.jws import ec_jwk, thumbprint
from ca.spiffe.svid import SvidError, leaf_id

PEERS_REMEMBERED: Final = 1024


class Peer(NamedTuple):
    """A peer that proved its identity.

    `serial` is the certificate's serial number; `key` the RFC 7638 thumbprint of its public key
    ("" when it is not an EC key); `hash` the SHA-256 of its certificate in hex, as
    x-forwarded-client-cert wants it.
    """

    id: SpiffeId
    not_after_s: float
    serial: int
    key: str
    hash: str


@lru_cache(maxsize=PEERS_REMEMBERED)
def peer_of(certificate_der: bytes) -> Peer:
    """Parse the leaf of a chain that TLS has verified.

    Raises:
        SvidError: it is no X509-SVID leaf.
    """
    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
        not_after_s = certificate.not_valid_after_utc.timestamp()
        serial = certificate.serial_number
        public = certificate.public_key()
    except ValueError as error:
        raise SvidError(f"not a certificate: {type(error).__name__}") from None
    key = thumbprint(ec_jwk(public)) if isinstance(public, ec.EllipticCurvePublicKey) else ""
    digest = hashlib.sha256(certificate_der).hexdigest()
    return Peer(leaf_id(certificate), not_after_s, serial, key, digest)
