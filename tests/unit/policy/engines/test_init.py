"""The vocabulary of engines."""

from __future__ import annotations

from policy.engines import UNDEFINED, EngineFault
from policy.reason import Reason


def test_undefined_is_not_null() -> None:
    assert UNDEFINED is not None
    assert not isinstance(UNDEFINED, str)


def test_a_fault_shows_its_label_only() -> None:
    fault = EngineFault(Reason.POLICY_ERROR, "SECRET")
    assert str(fault) == "policy_error"
    assert fault.detail == "SECRET"
