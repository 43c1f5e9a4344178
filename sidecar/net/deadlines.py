"""One coarse timer for every wait: no timer object per request.

Whoever waits sets its `deadline_s` (loop time) and is looked at each `TICK_S`: a deadline is late
by at most one tick. One that was counted from `now_s` may also be early by as much, because `now_s`
is the time of the last tick. `NEVER` means that nothing is awaited.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from typing import Final, Protocol

from sidecar.net.clock import TICK_S

NEVER: Final = inf


class Waiting(Protocol):
    """Something that may not wait for ever."""

    deadline_s: float

    def expire(self) -> None:
        """The deadline has passed."""
        ...


class Deadlines:
    """Everything of one worker that waits, swept on one tick."""

    def __init__(self) -> None:
        self._waiting: set[Waiting] = set()
        self._ticks: list[Callable[[], None]] = []
        self._handle: asyncio.TimerHandle | None = None
        self.now_s = 0.0

    def add(self, waiting: Waiting) -> None:
        """Look at `waiting` from now on."""
        self._waiting.add(waiting)

    def discard(self, waiting: Waiting) -> None:
        """Look at it no longer."""
        self._waiting.discard(waiting)

    def every_tick(self, callback: Callable[[], None]) -> None:
        """Call `callback` on each tick too (posture, log flushing, watchdog)."""
        self._ticks.append(callback)

    def loop_s(self) -> float:
        """Loop time as of the last tick: good enough for every bound here."""
        return self.now_s

    def start(self) -> None:
        """Begin; needs the running loop."""
        self._loop = asyncio.get_running_loop()
        self.now_s = self._loop.time()
        self._handle = self._loop.call_later(TICK_S, self._tick)

    def stop(self) -> None:
        """End; nothing expires any more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _tick(self) -> None:
        self._handle = self._loop.call_later(TICK_S, self._tick)
        now_s = self.now_s = self._loop.time()
        for waiting in [w for w in self._waiting if w.deadline_s <= now_s]:
            waiting.deadline_s = NEVER
            waiting.expire()
        for callback in self._ticks:
            callback()
