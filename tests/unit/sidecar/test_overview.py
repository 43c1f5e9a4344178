"""What a worker shows of itself: ready only with everything, and saying what is not there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sidecar.net.clock import ManualClock
from sidecar.overview import Overview, own_version
from sidecar.resilience.posture import Dependency, PostureTable
from sidecar.telemetry.metrics import Metrics


class Bench:
    """A worker of which only what is shown exists; its posture is real."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.worker: Any = SimpleNamespace(
            config=SimpleNamespace(workload=SimpleNamespace(uri="spiffe://d/x"), workers=2),
            posture=PostureTable(
                self.clock, degraded_after_s=10, stale_after_s=60, clock_jump_s_max=5
            ),
            policies=SimpleNamespace(revision=""),
            metrics=Metrics(version="1"),
            access=SimpleNamespace(sink=SimpleNamespace(dropped=0)),
            decisions=SimpleNamespace(sink=SimpleNamespace(dropped=0)),
            handles=[],
        )
        self.identity: Any = SimpleNamespace(held=None)
        self.gates: Any = SimpleNamespace(
            upstreams=SimpleNamespace(pool=SimpleNamespace(idle_count=0)), open_now=False
        )
        self.overview = Overview(self.worker, self.identity, self.gates, Path("config.yaml"))

    def complete(self) -> None:
        """Everything that readiness takes."""
        now_s = self.clock.time_s()
        svid = SimpleNamespace(serial=10, not_after_s=now_s + 3600)
        self.identity.held = SimpleNamespace(svid=svid)
        self.worker.posture.identity(now_s, now_s + 3600)
        self.worker.posture.fresh(*Dependency)
        self.worker.policies.revision = "abc"
        self.gates.open_now = True


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_at_first_everything_is_missing(bench: Bench) -> None:
    status = bench.overview.status()
    assert not bench.overview.ready()
    assert status.missing() == ["bundle", "policy", "registry", "revocations", "svid"]
    assert (status.posture, status.sealed_reason) == ("sealed", "sealed_starting")


def test_with_everything_it_is_ready(bench: Bench) -> None:
    bench.complete()
    status = bench.overview.status()
    assert bench.overview.ready()
    assert status.missing() == []
    assert (status.posture, status.sealed_reason, status.svid_serial) == ("normal", None, "a")
    assert (status.version, status.workers, status.config_file) == (own_version(), 2, "config.yaml")


def test_a_policy_that_came_and_was_refused_is_missing(bench: Bench) -> None:
    bench.complete()
    bench.worker.policies.revision = ""
    assert not bench.overview.ready()
    assert bench.overview.status().missing() == ["policy"]


def test_closed_gates_are_not_ready(bench: Bench) -> None:
    bench.complete()
    bench.gates.open_now = False
    assert not bench.overview.ready()


def test_an_outage_of_the_authority_leaves_it_ready_until_it_is_sealed(bench: Bench) -> None:
    bench.complete()
    bench.clock.now_s += 30
    assert (bench.overview.ready(), bench.overview.status().posture) == (True, "degraded")
    bench.clock.now_s += 60
    assert (bench.overview.ready(), bench.overview.status().posture) == (False, "sealed")


def test_the_metrics_show_the_posture(bench: Bench) -> None:
    bench.complete()
    assert b'narrowgate_posture{posture="normal"} 1' in bench.overview.metrics()
