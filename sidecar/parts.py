"""The parts of one worker that need no identity and open nothing, built from the configuration.

Invariants: building has no effect outside the process but opening the log files; whatever is wrong
with the configuration's files is one `StartError` that says what to do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import orjson

from ca.spiffe.bundle import TrustBundle
from policy.permit import Judge
from sidecar.config import Config
from sidecar.control.authority import Authority
from sidecar.control.mesh import Mesh
from sidecar.engines import compiler
from sidecar.http.head import Limits
from sidecar.identity.admission import Admission
from sidecar.net.clock import Clock, SystemClock
from sidecar.net.deadlines import Deadlines
from sidecar.net.entropy import Entropy
from sidecar.net.network import Network
from sidecar.overview import own_version
from sidecar.policies import Policies
from sidecar.resilience.posture import PostureTable
from sidecar.telemetry.access_log import AccessLog
from sidecar.telemetry.decision_log import DecisionLog
from sidecar.telemetry.journal import Journal
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.sink import Sink
from sidecar.token.correlation import Handles
from sidecar.token.verify import Verifier

AUTHORITY_ANSWER_S: Final = 5.0


class StartError(Exception):
    """The sidecar cannot start; the text says what to do."""


class Parts:
    """See the module. `index` is the worker's."""

    def __init__(self, config: Config, index: int, network: Network) -> None:
        """Raises `StartError`."""
        self.config = config
        self.index = index
        self.network = network
        self.clock: Clock = SystemClock()
        self.entropy = Entropy()
        self.deadlines = Deadlines()
        self.mesh = Mesh(config.workload, _bundle(config))
        self.posture = _posture(config, self.clock)
        self.authority = _authority(config, network, self.deadlines)
        self.admission = Admission(self.mesh, self.clock)
        self.handles = Handles(
            index, handles_max=config.limits.handles_max, random=self.entropy.octets
        )
        self.verifier = Verifier(self.mesh.trust)
        self.inbound_judge = Judge(None, timeout_s=config.policy.timeout_s)
        self.outbound_judge = Judge(None, timeout_s=config.policy.timeout_s)
        self.policies = Policies(
            compiler(config.policy, first=index == 0),
            (self.inbound_judge, config.policy.inbound_decision),
            (self.outbound_judge, config.policy.outbound_decision),
        )
        self.limits = _limits(config)
        self.metrics = Metrics(version=own_version(), istio_metrics=config.telemetry.istio_metrics)
        self.access, self.decisions = _logs(config)
        self.journal = Journal(
            self.metrics,
            self.access,
            self.decisions,
            lambda: self.policies.revision,
            config.workload.uri,
        )


def _bundle(config: Config) -> TrustBundle:
    path = config.authority.bundle_file
    advice = "write it with `narrowgate ca bundle`"
    try:
        document = orjson.loads(path.read_bytes())
        return TrustBundle.parse(config.workload.trust_domain, document)
    except OSError as error:
        raise StartError(
            f"cannot read the trust bundle {path}: {error.strerror}; {advice}"
        ) from None
    except (ValueError, TypeError, AttributeError) as error:
        raise StartError(f"{path} is no trust bundle: {error}; {advice}") from None


def _posture(config: Config, clock: Clock) -> PostureTable:
    return PostureTable(
        clock,
        degraded_after_s=config.posture.degraded_after_s,
        stale_after_s=config.posture.stale_after_s,
        clock_jump_s_max=config.posture.clock_jump_s_max,
    )


def _authority(config: Config, network: Network, deadlines: Deadlines) -> Authority:
    return Authority(
        config.authority.address,
        config.authority.socket,
        config.workload.trust_domain,
        network,
        deadlines,
        answer_s=AUTHORITY_ANSWER_S,
    )


def _limits(config: Config) -> Limits:
    bounds = config.limits
    return Limits(
        head_bytes_max=bounds.head_bytes_max,
        line_bytes_max=bounds.target_bytes_max,
        fields_max=bounds.fields_max,
        field_bytes_max=bounds.field_bytes_max,
        body_bytes_max=bounds.body_bytes_max,
    )


def _logs(config: Config) -> tuple[AccessLog, DecisionLog]:
    settings = config.telemetry
    try:
        return (
            AccessLog(Sink("access", settings.access_log)),
            DecisionLog(Sink("decision", settings.decision_log)),
        )
    except OSError as error:
        raise StartError(f"cannot open a log: {error}") from None


def run_folder(path: Path) -> None:
    """Make the run folder, for us alone. Raises `StartError`."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    except OSError as error:
        raise StartError(f"cannot use the run folder {path}: {error.strerror}") from None
