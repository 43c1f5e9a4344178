"""Time, injected. Wall-clock seconds are anchored to the monotonic clock.

A wall clock that is set back would bring expired identities to life again, and one that is set
forward would kill living ones; so a gate counts time from an anchor and notices when the wall no
longer agrees with it (`drift_s`). Small drift is followed, a jump is for posture to judge.
"""

from __future__ import annotations

import time
from typing import Final, Protocol


class Clock(Protocol):
    """Seconds since the epoch (`time_s`), and how far the wall has jumped (`drift_s`)."""

    def time_s(self) -> float:
        """Seconds since 1970, never set back by a change of the system's clock."""
        ...

    def drift_s(self) -> float:
        """The system's clock minus `time_s()`, seconds."""
        ...

    def follow(self) -> None:
        """Take the system's clock as true from now on."""
        ...


class SystemClock:
    """The real clock: `time.monotonic` from an anchor on `time.time`."""

    def __init__(self) -> None:
        self._offset_s = time.time() - time.monotonic()

    def time_s(self) -> float:
        """Seconds since 1970."""
        return time.monotonic() + self._offset_s

    def drift_s(self) -> float:
        """How far the system's clock has moved away from the anchor, seconds."""
        return time.time() - self.time_s()

    def follow(self) -> None:
        """Anchor again."""
        self._offset_s = time.time() - time.monotonic()


class ManualClock:
    """A clock that only tests move."""

    def __init__(self, now_s: float = 1_700_000_000.0) -> None:
        self.now_s = now_s
        self.wall_s = now_s

    def time_s(self) -> float:
        """The time the test set."""
        return self.now_s

    def drift_s(self) -> float:
        """The difference the test set."""
        return self.wall_s - self.now_s

    def follow(self) -> None:
        """Take the wall's time."""
        self.now_s = self.wall_s

    def advance(self, seconds: float) -> None:
        """Let time pass, on the wall too."""
        self.now_s += seconds
        self.wall_s += seconds


TICK_S: Final = 0.25
"""How often the coarse timer looks at deadlines; every timeout is late by at most this."""
