"""The fail-closed table, row by row, on a clock that only the test moves."""

from __future__ import annotations

from math import inf

import pytest

from policy.call import Posture
from policy.reason import Reason
from sidecar.http.head import Refused
from sidecar.net.clock import ManualClock
from sidecar.resilience.posture import Dependency, PostureTable

LIFE_S = 3600.0


class Bench:
    def __init__(self, *, stale_after_s: float | None = None) -> None:
        self.clock = ManualClock()
        self.table = PostureTable(
            self.clock, degraded_after_s=10, stale_after_s=stale_after_s, clock_jump_s_max=5
        )

    def started(self) -> Bench:
        now_s = self.clock.time_s()
        self.table.identity(now_s, now_s + LIFE_S)
        self.table.fresh(*Dependency)
        return self

    def now(self) -> Posture | Reason:
        try:
            return self.table.check(self.clock.time_s())
        except Refused as refused:
            assert self.table.posture() is Posture.SEALED
            assert self.table.sealed_reason() is refused.reason
            return refused.reason


def test_a_gate_starts_sealed_and_opens_when_nothing_is_missing() -> None:
    bench = Bench()
    assert bench.now() is Reason.SEALED_STARTING
    bench.table.identity(bench.clock.now_s, bench.clock.now_s + LIFE_S)
    for dependency in Dependency:
        assert bench.now() is Reason.SEALED_STARTING
        assert not bench.table.ready()
        bench.table.fresh(dependency)
    assert bench.now() is Posture.NORMAL
    assert bench.table.ready()


def test_inputs_without_an_identity_open_nothing() -> None:
    bench = Bench()
    bench.table.fresh(*Dependency)
    assert bench.now() is Reason.SEALED_STARTING
    assert not bench.table.ready()


@pytest.mark.parametrize("lost", Dependency)
def test_without_word_of_an_input_the_posture_is_degraded(lost: Dependency) -> None:
    bench = Bench().started()
    bench.clock.advance(9.999)
    assert bench.now() is Posture.NORMAL
    bench.table.fresh(*(one for one in Dependency if one is not lost))
    bench.clock.advance(0.001)
    assert bench.now() is Posture.DEGRADED
    bench.table.fresh(lost)
    assert bench.now() is Posture.NORMAL


@pytest.mark.parametrize(
    ("lost", "reason"),
    [
        (Dependency.BUNDLE, Reason.SEALED_BUNDLE),
        (Dependency.REVOCATIONS, Reason.SEALED_REVOCATIONS),
        (Dependency.POLICY, None),
        (Dependency.REGISTRY, None),
    ],
)
def test_what_seals_when_it_is_stale(lost: Dependency, reason: Reason | None) -> None:
    bench = Bench(stale_after_s=60).started()
    bench.clock.advance(59.999)
    bench.table.fresh(*(one for one in Dependency if one is not lost))
    assert bench.now() is Posture.DEGRADED
    bench.clock.advance(0.001)
    assert bench.now() is (reason or Posture.DEGRADED)
    bench.table.fresh(lost)
    assert bench.now() is Posture.NORMAL


def test_stale_is_the_life_of_the_svid_by_default() -> None:
    bench = Bench().started()
    bench.clock.advance(LIFE_S - 1)
    bench.table.identity(bench.clock.now_s, bench.clock.now_s + LIFE_S)
    assert bench.now() is Posture.DEGRADED
    bench.clock.advance(1)
    assert bench.now() in (Reason.SEALED_BUNDLE, Reason.SEALED_REVOCATIONS)


def test_the_authority_lost_degrades_and_then_seals() -> None:
    bench = Bench().started()
    bench.clock.advance(10)
    assert bench.now() is Posture.DEGRADED
    assert bench.table.ready(), "an outage of the authority takes nobody out of the balance"
    bench.clock.advance(LIFE_S - 10)
    assert bench.now() is Reason.SEALED_IDENTITY
    assert not bench.table.ready()


def test_an_svid_ends_at_its_instant() -> None:
    bench = Bench(stale_after_s=10 * LIFE_S).started()
    bench.clock.advance(LIFE_S - 0.001)
    bench.table.fresh(*Dependency)
    assert bench.now() is Posture.NORMAL
    bench.clock.advance(0.001)
    assert bench.now() is Reason.SEALED_IDENTITY
    bench.table.fresh(*Dependency)
    assert bench.now() is Reason.SEALED_IDENTITY
    bench.table.identity(bench.clock.now_s, bench.clock.now_s + LIFE_S)
    assert bench.now() is Posture.NORMAL


@pytest.mark.parametrize("jump_s", [5.001, -5.001, 1e6, -1e6])
def test_a_jump_of_the_clock_seals_until_it_is_taken_back(jump_s: float) -> None:
    bench = Bench().started()
    bench.clock.wall_s += jump_s
    bench.table.watch_clock()
    assert bench.now() is Reason.SEALED_CLOCK
    bench.table.fresh(*Dependency)
    bench.table.identity(bench.clock.now_s, bench.clock.now_s + LIFE_S)
    bench.table.watch_clock()
    assert bench.now() is Reason.SEALED_CLOCK
    assert not bench.table.ready()
    bench.clock.wall_s -= jump_s
    bench.table.watch_clock()
    assert bench.now() is Posture.NORMAL
    assert bench.table.ready()


@pytest.mark.parametrize("drift_s", [5.0, -5.0])
def test_small_drift_is_followed(drift_s: float) -> None:
    bench = Bench().started()
    bench.clock.wall_s += drift_s
    bench.table.watch_clock()
    assert bench.clock.time_s() == bench.clock.wall_s
    assert bench.now() is Posture.NORMAL


def test_a_clock_that_jumps_back_brings_no_identity_to_life() -> None:
    bench = Bench().started()
    bench.clock.advance(LIFE_S)
    bench.clock.wall_s -= 2 * LIFE_S
    assert bench.now() is Reason.SEALED_IDENTITY
    bench.table.watch_clock()
    assert bench.now() is Reason.SEALED_CLOCK


def test_everything_gone_at_once_and_back() -> None:
    bench = Bench().started()
    bench.clock.advance(10 * LIFE_S)
    bench.clock.wall_s += 60
    bench.table.watch_clock()
    assert bench.now() is Reason.SEALED_CLOCK
    bench.clock.wall_s -= 60
    bench.table.watch_clock()
    assert bench.now() in (Reason.SEALED_BUNDLE, Reason.SEALED_REVOCATIONS, Reason.SEALED_IDENTITY)
    bench.started()
    assert bench.now() is Posture.NORMAL


def test_readiness_needs_nobody_to_have_asked_in_time() -> None:
    bench = Bench().started()
    bench.clock.advance(11)
    assert bench.table.ready()


def test_a_gate_that_was_never_whole_is_not_ready_when_degraded() -> None:
    bench = Bench()
    bench.table.fresh(Dependency.BUNDLE, Dependency.REVOCATIONS, Dependency.POLICY)
    bench.clock.advance(11)
    bench.table.identity(bench.clock.now_s, bench.clock.now_s + LIFE_S)
    bench.table.fresh(Dependency.REGISTRY)
    assert bench.now() is Posture.DEGRADED
    assert not bench.table.ready()


def test_ages() -> None:
    bench = Bench()
    assert set(bench.table.ages_s().values()) == {inf}
    bench.started()
    bench.clock.advance(3)
    assert bench.table.ages_s() == {one.value: pytest.approx(3) for one in Dependency}
