"""What token verification trusts at one moment: one immutable snapshot, swapped as a whole.

Invariants: a snapshot never changes after it was made, so one assignment makes a new bundle, a new
issuer list or a revocation effective for every verification that starts afterwards, also for those
answered from the cache.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Self

from ca.spiffe.bundle import TrustBundle
from ca.spiffe.ids import SpiffeId, SpiffeIdError, TrustDomain
from sidecar.token.issuers import IssuerList

REVOCATIONS_MAX: Final = 100_000
_ID_CHARS_MAX: Final = 2048
_SERIAL: Final = re.compile(r"[0-9A-Fa-f]{1,40}")


class RevocationsError(ValueError):
    """The section is not a revocation list."""


@dataclass(frozen=True, slots=True)
class Revocations:
    """What was revoked, as of `epoch`.

    serials: X.509 serial numbers; workloads: SPIFFE IDs; keys: RFC 7638 thumbprints of hop keys;
    transactions: `txn`; tokens: `jti` of roots and of WITs.
    """

    epoch: int = 0
    serials: frozenset[int] = frozenset()
    workloads: frozenset[SpiffeId] = frozenset()
    keys: frozenset[str] = frozenset()
    transactions: frozenset[str] = frozenset()
    tokens: frozenset[str] = frozenset()

    @classmethod
    def from_section(cls, section: Mapping[str, object]) -> Self:
        """Read the control stream's `revocations` section; every member must be there.

        Raises:
            RevocationsError: a member is missing or broken. Nothing is skipped: an entry that
                cannot be read is one that would not be refused.
        """
        epoch = section.get("epoch")
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
            raise RevocationsError("epoch is not a count")
        try:
            workloads = frozenset(SpiffeId.parse(text) for text in _texts(section, "workloads"))
        except SpiffeIdError as error:
            raise RevocationsError("a revoked workload is not a SPIFFE ID") from error
        return cls(
            epoch,
            frozenset(_serial(text) for text in _texts(section, "serials")),
            workloads,
            _texts(section, "keys"),
            _texts(section, "transactions"),
            _texts(section, "tokens"),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Trust:
    """The bundles by trust domain, their sequence, the issuer list and the revocations.

    `bundle_sequence` must change whenever any bundle changes; `issuers` is `None` until the
    authority has sent a list, and then nobody is listed.
    """

    bundles: Mapping[TrustDomain, TrustBundle]
    bundle_sequence: int
    issuers: IssuerList | None
    revocations: Revocations

    def __post_init__(self) -> None:
        object.__setattr__(self, "bundles", MappingProxyType(dict(self.bundles)))


def _texts(section: Mapping[str, object], name: str) -> frozenset[str]:
    value = section.get(name)
    if not isinstance(value, list) or len(value) > REVOCATIONS_MAX:
        raise RevocationsError(f"{name} is not a bounded list")
    texts = [text for text in value if isinstance(text, str) and _printable(text)]
    if len(texts) != len(value):
        raise RevocationsError(f"{name} holds something that is not an id")
    return frozenset(texts)


def _printable(text: str) -> bool:
    return 0 < len(text) <= _ID_CHARS_MAX and text.isprintable()


def _serial(text: str) -> int:
    if _SERIAL.fullmatch(text) is None:
        raise RevocationsError("a serial is not hexadecimal")
    return int(text, 16)
