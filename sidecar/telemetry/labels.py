"""From facts of a call to metric labels with bounded values.

Invariants: pure; every label is from a closed set, or names a workload or a registry host.
`unknown` stands for everything else.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from policy.reason import Reason
from sidecar.telemetry.catalogue import (
    GATES,
    PROTOCOLS,
    REASONS,
    SECURITY,
    STATUSES,
    UNKNOWN,
)

_SCHEME: Final = "spiffe://"
LABEL_CHARS_MAX: Final = 253

# Envoy's response flags, where one of ours has the same meaning
# (https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage).
_FLAGS: Final = {
    Reason.MALFORMED: "DPE",
    Reason.HEAD_TIMEOUT: "SI",
    Reason.BODY_TRUNCATED: "DC",
    Reason.MISDIRECTED: "NR",
    Reason.DESTINATION_UNKNOWN: "NR",
    Reason.DESTINATION_IDENTITY: "UF",
    Reason.DESTINATION_UNREACHABLE: "UF",
    Reason.DESTINATION_RESET: "UC",
    Reason.DESTINATION_MALFORMED: "UPE",
    Reason.DESTINATION_TIMEOUT: "UT",
    Reason.TOO_MANY: "UO",
    Reason.DRAINING: "UO",
    Reason.INTERNAL: "-",
}
FLAGS: Final = {"": "-", **{reason.label: _FLAGS.get(reason, "UAEX") for reason in Reason}}
"""Reason label -> response flag: UAEX (refused by authorisation) unless it is about transport."""


class RequestKey(NamedTuple):
    """What one answered request is counted under, as the caller says it."""

    gate: str
    status: int
    reason: str
    protocol: str
    source: str
    destination: str
    service: str
    security: str

    def bounded(self) -> RequestKey:
        """The same with `unknown` (status 0, reason "") for what is in no closed set."""
        return RequestKey(
            self.gate if self.gate in GATES else UNKNOWN,
            self.status if self.status in STATUSES else 0,
            self.reason if self.reason in REASONS else "",
            self.protocol if self.protocol in PROTOCOLS else UNKNOWN,
            self.source if self.source.startswith(_SCHEME) else UNKNOWN,
            self.destination if self.destination.startswith(_SCHEME) else UNKNOWN,
            self.service if 0 < len(self.service) <= LABEL_CHARS_MAX else UNKNOWN,
            self.security if self.security in SECURITY else UNKNOWN,
        )

    def anonymous(self) -> RequestKey:
        """The same without names: for when there are too many label sets."""
        return self._replace(source=UNKNOWN, destination=UNKNOWN, service=UNKNOWN)

    def labels(self) -> tuple[str, ...]:
        """Values in the order of catalogue.ISTIO_LABELS."""
        return (
            "source" if self.gate == "outbound" else "destination",
            *_workload(self.source),
            *_workload(self.destination),
            self.service,
            self.protocol,
            str(self.status) if self.status else UNKNOWN,
            FLAGS[self.reason],
            self.security,
        )


def _workload(uri: str) -> tuple[str, str, str, str]:
    """Workload, namespace, principal and app of `spiffe://<td>/ns/<namespace>/sa/<name>`."""
    if uri == UNKNOWN:
        return UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN
    match uri.removeprefix(_SCHEME).split("/"):
        case [_, "ns", namespace, "sa", name]:
            return name, namespace, uri, name
        case [_, *_, name]:
            return name, UNKNOWN, uri, name
    return UNKNOWN, UNKNOWN, uri, UNKNOWN
