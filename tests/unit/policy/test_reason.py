"""The table of refusals is closed and consistent."""

from __future__ import annotations

import pytest

from policy.reason import Reason


def test_labels_are_unique() -> None:
    assert len({reason.label for reason in Reason}) == len(Reason)


@pytest.mark.parametrize("reason", list(Reason), ids=lambda reason: reason.label)
def test_every_reason_is_a_refusal(reason: Reason) -> None:
    assert reason.label == reason.name.lower()
    assert 400 <= reason.status <= 599
    assert 1 <= reason.grpc_status <= 16
    assert reason.sentence.endswith(".")
    assert reason.phrase
