"""Randomness, injected: unguessable ids at the price of a slice.

Invariant: one instance belongs to one process; it is made after a fork, never before.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

POOL_BYTES: Final = 8192


class Entropy:
    """Random bytes from the operating system, fetched in larger pieces."""

    def __init__(self, source: Callable[[int], bytes] = os.urandom) -> None:
        self._source = source
        self._pool = b""
        self._used = 0

    def octets(self, count: int) -> bytes:
        """`count` fresh random bytes, at most `POOL_BYTES`. Raises `ValueError` for more."""
        if not 0 <= count <= POOL_BYTES:
            raise ValueError("so many random bytes at once are not given")
        if self._used + count > len(self._pool):
            self._pool = self._source(POOL_BYTES)
            self._used = 0
        start = self._used
        self._used = start + count
        return self._pool[start : self._used]

    def identifier(self) -> str:
        """A fresh 128-bit id in hex."""
        return self.octets(16).hex()

    def fraction(self) -> float:
        """A number from 0 to 1, for jitter."""
        return int.from_bytes(self.octets(4)) / 0xFFFFFFFF
