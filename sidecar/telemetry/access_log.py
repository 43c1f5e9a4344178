"""The access log: one line for each call, answered or refused.

Invariants: only facts of the call, never a query, a header value or a token text; what a caller
chose (method, path) is bounded and escaped; recording costs microseconds and never fails.
"""

from __future__ import annotations

from typing import Final

from sidecar.telemetry.line import METHOD_CHARS_MAX, Stamps, bounded_path, encode
from sidecar.telemetry.sink import Sink


class AccessLog:
    """Formats records into a sink, which the owner flushes every half second and at drain."""

    def __init__(self, sink: Sink) -> None:
        self.sink: Final = sink
        self._stamps: Final = Stamps()

    def record(
        self,
        time_s: float,
        gate: str,
        decision: str,
        method: str,
        path: str,
        status: int,
        reason: str,
        source: str,
        destination: str,
        txn: str,
        duration_s: float,
        request_bytes: int,
        response_bytes: int,
        protocol: str,
        upstream: str,
    ) -> None:
        """One call that ended.

        `time_s` when its head was complete (since 1970); `decision` the decision id; `reason` a
        label, "" when it was forwarded; `source` and `destination` SPIFFE URIs or ""; `txn` the
        transaction id or ""; `request_bytes` and `response_bytes` of bodies; `upstream`
        `address:port` that answered, or "".
        """
        if not self.sink.enabled:
            return
        record = {
            "time": self._stamps.at(time_s),
            "gate": gate,
            "decision": decision,
            "method": method[:METHOD_CHARS_MAX],
            "path": bounded_path(path),
            "status": status,
            "reason": reason,
            "source": source,
            "destination": destination,
            "txn": txn,
            "duration_ms": int(duration_s * 1e6) / 1000,
            "bytes_in": request_bytes,
            "bytes_out": response_bytes,
            "protocol": protocol,
            "upstream": upstream,
        }
        self.sink.append(encode(record))

    def flush(self) -> None:
        """Write what is pending, as far as the target takes it."""
        self.sink.flush()
