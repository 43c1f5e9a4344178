"""What a refused peer is told: everything it can act on, or nothing when nobody knows it."""

from __future__ import annotations

import json

import pytest

from policy.permit import Denial
from policy.reason import Reason
from sidecar.http.head import Framing, Limits
from sidecar.http.http1 import parse_response
from sidecar.http.refusal import DECISION_FIELD, REASON_FIELD, answer, phrase, refusal


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("authenticated", [True, False])
def test_each_reason_is_one_well_formed_answer(reason: Reason, authenticated: bool) -> None:
    wire = refusal(reason, authenticated=authenticated)
    parsed = parse_response(wire, Limits(), request_method="GET")
    assert parsed is not None
    head, used = parsed
    body = wire[used:]
    assert head.status == reason.status
    assert not head.keep_alive
    assert head.framing is Framing.LENGTH
    assert len(body) == head.length
    problem = json.loads(body)
    assert problem["status"] == reason.status
    told = dict(head.fields)
    assert told[b"content-type"] == b"application/problem+json"
    assert (told.get(REASON_FIELD) == reason.label.encode()) is authenticated
    assert ("reason" in problem) is authenticated
    if not authenticated:
        assert problem.keys() == {"type", "title", "status"}
        assert reason.sentence.encode() not in wire
    assert (b"www-authenticate" in told) == (reason.status == 401)


def test_a_stranger_learns_a_decision_id_and_no_detail() -> None:
    denial = Denial.of(Reason.POLICY_DENIED, "d-1", "the detail is for the logs")
    for authenticated in (True, False):
        head, body = answer(denial, authenticated=authenticated)
        assert (DECISION_FIELD, b"d-1") in head.fields
        assert b"for the logs" not in body
        assert (REASON_FIELD in dict(head.fields)) is authenticated


def test_what_policy_wrote_is_what_is_shown() -> None:
    denial = Denial(
        Reason.POLICY_DENIED, "d-1", "", 451, ((b"x-why", b"law"),), b"not in this country"
    )
    head, body = answer(denial, authenticated=False)
    assert (head.status, head.phrase) == (451, b"Unavailable For Legal Reasons")
    assert body == b"not in this country"
    assert head.length == len(body)
    assert (b"x-why", b"law") in head.fields
    assert b"content-type" not in dict(head.fields)


def test_phrases() -> None:
    assert phrase(200) == b"OK"
    assert phrase(299) == b""
