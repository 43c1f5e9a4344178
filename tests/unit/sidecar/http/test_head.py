"""The head types hide what may be secret and default to the closed side."""

from __future__ import annotations

import pytest

from policy.reason import Reason
from sidecar.http.head import Framing, Limits, Refused, RequestHead, ResponseHead


def test_repr_shows_no_field_and_no_query() -> None:
    head = RequestHead(
        "GET", b"/a?key=secret", "/a", "key=secret", "shop", [(b"authorization", b"secret")]
    )
    assert "secret" not in repr(head)
    assert "/a" in repr(head)
    assert "secret" not in repr(ResponseHead(200, b"OK", [(b"set-cookie", b"secret")]))


def test_a_request_has_no_body_unless_it_declares_one() -> None:
    head = RequestHead("GET", b"/", "/", "", "shop", [])
    assert (head.framing, head.length, head.upgrade) == (Framing.NONE, 0, b"")
    assert not head.expect_continue


def test_refused_carries_its_reason() -> None:
    refused = Refused(Reason.MALFORMED, "why")
    assert refused.reason is Reason.MALFORMED
    assert refused.detail == "why"


def test_limits_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Limits().head_bytes_max = 1  # type: ignore[misc]
