"""The authority: what it signs, and that it refuses to hand out what does not validate."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ca import authority as module
from ca.authority import Authority, AuthorityError, IssuerRule, make_root
from ca.keys import Secrets, load_public
from ca.spiffe import jws
from ca.spiffe.bundle import TrustBundle
from ca.spiffe.ids import SpiffeId, TrustDomain
from ca.spiffe.svid import SvidError, leaf_id, verify_svid
from ca.spiffe.wit import verify_wit

_DOMAIN = TrustDomain.parse("shop.example")
_ORDERS = SpiffeId.parse("spiffe://shop.example/ns/shop/sa/orders")


@pytest.fixture
def authority() -> Authority:
    secrets = Secrets.generate()
    return Authority(_DOMAIN, secrets, make_root(_DOMAIN, secrets.root_key), 7)


def _now_s() -> float:
    return datetime.now(UTC).timestamp()


def _key() -> ec.EllipticCurvePublicKey:
    return ec.generate_private_key(ec.SECP256R1()).public_key()


def test_the_root(state: Any) -> None:
    root = load_public(state).root
    extensions = root.extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical and constraints.value == x509.BasicConstraints(True, 0)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical and usage.value.key_cert_sign and not usage.value.digital_signature
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://shop.example"]
    key = root.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1"
    with pytest.raises(SvidError):
        leaf_id(root)


def test_a_long_trust_domain_has_a_root() -> None:
    domain = TrustDomain.parse("a" * 255)
    secrets = Secrets.generate()
    Authority(domain, secrets, make_root(domain, secrets.root_key), 1)


def test_issue(authority: Authority) -> None:
    now_s, key, hop = _now_s(), _key(), _key()
    svid, wit = authority.issue(_ORDERS, key, hop, 3600, now_s)
    leaf = svid.chain[0]
    assert leaf.public_key() == key and wit.key == hop
    assert svid.not_after_s == int(now_s) + 3600 == wit.expires_at_s
    assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature and not usage.key_cert_sign and not usage.key_encipherment
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not constraints.ca
    document = TrustBundle.parse(_DOMAIN, authority.bundle.document())
    assert document.sequence == 7
    assert verify_svid([leaf], document, now_s).id == _ORDERS
    assert verify_wit(wit.token, document, now_s).id == _ORDERS


def test_serials_and_token_ids_differ(authority: Authority) -> None:
    issued = [authority.issue(_ORDERS, _key(), _key(), 60, _now_s()) for _ in range(5)]
    assert len({one.svid.serial for one in issued}) == 5
    assert len({one.wit.jti for one in issued}) == 5


@pytest.mark.parametrize("name", ["spiffe://bank.example/a", "spiffe://shop.example"])
def test_names_that_are_not_ours(authority: Authority, name: str) -> None:
    with pytest.raises(AuthorityError):
        authority.issue(SpiffeId.parse(name), _key(), _key(), 60, _now_s())


def test_nothing_outlives_the_root(authority: Authority) -> None:
    late_s = _now_s() + module.ROOT_LIFETIME.total_seconds() - 30
    authority.issue(_ORDERS, _key(), _key(), 20, late_s)
    with pytest.raises(AuthorityError, match="runs out"):
        authority.issue(_ORDERS, _key(), _key(), 60, late_s)


@pytest.mark.parametrize(
    ("broken", "value"),
    [
        ("_usage", lambda *_: x509.KeyUsage(True, *[False] * 4, True, *[False] * 3)),
        ("_names", lambda _: x509.SubjectAlternativeName([x509.DNSName("orders")])),
        (
            "_names",
            lambda _: x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier("spiffe://shop.example/admin")]
            ),
        ),
    ],
)
def test_what_was_signed_is_validated_again(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, broken: str, value: Any
) -> None:
    monkeypatch.setattr(module, broken, value)
    with pytest.raises(AuthorityError, match="what was signed"):
        authority.issue(_ORDERS, _key(), _key(), 60, _now_s())


def test_a_broken_wit_is_not_handed_out(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WIT_TYPE", "JWT")
    with pytest.raises(AuthorityError, match="not a WIT"):
        authority.issue(_ORDERS, _key(), _key(), 60, _now_s())


def test_the_issuer_list(authority: Authority) -> None:
    rule = IssuerRule(_ORDERS, ("https://idp.example",), ("pay", "read"), 60)
    token = authority.sign_issuers([rule], 1_000_000.5)
    parsed = jws.parse(token, typ="narrowgate-issuers+jwt", bytes_max=4096)
    kid = parsed.header["kid"]
    jws.verify(parsed, authority.bundle.jwt_authorities[str(kid)], "ES256")
    assert parsed.claims == {
        "iat": 1_000_000,
        "exp": 1_003_600,
        "issuers": [
            {
                "workload": _ORDERS.uri,
                "external_issuers": ["https://idp.example"],
                "scope": ["pay", "read"],
                "lifetime_s_max": 60,
            }
        ],
    }


def test_a_root_of_another_trust_domain() -> None:
    secrets = Secrets.generate()
    root = make_root(TrustDomain.parse("bank.example"), secrets.root_key)
    with pytest.raises(AuthorityError, match="another trust domain"):
        Authority(_DOMAIN, secrets, root, 1)
