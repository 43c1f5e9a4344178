"""The eight groups of the demo, in the order of the story."""

from __future__ import annotations

from examples.commerce.scenarios import (
    compromised,
    engines,
    expiry,
    forged,
    identity,
    outage,
    purchase,
    replay,
)
from examples.commerce.scenarios.outcome import Group

GROUPS: tuple[Group, ...] = (
    purchase.GROUP,
    identity.GROUP,
    replay.GROUP,
    compromised.GROUP,
    expiry.GROUP,
    engines.GROUP,
    outage.GROUP,
    forged.GROUP,
)
