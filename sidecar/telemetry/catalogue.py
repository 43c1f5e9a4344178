"""Every series that a sidecar exports: name, kind, labels, and how workers add up.

Invariants: this is the whole list (docs/reference/metrics.md is made from it); base units; no
label takes an unbounded value from a request, what is not known beforehand is `unknown`.
"""

from __future__ import annotations

from enum import Enum
from http import HTTPStatus
from typing import Final, NamedTuple

from policy.call import Posture
from policy.reason import Reason

UNKNOWN: Final = "unknown"
OK: Final = "ok"
GATES: Final = ("inbound", "outbound", "edge")
OUTCOMES: Final = ("allow", "deny")
REASONS: Final = frozenset(reason.label for reason in Reason)
RESULTS: Final = (OK, *(reason.label for reason in Reason))
PROTOCOLS: Final = frozenset({"http", "grpc", "tcp"})
SECURITY: Final = frozenset({"mutual_tls", "tls", "none"})
STATUSES: Final = frozenset(int(status) for status in HTTPStatus)
POOL_EVENTS: Final = ("opened", "reused", "expired", "failed", "closed")
POSTURES: Final = tuple(posture.value for posture in Posture)
REQUEST_SERIES_MAX: Final = 256
"""Label sets of the istio_* series for each worker; later peers are counted as `unknown`."""

DECISION_BOUNDS_S: Final = (
    *(0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5),
    *(0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
)
DURATION_BOUNDS_MS: Final = (
    *(0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0),
    *(1000.0, 2500.0, 5000.0, 10_000.0, 30_000.0, 60_000.0, 300_000.0),
)
SIZE_BOUNDS_BYTES: Final = tuple(float(64 * 4**power) for power in range(12))


class Kind(Enum):
    """Prometheus metric types that are used here."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Merge(Enum):
    """What several workers' values make together."""

    SUM = "sum"
    MIN = "min"
    MAX = "max"


class Series(NamedTuple):
    """One metric family. `bounds` are a histogram's upper bounds in its unit, without +Inf."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    merge: Merge = Merge.SUM
    bounds: tuple[float, ...] = ()


ISTIO_LABELS: Final = (
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_service",
    "request_protocol",
    "response_code",
    "response_flags",
    "connection_security_policy",
)

_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM

CATALOGUE: Final[dict[str, Series]] = {
    series.name: series
    for series in (
        Series(
            "narrowgate_decisions_total",
            _C,
            "Decisions of a gate; reason is empty for allow.",
            ("gate", "outcome", "reason"),
        ),
        Series(
            "narrowgate_decision_seconds",
            _H,
            "Time from a complete request head to its decision, in seconds.",
            ("gate",),
            bounds=DECISION_BOUNDS_S,
        ),
        Series(
            "narrowgate_token_verifications_total",
            _C,
            "Verifications of transaction tokens; result is ok or a reason.",
            ("result",),
        ),
        Series(
            "narrowgate_handshakes_total",
            _C,
            "TLS handshakes; result is ok or a reason.",
            ("gate", "result"),
        ),
        Series("narrowgate_connections", _G, "Open accepted connections.", ("gate",)),
        Series(
            "narrowgate_pool_connections", _G, "Connections to destinations, by state.", ("state",)
        ),
        Series(
            "narrowgate_pool_events_total",
            _C,
            "What happened to connections to destinations.",
            ("event",),
        ),
        Series("narrowgate_grants", _G, "Grants of calls in progress."),
        Series(
            "narrowgate_posture",
            _G,
            "1 for the posture that holds (the worst of all workers), 0 for the others.",
            ("posture",),
        ),
        Series(
            "narrowgate_dependency_age_seconds",
            _G,
            "Seconds since an input of the gates was last confirmed; +Inf for never.",
            ("dependency",),
            Merge.MAX,
        ),
        Series(
            "narrowgate_svid_expiry_timestamp_seconds",
            _G,
            "When the gate's own SVID expires, seconds since 1970.",
            (),
            Merge.MIN,
        ),
        Series(
            "narrowgate_policy_info",
            _G,
            "Workers that decide by this revision; two revisions for long is a fault.",
            ("revision",),
        ),
        Series(
            "narrowgate_log_dropped_total",
            _C,
            "Log lines that could not be kept because the log did not take them.",
            ("log",),
        ),
        Series("narrowgate_build_info", _G, "1, with the version.", ("version",), Merge.MAX),
        Series("narrowgate_workers", _G, "Worker processes that are counted here."),
        Series(
            "istio_requests_total",
            _C,
            "Requests that were answered, also by a refusal; the switch is "
            "telemetry.istio_metrics, for this and the other istio_* series.",
            ISTIO_LABELS,
        ),
        Series(
            "istio_request_duration_milliseconds",
            _H,
            "Time from request head to the end of the answer, in milliseconds.",
            ISTIO_LABELS,
            bounds=DURATION_BOUNDS_MS,
        ),
        Series(
            "istio_request_bytes",
            _H,
            "Bytes of request bodies.",
            ISTIO_LABELS,
            bounds=SIZE_BOUNDS_BYTES,
        ),
        Series(
            "istio_response_bytes",
            _H,
            "Bytes of response bodies.",
            ISTIO_LABELS,
            bounds=SIZE_BOUNDS_BYTES,
        ),
        Series("process_cpu_seconds_total", _C, "User and system CPU time spent in seconds."),
        Series("process_resident_memory_bytes", _G, "Resident memory size in bytes."),
        Series("process_virtual_memory_bytes", _G, "Virtual memory size in bytes."),
        Series("process_open_fds", _G, "Number of open file descriptors."),
        Series("process_max_fds", _G, "Maximum number of open file descriptors."),
        Series(
            "process_start_time_seconds",
            _G,
            "Start time of the oldest worker, seconds since 1970.",
            (),
            Merge.MIN,
        ),
    )
}
