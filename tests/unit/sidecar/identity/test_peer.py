"""The facts of a peer, read from the certificate that TLS verified."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ca.spiffe.jws import ec_jwk, thumbprint
from ca.spiffe.svid import SvidError
from sidecar.identity.peer import peer_of
from tests.support.identities import Identities, workload


def test_the_facts_of_a_peer(identities: Identities) -> None:
    svid = identities.credentials("orders").svid
    der = svid.chain[0].public_bytes(Encoding.DER)
    peer = peer_of(der)
    key = svid.chain[0].public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert (peer.id, peer.not_after_s, peer.serial) == (
        workload("orders"),
        svid.not_after_s,
        svid.serial,
    )
    assert peer.key == thumbprint(ec_jwk(key))
    assert peer.hash == hashlib.sha256(der).hexdigest()


@pytest.mark.parametrize("der", [b"", b"no", bytes(100)])
def test_what_is_no_certificate(der: bytes) -> None:
    with pytest.raises(SvidError):
        peer_of(der)


def test_a_root_is_no_peer(identities: Identities) -> None:
    root = identities.bundle.x509_authorities[0]
    with pytest.raises(SvidError):
        peer_of(root.public_bytes(Encoding.DER))
