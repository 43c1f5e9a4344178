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


class ShownParts(Protocol):
    """What of a worker's parts is shown."""

    config: Config
    posture: PostureTable
    policies: Policies
    metrics: Metrics
    access: AccessLog
    decisions: DecisionLog
    handles: Handles


class ShownIdentity(Protocol):
    """What of its identity is shown."""

    @property
    def held(self) -> Credentials | None:
        """The current identity, None before there is one."""
        ...


class ShownGates(Protocol):
    """What of its gates is shown."""

    upstreams: Upstreams
    open_now: bool


def own_version() -> str:
    """The installed version of Narrowgate."""
    try:
        return version("narrowgate")
    except PackageNotFoundError:
        return "unknown"


class Overview:
    """See `sidecar.telemetry.admin.Inputs`."""

    def __init__(
        self, parts: ShownParts, identity: ShownIdentity, gates: ShownGates, config_file: Path
    ) -> None:
        self._parts = parts
        self._identity = identity
        self._gates = gates
        self._config_file = config_file
        self.draining = False
        parts.metrics.sources = Sources(
            posture=lambda: parts.posture.posture().value,
            ages_s=self._ages_s,
            svid_expires_at_s=self._svid_expires_at_s,
            policy_revision=lambda: parts.policies.revision or None,
            pool=lambda: {"idle": gates.upstreams.pool.idle_count},
            grants=lambda: len(parts.handles),
            log_dropped=lambda: {
                "access": parts.access.sink.dropped,
                "decision": parts.decisions.sink.dropped,
            },
        )

    def ready(self) -> bool:
        """First every input fresh and a policy in force; afterwards only `sealed` clears it."""
        parts = self._parts
        return parts.posture.ready() and bool(parts.policies.revision) and self._gates.open_now

    def status(self) -> Status:
        """The state now."""
        parts = self._parts
        sealed = parts.posture.sealed_reason()
        held = self._identity.held
        return Status(
            version=own_version(),
            workload=parts.config.workload.uri,
            posture=parts.posture.posture().value,
            sealed_reason=None if sealed is None else sealed.label,
            draining=self.draining,
            ages_s=parts.posture.ages_s(),
            svid_serial=None if held is None else f"{held.svid.serial:x}",
            svid_expires_at_s=self._svid_expires_at_s(),
            policy_revision=parts.policies.revision or None,
            config_file=str(self._config_file),
            workers=parts.config.workers,
        )

    def metrics(self) -> bytes:
        """The Prometheus text of this parts."""
        return self._parts.metrics.render()

    def _ages_s(self) -> Mapping[str, float]:
        return {name: age for name, age in self._parts.posture.ages_s().items() if not isinf(age)}

    def _svid_expires_at_s(self) -> float | None:
        held = self._identity.held
        return None if held is None else held.svid.not_after_s
