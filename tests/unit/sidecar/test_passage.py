"""The record of a request before anything is known of it."""

from __future__ import annotations

from typing import Any

import pytest

from policy.call import Gate, Posture
from sidecar.passage import Passage


def test_nothing_is_known_and_nothing_is_assumed() -> None:
    stream: Any = object()
    passage = Passage(Gate.INBOUND, "id", stream, 7.0)
    assert (passage.gate, passage.id, passage.stream, passage.now_s) == (
        Gate.INBOUND,
        "id",
        stream,
        7.0,
    )
    assert passage.posture is Posture.SEALED
    for name in ("source", "destination", "grant", "call", "outcome", "body"):
        assert getattr(passage, name) is None
    assert (passage.status, passage.reason, passage.upstream) == (0, "", "")
    with pytest.raises(AttributeError):
        passage.anything = 1  # type: ignore[attr-defined]
