"""External tokens of real keys: each check is broken once, and each use looks at the time."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ca.spiffe.jws import b64url_encode, ec_jwk
from policy.reason import Reason
from sidecar.token.external import Credentials, ExternalIssuer, bearer
from sidecar.token.jwks import KeySet
from sidecar.token.refusal import TokenRefused

NOW_S = 1_800_000_000.0
IDP = "https://idp.example"
KEYS: dict[str, Any] = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "RS256": rsa.generate_private_key(65537, 2048),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
CLAIMS: dict[str, Any] = {
    "iss": IDP,
    "aud": "shop",
    "sub": "alice",
    "exp": int(NOW_S) + 600,
    "iat": int(NOW_S),
    "scope": "pay orders:read",
    "jti": "j1",
}


def number(value: int) -> str:
    return b64url_encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).decode()


def jwks() -> bytes:
    public = KEYS["RS256"].public_key().public_numbers()
    raw = KEYS["EdDSA"].public_key().public_bytes_raw()
    keys = [
        {**ec_jwk(KEYS["ES256"].public_key()), "kid": "ES256", "use": "sig"},
        {"kty": "RSA", "n": number(public.n), "e": number(public.e), "kid": "RS256"},
        {"kty": "OKP", "crv": "Ed25519", "x": b64url_encode(raw).decode(), "kid": "EdDSA"},
    ]
    return json.dumps({"keys": keys}).encode()


class Source:
    served: bytes | Exception = jwks()

    async def __call__(self) -> bytes:
        if isinstance(self.served, Exception):
            raise self.served
        return self.served


def credentials(
    *algorithms: str, source: Source | None = None, max_age_s: float = 3600
) -> Credentials:
    keys = KeySet(source or Source(), max_age_s=max_age_s, poll_s=max_age_s)
    allowed = frozenset(algorithms or KEYS)
    return Credentials([ExternalIssuer(IDP, "shop", allowed, keys)])


def token(
    alg: str = "ES256",
    *,
    key: Any = None,
    header: dict[str, Any] | None = None,
    **changes: Any,
) -> str:
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    headers: dict[str, Any] = {"kid": alg} | (header or {})
    return jwt.encode(claims, key or KEYS[alg], algorithm=alg, headers=headers)


async def refused(text: str, *, now_s: float = NOW_S, by: Credentials | None = None) -> Reason:
    with pytest.raises(TokenRefused) as caught:
        await (by or credentials()).verify(text, now_s)
    return caught.value.reason


@pytest.mark.parametrize("alg", list(KEYS))
async def test_token_of_each_algorithm(alg: str) -> None:
    found = await credentials(alg).verify(token(alg), NOW_S)
    assert found == (IDP, "alice", {"pay", "orders:read"}, NOW_S + 600, "j1")
    assert "alice" not in repr(found)


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/at+jwt", None])
async def test_types_of_an_access_token(typ: str | None) -> None:
    assert await credentials().verify(token(header={"typ": typ}), NOW_S)


@pytest.mark.parametrize(
    "typ", ["", "id+jwt", "txntoken+jwt", "wit+jwt", "logout+jwt", "jWT\u017f"]
)
async def test_other_types_are_refused(typ: str) -> None:
    text = token(header={"typ": typ or " "})
    assert await refused(text) is Reason.CREDENTIAL_INVALID


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "other"},
        {"aud": None},
        {"aud": []},
        {"aud": ["other"]},
        {"aud": ["shop", 1]},
        {"aud": ["shop"] * 33},
        {"sub": None},
        {"sub": ""},
        {"sub": "a\x00"},
        {"exp": None},
        {"iat": int(NOW_S) + 31},
        {"nbf": int(NOW_S) + 31},
        {"nbf": "1"},
        {"scope": "a  b"},
        {"scope": ["a"]},
        {"scp": ["a"]},
        {"scope": None, "scp": "a"},
        {"scope": None, "scp": ["a b"]},
        {"jti": ""},
    ],
)
async def test_broken_claim_is_refused(changes: dict[str, Any]) -> None:
    # PyJWT checks some claims itself when it signs: sign the bytes instead.
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    text = jwt.api_jws.encode(
        json.dumps(claims).encode(), KEYS["ES256"], "ES256", {"kid": "ES256", "typ": "JWT"}
    )
    assert await refused(text) is Reason.CREDENTIAL_INVALID


@pytest.mark.parametrize(
    ("changes", "scope"),
    [
        ({"aud": ["x", "shop"]}, {"pay", "orders:read"}),
        ({"nbf": int(NOW_S) + 30, "iat": int(NOW_S) + 30}, {"pay", "orders:read"}),
        ({"iat": None, "jti": None}, {"pay", "orders:read"}),
        ({"scope": None}, frozenset()),
        ({"scope": ""}, frozenset()),
        ({"scope": None, "scp": ["pay"]}, {"pay"}),
    ],
)
async def test_permitted_variants(changes: dict[str, Any], scope: set[str]) -> None:
    assert (await credentials().verify(token(**changes), NOW_S)).scope == scope


@pytest.mark.parametrize("exp", ['"1900000000"', "true", "NaN", "1e999", "[]"])
async def test_exp_is_a_finite_number(exp: str) -> None:
    payload = json.dumps(CLAIMS | {"exp": "@"}).replace('"@"', exp).encode()
    text = jwt.api_jws.encode(payload, KEYS["ES256"], "ES256", {"kid": "ES256", "typ": "JWT"})
    assert await refused(text) is Reason.CREDENTIAL_INVALID


async def test_time_is_looked_at_on_every_use() -> None:
    checker = credentials()
    text = token(nbf=int(NOW_S))
    assert await checker.verify(text, NOW_S)
    assert await checker.verify(text, NOW_S + 599)
    assert await refused(text, by=checker, now_s=NOW_S + 600) is Reason.CREDENTIAL_EXPIRED
    assert await refused(text, now_s=NOW_S + 600) is Reason.CREDENTIAL_EXPIRED
    assert await refused(text, by=checker, now_s=NOW_S - 31) is Reason.CREDENTIAL_INVALID


async def test_signature_and_key_are_the_issuers() -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    assert await refused(token(key=stranger)) is Reason.CREDENTIAL_INVALID
    assert await refused(token(header={"kid": "other"})) is Reason.CREDENTIAL_INVALID
    assert await refused(token(header={"kid": "RS256"})) is Reason.CREDENTIAL_INVALID
    good = token()
    assert await refused(good[:-4] + "AAAA") is Reason.CREDENTIAL_INVALID


async def test_algorithm_is_the_configurations() -> None:
    assert await refused(token("RS256"), by=credentials("ES256")) is Reason.CREDENTIAL_INVALID
    secret = "0" * 64
    hmac_token = jwt.encode(CLAIMS, secret, algorithm="HS256", headers={"kid": "ES256"})
    assert await refused(hmac_token) is Reason.CREDENTIAL_INVALID
    unsigned = jwt.encode(CLAIMS, None, algorithm="none")
    assert await refused(unsigned) is Reason.CREDENTIAL_INVALID


@pytest.mark.parametrize("name", ["jku", "x5u", "x5c", "jwk", "crit", "b64"])
async def test_token_brings_no_key(name: str) -> None:
    # PyJWT would act on some of these while it signs: sign the bytes instead.
    header = {"typ": "JWT", "alg": "ES256", "kid": "ES256", name: "x"}
    head, body = (b64url_encode(json.dumps(part).encode()) for part in (header, CLAIMS))
    signature = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(
        head + b"." + body, KEYS["ES256"]
    )
    text = b".".join((head, body, b64url_encode(signature))).decode()
    assert await refused(text) is Reason.CREDENTIAL_INVALID


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c", "x" * 9000, "a.b.c.d", "\udcff.a.b"])
async def test_garbage_is_refused(text: str) -> None:
    assert await refused(text) is Reason.CREDENTIAL_INVALID


async def test_keys_too_old_deny_also_what_is_cached() -> None:
    source = Source()
    checker = credentials(source=source, max_age_s=60)
    text = token()
    assert await checker.verify(text, NOW_S)
    source.served = OSError("down")
    assert await checker.verify(text, NOW_S + 59)
    assert await refused(text, by=checker, now_s=NOW_S + 60) is Reason.ISSUER_KEYS_UNAVAILABLE


async def test_key_that_was_withdrawn_denies_also_what_is_cached() -> None:
    source = Source()
    checker = credentials(source=source, max_age_s=60)
    text = token()
    assert await checker.verify(text, NOW_S)
    other = ec_jwk(ec.generate_private_key(ec.SECP256R1()).public_key())
    source.served = json.dumps({"keys": [other | {"kid": "new"}]}).encode()
    assert await refused(text, by=checker, now_s=NOW_S + 60) is Reason.CREDENTIAL_INVALID


def test_configuration_names_everything() -> None:
    keys = KeySet(Source(), max_age_s=60)
    for issuer, audience, algorithms in (
        ("", "shop", {"ES256"}),
        (IDP, "", {"ES256"}),
        (IDP, "shop", set()),
        (IDP, "shop", {"HS256"}),
        (IDP, "shop", {"ES256", "none"}),
    ):
        with pytest.raises(ValueError):
            ExternalIssuer(issuer, audience, frozenset(algorithms), keys)
    one = ExternalIssuer(IDP, "shop", frozenset({"ES256"}), keys)
    with pytest.raises(ValueError, match="twice"):
        Credentials([one, one])


def test_bearer_is_taken_from_its_field() -> None:
    assert bearer([(b"accept", b"*/*"), (b"authorization", b"Bearer abc")]) == "abc"
    assert bearer([(b"authorization", b"bEARER  abc")]) == "abc"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([], Reason.CREDENTIAL_MISSING),
        ([b""], Reason.CREDENTIAL_MISSING),
        ([b"Basic abc"], Reason.CREDENTIAL_MISSING),
        ([b"BearerX abc"], Reason.CREDENTIAL_MISSING),
        ([b"Bearer"], Reason.CREDENTIAL_INVALID),
        ([b"Bearer   "], Reason.CREDENTIAL_INVALID),
        ([b"Bearer \xff"], Reason.CREDENTIAL_INVALID),
        ([b"Bearer a", b"Bearer a"], Reason.DUPLICATE_FIELD),
    ],
)
def test_bearer_refuses(values: list[bytes], reason: Reason) -> None:
    with pytest.raises(TokenRefused) as caught:
        bearer([(b"authorization", value) for value in values])
    assert caught.value.reason is reason
