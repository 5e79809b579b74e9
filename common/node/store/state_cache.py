"""What the store remembers of the tip: values of the state, bounded by bytes, and entries that are not there.

A block's execution reads each value it changes, and its commit reads it again for the history; the accounts and
products of one block are often those of the last one. Absence is cached too. New business ids and nonces are looked up
because they should be absent, once at admission and once in execution, and the database takes longest to say so.

Both keep two generations. When the young one holds half of what is allowed it becomes the old one, and the one that was
old is forgotten as a whole: nothing is kept in order, and nobody looks for the oldest entry.

Left out: locking of writers, and which entries were written (`chain_store.py`). Readers may come from any thread.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

_ENTRY_BYTES: Final = 200
"""What Python adds to a cached entry: its place in the dict, object headers."""


class StateCache:
    """Stored forms by state key; the most recently stored are kept."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._young_bytes = 0
        self._young: dict[bytes, bytes | None] = {}
        self._old: dict[bytes, bytes | None] = {}

    def lookup(self, key: bytes) -> tuple[bool, bytes | None]:
        """(whether the cache knows, the stored form or None if the key is absent)."""
        young = self._young
        if key in young:
            return True, young[key]
        old = self._old
        return key in old, old.get(key)

    def store(self, entries: Mapping[bytes, bytes | None]) -> None:
        """Keep these, and forget the old ones where half the budget is young."""
        young = self._young
        for key, entry in entries.items():
            if key in young:
                self._young_bytes -= len(young[key] or b"")
            else:
                self._young_bytes += _ENTRY_BYTES + len(key)
            young[key] = entry
            self._young_bytes += len(entry or b"")
        if 2 * self._young_bytes > self._budget_bytes:
            self._old, self._young, self._young_bytes = young, {}, 0


class AbsentKeys:
    """Keys of the database that the tip does not have; the most recently found are kept."""

    def __init__(self, most: int) -> None:
        self._most_young = most // 2
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()

    def __contains__(self, key: bytes) -> bool:
        return key in self._young or key in self._old

    def found(self, key: bytes) -> None:
        """The tip has no such key."""
        self._young.add(key)
        if len(self._young) >= self._most_young:
            self._old, self._young = self._young, set()

    def written(self, keys: Collection[bytes]) -> None:
        """These may be there now."""
        self._young.difference_update(keys)
        self._old.difference_update(keys)
