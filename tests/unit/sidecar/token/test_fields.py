"""The two fields, and rule 6: what a route demands."""

from __future__ import annotations

import pytest

from policy.reason import Reason
from sidecar.token.fields import Requirement, demand, read
from sidecar.token.refusal import TokenRefused

ROOT, HOPS, OTHER = (b"txn-token", b"r"), (b"txn-hops", b"h"), (b"accept", b"*/*")


def test_read_finds_what_is_there() -> None:
    assert read([OTHER]) == ("", "")
    assert read([ROOT, OTHER, HOPS]) == ("r", "h")
    assert read([HOPS]) == ("", "h")


@pytest.mark.parametrize("field", [ROOT, HOPS])
def test_a_field_that_comes_twice_is_refused(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(TokenRefused) as caught:
        read([ROOT, HOPS, field])
    assert caught.value.reason is Reason.DUPLICATE_FIELD


@pytest.mark.parametrize("value", [b"", b"\xc3\xa9"])
def test_a_value_that_is_no_token_is_refused(value: bytes) -> None:
    with pytest.raises(TokenRefused) as caught:
        read([(b"txn-token", value)])
    assert caught.value.reason is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize(
    ("requirement", "root", "hops", "outcome"),
    [
        (Requirement.REQUIRED, "", "", Reason.TOKEN_MISSING),
        (Requirement.REQUIRED, "r", "", Reason.CHAIN_MISSING),
        (Requirement.REQUIRED, "", "h", Reason.CHAIN_ROOTLESS),
        (Requirement.REQUIRED, "r", "h", True),
        (Requirement.OPTIONAL, "", "", False),
        (Requirement.OPTIONAL, "r", "", Reason.CHAIN_MISSING),
        (Requirement.OPTIONAL, "", "h", Reason.CHAIN_ROOTLESS),
        (Requirement.OPTIONAL, "r", "h", True),
        (Requirement.FORBIDDEN, "", "", False),
        (Requirement.FORBIDDEN, "r", "", Reason.TOKEN_FORBIDDEN),
        (Requirement.FORBIDDEN, "", "h", Reason.TOKEN_FORBIDDEN),
        (Requirement.FORBIDDEN, "r", "h", Reason.TOKEN_FORBIDDEN),
    ],
)
def test_demand(requirement: Requirement, root: str, hops: str, outcome: Reason | bool) -> None:
    if isinstance(outcome, bool):
        assert demand(requirement, root, hops) is outcome
        return
    with pytest.raises(TokenRefused) as caught:
        demand(requirement, root, hops)
    assert caught.value.reason is outcome
