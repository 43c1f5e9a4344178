"""Signing requests: the accepted form; `test_api.py` sends the refused ones over the wire."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes

from ca.refusal import Reason, Refused
from ca.signing_request import SigningRequest

_ORDERS = "spiffe://shop.example/ns/shop/sa/orders"


def test_both_keys_and_the_name(make_keys: Any) -> None:
    keys = make_keys()
    request = keys.request(_ORDERS)
    assert request.key == keys.tls.public_key() and request.hop_key == keys.hop.public_key()
    assert (request.key_thumbprint, request.hop_key_thumbprint) == keys.thumbprints()
    assert request.name is not None and request.name.uri == _ORDERS
    assert keys.request().name is None


def test_a_signature_by_another_key(make_keys: Any) -> None:
    import base64

    keys = make_keys()
    lines = keys.csr().strip().split("\n")
    der = bytearray(base64.b64decode("".join(lines[1:-1])))
    der[-1] ^= 1
    body = base64.encodebytes(bytes(der)).decode()
    with pytest.raises(Refused) as caught:
        SigningRequest.parse(f"{lines[0]}\n{body}{lines[-1]}\n", keys.jwk())
    assert caught.value.reason is Reason.CSR


def test_a_weak_hash(make_keys: Any) -> None:
    keys = make_keys()
    with pytest.raises(Refused, match="SHA-256"):
        SigningRequest.parse(keys.csr(digest=hashes.SHA224()), keys.jwk())


@pytest.mark.parametrize("csr", ["", "\u212a", "x" * 8193, None])
def test_not_a_csr(make_keys: Any, csr: Any) -> None:
    with pytest.raises(Refused) as caught:
        SigningRequest.parse(csr, make_keys().jwk())
    assert caught.value.reason is Reason.CSR
