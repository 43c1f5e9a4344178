"""What the endpoints and gauges show of one worker; reads everything, changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from math import isinf
from pathlib import Path
from typing import Protocol

from sidecar.config import Config
from sidecar.identity.credentials import Credentials
from sidecar.policies import Policies
from sidecar.resilience.posture import PostureTable
from sidecar.telemetry.access_log import AccessLog
from sidecar.telemetry.admin import Status
from sidecar.telemetry.decision_log import DecisionLog
from sidecar.telemetry.metrics import Metrics, Sources
from sidecar.token.correlation import Handles
from sidecar.upstreams import Upstreams


class Shown(Protocol):
    """What of a worker is shown."""

    config: Config
    posture: PostureTable
    policies: Policies
    metrics: Metrics
    access: AccessLog
    decisions: DecisionLog
    handles: Handles
    upstreams: Upstreams
    draining: bool
    gates_open: bool

    @property
    def credentials(self) -> Credentials | None:
        """The current identity, None before there is one."""
        ...


def own_version() -> str:
    """The installed version of Narrowgate."""
    try:
        return version("narrowgate")
    except PackageNotFoundError:
        return "unknown"


class Overview:
    """See `sidecar.telemetry.admin.Inputs`."""

    def __init__(self, worker: Shown, config_file: Path) -> None:
        self._worker = worker
        self._config_file = config_file
        worker.metrics.sources = Sources(
            posture=lambda: worker.posture.posture().value,
            ages_s=self._ages_s,
            svid_expires_at_s=self._svid_expires_at_s,
            policy_revision=lambda: worker.policies.revision or None,
            pool=lambda: {"idle": worker.upstreams.pool.idle_count},
            grants=lambda: len(worker.handles),
            log_dropped=lambda: {
                "access": worker.access.sink.dropped,
                "decision": worker.decisions.sink.dropped,
            },
        )

    def ready(self) -> bool:
        """First every input fresh and a policy in force; afterwards only `sealed` clears it."""
        worker = self._worker
        return worker.posture.ready() and bool(worker.policies.revision) and worker.gates_open

    def status(self) -> Status:
        """The state now."""
        worker = self._worker
        sealed = worker.posture.sealed_reason()
        held = worker.credentials
        return Status(
            version=own_version(),
            workload=worker.config.workload.uri,
            posture=worker.posture.posture().value,
            sealed_reason=None if sealed is None else sealed.label,
            draining=worker.draining,
            ages_s=worker.posture.ages_s(),
            svid_serial=None if held is None else f"{held.svid.serial:x}",
            svid_expires_at_s=self._svid_expires_at_s(),
            policy_revision=worker.policies.revision or None,
            config_file=str(self._config_file),
            workers=worker.config.workers,
        )

    def metrics(self) -> bytes:
        """The Prometheus text of this worker."""
        return self._worker.metrics.render()

    def _ages_s(self) -> Mapping[str, float]:
        return {name: age for name, age in self._worker.posture.ages_s().items() if not isinf(age)}

    def _svid_expires_at_s(self) -> float | None:
        held = self._worker.credentials
        return None if held is None else held.svid.not_after_s
