"""Pseudonyms: a subject that the mesh can recognise again and cannot trace back to the person.

Invariants: the name depends on the external issuer and its subject, unambiguously; the key never
shows in a `repr`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final, Self, final

from ca.spiffe.jws import JwsError, b64url_decode, b64url_encode

KEY_BYTES: Final = 32


class PseudonymsError(ValueError):
    """The section does not hold a pseudonym key."""


@final
class Pseudonyms:
    """A keyed mapping (HMAC-SHA256) from external subjects to `sub` claims."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        """Raises PseudonymsError unless `key` has 32 bytes."""
        if len(key) != KEY_BYTES:
            raise PseudonymsError("a pseudonym key has 32 bytes")
        self._key = key

    def __repr__(self) -> str:
        return "Pseudonyms()"

    @classmethod
    def from_section(cls, section: Mapping[str, object] | None) -> Self | None:
        """Read the control stream's `pseudonyms` section; `None` for a workload without one.

        Raises:
            PseudonymsError: the section is there and broken.
        """
        if section is None:
            return None
        text = section.get("key")
        if not isinstance(text, str) or not text.isascii():
            raise PseudonymsError("no key in the section")
        try:
            return cls(b64url_decode(text.encode("ascii")))
        except JwsError:
            raise PseudonymsError("the key is not base64url") from None

    def subject(self, issuer: str, subject: str) -> str:
        """The 43-character name of `subject` at `issuer`."""
        name = issuer.encode("utf-8")
        # The length in front keeps ("ab", "c") and ("a", "bc") apart.
        message = len(name).to_bytes(4, "big") + name + subject.encode("utf-8")
        return b64url_encode(hmac.digest(self._key, message, hashlib.sha256)).decode("ascii")
