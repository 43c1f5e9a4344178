"""Posture: normal, degraded or sealed, as a function of time and of how fresh each input is.

Invariants: a gate starts sealed; each input has an age and a grace; nothing but a fresh input makes
the posture better; asking costs two comparisons, because the instants at which it will get worse
are computed when an input is refreshed, not when a call asks.
"""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import Final

from policy.call import Posture
from policy.reason import Reason
from sidecar.http.head import Refused
from sidecar.net.clock import Clock


class Dependency(Enum):
    """An input that the proof depends on; the value is its metric label."""

    BUNDLE = "bundle"
    REVOCATIONS = "revocations"
    POLICY = "policy"
    REGISTRY = "registry"


_SEALED_BY: Final = {
    Dependency.BUNDLE: Reason.SEALED_BUNDLE,
    Dependency.REVOCATIONS: Reason.SEALED_REVOCATIONS,
}


class PostureTable:
    """Ages and graces of everything this gate depends on."""

    def __init__(
        self,
        clock: Clock,
        *,
        degraded_after_s: float,
        stale_after_s: float | None,
        clock_jump_s_max: float,
    ) -> None:
        """`stale_after_s` None: the lifetime of the gate's own SVID."""
        self._clock = clock
        self._degraded_after_s = degraded_after_s
        self._stale_after_s = stale_after_s
        self._clock_jump_s_max = clock_jump_s_max
        self._fresh_s: dict[Dependency, float] = {}
        self._svid_lifetime_s = 0.0
        self._svid_not_after_s = -inf
        self._sealed = Reason.SEALED_STARTING
        self._sealed_at_s = -inf
        self._degraded_at_s = -inf
        self.jumped = False
        self.was_ready = False

    def identity(self, not_before_s: float, not_after_s: float) -> None:
        """The gate has a new SVID."""
        self._svid_lifetime_s = not_after_s - not_before_s
        self._svid_not_after_s = not_after_s
        self._compute()

    def fresh(self, *dependencies: Dependency) -> None:
        """Each of them was confirmed just now."""
        now_s = self._clock.time_s()
        for dependency in dependencies:
            self._fresh_s[dependency] = now_s
        self._compute()

    def watch_clock(self) -> None:
        """Follow small drift of the system's clock; seal on a jump until it is taken back."""
        drift_s = self._clock.drift_s()
        jumped = abs(drift_s) > self._clock_jump_s_max
        if not jumped:
            self._clock.follow()
        if jumped != self.jumped:
            self.jumped = jumped
            self._compute()

    def check(self, now_s: float) -> Posture:
        """The posture at `now_s`, normal or degraded.

        Raises:
            Refused: sealed; the reason says by what.
        """
        if now_s >= self._sealed_at_s:
            raise Refused(self._sealed, "the gate is sealed")
        return Posture.DEGRADED if now_s >= self._degraded_at_s else Posture.NORMAL

    def sealed_reason(self) -> Reason | None:
        """Why the gate is sealed now, if it is."""
        return self._sealed if self._clock.time_s() >= self._sealed_at_s else None

    def posture(self) -> Posture:
        """The posture now, for metrics and endpoints."""
        now_s = self._clock.time_s()
        if now_s >= self._sealed_at_s:
            return Posture.SEALED
        return Posture.DEGRADED if now_s >= self._degraded_at_s else Posture.NORMAL

    def ages_s(self) -> dict[str, float]:
        """Seconds since each dependency was last confirmed; `inf` for never."""
        now_s = self._clock.time_s()
        return {d.value: now_s - self._fresh_s.get(d, -inf) for d in Dependency}

    def ready(self) -> bool:
        """The first time every input has to be fresh; after that only `sealed` clears it."""
        return self.was_ready and self.posture() is not Posture.SEALED

    def _compute(self) -> None:
        missing = [d for d in Dependency if d not in self._fresh_s]
        if self.jumped:
            self._seal(Reason.SEALED_CLOCK)
            return
        if missing or not self._svid_lifetime_s:
            self._seal(Reason.SEALED_STARTING)
            return
        stale_after_s = self._stale_after_s or self._svid_lifetime_s
        ends = [(self._svid_not_after_s, Reason.SEALED_IDENTITY)]
        ends += [(self._fresh_s[d] + stale_after_s, why) for d, why in _SEALED_BY.items()]
        self._sealed_at_s, self._sealed = min(ends, key=lambda end: end[0])
        self._degraded_at_s = min(self._fresh_s.values()) + self._degraded_after_s
        self.was_ready = self.was_ready or self.posture() is Posture.NORMAL

    def _seal(self, reason: Reason) -> None:
        self._sealed = reason
        self._sealed_at_s = self._degraded_at_s = -inf
