"""Whoever waits is told once that its deadline has passed, and never before."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from sidecar.net.deadlines import NEVER, Deadlines


class Waiter:
    def __init__(self, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self.expired = asyncio.Event()
        self.times = 0

    def expire(self) -> None:
        self.times += 1
        self.expired.set()


class Broken(Waiter):
    def expire(self) -> None:
        super().expire()
        raise RuntimeError("broken")


@pytest.fixture
async def deadlines() -> Iterator[Deadlines]:  # type: ignore[misc]
    made = Deadlines()
    made.start()
    yield made
    made.stop()


async def test_what_is_due_expires_once_and_the_rest_waits(deadlines: Deadlines) -> None:
    due, later, never = Waiter(deadlines.loop_s()), Waiter(deadlines.now_s + 3600), Waiter(NEVER)
    for one in (due, later, never):
        deadlines.add(one)
    begun_s = deadlines.now_s
    await due.expired.wait()
    assert due.deadline_s == NEVER
    ticked = asyncio.Event()
    deadlines.every_tick(ticked.set)
    await ticked.wait()
    assert (due.times, later.times, never.times) == (1, 0, 0)
    assert deadlines.loop_s() > begun_s


async def test_what_was_discarded_is_left_alone(deadlines: Deadlines) -> None:
    gone, witness = Waiter(deadlines.now_s), Waiter(deadlines.now_s)
    deadlines.add(gone)
    deadlines.add(witness)
    deadlines.discard(gone)
    deadlines.discard(gone)
    await witness.expired.wait()
    assert gone.times == 0


async def test_one_that_fails_does_not_stop_the_others(deadlines: Deadlines) -> None:
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, found: faults.append(found))
    waiters = [Broken(deadlines.now_s), Waiter(deadlines.now_s), Waiter(deadlines.now_s)]
    for one in waiters:
        deadlines.add(one)
    for one in waiters:
        await one.expired.wait()
    assert len(faults) == 1


async def test_nothing_happens_after_stop() -> None:
    deadlines = Deadlines()
    deadlines.stop()
    deadlines.start()
    deadlines.stop()
    deadlines.stop()
    waiter = Waiter(deadlines.now_s)
    deadlines.add(waiter)
    deadlines._tick()  # one that was already on its way
    deadlines.stop()
    assert waiter.times == 1
