"""One line for each call, with its fields and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

from sidecar.config_values import LogTarget
from sidecar.telemetry.access_log import AccessLog
from sidecar.telemetry.sink import Sink

A = "spiffe://shop.example/ns/shop/sa/orders"


def record(log: AccessLog, *, method: str = "GET", path: str = "/a") -> None:
    log.record(
        1.5, "inbound", "d1", method, path, 200, "", A, A, "t1", 0.0123456, 3, 4, "HTTP/1.1",
        "127.0.0.1:18001",
    )  # fmt: skip


def test_the_fields_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = AccessLog(Sink("access", LogTarget("file", path)))
    record(log)
    assert path.read_bytes() == b""
    log.flush()
    assert json.loads(path.read_bytes()) == {
        "time": "1970-01-01T00:00:01.500Z",
        "gate": "inbound",
        "decision": "d1",
        "method": "GET",
        "path": "/a",
        "status": 200,
        "reason": "",
        "source": A,
        "destination": A,
        "txn": "t1",
        "duration_ms": 12.345,
        "bytes_in": 3,
        "bytes_out": 4,
        "protocol": "HTTP/1.1",
        "upstream": "127.0.0.1:18001",
    }


def test_what_a_caller_chose_is_bounded_and_cannot_forge_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = AccessLog(Sink("access", LogTarget("file", path)))
    record(log, method="M" * 999, path='/a\n{"gate":"x"}\u2028?token=secret')
    record(log, path="/" + "\u00e9" * 9999)
    log.flush()
    lines = path.read_text().splitlines()
    assert len(lines) == 2
    assert "secret" not in lines[0]
    assert len(json.loads(lines[0])["method"]) == 32
    assert len(lines[1]) < 4096


def test_none_formats_nothing() -> None:
    record(AccessLog(Sink("access", LogTarget("none"))))
