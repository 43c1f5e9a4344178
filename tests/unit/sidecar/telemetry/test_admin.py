"""The endpoints: right surface, right method, and nothing secret in the status."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf

import pytest

from sidecar.telemetry.admin import (
    ADMIN_PATHS,
    HEALTH_PATHS,
    METRICS_PATHS,
    Admin,
    Status,
)

STATUS = Status(
    version="1",
    workload="spiffe://shop.example/ns/shop/sa/orders",
    posture="normal",
    sealed_reason=None,
    draining=False,
    ages_s={"bundle": 1.0},
    svid_serial="0a",
    svid_expires_at_s=99.0,
    policy_revision="abc",
    config_file="config.yaml",
)


class Known:
    """Inputs that are what a test says."""

    def __init__(self, *, ready: bool = True, status: Status = STATUS) -> None:
        self._ready = ready
        self._status = status

    def ready(self) -> bool:
        return self._ready

    def status(self) -> Status:
        return self._status

    def metrics(self) -> bytes:
        return b"narrowgate_workers 1\n"


@pytest.mark.parametrize(
    ("paths", "path", "status"),
    [
        (HEALTH_PATHS, "/live", 200),
        (HEALTH_PATHS, "/ready", 200),
        (HEALTH_PATHS, "/metrics", 404),
        (HEALTH_PATHS, "/status", 404),
        (METRICS_PATHS, "/metrics", 200),
        (METRICS_PATHS, "/metrics?name=x", 200),
        (METRICS_PATHS, "/status", 404),
        (ADMIN_PATHS, "/status", 200),
        (ADMIN_PATHS, "/live", 200),
        (ADMIN_PATHS, "/metrics", 200),
        (ADMIN_PATHS, "/status/", 404),
        (ADMIN_PATHS, "/", 404),
    ],
)
def test_each_surface_has_its_paths(paths: frozenset[str], path: str, status: int) -> None:
    assert Admin(Known(), paths).handle("GET", path).status == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "get", "OPTIONS"])
def test_nothing_can_be_changed(method: str) -> None:
    assert Admin(Known(), ADMIN_PATHS).handle(method, "/status").status == 405


def test_not_ready_says_what_is_missing() -> None:
    status = replace(
        STATUS,
        posture="sealed",
        sealed_reason="sealed_starting",
        ages_s={"policy": inf, "bundle": 1.0},
        svid_expires_at_s=None,
    )
    reply = Admin(Known(ready=False, status=status), HEALTH_PATHS).handle("GET", "/ready")
    assert reply.status == 503
    assert json.loads(reply.body) == {
        "ready": False,
        "posture": "sealed",
        "reason": "sealed_starting",
        "missing": ["policy", "svid"],
    }


def test_a_policy_that_came_and_is_not_in_force_is_missing() -> None:
    status = replace(STATUS, ages_s={"policy": 1.0}, policy_revision=None)
    assert status.missing() == ["policy"]
    assert STATUS.missing() == []


def test_draining_is_not_ready_but_alive() -> None:
    admin = Admin(Known(status=replace(STATUS, draining=True)), HEALTH_PATHS)
    reply = admin.handle("GET", "/ready")
    assert (reply.status, json.loads(reply.body)["reason"]) == (503, "draining")
    assert admin.handle("GET", "/live").status == 200


def test_liveness_asks_nothing() -> None:
    class Broken(Known):
        def status(self) -> Status:
            raise AssertionError

    assert Admin(Broken(), HEALTH_PATHS).handle("GET", "/live").status == 200


def test_status_is_its_record_and_nothing_else() -> None:
    status = replace(STATUS, ages_s={"policy": inf})
    reply = Admin(Known(status=status), ADMIN_PATHS).handle("GET", "/status")
    assert reply.content_type == "application/json"
    shown = json.loads(reply.body)
    assert set(shown) == set(Status.__dataclass_fields__)
    assert shown["ages_s"] == {"policy": None}
