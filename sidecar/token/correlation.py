"""Which grant an outbound call belongs to: handles of live inbound calls, and their traces.

Invariants: a handle is made here from 128 random bits and never taken from a caller; it dies with
its call (plus `linger_s`); the store is bounded and refuses above its bound; where more than one
answer is possible the answer is a narrower one or none. Never guess.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from policy.call import Grant
from policy.reason import Reason
from sidecar.token.refusal import TokenRefused
from sidecar.token.trace import HANDLE

HANDLE_BYTES: Final = 16
WORKERS_MAX: Final = 256
HANDLES_MAX: Final = 65536
TRACE_HANDLES_MAX: Final = 64
"""Live calls of one trace above which nobody compares their grants any more."""

TraceGrants = tuple[Grant, ...] | None
"""The live grants of a trace put into one: `()` none live, `(grant,)`, `None` cannot be told."""


class _Open(NamedTuple):
    grant: Grant | None
    trace_id: str | None


class Handles:
    """The live inbound calls of one worker. `now_s` is in epoch seconds."""

    def __init__(
        self,
        worker_index: int,
        *,
        handles_max: int = HANDLES_MAX,
        linger_s: float = 0.0,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Raises ValueError for a worker index that a handle cannot name."""
        if not 0 <= worker_index < WORKERS_MAX:
            raise ValueError("a worker index is one byte")
        self.worker_index: Final = worker_index
        self._suffix = f"{worker_index:02x}"
        self._handles_max = handles_max
        self._linger_s = linger_s
        self._random = random
        self._open: dict[str, _Open] = {}
        self._traces: dict[str, dict[str, None]] = {}
        self._lingering: deque[tuple[float, str]] = deque()

    def __len__(self) -> int:
        return len(self._open)

    def open(self, grant: Grant | None, *, trace_id: str | None, now_s: float) -> str:
        """Make the handle of an inbound call; `grant` is `None` for a call without one.

        A call without a grant is kept too: its trace then cannot be told apart from another's.

        Raises:
            TokenRefused: TOO_MANY.
        """
        self._purge(now_s)
        if len(self._open) >= self._handles_max:
            raise TokenRefused(Reason.TOO_MANY, "live handles")
        handle = self._random(HANDLE_BYTES).hex() + self._suffix
        if len(handle) != 2 * HANDLE_BYTES + 2 or handle in self._open:
            raise TokenRefused(Reason.INTERNAL, "the random source repeats itself")
        self._open[handle] = _Open(grant, trace_id)
        if trace_id is not None:
            self._traces.setdefault(trace_id, {})[handle] = None
        return handle

    def close(self, handle: str, now_s: float) -> None:
        """End the handle with its call, now or after the linger; closing twice does nothing."""
        if self._linger_s > 0 and handle in self._open:
            self._lingering.append((now_s + self._linger_s, handle))
        else:
            self._drop(handle)

    def find(self, handle: str, now_s: float) -> Grant | None:
        """The grant of a live call of this worker, or `None`."""
        self._purge(now_s)
        found = self._open.get(handle)
        return found.grant if found is not None else None

    def trace_grants(self, trace_id: str, now_s: float) -> TraceGrants:
        """What the live calls of this worker say about a trace."""
        self._purge(now_s)
        handles = self._traces.get(trace_id, {})
        if len(handles) > TRACE_HANDLES_MAX:
            return None
        return combine(self._open[handle].grant for handle in handles)

    def by_trace(self, trace_id: str, now_s: float) -> Grant | None:
        """The one grant that every live call of the trace would allow, or `None`."""
        found = self.trace_grants(trace_id, now_s)
        return found[0] if found else None

    def _purge(self, now_s: float) -> None:
        while self._lingering and self._lingering[0][0] <= now_s:
            self._drop(self._lingering.popleft()[1])

    def _drop(self, handle: str) -> None:
        found = self._open.pop(handle, None)
        if found is None or found.trace_id is None:
            return
        handles = self._traces[found.trace_id]
        del handles[handle]
        if not handles:
            del self._traces[found.trace_id]


def owner(handle: str) -> int | None:
    """The index of the worker that made a handle, or `None` when it has not the form of one."""
    return int(handle[2 * HANDLE_BYTES :], 16) if HANDLE.fullmatch(handle) else None


def combine(grants: Iterable[Grant | None]) -> TraceGrants:
    """Put the grants of one trace into one.

    All of the same transaction and subject: the one whose scope is inside all the others', else
    the smallest one narrowed to what they have in common. A missing grant, another transaction or
    another subject: `None`.
    """
    listed = list(grants)
    held = [grant for grant in listed if grant is not None]
    if len(held) != len(listed):
        return None
    if not held:
        return ()
    first = held[0]
    if any((one.txn, one.subject) != (first.txn, first.subject) for one in held):
        return None
    smallest = min(held, key=lambda grant: (len(grant.scope), grant.expires_at_s))
    return (smallest.narrowed(smallest.scope.intersection(*(one.scope for one in held))),)


def combine_answers(answers: Sequence[TraceGrants]) -> Grant | None:
    """Put the answers of all workers into one; one that cannot tell makes all of them so."""
    grants: list[Grant] = []
    for answer in answers:
        if answer is None:
            return None
        grants.extend(answer)
    combined = combine(grants)
    return combined[0] if combined else None
