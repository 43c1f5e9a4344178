"""A refusal names its reason, and its detail only in the log text."""

from __future__ import annotations

from policy.reason import Reason
from sidecar.token.refusal import TokenRefused


def test_refusal_shows_reason_and_detail() -> None:
    refused = TokenRefused(Reason.TOKEN_EXPIRED, "the grant")
    assert (refused.reason, refused.detail) == (Reason.TOKEN_EXPIRED, "the grant")
    assert str(refused) == "token_expired: the grant"
    assert str(TokenRefused(Reason.TOKEN_EXPIRED)) == "token_expired"
