"""The sections of the configuration that say how much and how long: posture, limits, timeouts.

Invariants: frozen, strict and closed; every number has its unit in its name, a default that is safe
to run with, and a range outside which it is a mistake.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from sidecar.config_values import Seconds

_DAY_S: Final = 86_400


class Section(BaseModel):
    """What every section has in common: frozen, strict, closed."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, validate_default=True, hide_input_in_errors=True
    )


class Posture(Section):
    """When old inputs make the gates stricter, and when they seal them."""

    stale_after_s: float | None = Field(
        default=None,
        gt=0,
        le=30 * _DAY_S,
        description="Age in seconds of bundle or revocations that seals the gates; "
        "null = the SVID's lifetime.",
    )
    degraded_after_s: float = Field(
        default=10,
        gt=0,
        le=_DAY_S,
        description="Seconds without word from the authority until the posture is degraded.",
    )
    clock_jump_s_max: float = Field(
        default=5, gt=0, le=300, description="Jump of the clock in seconds that seals the gates."
    )

    @field_validator("degraded_after_s")
    @classmethod
    def _degraded_before_stale(cls, value: float, info: ValidationInfo) -> float:
        stale = info.data.get("stale_after_s")
        if stale is not None and value >= stale:
            raise ValueError("is not below stale_after_s, make it smaller")
        return value


def _bound(default: int, low: int, high: int, description: str) -> Any:
    return Field(default=default, ge=low, le=high, description=description)


class Limits(Section):
    """Bounds of what one worker holds or reads; a call over one is refused."""

    head_bytes_max: int = _bound(65_536, 1024, 1 << 20, "Bytes of one message head.")
    target_bytes_max: int = _bound(16_384, 64, 1 << 16, "Bytes of one request line.")
    fields_max: int = _bound(128, 8, 1024, "Header fields of one message.")
    field_bytes_max: int = _bound(16_384, 256, 1 << 16, "Bytes of one header field.")
    body_bytes_max: int | None = Field(
        default=None, ge=0, le=1 << 40, description="Bytes of one request body, null = no bound."
    )
    buffered_body_bytes_max: int = _bound(
        65_536, 0, 1 << 20, "Bytes of a body that policy reads (parsed_body); more is a denial."
    )
    connections_max: int = _bound(10_000, 1, 1_000_000, "Connections accepted, for each gate.")
    handles_max: int = _bound(100_000, 1, 10_000_000, "Live grants of calls in progress.")
    idle_upstream_max: int = _bound(256, 0, 65_536, "Idle connections kept, for each destination.")


class Timeouts(Section):
    """How long the gates wait; all in seconds."""

    connect_s: Seconds = Field(default=2, description="Seconds to connect.")
    handshake_s: Seconds = Field(default=5, description="Seconds for a TLS handshake.")
    head_s: Seconds = Field(default=10, description="Seconds for a whole request head to arrive.")
    first_byte_s: Seconds = Field(default=30, description="Seconds for the answer to begin.")
    idle_s: Seconds = Field(default=60, description="Seconds that a connection may stand idle.")
    request_s: float = Field(
        default=300, gt=0, le=_DAY_S, description="Seconds for one whole call, answer included."
    )
    drain_s: Seconds = Field(default=20, description="Seconds for calls in progress at shutdown.")
