"""A cache of the tip's state values, bounded by bytes.

A block's execution reads each value it changes, and its commit reads it again for the history; the accounts and
products of one block are often those of the last one. Absence is cached too. Left out: locking (`chain_store.py`).
"""

from __future__ import annotations

from typing import Final

_ENTRY_BYTES: Final = 200
"""What Python adds to a cached entry: dict slot and object headers."""


class StateCache:
    """Stored forms by state key; the most recently stored are kept."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._size_bytes = 0
        self._entries: dict[bytes, bytes | None] = {}

    @property
    def size_bytes(self) -> int:
        """Memory in use, about."""
        return self._size_bytes

    def lookup(self, key: bytes) -> tuple[bool, bytes | None]:
        """(whether the cache knows, the stored form or None if the key is absent)."""
        entry = self._entries.get(key)
        return entry is not None or key in self._entries, entry

    def store(self, key: bytes, entry: bytes | None) -> None:
        """Keep an entry, and drop the oldest ones above the budget."""
        self._drop(key)
        self._entries[key] = entry
        self._size_bytes += _ENTRY_BYTES + len(key) + len(entry or b"")
        while self._size_bytes > self._budget_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: bytes) -> None:
        if key in self._entries:
            self._size_bytes -= _ENTRY_BYTES + len(key) + len(self._entries.pop(key) or b"")
