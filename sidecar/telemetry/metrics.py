"""What a worker counts, cheaply: plain dictionaries on the way, Prometheus only at a scrape.

Invariants: a counting method costs about a microsecond, never fails and never waits; memory is
bounded (closed label sets, and at most `REQUEST_SERIES_MAX` sets of request labels); gauges are
asked for when a snapshot is taken and not before.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import ProcessCollector

from sidecar.telemetry.catalogue import (
    CATALOGUE,
    DECISION_BOUNDS_S,
    DURATION_BOUNDS_MS,
    GATES,
    OUTCOMES,
    POOL_EVENTS,
    REASONS,
    REQUEST_SERIES_MAX,
    RESULTS,
    SIZE_BOUNDS_BYTES,
    UNKNOWN,
)
from sidecar.telemetry.exposition import render
from sidecar.telemetry.labels import LABEL_CHARS_MAX, RequestKey
from sidecar.telemetry.snapshot import Cell, HistogramCell, Snapshot, finite, merge

Decision = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where gauges come from, asked at each snapshot. A source that is `None` has no series."""

    posture: Callable[[], str] | None = None
    ages_s: Callable[[], Mapping[str, float]] | None = None
    svid_expires_at_s: Callable[[], float | None] | None = None
    policy_revision: Callable[[], str | None] | None = None
    pool: Callable[[], Mapping[str, int]] | None = None
    grants: Callable[[], int] | None = None
    log_dropped: Callable[[], Mapping[str, int]] | None = None


class _Decisions:
    """Decisions of one gate, outcome and reason."""

    __slots__ = ("buckets", "count", "sum_s")

    def __init__(self) -> None:
        self.count = 0
        self.sum_s = 0.0
        self.buckets = [0] * (len(DECISION_BOUNDS_S) + 1)


class _Requests:
    """Requests of one set of labels."""

    __slots__ = ("count", "durations", "ms", "received", "received_bytes", "sent", "sent_bytes")

    def __init__(self) -> None:
        self.count = 0
        self.ms = 0.0
        self.received_bytes = 0
        self.sent_bytes = 0
        self.durations = [0] * (len(DURATION_BOUNDS_MS) + 1)
        self.received = [0] * (len(SIZE_BOUNDS_BYTES) + 1)
        self.sent = [0] * (len(SIZE_BOUNDS_BYTES) + 1)


