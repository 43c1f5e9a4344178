"""The one configuration file of a sidecar: frozen, versioned, every error reported at once.

Invariants: nothing unknown or ambiguous is accepted; every bound has a unit and a range; relative
paths start at the folder of the file; listeners never collide; the outbound gate and the
application are on loopback. A `Config` that exists is one that the sidecar can run with.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, cast

from pydantic import Field, ValidationInfo, field_validator
from pydantic.json_schema import DEFAULT_REF_TEMPLATE
from pydantic_core import PydanticCustomError

from sidecar import config_file
from sidecar.address import Address, AddressError
from sidecar.config_bounds import Limits, Posture, Section, Timeouts
from sidecar.config_file import ConfigError
from sidecar.config_sections import (
    Authority,
    Edge,
    Inbound,
    Issuer,
    Opa,
    Outbound,
    Policy,
    Route,
    Telemetry,
)
from sidecar.config_values import FilePath, LogTarget, Workload
from sidecar.routes import GrantRule, Routes

__all__ = [
    "VERSION",
    "Address",
    "Authority",
    "Config",
    "ConfigError",
    "Edge",
    "GrantRule",
    "Inbound",
    "Issuer",
    "Limits",
    "LogTarget",
    "Opa",
    "Outbound",
    "Policy",
    "Posture",
    "Route",
    "Routes",
    "Telemetry",
    "Timeouts",
    "load",
]

VERSION: Final = 1
_OWN: Final[dict[tuple[str, str], Address | None]] = {
    ("inbound", "listen"): None,
    ("outbound", "listen"): Address("127.0.0.1", 17001),
    ("edge", "listen"): None,
    ("telemetry", "metrics_listen"): Address("127.0.0.1", 17020),
    ("telemetry", "health_listen"): Address("127.0.0.1", 17021),
}
_APPLICATION: Final = ("inbound", "application")


class Config(Section):
    """Everything that one sidecar is told."""

    version: Literal[1] = Field(description="Version of this format: 1.")
    workload: Workload = Field(description="The SPIFFE ID of this workload.")
    workers: int = Field(default=1, ge=1, le=64, description="Number of worker processes.")
    run_dir: FilePath = Field(
        default=Path("run"),
        description="Folder (mode 0700) for identity state and sockets between workers.",
    )
    authority: Authority = Field(description="Where identity, policy and registry come from.")
    inbound: Inbound = Field(description="The gate that the mesh calls this workload through.")
    outbound: Outbound = Field(
        default=Outbound(), description="The gate that the application calls the mesh through."
    )
    edge: Edge | None = Field(
        default=None, description="The listener for callers outside the mesh; null = none."
    )
    policy: Policy = Field(default=Policy(), description="What decides, and how.")
    posture: Posture = Field(default=Posture(), description="What old inputs lead to.")
    limits: Limits = Field(default=Limits(), description="Bounds, for each worker.")
    timeouts: Timeouts = Field(default=Timeouts(), description="Waiting times in seconds.")
    telemetry: Telemetry = Field(default=Telemetry(), description="Metrics, probes and logs.")

    @field_validator("telemetry")
    @classmethod
    def _addresses_differ(cls, value: Telemetry, info: ValidationInfo) -> Telemetry:
        for path, message in collisions({**info.data, "telemetry": value}).items():
            text = f"{'.'.join(path)}: {message}"
            raise PydanticCustomError(config_file.REPORTED_APART, "{text}", {"text": text})
        return value

    @classmethod
    def schema(
        cls, by_alias: bool = True, ref_template: str = DEFAULT_REF_TEMPLATE
    ) -> dict[str, Any]:
        """The JSON Schema (draft 2020-12) that docs/reference/config.schema.json publishes."""
        found = cls.model_json_schema(by_alias=by_alias, ref_template=ref_template)
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def collisions(sections: Mapping[str, object]) -> dict[tuple[str, str], str]:
    """The listeners that cannot be: field path -> message.

    `sections` holds sections by name, as models or as read from the file; what is missing has its
    default and what is not an address is left out, so that this also works on a faulty file.
    """
    own: dict[tuple[str, str], Address] = {}
    found: dict[tuple[str, str], str] = {}
    for path, default in _OWN.items():
        address = _address(sections, path, default)
        if address is None:
            continue
        for other, taken in own.items():
            if address.overlaps(taken):
                found[path] = f"is taken by {'.'.join(other)} ({taken}), choose another port"
        own[path] = address
    application = _address(sections, _APPLICATION, None)
    for other, taken in own.items():
        if application is not None and application.overlaps(taken):
            name = ".".join(other)
            found[_APPLICATION] = f"is the sidecar's own {name}, give the application's port"
    return found


def _address(
    sections: Mapping[str, object], path: tuple[str, str], default: Address | None
) -> Address | None:
    section, name = path
    found = sections.get(section)
    if isinstance(found, Section):
        return cast("Address", getattr(found, name))
    value = found.get(name, default) if isinstance(found, Mapping) else default
    if isinstance(value, str):
        try:
            return Address.parse(value)
        except AddressError:
            return None
    return value if isinstance(value, Address) else None


def load(path: Path) -> Config:
    """Read and check the file at `path`.

    Raises ConfigError with every problem at once, each with its line and field.
    """
    return config_file.load(path, Config, VERSION, collisions)
