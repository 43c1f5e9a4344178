"""A grant comes back from its text as it went."""

from __future__ import annotations

import json
from typing import Any

import pytest

from policy.call import Grant
from sidecar.token import grant_text


def test_grant_comes_back(grant: Any) -> None:
    before = grant(jti="j")
    after = grant_text.read(json.loads(json.dumps(grant_text.write(before))))
    for name in Grant.__slots__:
        assert getattr(after, name) == getattr(before, name), name


def test_broken_member_is_refused(grant: Any) -> None:
    members = grant_text.write(grant())
    for name in members:
        for value in (None, True, ["x"]):
            with pytest.raises(ValueError):
                grant_text.read(members | {name: value})
