"""Compact JWS: what verifies is what was signed, by that key, as that type."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from ca.spiffe import jws
from ca.spiffe.jws import Jws, JwsError

KEY = ec.generate_private_key(ec.SECP256R1())
TYP = "test+jwt"


def encoded(part: object) -> str:
    return jws.b64url_encode(json.dumps(part).encode()).decode()


def parsed(token: str | bytes, **how: Any) -> Jws:
    return jws.parse(token, **({"typ": TYP, "bytes_max": 4096} | how))


def kind(call: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(JwsError) as caught:
        call(*args, **kwargs)
    return caught.value.kind


def test_signed_token_verifies() -> None:
    token = jws.sign({"a": 1}, KEY, typ=TYP, headers={"kid": "k"})
    found = parsed(token)
    assert found.header == {"typ": TYP, "alg": "ES256", "kid": "k"}
    assert found.claims == {"a": 1}
    jws.verify(found, KEY.public_key(), "ES256")
    assert parsed(token.encode()) == found


def test_each_algorithm_with_its_key() -> None:
    rsa_key = rsa.generate_private_key(65537, 2048)
    ed_key = ed25519.Ed25519PrivateKey.generate()
    for alg, signed in (
        ("RS256", lambda text: rsa_key.sign(text, padding.PKCS1v15(), hashes.SHA256())),
        ("EdDSA", ed_key.sign),
    ):
        text = f"{encoded({'typ': TYP, 'alg': alg})}.{encoded({})}"
        token = f"{text}.{jws.b64url_encode(signed(text.encode())).decode()}"
        key = rsa_key.public_key() if alg == "RS256" else ed_key.public_key()
        jws.verify(parsed(token), key, alg)
        for other in {"ES256", "RS256", "EdDSA", "none", "HS256"} - {alg}:
            assert kind(jws.verify, parsed(token), key, other) == "algorithm"
        assert kind(jws.verify, parsed(token), KEY.public_key(), alg) == "algorithm"


def test_another_key_or_signature_does_not_verify() -> None:
    found = parsed(jws.sign({"a": 1}, KEY, typ=TYP))
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    assert kind(jws.verify, found, other, "ES256") == "signature"
    for broken in (b"\x00" * 64, found.signature[:63], found.signature + b"\x00", b"x"):
        changed = found._replace(signature=broken)
        assert kind(jws.verify, changed, KEY.public_key(), "ES256") == "signature"


def test_keys_that_do_not_go_with_the_algorithm() -> None:
    found = parsed(jws.sign({"a": 1}, KEY, typ=TYP))
    p384 = ec.generate_private_key(ec.SECP384R1())
    assert kind(jws.verify, found, p384.public_key(), "ES256") == "algorithm"
    assert kind(jws.sign, {}, p384, typ=TYP) == "algorithm"


@pytest.mark.parametrize("typ", [None, "", "TEST+JWT", "application/test+jwt", "test+jwt ", 1])
def test_typ_is_exact(typ: object) -> None:
    token = f"{encoded({'typ': typ, 'alg': 'ES256'})}.{encoded({})}.AAAA"
    assert kind(parsed, token) == "type"
    assert kind(parsed, f"{encoded({'alg': 'ES256'})}.{encoded({})}.AAAA") == "type"


@pytest.mark.parametrize("name", ["crit", "jku", "x5u", "jwk", "x5c", "b64"])
def test_header_that_brings_a_key_or_extension(name: str) -> None:
    header = {"typ": TYP, "alg": "ES256", name: None}
    assert kind(parsed, f"{encoded(header)}.{encoded({})}.AAAA") == "malformed"
    assert kind(jws.sign, {}, KEY, typ=TYP, headers={name: "x"}) == "malformed"


def test_signer_does_not_let_headers_replace_its_own() -> None:
    for name in ("alg", "typ"):
        assert kind(jws.sign, {}, KEY, typ=TYP, headers={name: "x"}) == "malformed"
    assert kind(jws.sign, {"a": float("nan")}, KEY, typ=TYP) == "malformed"


def test_form_is_exactly_three_parts() -> None:
    good = jws.sign({"a": 1}, KEY, typ=TYP)
    head, body, signature = good.split(".")
    for broken in (
        "",
        head,
        f"{head}.{body}",
        f"{head}.{body}.",
        f".{body}.{signature}",
        f"{head}..{signature}",
        f"{good}.",
        f"{good}.{signature}",
        f"{good}=",
        f"{good}\n",
        f" {good}",
        good.replace(".", "\u2024", 1),
        f"{head}.{encoded([1])}.{signature}",
        f"{encoded([1])}.{body}.{signature}",
    ):
        assert kind(parsed, broken) == "malformed"


def test_size_is_bounded_exactly() -> None:
    token = jws.sign({"a": 1}, KEY, typ=TYP)
    assert parsed(token, bytes_max=len(token))
    assert kind(parsed, token, bytes_max=len(token) - 1) == "malformed"


@pytest.mark.parametrize("value", [0, 1, 1.5, 1_800_000_000, 253_402_300_799])
def test_numeric_date(value: float) -> None:
    assert jws.numeric_date({"exp": value}, "exp") == value


@pytest.mark.parametrize(
    "value",
    [None, True, False, "1", [], {}, -1, 253_402_300_800, float("nan"), float("inf"), 10**400],
)
def test_anything_else_is_no_date(value: object) -> None:
    assert kind(jws.numeric_date, {"exp": value}, "exp") == "claim"
    assert kind(jws.numeric_date, {}, "exp") == "claim"


def test_text_claim() -> None:
    assert jws.text_claim({"sub": "é a"}, "sub") == "é a"
    for value in (None, "", 1, ["a"], "a\x00", "a\nb", "\u202e", "\u00a0", "\ud800", "a" * 2049):
        assert kind(jws.text_claim, {"sub": value}, "sub") == "claim"
    assert kind(jws.text_claim, {"sub": "abc"}, "sub", chars_max=2) == "claim"
    assert kind(jws.text_claim, {}, "sub") == "claim"


def test_errors_hold_no_token_text() -> None:
    token = jws.sign({"secret": "hunter2"}, KEY, typ=TYP)
    with pytest.raises(JwsError) as caught:
        parsed(token + "=")
    assert token[:20] not in str(caught.value)
