"""The bounded map forgets the least recently used, and only that."""

from __future__ import annotations

import pytest

from sidecar.token.lru import Lru


def test_least_recently_used_goes_first() -> None:
    cache: Lru[str, int] = Lru(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)
    assert len(cache) == 2


def test_put_replaces_and_clear_forgets() -> None:
    cache: Lru[str, int] = Lru(1)
    cache.put("a", 1)
    cache.put("a", 2)
    assert cache.get("a") == 2
    cache.clear()
    assert (len(cache), cache.get("a")) == (0, None)


def test_a_cache_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Lru(0)
