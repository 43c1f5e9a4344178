"""Writes the one YAML file of each sidecar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from examples.commerce.topology import AUDIENCE, ISSUER, Place


@dataclass(frozen=True)
class Surroundings:
    """What every sidecar of one mesh shares; paths are absolute."""

    folder: Path
    authority_port: int
    authority_socket: Path

    @property
    def bundle_file(self) -> Path:
        return self.folder / "bundle.json"

    @property
    def jwks_file(self) -> Path:
        return self.folder / "idp-jwks.json"

    @property
    def certificate_file(self) -> Path:
        return self.folder / "edge.pem"

    @property
    def key_file(self) -> Path:
        return self.folder / "edge.key"

    def config_file(self, name: str) -> Path:
        return self.folder / "sidecar" / f"{name}.yaml"

    def token_file(self, name: str) -> Path:
        return self.folder / "sidecar" / f"{name}.token"

    def decision_log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}-decisions.jsonl"

    def access_log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}-access.jsonl"


@dataclass(frozen=True)
class Role:
    """What sets one sidecar apart from the next."""

    edge: bool = False
    workers: int = 1
    opa_socket: Path | None = None
    unix_attestation: bool = False


def write(place: Place, around: Surroundings, role: Role) -> Path:
    """Write the configuration of one sidecar; returns the file."""
    value: dict[str, object] = {
        "version": 1,
        "workload": place.id,
        "workers": role.workers,
        "run_dir": str(around.folder / "run" / place.name),
        "authority": _authority(place, around, unix_attestation=role.unix_attestation),
        "inbound": {
            "listen": f"127.0.0.1:{place.inbound}",
            "application": f"127.0.0.1:{place.application}",
            "routes": [{"path": "/healthz", "methods": ["GET"], "grant": "optional"}],
        },
        "outbound": {"listen": f"127.0.0.1:{place.outbound}"},
        "policy": _policy(role.opa_socket),
        "timeouts": {"drain_s": 3},
        "telemetry": {
            "metrics_listen": f"127.0.0.1:{place.metrics}",
            "health_listen": f"127.0.0.1:{place.health}",
            "access_log": str(around.access_log(place.name)),
            "decision_log": str(around.decision_log(place.name)),
        },
    }
    if role.edge:
        value["edge"] = _edge(place, around)
    path = around.config_file(place.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(value, sort_keys=False))
    return path


def _authority(
    place: Place, around: Surroundings, *, unix_attestation: bool
) -> Mapping[str, object]:
    value: dict[str, object] = {
        "address": f"127.0.0.1:{around.authority_port}",
        "bundle_file": str(around.bundle_file),
    }
    if unix_attestation:
        return {**value, "attestor": "unix", "socket": str(around.authority_socket)}
    token = str(around.token_file(place.name))
    return {**value, "attestor": "join_token", "join_token_file": token}


def _edge(place: Place, around: Surroundings) -> Mapping[str, object]:
    issuer = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "algorithms": ["ES256"],
        "jwks_file": str(around.jwks_file),
    }
    return {
        "listen": f"127.0.0.1:{place.edge}",
        "certificate_file": str(around.certificate_file),
        "key_file": str(around.key_file),
        "issuers": [issuer],
    }


def _policy(opa_socket: Path | None) -> Mapping[str, object]:
    if opa_socket is None:
        return {"source": "authority", "engine": "regorus"}
    opa = {"address": f"unix:{opa_socket}", "timeout_s": 0.5}
    return {"source": "authority", "engine": "opa", "opa": opa, "timeout_s": 0.5}
