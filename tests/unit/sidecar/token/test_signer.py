"""A signer signs under its own WIT, and shows no key."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ca.spiffe import jws
from sidecar.token.signer import HopSigner


def test_signed_token_verifies_under_the_wit(mesh: Any) -> None:
    one = mesh.workload("orders")
    text = one.signer.sign({"a": 1}, "narrowgate-hop+jwt")
    parsed = jws.parse(text, typ="narrowgate-hop+jwt", bytes_max=4096)
    assert parsed.header == {"typ": "narrowgate-hop+jwt", "alg": "ES256", "wit": one.text}
    assert parsed.claims == {"a": 1}
    jws.verify(parsed, one.wit.key, "ES256")


def test_each_type_has_its_own_header(mesh: Any) -> None:
    signer = mesh.workload("orders").signer
    for typ in ("a+jwt", "b+jwt", "a+jwt"):
        assert jws.parse(signer.sign({}, typ), typ=typ, bytes_max=4096).header["typ"] == typ


def test_wit_of_another_key_is_refused(mesh: Any) -> None:
    with pytest.raises(ValueError, match="another key"):
        HopSigner(ec.generate_private_key(ec.SECP256R1()), mesh.workload("orders").wit)


def test_repr_shows_neither_key_nor_token(mesh: Any) -> None:
    one = mesh.workload("orders")
    assert one.text not in repr(one.signer)
    assert "orders" in repr(one.signer)
