"""The endpoints beside the gates as data: probes, metrics and status.

Invariants: GET and HEAD only; a surface answers its own paths and no others; the status is a closed
record, so there is no way for a secret to get into it; liveness asks no dependency.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import inf
from typing import Final, NamedTuple, Protocol

import orjson

from sidecar.telemetry.exposition import CONTENT_TYPE

_JSON: Final = "application/json"
_TEXT: Final = "text/plain; charset=utf-8"

HEALTH_PATHS: Final = frozenset({"/live", "/ready"})
METRICS_PATHS: Final = frozenset({"/metrics"})
ADMIN_PATHS: Final = frozenset({"/status"}) | HEALTH_PATHS | METRICS_PATHS


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What an operator may know of a running sidecar. Ages in seconds, `inf` for never."""

    version: str
    workload: str
    posture: str
    sealed_reason: str | None
    draining: bool
    ages_s: Mapping[str, float]
    svid_serial: str | None
    svid_expires_at_s: float | None
    policy_revision: str | None
    config_file: str
    workers: int = 1

    def missing(self) -> list[str]:
        """The inputs that never arrived, and `policy` when none is in force."""
        inputs = {name for name, age_s in self.ages_s.items() if age_s == inf}
        if self.svid_expires_at_s is None:
            inputs.add("svid")
        if self.policy_revision is None:
            inputs.add("policy")
        return sorted(inputs)


class Inputs(Protocol):
    """What the endpoints ask, each time."""

    def ready(self) -> bool:
        """Whether calls are let through: first every input fresh, afterwards not sealed."""
        ...

    def status(self) -> Status:
        """The state now."""
        ...

    def metrics(self) -> bytes:
        """The Prometheus text."""
        ...


class Reply(NamedTuple):
    """An answer: HTTP status, Content-Type, body."""

    status: int
    content_type: str
    body: bytes


class Admin:
    """One surface: the health port, the metrics port, or the admin socket with everything."""

    def __init__(self, inputs: Inputs, paths: frozenset[str]) -> None:
        """`paths` is one of HEALTH_PATHS, METRICS_PATHS, ADMIN_PATHS."""
        self._inputs: Final = inputs
        self._paths: Final = paths

    def handle(self, method: str, path: str) -> Reply:
        """The answer to `method` and `path` (a query is not looked at)."""
        path = path.partition("?")[0]
        if path not in self._paths:
            return Reply(404, _TEXT, b"not found\n")
        if method not in {"GET", "HEAD"}:
            return Reply(405, _TEXT, b"only GET\n")
        match path:
            case "/live":
                return Reply(200, _TEXT, b"live\n")
            case "/ready":
                return self._ready()
            case "/metrics":
                return Reply(200, CONTENT_TYPE, self._inputs.metrics())
        return Reply(200, _JSON, _json(asdict(self._inputs.status())))

    def _ready(self) -> Reply:
        status = self._inputs.status()
        ready = self._inputs.ready() and not status.draining
        body = {
            "ready": ready,
            "posture": status.posture,
            "reason": "draining" if status.draining else status.sealed_reason,
            "missing": status.missing(),
        }
        return Reply(200 if ready else 503, _JSON, _json(body))


def _json(value: object) -> bytes:
    # orjson writes an infinite age as null: never confirmed.
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
