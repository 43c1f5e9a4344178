"""The keys of one external issuer: a JWKS (RFC 7517) from a file or from an injected fetch.

Invariants: keys older than `max_age_s` verify nothing; at most one fetch is under way, and an
unknown `kid` causes at most one in `REFETCH_S`; a failed fetch leaves the good keys as they were;
a key that cannot be used is skipped, a document that cannot be read changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

from ca.spiffe.jws import JwsError, PublicKey, json_object, jwk_allows, jwk_to_key
from policy.reason import Reason
from sidecar.token.refusal import TokenRefused

KEYS_MAX: Final = 32
DOCUMENT_BYTES_MAX: Final = 65536
REFETCH_S: Final = 10.0
RETRY_S: Final = 1.0
_KID_CHARS_MAX: Final = 256
_CLOCK_STEP_S_MAX: Final = 5.0
_log: Final = logging.getLogger(__name__)

Fetch = Callable[[], Awaitable[bytes | None]]
"""Gives the document, or `None` for "as before"; may raise. The caller bounds its time."""


_Mark = tuple[int, int, int]
"""Modification time in ns, size in bytes and inode of a file."""


class Key(NamedTuple):
    """One usable key; `kid` is `""` when it has none."""

    kid: str
    alg: str
    key: PublicKey


def parse_jwks(document: bytes) -> tuple[Key, ...]:
    """Read a JWKS, leaving out keys of other kinds, uses and algorithms.

    Raises:
        ValueError: not a JWKS, over its bounds, two keys under one `kid`, or no usable key.
    """
    if len(document) > DOCUMENT_BYTES_MAX:
        raise ValueError("the JWKS is over its bound")
    items = json_object(document).get("keys")
    if not isinstance(items, list) or len(items) > KEYS_MAX:
        raise ValueError("a JWKS has a bounded list of keys")
    keys = tuple(key for item in items for key in _usable(item))
    names = [(key.kid, key.alg) for key in keys if key.kid]
    if not keys or len(set(names)) != len(names):
        raise ValueError("no usable key, or two under one kid")
    return keys


def file_source(path: Path) -> Fetch:
    """A source that reads the file again when its modification time or size changed."""
    seen: _Mark | None = None

    async def fetch() -> bytes | None:
        nonlocal seen
        seen, document = _read_changed(path, seen)
        return document

    return fetch


class KeySet:
    """The current keys of one issuer. `generation` changes whenever the keys do."""

    def __init__(self, fetch: Fetch, *, max_age_s: float, poll_s: float | None = None) -> None:
        """`poll_s`: how old keys may grow before they are fetched again, by default half of
        `max_age_s`; a file source takes a second or so.
        """
        self.generation = 0
        self._fetch = fetch
        self._max_age_s = max_age_s
        self._poll_s = max_age_s / 2 if poll_s is None else poll_s
        self._keys: tuple[Key, ...] = ()
        self._fetched_at_s: float | None = None
        self._tried_at_s: float | None = None
        self._sought_at_s: float | None = None
        self._flight: asyncio.Task[None] | None = None

    def age_s(self, now_s: float) -> float | None:
        """How old the keys are, `None` when there were never any."""
        return None if self._fetched_at_s is None else max(0.0, now_s - self._fetched_at_s)

    def fresh(self, now_s: float) -> bool:
        """Whether there are keys, not older than their maximum age."""
        fetched = self._fetched_at_s
        return fetched is not None and -_CLOCK_STEP_S_MAX <= now_s - fetched < self._max_age_s

    def due(self, now_s: float) -> bool:
        """Whether the keys are old enough to be fetched again."""
        return self._fetched_at_s is None or now_s - self._fetched_at_s >= self._poll_s

    async def find(self, kid: str | None, alg: str, now_s: float) -> PublicKey | None:
        """The key for a token's `kid` and `alg`; without `kid` only if it is the only candidate.

        Raises:
            TokenRefused: ISSUER_KEYS_UNAVAILABLE when no keys are to be had that are fresh.
        """
        await self.refresh(now_s)
        found = self._select(kid, alg)
        if found is None and self._may_seek(now_s):
            self._sought_at_s = now_s
            await self._fly(now_s)
            self._require_fresh(now_s)
            found = self._select(kid, alg)
        return found

    async def refresh(self, now_s: float) -> None:
        """Fetch again when it is time; wait for it only when there is nothing fresh.

        Raises:
            TokenRefused: ISSUER_KEYS_UNAVAILABLE.
        """
        if self.fresh(now_s):
            if self.due(now_s) and self._may_try(now_s, min(REFETCH_S, self._poll_s)):
                self._start(now_s)
            return
        if self._flight is not None or self._may_try(now_s, RETRY_S):
            await self._fly(now_s)
        self._require_fresh(now_s)

    async def close(self) -> None:
        """Give up a fetch that is under way."""
        flight = self._flight
        if flight is not None:
            flight.cancel()
            await asyncio.wait([flight])

    def _require_fresh(self, now_s: float) -> None:
        if not self.fresh(now_s):
            raise TokenRefused(Reason.ISSUER_KEYS_UNAVAILABLE)

    def _may_try(self, now_s: float, interval_s: float) -> bool:
        """Whether the last fetch of any kind began long enough ago."""
        return _elapsed(self._tried_at_s, now_s, interval_s)

    def _may_seek(self, now_s: float) -> bool:
        """Whether an unknown kid may cause a fetch; not when the keys came this very moment."""
        return self._fetched_at_s != now_s and _elapsed(self._sought_at_s, now_s, REFETCH_S)

    def _select(self, kid: str | None, alg: str) -> PublicKey | None:
        found = [k.key for k in self._keys if k.alg == alg and (kid is None or k.kid == kid)]
        return found[0] if len(found) == 1 else None

    async def _fly(self, now_s: float) -> None:
        """Wait for the one fetch, which goes on when this caller is cancelled."""
        await asyncio.wait([self._start(now_s)])

    def _start(self, now_s: float) -> asyncio.Task[None]:
        flight = self._flight
        if flight is None:
            self._tried_at_s = now_s
            flight = asyncio.get_running_loop().create_task(self._load(now_s), name="jwks")
            self._flight = flight  # held: it ends in _load and nowhere else
            flight.add_done_callback(self._landed)
        return flight

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flight = None
        if not flight.cancelled() and (error := flight.exception()) is not None:
            # The good keys stay until their age ends them: that is what denies.
            _log.warning("issuer keys not refreshed: %s", type(error).__name__)

    async def _load(self, now_s: float) -> None:
        document = await self._fetch()
        if document is not None:
            keys = parse_jwks(document)
            self._keys = keys
            self.generation += 1
        elif self._fetched_at_s is None:
            raise ValueError("no document yet")
        self._fetched_at_s = now_s


def _elapsed(since_s: float | None, now_s: float, interval_s: float) -> bool:
    return since_s is None or not 0 <= now_s - since_s < interval_s


def _read_changed(path: Path, seen: _Mark | None) -> tuple[_Mark, bytes | None]:
    """What the file holds now, `None` when it is as `seen`; raise when it is no JWKS (yet)."""
    status = path.stat()
    mark = (status.st_mtime_ns, status.st_size, status.st_ino)
    if mark == seen:
        return mark, None
    with path.open("rb") as file:
        document = file.read(DOCUMENT_BYTES_MAX + 1)
    parse_jwks(document)  # a half-written file is not marked as seen
    return mark, document


def _usable(item: object) -> list[Key]:
    """One `Key` for each algorithm that this JWK may verify: none, or one."""
    if not isinstance(item, dict):
        return []
    kid = item.get("kid", "")
    alg = {"EC": "ES256", "RSA": "RS256", "OKP": "EdDSA"}.get(str(item.get("kty")), "")
    if not isinstance(kid, str) or len(kid) > _KID_CHARS_MAX or not jwk_allows(item, alg):
        return []
    try:
        return [Key(kid, alg, jwk_to_key(item))]
    except JwsError:
        return []
