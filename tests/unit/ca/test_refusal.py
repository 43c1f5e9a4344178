"""The table of refusals."""

from __future__ import annotations

from ca.refusal import Reason, Refused


def test_labels_are_unique_and_statuses_are_errors() -> None:
    assert len({reason.label for reason in Reason}) == len(Reason)
    for reason in Reason:
        assert 400 <= reason.status < 600
        assert reason.label.replace("_", "").isalpha() and reason.title.endswith(".")


def test_a_refusal_carries_its_reason() -> None:
    refused = Refused(Reason.REVOKED, "the workload is revoked")
    assert refused.reason is Reason.REVOKED
    assert str(refused) == "revoked: the workload is revoked"
