"""The one place where a reason becomes an answer: problem+json (RFC 9457) and our two fields.

A peer that did not authenticate learns the status and a decision id and nothing else.
"""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus

import orjson

from policy.permit import Denial
from policy.reason import Reason
from sidecar.http.head import Field, Framing, ResponseHead
from sidecar.http.http1 import encode_response

REASON_FIELD = b"x-narrowgate-reason"
DECISION_FIELD = b"x-narrowgate-decision"


@lru_cache(maxsize=256)
def _body(reason: Reason, status: int, *, authenticated: bool) -> bytes:
    problem = {"type": "about:blank", "title": reason.phrase, "status": status}
    if authenticated:
        problem |= {"reason": reason.label, "detail": reason.sentence}
    return orjson.dumps(problem)


def answer(denial: Denial, *, authenticated: bool) -> tuple[ResponseHead, bytes]:
    """The response head and body that tell a peer of a denial.

    What policy itself wrote for the refusal (status, fields, body) is meant for the peer.
    """
    reason = denial.reason
    fields: list[Field] = []
    if denial.body is not None:
        body = denial.body
    else:
        body = _body(reason, denial.status, authenticated=authenticated)
        fields.append((b"content-type", b"application/problem+json"))
    if authenticated:
        fields.append((REASON_FIELD, reason.label.encode()))
    if denial.decision_id:
        fields.append((DECISION_FIELD, denial.decision_id.encode()))
    if denial.status == HTTPStatus.UNAUTHORIZED:
        fields.append((b"www-authenticate", b"Bearer"))
    fields.extend(denial.fields)
    shown = phrase(denial.status)
    return ResponseHead(denial.status, shown, fields, Framing.LENGTH, len(body)), body


def refusal(reason: Reason, *, authenticated: bool) -> bytes:
    """The whole refusal as HTTP/1.1 bytes, for bytes that never became a stream; then close."""
    head, body = answer(Denial.of(reason, ""), authenticated=authenticated)
    return (
        encode_response(
            head.status,
            head.phrase,
            head.fields,
            head.framing,
            head.length,
            keep_alive=False,
            head_request=False,
        )
        + body
    )


def phrase(status: int) -> bytes:
    """The reason phrase of an HTTP status, empty for one without (RFC 9112 section 4)."""
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""
