"""Idle connections towards destinations, most recently used first.

Invariants: a connection is handed to one exchange at a time; it is pinned to the identity it was
opened for and closed when an SVID that stood behind it has expired or was revoked; idle connections
are bounded for each destination.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from sidecar.net.deadlines import Deadlines

Key = object


class Pooled(Protocol):
    """A connection as the pool sees it."""

    deadline_s: float

    @property
    def reusable(self) -> bool:
        """Idle, whole and unambiguous."""
        ...

    def close(self) -> None:
        """Close in order."""
        ...


C = TypeVar("C", bound=Pooled)


class Pool(Generic[C]):
    """Idle connections by key."""

    def __init__(self, deadlines: Deadlines, *, idle_max: int, idle_s: float) -> None:
        """`idle_max` connections a key, each idle for at most `idle_s`."""
        self._deadlines = deadlines
        self._idle_max = idle_max
        self._idle_s = idle_s
        self._idle: dict[Key, list[C]] = {}

    def take(self, key: Key, usable: Callable[[C], bool]) -> C | None:
        """An idle connection that is still usable; others are closed on the way."""
        idle = self._idle.get(key)
        while idle:
            connection = idle.pop()
            if not idle:
                del self._idle[key]
            if connection.reusable and usable(connection):
                return connection
            connection.close()
        return None

    def give_back(self, key: Key, connection: C) -> None:
        """Keep it for the next exchange, if it may be kept."""
        idle = self._idle.get(key, ())
        if not connection.reusable or len(idle) >= self._idle_max:
            connection.close()
            return
        connection.deadline_s = self._deadlines.now_s + self._idle_s
        self._idle.setdefault(key, []).append(connection)

    def forget(self, key: Key, connection: C) -> None:
        """It closed while idle."""
        idle = self._idle.get(key)
        if idle and connection in idle:
            idle.remove(connection)
            if not idle:
                del self._idle[key]

    def close_all(self) -> None:
        """Close everything that is idle."""
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()

    @property
    def idle_count(self) -> int:
        """Idle connections now."""
        return sum(map(len, self._idle.values()))
