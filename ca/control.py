"""The control stream, server side: one snapshot, then deltas and heartbeats, a line of JSON each.

Invariants: a stream tells each state at most once and always the newest one, so that a slow reader
costs one state and no queue; a heartbeat is sent only while the store has been read recently, so
that it really says "nothing is newer"; a stream ends when its SVID runs out or is revoked, when
its entry is deleted, when its reader stalls, and when the store cannot be read.

`sequence` counts the states told on this stream: 1 is the snapshot, each delta adds exactly 1, a
heartbeat repeats the last. It says nothing across streams.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, Protocol

from ca.sections import Sections, View, Views
from ca.spiffe.svid import X509Svid
from ca.store import StoreError

POLL_S: Final = 0.1
STALL_S: Final = 10.0
STREAMS_MAX: Final = 4096
_FRESH_POLLS: Final = 20
_RETRY_S: Final = 1.0
_ABSENT: Final = object()
_log = logging.getLogger("narrowgate.ca")

Clock = Callable[[], float]


class LineWriter(Protocol):
    """Where a stream goes; `write` returns when the bytes are on their way."""

    def write(self, data: bytes) -> Awaitable[None]:
        """Send one whole line."""


class Feed:
    """Watches the store and wakes the streams. `view` is None while the store is unreadable."""

    def __init__(self, views: Views, executor: Executor, poll_s: float = POLL_S) -> None:
        self._views = views
        self._executor = executor
        self._poll_s = poll_s
        self._changed = asyncio.Event()
        self._read_at_s = 0.0
        self._closed = False
        self.view: View | None = None
        self.streams = 0

    async def refresh(self) -> None:
        """Read the store once, waking the streams when something changed."""
        loop = asyncio.get_running_loop()
        view: View | None = None
        try:
            view = await loop.run_in_executor(self._executor, self._views.current)
            self._read_at_s = loop.time()
        except StoreError as error:
            if self.view is not None:
                _log.error("control streams end: %s", error)
        if view is not self.view:
            self.view = view
            self._wake()

    async def run(self) -> None:
        """Refresh until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._poll_s if self.view is not None else _RETRY_S)

    def changed(self) -> asyncio.Event:
        """Return the event that the next change sets; take it before reading `view`."""
        return self._changed

    def fresh(self) -> bool:
        """Whether `view` was compared with the store a moment ago."""
        age_s = asyncio.get_running_loop().time() - self._read_at_s
        return self.view is not None and age_s < self._poll_s * _FRESH_POLLS

    def close(self) -> None:
        """End every stream, now and for ever."""
        self._closed = True
        self.view = None
        self._wake()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def _wake(self) -> None:
        woken, self._changed = self._changed, asyncio.Event()
        woken.set()


@dataclass(slots=True)
class Stream:
    """One workload's view of the feed, told line by line until it must end."""

    feed: Feed
    svid: X509Svid
    writer: LineWriter
    heartbeat_s: float
    clock: Clock

    async def run(self) -> str:
        """Tell states until the stream must end; return why. `ConnectionError` passes through."""
        sequence = 0
        told: Sections = {}
        while True:
            changed = self.feed.changed()
            view = self.feed.view
            if view is None or self.feed.closed:
                return "store unavailable or closing"
            if not view.admits(self.svid, self.clock()):
                return "expired, revoked or deleted"
            sections = view.sections_for(self.svid.id)
            news = {
                name: value for name, value in sections.items() if told.get(name, _ABSENT) != value
            }
            if news:
                sequence += 1
                kind = "snapshot" if sequence == 1 else "delta"
                message = {"type": kind, "sequence": sequence, "sections": news}
                told = sections
            elif self.feed.fresh():
                message = {"type": "heartbeat", "sequence": sequence}
            else:
                message = None
            if message is not None and not await self._tell(message):
                return "the reader stalled"
            await self._pause(changed, view)

    async def _pause(self, changed: asyncio.Event, view: View) -> None:
        """Wait for the next state, the next heartbeat or the end of the SVID."""
        due = asyncio.get_running_loop().time() + self.heartbeat_s
        while True:
            left_s = min(
                due - asyncio.get_running_loop().time(), self.svid.not_after_s - self.clock()
            )
            if left_s <= 0:
                return
            try:
                async with asyncio.timeout(left_s):
                    await changed.wait()
            except TimeoutError:
                return
            changed = self.feed.changed()
            if self._concerned(view):
                return

    def _concerned(self, before: View) -> bool:
        """Whether this workload has to be told something (or be ended) since `before`."""
        view = self.feed.view
        if view is None or not view.admits(self.svid, self.clock()):
            return True
        return view.sections_for(self.svid.id) != before.sections_for(self.svid.id)

    async def _tell(self, message: dict[str, object]) -> bool:
        line = json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        try:
            async with asyncio.timeout(STALL_S):
                await self.writer.write(line)
        except TimeoutError:
            return False
        return True
