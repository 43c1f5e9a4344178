"""SPIFFE IDs: the corpus to the letter, and the properties of the types."""

from __future__ import annotations

import base64
import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.spiffe.ids import SpiffeId, SpiffeIdError, TrustDomain


def _accepted(kind: str, text: str) -> SpiffeId | TrustDomain | None:
    try:
        return SpiffeId.parse(text) if kind == "id" else TrustDomain.parse(text)
    except SpiffeIdError:
        return None


def _text(case: dict[str, Any]) -> str:
    return base64.b64decode(case["id_b64"]).decode("utf-8", "surrogateescape")


def test_corpus_verdicts(corpus: Any) -> None:
    cases = corpus("spiffe/spiffe_ids.json")["cases"]
    wrong = []
    for case in cases:
        got = _accepted(case["kind"], _text(case))
        # For the split ones the stricter reading is ours: both implementations must agree.
        wanted = case["expected"] == "valid"
        if case["expected"] == "split" and case["go_spiffe"] and case["py_spiffe"]:
            continue  # only the length bound, which has its own test
        if (got is not None) != wanted:
            wrong.append((case["kind"], case["id"][:80]))
    assert not wrong
    assert len(cases) > 900


def test_corpus_parts(corpus: Any) -> None:
    for case in corpus("spiffe/spiffe_ids.json")["cases"]:
        if case["expected"] != "valid" or case["kind"] != "id":
            continue
        name = SpiffeId.parse(_text(case))
        assert (name.uri, name.trust_domain.name, name.path) == (
            case["canonical"],
            case["trust_domain"],
            case["path"],
        )


@pytest.mark.parametrize(
    ("length", "valid"), [(2048, True), (2049, False)], ids=["at bound", "over bound"]
)
def test_id_length_bound(length: int, valid: bool) -> None:
    text = "spiffe://shop.example/"
    assert (_accepted("id", text + "a" * (length - len(text))) is not None) is valid


def test_trust_domain_length_bound() -> None:
    assert TrustDomain.parse("a" * 255).name == "a" * 255
    for text in ("a" * 256, "spiffe://" + "a" * 256):
        with pytest.raises(SpiffeIdError):
            TrustDomain.parse(text)
    with pytest.raises(SpiffeIdError):
        SpiffeId.parse(f"spiffe://{'a' * 256}/x")


@pytest.mark.parametrize(
    "text",
    [
        "spiffe://shop.example/a\n",
        "spiffe://shop.example/%61",
        "SPIFFE://shop.example/a",
        "spiffe://Shop.example/a",
        "spiffe://shop.example/\u212a",
        "spiffe://shop.example:443/a",
        "spiffe://u@shop.example/a",
        "spiffe://shop.example/a?q",
        "spiffe://shop.example/a#f",
        "spiffe://shop.example/a/",
        "spiffe://shop.example//a",
        "spiffe://shop.example/../a",
        "spiffe:///a",
        "",
    ],
)
def test_nothing_is_repaired(text: str) -> None:
    with pytest.raises(SpiffeIdError):
        SpiffeId.parse(text)


def test_values_are_frozen_and_made_only_by_parse() -> None:
    name = SpiffeId.parse("spiffe://shop.example/ns/shop/sa/orders")
    with pytest.raises(AttributeError):
        name.path = "/other"
    with pytest.raises(AttributeError):
        del name.path
    with pytest.raises(TypeError):
        SpiffeId()
    with pytest.raises(TypeError):
        TrustDomain()


def test_equality_hash_copy_and_pickle() -> None:
    name = SpiffeId.parse("spiffe://shop.example/a")
    same = SpiffeId.parse("spiffe://shop.example/a")
    other = SpiffeId.parse("spiffe://shop.example/b")
    assert name == same and hash(name) == hash(same) and name != other
    assert name != "spiffe://shop.example/a"
    assert pickle.loads(pickle.dumps(name)) == name  # noqa: S301
    assert copy.deepcopy(name.trust_domain) == TrustDomain.parse("shop.example")
    assert str(name) == "spiffe://shop.example/a"
    assert repr(name.trust_domain) == "TrustDomain('shop.example')"


@given(st.text())
def test_whatever_is_accepted_is_ascii_and_itself(text: str) -> None:
    for candidate in (text, "spiffe://td/" + text, "spiffe://" + text):
        got = _accepted("id", candidate)
        if got is not None:
            assert str(got) == candidate and candidate.isascii() and "%" not in candidate
