"""Keys of an external issuer: fetched once, refused when old, and never by guessing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ca.spiffe.jws import b64url_encode, ec_jwk
from policy.reason import Reason
from sidecar.token.jwks import KeySet, file_source, parse_jwks
from sidecar.token.refusal import TokenRefused

NOW_S = 1000.0


def text(number: int) -> str:
    return b64url_encode(number.to_bytes((number.bit_length() + 7) // 8, "big")).decode()


def ec_key(kid: str = "k1", **members: object) -> dict[str, object]:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return {**ec_jwk(key), "kid": kid, **members}


def rsa_key(bits: int = 2048, **members: object) -> dict[str, object]:
    numbers = rsa.generate_private_key(65537, bits).public_key().public_numbers()
    return {"kty": "RSA", "n": text(numbers.n), "e": text(numbers.e), "kid": "r1", **members}


def ed_key() -> dict[str, object]:
    raw = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    return {"kty": "OKP", "crv": "Ed25519", "x": b64url_encode(raw).decode(), "kid": "e1"}


def document(*keys: object) -> bytes:
    return json.dumps({"keys": keys}).encode()


class Issuer:
    """An issuer's endpoint: what it serves, how often it was asked, and whether it answers."""

    def __init__(self, served: bytes | Exception | None) -> None:
        self.served = served
        self.asked = 0
        self.called = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> bytes | None:
        self.asked += 1
        self.called.set()
        await self.gate.wait()
        if isinstance(self.served, Exception):
            raise self.served
        return self.served


async def unavailable(keys: KeySet, now_s: float) -> bool:
    with pytest.raises(TokenRefused) as caught:
        await keys.find("k1", "ES256", now_s)
    return caught.value.reason is Reason.ISSUER_KEYS_UNAVAILABLE


def test_keys_that_cannot_be_used_are_skipped() -> None:
    keys = parse_jwks(
        document(
            ec_key("good"),
            ed_key(),
            rsa_key(),
            ec_key("enc", use="enc"),
            ec_key("ops", key_ops=["sign"]),
            ec_key("alg", alg="ES384"),
            ec_key("private", d="AA"),
            ec_key("curve", crv="P-384"),
            ec_key("off", y="A" * 43),
            {"kty": "oct", "k": "AA"},
            {"kty": "RSA", "n": "AA", "e": "AQAB"},
            "not a key",
            {**ec_key(), "kid": 7},
        )
    )
    assert [(key.kid, key.alg) for key in keys] == [
        ("good", "ES256"),
        ("e1", "EdDSA"),
        ("r1", "RS256"),
    ]


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":[]}',
        b'{"keys":[],"keys":[]}',
        document({"kty": "oct"}),
        document(*[{"kty": "oct"}] * 33),
        b" " * 65537,
    ],
)
def test_document_that_is_no_jwks_is_refused(broken: bytes) -> None:
    with pytest.raises(ValueError):
        parse_jwks(broken)


def test_two_keys_under_one_kid_are_refused() -> None:
    with pytest.raises(ValueError, match="one kid"):
        parse_jwks(document(ec_key(), ec_key()))


async def test_key_is_found_by_kid_and_alg() -> None:
    keys = KeySet(Issuer(document(ec_key("a"), ec_key("b"), ed_key())), max_age_s=60)
    found = await keys.find("a", "ES256", NOW_S)
    assert found is not None
    assert found is not await keys.find("b", "ES256", NOW_S)
    assert await keys.find("a", "EdDSA", NOW_S) is None
    assert await keys.find(None, "ES256", NOW_S) is None, "two candidates"
    assert await keys.find(None, "EdDSA", NOW_S) is not None, "one candidate"


async def test_old_keys_verify_nothing() -> None:
    issuer = Issuer(document(ec_key()))
    keys = KeySet(issuer, max_age_s=60, poll_s=60)
    assert await keys.find("k1", "ES256", NOW_S)
    issuer.served = OSError("down")
    assert await keys.find("k1", "ES256", NOW_S + 59.9)
    assert await unavailable(keys, NOW_S + 60)
    issuer.served = document(ec_key())
    assert await unavailable(keys, NOW_S + 60.5), "one attempt a second"
    assert await keys.find("k1", "ES256", NOW_S + 61)
    assert keys.age_s(NOW_S + 62) == 1


async def test_clock_that_went_back_makes_keys_old() -> None:
    issuer = Issuer(document(ec_key()))
    keys = KeySet(issuer, max_age_s=60)
    assert await keys.find("k1", "ES256", NOW_S)
    issuer.served = OSError("down")
    assert keys.fresh(NOW_S - 1)
    assert await unavailable(keys, NOW_S - 100)


@pytest.mark.parametrize("served", [OSError(), RuntimeError(), b"<html>", None])
async def test_first_fetch_that_fails_is_unavailable(served: Any) -> None:
    keys = KeySet(Issuer(served), max_age_s=60)
    assert await unavailable(keys, NOW_S)
    assert keys.age_s(NOW_S) is None


async def test_unknown_kid_fetches_once_in_ten_seconds() -> None:
    issuer = Issuer(document(ec_key()))
    keys = KeySet(issuer, max_age_s=3600)
    await keys.find("k1", "ES256", NOW_S)
    for step in range(10):
        assert await keys.find("k2", "ES256", NOW_S + 1 + step / 2) is None
    assert issuer.asked == 2
    issuer.served = document(ec_key("k2"))
    assert await keys.find("k2", "ES256", NOW_S + 10.9) is None
    assert await keys.find("k2", "ES256", NOW_S + 11) is not None
    assert (issuer.asked, keys.generation) == (3, 3)


async def test_fetch_is_shared_and_outlives_a_caller() -> None:
    issuer = Issuer(document(ec_key()))
    issuer.gate.clear()
    keys = KeySet(issuer, max_age_s=60)
    callers = [asyncio.ensure_future(keys.find("k1", "ES256", NOW_S)) for _ in range(5)]
    await issuer.called.wait()
    callers[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await callers[0]
    issuer.gate.set()
    assert all(await asyncio.gather(*callers[1:]))
    assert issuer.asked == 1


async def test_keys_are_renewed_in_the_background_before_they_are_old() -> None:
    issuer = Issuer(document(ec_key()))
    keys = KeySet(issuer, max_age_s=60)
    await keys.find("k1", "ES256", NOW_S)
    issuer.gate.clear()
    issuer.called.clear()
    assert await keys.find("k1", "ES256", NOW_S + 30), "does not wait"
    await issuer.called.wait()
    assert keys.age_s(NOW_S + 30) == 30
    await keys.close()
    assert not keys.fresh(NOW_S + 60)


async def test_file_is_read_again_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(document(ec_key("a")))
    keys = KeySet(file_source(path), max_age_s=60, poll_s=1)
    assert await keys.find("a", "ES256", NOW_S)
    assert await keys.find("a", "ES256", NOW_S + 50)
    await settle()
    assert keys.generation == 1, "an unchanged file is fresh and not read"
    path.write_bytes(document(ec_key("a"), ec_key("b")))
    assert await keys.find("b", "ES256", NOW_S + 52)
    path.write_bytes(b"{half")
    assert await keys.find("b", "ES256", NOW_S + 60), "good keys stay"
    await settle()
    path.unlink()
    assert await unavailable(keys, NOW_S + 120)


async def settle() -> None:
    """Let a background fetch that waits for nothing come to its end."""
    for _ in range(5):
        await asyncio.sleep(0)
