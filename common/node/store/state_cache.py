"""What the store remembers of the tip's state, bounded by bytes.

A block's execution reads each value it changes, and its commit reads it again for the history; the accounts and
products of one block are often those of the last one. Absence is cached too.

There are two generations. When the young one holds half of what is allowed it becomes the old one, and the one that was
old is forgotten as a whole: nothing is kept in order, and nobody looks for the oldest entry.

Left out: locking of writers (`chain_store.py`). Readers may come from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

_ENTRY_BYTES: Final = 200
"""What Python adds to a cached entry: its place in the dict, object headers."""


class StateCache(dict[bytes, bytes | None]):
    """The young generation: stored forms by state key, None for a key that is absent. What neither generation has is
    read, and the reader stores it.
    """

    def __init__(self, budget_bytes: int, read: Callable[[bytes], bytes | None]) -> None:
        super().__init__()
        self._budget_bytes = budget_bytes
        self._read = read
        self._young_bytes = 0
        self._old: dict[bytes, bytes | None] = {}

    def __missing__(self, key: bytes) -> bytes | None:
        old = self._old
        return old[key] if key in old else self._read(key)

    def store(self, entries: Mapping[bytes, bytes | None]) -> None:
        """Keep these, and forget the old ones where half the budget is young."""
        for key, entry in entries.items():
            if key in self:
                self._young_bytes -= len(self[key] or b"")
            else:
                self._young_bytes += _ENTRY_BYTES + len(key)
            self[key] = entry
            self._young_bytes += len(entry or b"")
        if 2 * self._young_bytes > self._budget_bytes:
            self._old, self._young_bytes = dict(self), 0
            self.clear()
