"""WITs: one good one, then every claim and header broken in turn."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ca.spiffe import jws
from ca.spiffe.bundle import TrustBundle
from ca.spiffe.ids import TrustDomain
from ca.spiffe.svid import SvidError
from ca.spiffe.wit import Wit, verify_wit, verify_wit_signature

_NAME = "spiffe://shop.example/ns/shop/sa/orders"
_NOW_S = 1_767_225_600.0
_AUTHORITY = ec.generate_private_key(ec.SECP256R1())
_HOP = ec.generate_private_key(ec.SECP256R1())
_BUNDLE = TrustBundle(TrustDomain.parse("shop.example"), (), {"k1": _AUTHORITY.public_key()})


def _token(
    *,
    drop: str | None = None,
    typ: str = "wit+jwt",
    kid: str | None = "k1",
    key: ec.EllipticCurvePrivateKey = _AUTHORITY,
    **claims: Any,
) -> str:
    body: dict[str, Any] = {
        "iss": "spiffe://shop.example",
        "sub": _NAME,
        "iat": _NOW_S,
        "exp": _NOW_S + 3600,
        "jti": "j1",
        "cnf": {"jwk": jws.ec_jwk(_HOP.public_key())},
        **claims,
    }
    body = {name: value for name, value in body.items() if name != drop}
    return jws.sign(body, key, typ=typ, headers={} if kid is None else {"kid": kid})


def test_a_good_wit() -> None:
    wit = verify_wit(_token(), _BUNDLE, _NOW_S + 1)
    assert str(wit.id) == _NAME
    assert wit.key == _HOP.public_key()
    assert wit.key_thumbprint == jws.thumbprint(jws.ec_jwk(_HOP.public_key()))
    assert (wit.jti, wit.expires_at_s) == ("j1", _NOW_S + 3600)
    assert isinstance(wit, Wit) and wit.token not in repr(wit)


def test_time_is_left_out_only_where_the_name_says_so() -> None:
    token = _token()
    assert verify_wit_signature(token, _BUNDLE).expires_at_s == _NOW_S + 3600
    for now_s in (_NOW_S + 3600, _NOW_S - 61):
        with pytest.raises(SvidError):
            verify_wit(token, _BUNDLE, now_s)


_PRIVATE = {**jws.ec_jwk(_HOP.public_key()), "d": "AAAA"}


@pytest.mark.parametrize(
    "how",
    [
        *({"drop": name} for name in ("iss", "sub", "iat", "exp", "jti", "cnf")),
        {"typ": "JWT"},
        {"typ": "narrowgate-hop+jwt"},
        {"kid": None},
        {"kid": "k2"},
        {"key": _HOP},
        {"exp": "soon"},
        {"exp": _NOW_S - 1},
        {"iss": "spiffe://bank.example"},
        {"iss": _NAME},
        {"sub": "spiffe://bank.example/a"},
        {"sub": "spiffe://shop.example"},
        {"sub": _NAME + "\n"},
        {"sub": 7},
        {"jti": "a\nb"},
        {"cnf": {}},
        {"cnf": {"jwk": "text"}},
        {"cnf": {"jwk": _PRIVATE}},
        {"cnf": {"jwk": jws.ec_jwk(_HOP.public_key()), "x5t#S256": "a"}},
        {"cnf": {"jwk": {"kty": "oct", "k": "AAAA"}}},
        {"cnf": {"jwk": {**jws.ec_jwk(_HOP.public_key()), "x": "AAAA"}}},
    ],
)
def test_broken_wits_are_refused(how: dict[str, Any]) -> None:
    with pytest.raises(SvidError):
        verify_wit_signature(_token(**how), _BUNDLE)


@pytest.mark.parametrize("token", ["", "a.b.c", "a" * 5000])
def test_not_a_token(token: str) -> None:
    with pytest.raises(SvidError):
        verify_wit_signature(token, _BUNDLE)
