"""Wycheproof's JWS vectors against `ca.spiffe.jws`: nothing invalid is ever accepted.

What a mesh never allows (HMAC, RSA-PSS, other hashes and curves, an empty payload) is refused by
intention, even where the vector is valid; everything valid in ES256 and RS256 is accepted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from ca.spiffe.jws import JwsError, jwk_allows, jwk_to_key, open_envelope, verify

FILES: Final = ("json_web_signature_test.json", "json_web_crypto_test.json")
ALG_OF: Final = {"EC": "ES256", "RSA": "RS256", "OKP": "EdDSA"}
OURS: Final = frozenset({("EC", "ES256"), ("RSA", "RS256"), ("OKP", "EdDSA")})


def accepted(token: str, jwk: dict[str, Any]) -> bool:
    alg = ALG_OF.get(jwk.get("kty", ""), "")
    try:
        if not jwk_allows(jwk, alg):
            return False
        verify(open_envelope(token, bytes_max=16384), jwk_to_key(jwk), alg)
    except JwsError:
        return False
    return True


def vectors(folder: Path, name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """`(jwk, vector)` of every compact JWS with one key."""
    for group in json.loads((folder / name).read_text())["testGroups"]:
        jwk = group.get("public") or group.get("private") or group.get("key")
        for vector in group["tests"]:
            if isinstance(vector.get("jws"), str) and isinstance(jwk, dict):
                yield jwk, vector


@pytest.mark.parametrize("name", FILES)
def test_no_invalid_vector_is_accepted(corpora: Callable[[str], Path], name: str) -> None:
    judged = list(vectors(corpora("jwt"), name))
    wrong = [
        (vector["tcId"], vector["comment"])
        for jwk, vector in judged
        if vector["result"] != "valid" and accepted(vector["jws"], jwk)
    ]
    assert len(judged) > 5
    assert not wrong


def test_valid_vectors_of_our_algorithms_are_accepted(corpora: Callable[[str], Path]) -> None:
    judged = [
        (vector["comment"], accepted(vector["jws"], jwk))
        for jwk, vector in vectors(corpora("jwt"), FILES[0])
        if vector["result"] == "valid" and (jwk.get("kty"), jwk.get("alg")) in OURS
    ]
    refused = {comment for comment, good in judged if not good}
    assert sum(good for _, good in judged) >= 7
    assert refused <= {"emptyPayload"}, "a JWT's payload is an object, so it is never empty"
