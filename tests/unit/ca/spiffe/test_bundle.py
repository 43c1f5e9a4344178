"""Trust bundles: the corpus, round trips, and refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ca.spiffe.bundle import BundleError, TrustBundle, parse_jwt_bundle
from ca.spiffe.ids import TrustDomain
from ca.spiffe.jws import ec_jwk

_DOMAIN = TrustDomain.parse("shop.example")
# The stricter of the two verdicts where implementations are split.
_STRICT = {"jwt key without kid": False, "x5c with two certificates": False}
_EITHER = {"accept-or-reject", "reject-or-ignore-hint"}


def _parse(document: Any) -> TrustBundle | None:
    try:
        decoded = json.loads(document) if isinstance(document, str) else document
        return TrustBundle.parse(_DOMAIN, decoded)
    except ValueError:
        return None


def test_corpus(corpus: Any) -> None:
    cases = corpus("spiffe/bundles.json")["cases"]
    assert len(cases) >= 28
    for case in cases:
        if case["name"].startswith(("jwtbundle/", "py-spiffe/")):
            continue  # Workload API JWT bundles, below
        got = _parse(case["bundle"])
        if case["expected"] in _EITHER:
            continue
        wanted = _STRICT.get(case["name"], case["expected"] == "accept")
        assert (got is not None) is wanted, case["name"]
        if got is not None and case["x509_authorities"] is not None:
            assert len(got.x509_authorities) == case["x509_authorities"], case["name"]
        if got is not None and case["jwt_authorities"] is not None:
            assert len(got.jwt_authorities) == case["jwt_authorities"], case["name"]


def test_corpus_jwt_bundles(corpus: Any) -> None:
    for case in corpus("spiffe/bundles.json")["cases"]:
        if not case["name"].startswith(("jwtbundle/", "py-spiffe/")):
            continue
        if case["expected"] == "reject":
            with pytest.raises(BundleError):
                parse_jwt_bundle(case["bundle"])
            continue
        keys = parse_jwt_bundle(case["bundle"])
        if case["jwt_authorities"] is not None:
            assert len(keys) == case["jwt_authorities"], case["name"]


def test_corpus_documents_survive_a_round_trip(corpus: Any) -> None:
    for case in corpus("spiffe/bundles.json")["cases"]:
        first = _parse(case["bundle"])
        if first is not None:
            assert TrustBundle.parse(_DOMAIN, first.document()) == first
            assert first.pem().count("BEGIN CERTIFICATE") == len(first.x509_authorities)


def _jwt(kid: str) -> dict[str, object]:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return {"use": "jwt-svid", "kid": kid, **ec_jwk(key)}


@pytest.mark.parametrize(
    "document",
    [
        {"keys": {}},
        {"keys": ["text"]},
        {"keys": [], "spiffe_sequence": True},
        {"keys": [], "spiffe_sequence": 1.0},
        {"keys": [], "spiffe_sequence": -1},
        {"keys": [], "spiffe_refresh_hint": "60"},
        {"keys": [{"use": "x509-svid", "kty": "EC", "x5c": ["AAAA"]}]},
        {"keys": [{"use": "x509-svid", "kty": "EC", "x5c": ["*"]}]},
        {"keys": [{"use": "x509-svid", "kty": "EC", "x5c": "AAAA"}]},
        {"keys": [{**_jwt("a"), "x": "AAAA"}]},
        {"keys": [{**_jwt("a"), "d": "AAAA"}]},
        {"keys": [{**_jwt("a"), "kid": ""}]},
        {"keys": [_jwt("a"), _jwt("a")]},
        {"keys": [_jwt(str(n)) for n in range(65)]},
    ],
)
def test_broken_documents_are_refused(document: Any) -> None:
    with pytest.raises(BundleError):
        TrustBundle.parse(_DOMAIN, document)


def test_a_bundle_is_frozen() -> None:
    bundle = TrustBundle.parse(_DOMAIN, {"keys": [_jwt("a")]})
    with pytest.raises(TypeError):
        bundle.jwt_authorities["b"] = bundle.jwt_authorities["a"]  # type: ignore[index]
