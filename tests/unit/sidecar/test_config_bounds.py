"""Numbers have ranges, and degraded comes before sealed."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel, ValidationError

from sidecar.config_bounds import Limits, Posture, Timeouts


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        (Limits, "head_bytes_max", 10),
        (Limits, "fields_max", True),
        (Limits, "fields_max", "12"),
        (Limits, "fields_max", 12.5),
        (Limits, "body_bytes_max", -1),
        (Timeouts, "connect_s", 0),
        (Timeouts, "connect_s", -1),
        (Timeouts, "request_s", 1e9),
        (Posture, "stale_after_s", 0),
        (Posture, "degraded_after_s", 0),
        (Posture, "clock_jump_s_max", 301),
    ],
)
def test_out_of_range(section: type[BaseModel], field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        section.model_validate_json(json.dumps({field: value}))


def test_every_default_is_in_its_own_range() -> None:
    for section in (Limits, Timeouts, Posture):
        section.model_validate_json("{}")


def test_degraded_before_stale() -> None:
    with pytest.raises(ValidationError, match="not below stale_after_s"):
        Posture.model_validate_json('{"stale_after_s": 5, "degraded_after_s": 5}')
    with pytest.raises(ValidationError, match="not below stale_after_s"):
        Posture.model_validate_json('{"stale_after_s": 5}')


def test_names_end_in_their_unit() -> None:
    for section, units in ((Limits, ("_max",)), (Timeouts, ("_s",)), (Posture, ("_s", "_s_max"))):
        assert all(name.endswith(units) for name in section.model_fields)
