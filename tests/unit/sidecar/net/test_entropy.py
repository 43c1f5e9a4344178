"""Random bytes are fresh each time, and never fewer than were asked for."""

from __future__ import annotations

import itertools
import os

import pytest

from sidecar.net.entropy import POOL_BYTES, Entropy


def test_no_byte_is_given_twice() -> None:
    asked: list[int] = []
    given = os.urandom(4 * POOL_BYTES)

    def source(count: int) -> bytes:
        asked.append(count)
        start = POOL_BYTES * (len(asked) - 1)
        return given[start : start + count]

    entropy = Entropy(source)
    pieces = [entropy.octets(1000) for _ in range(16)]
    assert set(asked) == {POOL_BYTES}
    places = [given.find(piece) for piece in pieces]
    assert all(len(piece) == 1000 for piece in pieces)
    assert places == sorted(places)
    assert all(after - before >= 1000 for before, after in itertools.pairwise(places))


@pytest.mark.parametrize("count", [-1, POOL_BYTES + 1, 10 * POOL_BYTES])
def test_more_than_there_is_is_refused_not_shortened(count: int) -> None:
    with pytest.raises(ValueError, match="random bytes"):
        Entropy().octets(count)


def test_all_of_the_pool_at_once() -> None:
    entropy = Entropy()
    assert len(entropy.octets(1)) == 1
    assert len(entropy.octets(POOL_BYTES)) == POOL_BYTES
    assert entropy.octets(0) == b""


def test_identifiers_differ_and_fractions_stay_within() -> None:
    entropy = Entropy()
    names = {entropy.identifier() for _ in range(2000)}
    assert len(names) == 2000
    assert {len(name) for name in names} == {32}
    assert all(0 <= entropy.fraction() <= 1 for _ in range(2000))
    assert Entropy(lambda count: b"\xff" * count).fraction() == 1.0
    assert Entropy(lambda count: b"\x00" * count).fraction() == 0.0
