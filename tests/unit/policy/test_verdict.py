"""Exactly an allow is an allow."""

from __future__ import annotations

import pytest

from policy.reason import Reason
from policy.verdict import Refusal, read


def refusal(answer: object) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read(answer)
    return caught.value


def test_true_allows() -> None:
    assert read(True) == (None, None, None)
    assert read({"allowed": True}) == (None, None, None)


@pytest.mark.parametrize(
    "answer",
    [1, 1.0, "true", [True], None, {}, {"allow": True}, {"allowed": 1}, {"allowed": "true"}],
)
def test_nothing_that_is_nearly_true_allows(answer: object) -> None:
    assert refusal(answer).reason is Reason.POLICY_MALFORMED


@pytest.mark.parametrize(
    "key",
    [
        "header",
        "Headers",
        "request_header_to_remove",
        "scope",
        "deadline",
        "allow",
        "",
        "narrowGate",
    ],
)
def test_an_unknown_key_of_an_allow_is_refused(key: str) -> None:
    assert refusal({"allowed": True, key: []}).reason is Reason.OBLIGATION_REFUSED
    assert refusal({"allowed": False, key: []}).reason is Reason.POLICY_DENIED


def test_what_means_nothing_on_an_allow_is_let_be() -> None:
    answer = {"allowed": True, "http_status": 403, "body": "no", "dynamic_metadata": {"a": 1}}
    assert read(answer) == (None, None, None)


@pytest.mark.parametrize("answer", [False, {"allowed": False}])
def test_false_denies(answer: object) -> None:
    assert refusal(answer).reason is Reason.POLICY_DENIED


def test_a_denial_carries_what_policy_wants() -> None:
    answer = {
        "allowed": False,
        "http_status": 302,
        "body": "go away",
        "headers": {"Location": "/login"},
        "response_headers_to_add": {"x-b": ["1", "2"]},
    }
    shown = refusal(answer)
    assert shown.status == 302
    assert shown.body == b"go away"
    assert shown.fields == ((b"location", b"/login"), (b"x-b", b"1"), (b"x-b", b"2"))


@pytest.mark.parametrize("status", [200, 101, 299, 600, "403", True, 403.0])
def test_a_denial_never_looks_like_success(status: object) -> None:
    shown = refusal({"allowed": False, "http_status": status})
    assert shown.reason is Reason.OBLIGATION_REFUSED
    assert shown.status is None


@pytest.mark.parametrize("body", [1, ["x"], "x" * 70000])
def test_a_denial_with_a_bad_body_is_refused(body: object) -> None:
    assert refusal({"allowed": False, "body": body}).reason is Reason.OBLIGATION_REFUSED


def test_our_obligations() -> None:
    verdict = read(
        {"allowed": True, "narrowgate": {"scope": ["a", "b"], "deadline": 1, "guards": []}}
    )
    assert verdict.scope == frozenset({"a", "b"})
    assert verdict.deadline_s == 1.0


@pytest.mark.parametrize(
    "ours",
    [
        [],
        "scope",
        {"scopes": ["a"]},
        {"scope": "a"},
        {"scope": None},
        {"scope": [1]},
        {"scope": [""]},
        {"scope": ["a"] * 257},
        {"deadline": 0},
        {"deadline": -1},
        {"deadline": True},
        {"deadline": "1"},
        {"deadline": 1e300},
        {"guards": [{"name": "idempotency"}]},
        {"guards": {}},
    ],
)
def test_an_obligation_of_ours_that_is_not_understood_is_refused(ours: object) -> None:
    answer = {"allowed": True, "narrowgate": ours}
    assert refusal(answer).reason is Reason.OBLIGATION_REFUSED
