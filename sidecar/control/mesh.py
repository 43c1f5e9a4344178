"""What the authority last said, parsed into types and swapped as a whole.

Invariants: a message is applied entirely or not at all; revocation epochs and bundle sequences
never go back; readers see one immutable snapshot at a time (`trust`, `registry`), never a mixture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ca.spiffe.bundle import TrustBundle
from ca.spiffe.ids import SpiffeId, TrustDomain
from policy.bundle import PolicyBundle
from sidecar.control.registry import Registry
from sidecar.token.issuers import IssuerList
from sidecar.token.pseudonym import Pseudonyms
from sidecar.token.trust import Revocations, Trust

SECTIONS: Final = frozenset(
    {"bundles", "policy", "registry", "issuers", "revocations", "pseudonyms"}
)


class ControlError(Exception):
    """The authority's message cannot be used; what was known before stays in force."""


class Mesh:
    """The gate's knowledge of the mesh. `watch` tells a listener which sections changed."""

    def __init__(self, workload: SpiffeId, bundle: TrustBundle) -> None:
        """Start from the trust bundle in the configuration and nothing else."""
        self.workload: Final = workload
        self.trust = Trust({bundle.trust_domain: bundle}, 0, None, Revocations())
        self.registry = Registry({})
        self.policy: PolicyBundle | None = None
        self.pseudonyms: Pseudonyms | None = None
        self.sequence = -1
        self._versions = 0
        self._issuers_text: str | None = None
        self._watchers: list[Callable[[frozenset[str]], None]] = []

    @property
    def bundle(self) -> TrustBundle:
        """Our own trust domain's bundle."""
        return self.trust.bundles[self.workload.trust_domain]

    def watch(self, watcher: Callable[[frozenset[str]], None]) -> None:
        """Call `watcher` after each change with the names of the changed sections."""
        self._watchers.append(watcher)

    def apply(self, message: Mapping[str, object], now_s: float) -> None:
        """Take a snapshot or a delta.

        Raises:
            ControlError: it is malformed, incomplete, out of order or goes back in time.
        """
        match message:
            case {"type": "snapshot", "sequence": int(sequence), "sections": dict(sections)}:
                if not SECTIONS.issubset(sections):
                    raise ControlError("a snapshot lacks a section")
            case {"type": "delta", "sequence": int(sequence), "sections": dict(sections)}:
                # Each delta adds exactly 1: a gap is a change that never arrived.
                if self.sequence < 0 or sequence != self.sequence + 1:
                    raise ControlError("a delta came out of order")
            case _:
                raise ControlError("neither a snapshot nor a delta")
        try:
            changed = self._replace(sections, now_s)
        except ControlError:
            raise
        except Exception as error:  # whatever is wrong with it, nothing of it is used
            raise ControlError(f"{type(error).__name__}: {error}") from None
        self.sequence = sequence
        self._tell(changed)

    def _tell(self, changed: frozenset[str]) -> None:
        """Tell every watcher, also after one failed; the stream ends then."""
        failed: Exception | None = None
        for watcher in self._watchers:
            try:
                watcher(changed)
            except Exception as error:
                failed = error
        if failed is not None:
            raise ControlError(f"a change took no effect: {type(failed).__name__}: {failed}")

    def _replace(self, sections: Mapping[str, object], now_s: float) -> frozenset[str]:
        bundles = dict(self.trust.bundles)
        if "bundles" in sections:
            bundles = _bundles(sections["bundles"])
            self._check_bundle(bundles.get(self.workload.trust_domain))
        revocations = self.trust.revocations
        if "revocations" in sections:
            revocations = Revocations.from_section(_mapping(sections["revocations"]))
            if revocations.epoch < self.trust.revocations.epoch:
                raise ControlError("the revocation epoch went back")
        issuers_text = self._issuers_text
        if "issuers" in sections:
            issuers_text = _text_or_none(sections["issuers"])
        issuers = None
        if issuers_text is not None:
            own = bundles[self.workload.trust_domain]
            issuers = IssuerList.parse(issuers_text, own, now_s)
        registry, policy, pseudonyms = self.registry, self.policy, self.pseudonyms
        if "registry" in sections:
            registry = Registry.parse(sections["registry"])
        if "policy" in sections:
            section = sections["policy"]
            policy = None if section is None else PolicyBundle.from_section(_mapping(section))
        if "pseudonyms" in sections:
            section = sections["pseudonyms"]
            pseudonyms = Pseudonyms.from_section(None if section is None else _mapping(section))
        # Everything was read: from here on nothing can fail.
        self._versions += 1
        self.trust = Trust(bundles, self._versions, issuers, revocations)
        self._issuers_text = issuers_text
        self.registry, self.policy, self.pseudonyms = registry, policy, pseudonyms
        return frozenset(sections)

    def _check_bundle(self, own: TrustBundle | None) -> None:
        if own is None:
            raise ControlError("our own trust domain's bundle is missing")
        if own.sequence < self.bundle.sequence:
            raise ControlError("the bundle sequence went back")


def _bundles(section: object) -> dict[TrustDomain, TrustBundle]:
    bundles = {}
    for name, document in _mapping(section).items():
        domain = TrustDomain.parse(name)
        bundles[domain] = TrustBundle.parse(domain, _mapping(document))
    return bundles


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise ControlError("a section is not an object")
    return value


def _text_or_none(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise ControlError("the issuer list is not a text")
