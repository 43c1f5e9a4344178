"""Raw HTTP/1.1 messages with a verdict from the RFCs, whole and at every split of their bytes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from policy.reason import Reason
from sidecar.http.head import RequestHead
from tests.wire.fuzz_http1 import Verdict, check, drive, encode, naive_messages, read_response

SMALL_BYTES = 600
STATUS = {reason.label: reason.status for reason in Reason}


def cases(corpora: Callable[[str], Path], name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((corpora("http") / name).read_text())["cases"]
    assert len(found) > 100
    return found


def splits(raw: bytes) -> list[list[bytes]]:
    """Every single cut, and byte by byte, of what is small; a few cuts of what is not."""
    if len(raw) > SMALL_BYTES:
        return [[raw[:at], raw[at:]] for at in (1, 100, len(raw) // 2, len(raw) - 1)]
    bytewise = [raw[at : at + 1] for at in range(len(raw))]
    return [bytewise, *([raw[:at], raw[at:]] for at in range(1, len(raw)))]


def disagreement(case: dict[str, Any], verdict: Verdict) -> str:
    """How `verdict` differs from what the RFCs say of the case, "" when it does not."""
    if case["verdict"] == "reject":
        if verdict.end != "refused" or verdict.messages:
            return "not refused before a request was complete"
        if case["status"] and STATUS[verdict.reason] not in case["status"]:
            return f"refused with {STATUS[verdict.reason]}"
    elif case["verdict"] == "accept":
        if verdict.end == "refused" or len(verdict.messages) != case["requests"]:
            return "not accepted"
        body = base64.b64decode(case["body_b64"] or "")
        if case["body_b64"] is not None and verdict.messages[0].body != body:
            return "another body"
    return ""


def test_every_request_is_judged_as_the_rfcs_do(corpora: Callable[[str], Path]) -> None:
    wrong = []
    for case in cases(corpora, "http1_requests.json"):
        verdict = drive([base64.b64decode(case["raw_b64"])])
        if problem := disagreement(case, verdict):
            wrong.append(f"{case['id']}: {problem}: {verdict}")
    assert not wrong, "\n".join(wrong)


def test_every_request_is_judged_alike_at_every_split(corpora: Callable[[str], Path]) -> None:
    for case in cases(corpora, "http1_requests.json"):
        raw = base64.b64decode(case["raw_b64"])
        check(raw, splits(raw))


def test_what_may_be_judged_either_way(corpora: Callable[[str], Path]) -> None:
    """We refuse all but these, and forward these as the corpus says they must be."""
    accepted = {}
    for case in cases(corpora, "http1_requests.json"):
        verdict = drive([base64.b64decode(case["raw_b64"])])
        if case["verdict"] == "either" and verdict.messages:
            assert verdict.end == "empty"
            (message,) = verdict.messages
            assert isinstance(message.head, RequestHead)
            accepted[case["id"]] = (message.head.target, message.head.path, message.body)
            assert naive_messages(encode(message))[0][1] == message.body
    assert accepted == {
        "chunk-trailer-cl": (b"/", "/", b"hello"),
        "path-2f61646d696e3f2f7075626c6963": (b"/admin?/public", "/admin", b""),
        "path-2f61646d696e253230": (b"/admin%20", "/admin%20", b""),
    }


# What llhttp refuses and we do not, each for a reason.
MORE_LENIENT: dict[str, str] = {
    "request/invalid.md: HTTP protocol and ANNOUNCE method": "any upper-case token is a method",
    "request/invalid.md: Invalid method": "any upper-case token is a method",
}
CLOSED = "closed"  # after `Connection: close` we read no more, llhttp reports it


def test_llhttp_refusals_are_ours(corpora: Callable[[str], Path]) -> None:
    """Everything that strict llhttp refuses is refused, or not complete, or after a close."""
    wrong = []
    for case in cases(corpora, "llhttp_cases.json"):
        if case["kind"] not in {"request", "response"}:
            continue
        raw = base64.b64decode(case["raw_b64"])
        if b"host:" not in raw.lower() and case["kind"] == "request":
            raw = raw.replace(b" HTTP/1.1\r\n", b" HTTP/1.1\r\nHost: x\r\n", 1)
        # The corpus lost the last CRLFs of many heads; with them, the fault is there to see.
        pieces = [raw, b"\r\n", b"\r\n"]
        verdict = drive(pieces, read_response) if case["kind"] == "response" else drive(pieces)
        refused = verdict.end in {"refused", CLOSED}
        if case["error"] and not refused and case["id"] not in MORE_LENIENT:
            wrong.append(f"{case['id']}: {raw!r}: {verdict}")
    assert not wrong, "\n".join(wrong)


def test_llhttp_cases_are_judged_alike_at_every_split(corpora: Callable[[str], Path]) -> None:
    for case in cases(corpora, "llhttp_cases.json"):
        raw = base64.b64decode(case["raw_b64"])
        if len(raw) > SMALL_BYTES or "lenient" in case["kind"]:
            continue
        bytewise = [raw[at : at + 1] for at in range(len(raw))]
        if case["kind"] == "response":
            check(raw, [bytewise], read_response)
        else:
            check(raw, [bytewise])
