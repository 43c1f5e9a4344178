"""A bounded map that forgets what was used least recently.

Invariants: never more than `entries_max` entries; losing an entry costs time, never safety.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Lru(Generic[Key, Value]):
    """`get` and `put` in constant time; not for use by several threads."""

    __slots__ = ("_entries", "_entries_max")

    def __init__(self, entries_max: int) -> None:
        if entries_max < 1:
            raise ValueError("a cache holds at least one entry")
        self._entries: OrderedDict[Key, Value] = OrderedDict()
        self._entries_max = entries_max

    def get(self, key: Key) -> Value | None:
        """The value, now the most recently used, or `None`."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: Key, value: Value) -> None:
        """Keep `value` as the most recently used entry."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
