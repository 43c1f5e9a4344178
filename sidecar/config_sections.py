"""The sections of the configuration: every field with its type, unit, bounds and default.

Invariants: frozen, strict and closed; a rule about several fields of a section stands on the last
of them, so that it is checked and reported even when other fields are wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from sidecar.address import Address
from sidecar.config_bounds import Section
from sidecar.config_values import (
    Decision,
    Endpoint,
    FilePath,
    Https,
    Listen,
    Log,
    LogTarget,
    Method,
    OpaAddress,
    RoutePath,
    Seconds,
)
from sidecar.routes import GrantRule, Routes

_DAY_S: Final = 86_400


class Authority(Section):
    """Where identity, policy, registry and revocations come from."""

    address: Endpoint = Field(
        default=Address("127.0.0.1", 17010), description="Host and port of the authority's API."
    )
    bundle_file: FilePath = Field(
        description="File with the trust bundle (JWKS) that the authority is first verified with."
    )
    attestor: Literal["join_token", "unix"] = Field(
        default="join_token", description="How this workload first proves what it is."
    )
    join_token_file: FilePath | None = Field(
        default=None, description="File with the one-use join token; for attestor join_token."
    )
    socket: FilePath | None = Field(
        default=None, description="Unix socket of the authority; for attestor unix."
    )

    @field_validator("join_token_file", "socket")
    @classmethod
    def _attestor_has_its_input(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        needs = {"join_token": "join_token_file", "unix": "socket"}
        attestor = info.data.get("attestor", "")
        if value is None and needs.get(attestor) == info.field_name:
            raise ValueError(f"is required with attestor {attestor}, add it")
        return value


class Route(Section):
    """One inbound path prefix and whether its calls carry a grant."""

    path: RoutePath = Field(
        description="Path prefix in whole segments, the longest wins: /a covers /a/b, not /ab."
    )
    methods: Annotated[tuple[Method, ...], Field(min_length=1, max_length=32)] | None = Field(
        default=None,
        description="Methods that the rule is for, null = all. Others on this path need a grant.",
    )
    grant: GrantRule = Field(
        default=GrantRule.REQUIRED,
        description="required: no call without a grant; optional: policy decides; "
        "forbidden: no call with one.",
    )


class Inbound(Section):
    """The gate that the mesh calls this workload through."""

    listen: Listen = Field(description="IP address and port of the inbound gate (mutual TLS).")
    application: Listen = Field(
        description="Loopback address and port of the application, reached in plain HTTP."
    )
    routes: Annotated[tuple[Route, ...], Field(max_length=256)] = Field(
        default=(), description="Exceptions to the rule that every call needs a grant; at most 256."
    )

    @field_validator("application")
    @classmethod
    def _application_is_local(cls, value: Address) -> Address:
        if not value.loopback:
            raise ValueError(
                "is not on loopback, where calls would leave the gate unprotected; use 127.0.0.1"
            )
        return value

    @field_validator("routes")
    @classmethod
    def _routes_agree(cls, value: tuple[Route, ...]) -> tuple[Route, ...]:
        try:
            Routes(value)
        except ValueError as error:
            raise ValueError(f"{error}, keep one rule for each") from None
        return value

    def route_table(self) -> Routes:
        """The compiled routes."""
        return Routes(self.routes)


class Outbound(Section):
    """The gate that the application calls the mesh through."""

    listen: Listen = Field(
        default=Address("127.0.0.1", 17001),
        description="Loopback address and port of the outbound gate (plain HTTP, also http_proxy).",
    )

    @field_validator("listen")
    @classmethod
    def _no_open_relay(cls, value: Address) -> Address:
        if not value.loopback:
            raise ValueError(
                "is not on loopback and would be an open relay under this workload's identity, "
                "use 127.0.0.1 or [::1]"
            )
        return value


class Issuer(Section):
    """One external issuer whose access tokens the edge accepts."""

    issuer: Https = Field(description="The exact `iss` of its tokens, an https URL.")
    audience: str = Field(
        min_length=1, max_length=512, description="The `aud` that its tokens must name."
    )
    algorithms: tuple[Literal["ES256", "RS256", "EdDSA"], ...] = Field(
        default=("ES256",), min_length=1, max_length=3, description="Signature algorithms accepted."
    )
    max_age_s: float = Field(
        default=3600,
        ge=1,
        le=_DAY_S,
        description="Age in seconds after which fetched keys are not used any more.",
    )
    jwks_file: FilePath | None = Field(
        default=None, description="File with the issuer's keys (JWKS); this or jwks_url."
    )
    jwks_url: Https | None = Field(
        default=None, description="https URL of the issuer's keys (JWKS); this or jwks_file."
    )

    @field_validator("jwks_url")
    @classmethod
    def _one_source_of_keys(cls, value: str | None, info: ValidationInfo) -> str | None:
        if "jwks_file" in info.data and (value is None) == (info.data["jwks_file"] is None):
            raise ValueError("or jwks_file must be given and not both, name exactly one")
        return value


class Edge(Section):
    """The listener for callers outside the mesh, where external tokens become grants."""

    listen: Listen = Field(description="IP address and port of the edge (TLS).")
    certificate_file: FilePath = Field(description="File with the TLS certificate chain (PEM).")
    key_file: FilePath = Field(description="File with the TLS private key (PEM).")
    issuers: tuple[Issuer, ...] = Field(
        min_length=1, max_length=32, description="External issuers accepted; 1 to 32."
    )

    @field_validator("issuers")
    @classmethod
    def _issuers_differ(cls, value: tuple[Issuer, ...]) -> tuple[Issuer, ...]:
        if len({issuer.issuer for issuer in value}) != len(value):
            raise ValueError("name one issuer twice, keep one entry for each")
        return value


class Opa(Section):
    """An OPA server as policy engine."""

    address: OpaAddress = Field(
        description="unix:/path of its socket, or http://127.0.0.1:port; never off this machine."
    )
    timeout_s: Seconds = Field(default=0.25, le=10, description="Seconds for one query.")


class Policy(Section):
    """Where policy comes from, what evaluates it and which rules decide."""

    source: Literal["authority", "directory"] = Field(
        default="authority", description="Who delivers the policy."
    )
    directory: FilePath | None = Field(
        default=None, description="Folder with .rego and data files; for source directory."
    )
    engine: Literal["regorus", "opa"] = Field(
        default="regorus", description="regorus: in this process; opa: an OPA server."
    )
    opa: Opa | None = Field(default=None, description="The OPA server; for engine opa.")
    inbound_decision: Decision = Field(
        default="envoy/authz/allow", description="The rule that decides inbound calls."
    )
    outbound_decision: Decision = Field(
        default="narrowgate/outbound/allow", description="The rule that decides outbound calls."
    )
    timeout_s: Seconds = Field(
        default=0.25, le=10, description="Seconds for one decision, after which it is a denial."
    )

    @field_validator("directory")
    @classmethod
    def _directory_is_the_source(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        source = info.data.get("source")
        if source == "directory" and value is None:
            raise ValueError("is required with source directory, add it")
        if source == "authority" and value is not None:
            raise ValueError("is not read with source authority, remove it")
        return value

    @field_validator("opa")
    @classmethod
    def _engine_is_reachable(cls, value: Opa | None, info: ValidationInfo) -> Opa | None:
        if info.data.get("engine") == "opa" and value is None:
            raise ValueError("is required with engine opa, add its address")
        return value


class Telemetry(Section):
    """Metrics, probes, status and logs."""

    metrics_listen: Listen = Field(
        default=Address("127.0.0.1", 17020), description="IP address and port of /metrics."
    )
    health_listen: Listen = Field(
        default=Address("127.0.0.1", 17021), description="IP address and port of /live and /ready."
    )
    admin_socket: FilePath | None = Field(
        default=None, description="Unix socket of /status and all of the above, null = none."
    )
    access_log: Log = Field(
        default=LogTarget("stdout"),
        description="One line for each call: stdout, none or a file (./stdout names a file).",
    )
    decision_log: Log = Field(
        default=LogTarget("stdout"),
        description="One line for each decision: stdout, none or a file.",
    )
    istio_metrics: bool = Field(
        default=True, description="Also export istio_requests_total and its relatives."
    )

    @field_validator("decision_log")
    @classmethod
    def _logs_apart(cls, value: LogTarget, info: ValidationInfo) -> LogTarget:
        if value.path is not None and value == info.data.get("access_log"):
            raise ValueError("is the access log's file too, name another")
        return value