class Metrics:
    """The counters of one worker."""

    def __init__(
        self, *, version: str, sources: Sources | None = None, istio_metrics: bool = True
    ) -> None:
        self.sources = sources or Sources()
        self._version: Final = version
        self._istio: Final = istio_metrics
        self._decisions: Final[dict[Decision, _Decisions]] = {}
        self._requests: Final[dict[tuple[str | int, ...], _Requests]] = {}
        self._request_series: Final[dict[tuple[str, ...], _Requests]] = {}
        self._tokens: Final = dict.fromkeys((*RESULTS, UNKNOWN), 0)
        self._handshakes: Final = {
            (gate, result): 0 for gate in (*GATES, UNKNOWN) for result in (*RESULTS, UNKNOWN)
        }
        self._pool: Final = dict.fromkeys((*POOL_EVENTS, UNKNOWN), 0)
        self._connections: Final = dict.fromkeys((*GATES, UNKNOWN), 0)
        self._process: Final = ProcessCollector(registry=None)

    # ------------------------------------------------------------ counting: the hot path

    def decision(self, gate: str, outcome: str, reason: str, seconds: float) -> None:
        """One decision: `outcome` allow or deny, `reason` a label, "" for allow."""
        found = self._decisions.get((gate, outcome, reason))
        if found is None:
            found = self._new_decision(gate, outcome, reason)
        found.count += 1
        found.sum_s += seconds
        found.buckets[bisect_left(DECISION_BOUNDS_S, seconds)] += 1

    def token_verification(self, result: str) -> None:
        """One verified chain: `result` is ok or a reason's label."""
        try:
            self._tokens[result] += 1
        except KeyError:
            self._tokens[UNKNOWN] += 1

    def handshake(self, gate: str, result: str) -> None:
        """One TLS handshake: `result` is ok or a reason's label."""
        try:
            self._handshakes[gate, result] += 1
        except KeyError:
            self._handshakes[gate if gate in GATES else UNKNOWN, UNKNOWN] += 1

    def connection(self, gate: str, change: int) -> None:
        """A connection was accepted (+1) or closed (-1)."""
        try:
            self._connections[gate] += change
        except KeyError:
            self._connections[UNKNOWN] += change

    def pool(self, event: str) -> None:
        """A connection to a destination was opened, reused, expired, failed or closed."""
        try:
            self._pool[event] += 1
        except KeyError:
            self._pool[UNKNOWN] += 1

    def request(
        self,
        gate: str,
        status: int,
        reason: str,
        protocol: str,
        source: str,
        destination: str,
        service: str,
        security: str,
        duration_s: float,
        request_bytes: int,
        response_bytes: int,
    ) -> None:
        """One answered request.

        `reason` is a label, "" when it was forwarded; `protocol` http, grpc or tcp; `source` and
        `destination` are SPIFFE URIs of verified workloads, "" when there is none; `service` is
        the registry's host, never the request's own text; `security` mutual_tls, tls or none.
        """
        if not self._istio:
            return
        key = (gate, status, reason, protocol, source, destination, service, security)
        found = self._requests.get(key)
        if found is None:
            found = self._new_request(RequestKey(*key))
        found.count += 1
        milliseconds = duration_s * 1000.0
        found.ms += milliseconds
        found.durations[bisect_left(DURATION_BOUNDS_MS, milliseconds)] += 1
        found.received_bytes += request_bytes
        found.received[bisect_left(SIZE_BOUNDS_BYTES, request_bytes)] += 1
        found.sent_bytes += response_bytes
        found.sent[bisect_left(SIZE_BOUNDS_BYTES, response_bytes)] += 1

    def _new_decision(self, gate: str, outcome: str, reason: str) -> _Decisions:
        key = (
            gate if gate in GATES else UNKNOWN,
            outcome if outcome in OUTCOMES else UNKNOWN,
            reason if reason in REASONS or not reason else UNKNOWN,
        )
        # Plain text as keys: a StrEnum member is equal but slower to hash and to print.
        return self._decisions.setdefault((str(key[0]), str(key[1]), str(key[2])), _Decisions())

    def _new_request(self, key: RequestKey) -> _Requests:
        bounded = key.bounded()
        labels = bounded.labels()
        if labels not in self._request_series and len(self._request_series) >= REQUEST_SERIES_MAX:
            labels = bounded.anonymous().labels()
        found = self._request_series.setdefault(labels, _Requests())
        # Several keys can share one label set, so the short cuts have a bound of their own.
        known = key == bounded or key._replace(service=bounded.service) == bounded
        if known and len(key.service) <= LABEL_CHARS_MAX:
            if len(self._requests) >= 4 * REQUEST_SERIES_MAX:
                self._requests.clear()
            self._requests[tuple(key)] = found
        return found

    # ------------------------------------------------------------ reading: at a scrape

    def snapshot(self) -> Snapshot:
        """All values now, as JSON can carry them."""
        posture = self.sources.posture
        return Snapshot(
            values=[*self._counters(), *self._gauges(), *self._process_values()],
            histograms=list(self._histograms()),
            posture=str(posture()) if posture is not None else "",
        )

    def render(self, others: Iterable[Snapshot] = ()) -> bytes:
        """The Prometheus text of this worker and its siblings together."""
        return render(merge([self.snapshot(), *others]))

    def _counters(self) -> Iterator[Cell]:
        for decision, cell in self._decisions.items():
            yield "narrowgate_decisions_total", list(decision), cell.count
        for result, count in self._tokens.items():
            if count or result == "ok":
                yield "narrowgate_token_verifications_total", [result], count
        for handshake, count in self._handshakes.items():
            if count:
                yield "narrowgate_handshakes_total", list(handshake), count
        for event, count in self._pool.items():
            if count or event != UNKNOWN:
                yield "narrowgate_pool_events_total", [event], count
        for labels, requests in self._request_series.items():
            yield "istio_requests_total", list(labels), requests.count
        if self.sources.log_dropped is not None:
            for log, count in self.sources.log_dropped().items():
                yield "narrowgate_log_dropped_total", [log], count

    def _gauges(self) -> Iterator[Cell]:
        sources = self.sources
        yield "narrowgate_build_info", [self._version], 1
        yield "narrowgate_workers", [], 1
        for gate, count in self._connections.items():
            if count or gate != UNKNOWN:
                yield "narrowgate_connections", [gate], count
        if sources.pool is not None:
            for state, count in sources.pool().items():
                yield "narrowgate_pool_connections", [state], count
        if sources.grants is not None:
            yield "narrowgate_grants", [], sources.grants()
        if sources.ages_s is not None:
            for dependency, age_s in sources.ages_s().items():
                yield "narrowgate_dependency_age_seconds", [dependency], finite(age_s)
        expires_at_s = sources.svid_expires_at_s() if sources.svid_expires_at_s else None
        if expires_at_s is not None:
            yield "narrowgate_svid_expiry_timestamp_seconds", [], finite(expires_at_s)
        revision = sources.policy_revision() if sources.policy_revision else None
        if revision is not None:
            yield "narrowgate_policy_info", [revision], 1

    def _process_values(self) -> Iterator[Cell]:
        for family in self._process.collect():
            for sample in family.samples:
                if sample.name in CATALOGUE:
                    yield sample.name, [], finite(sample.value)

    def _histograms(self) -> Iterator[HistogramCell]:
        gates: dict[str, _Decisions] = {}
        for (gate, _, _), cell in self._decisions.items():
            total = gates.setdefault(gate, _Decisions())
            total.sum_s += cell.sum_s
            total.buckets = [a + b for a, b in zip(total.buckets, cell.buckets, strict=True)]
        for gate, total in gates.items():
            yield "narrowgate_decision_seconds", [gate], total.sum_s, total.buckets
        for labels, of in self._request_series.items():
            yield "istio_request_duration_milliseconds", list(labels), of.ms, list(of.durations)
            yield "istio_request_bytes", list(labels), of.received_bytes, list(of.received)
            yield "istio_response_bytes", list(labels), of.sent_bytes, list(of.sent)
