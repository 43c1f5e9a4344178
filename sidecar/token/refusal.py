"""The one exception of this package: a token was refused, for exactly one reason."""

from __future__ import annotations

from typing import Final

from policy.reason import Reason


class TokenRefused(Exception):
    """A token, chain or credential was refused.

    `reason` is what the caller of the gate may learn; `detail` is for logs only and never holds
    token text.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason.label}: {detail}" if detail else reason.label)
        self.reason: Final = reason
        self.detail: Final = detail
