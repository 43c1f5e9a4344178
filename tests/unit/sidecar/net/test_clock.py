"""Time comes from an anchor: the system's clock may jump, the gate's does not."""

from __future__ import annotations

import time

import pytest

from sidecar.net.clock import ManualClock, SystemClock


def test_a_wall_set_back_does_not_take_time_along(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    before_s = clock.time_s()
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() - 3600)
    assert clock.time_s() >= before_s
    assert clock.drift_s() == pytest.approx(-3600, abs=5)
    clock.follow()
    assert clock.drift_s() == pytest.approx(0, abs=5)
    assert clock.time_s() < before_s - 3000


def test_the_real_clock_tells_the_time() -> None:
    assert SystemClock().time_s() == pytest.approx(time.time(), abs=5)


def test_the_manual_clock_moves_only_by_hand() -> None:
    clock = ManualClock(10.0)
    clock.advance(5)
    assert (clock.time_s(), clock.drift_s()) == (15.0, 0.0)
    clock.wall_s -= 100
    assert (clock.time_s(), clock.drift_s()) == (15.0, -100.0)
    clock.follow()
    assert (clock.time_s(), clock.drift_s()) == (-85.0, 0.0)
