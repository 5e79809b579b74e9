"""What the store remembers of the tip: values of the state, bounded by bytes, and entries that are not there.

A block's execution reads each value it changes, and its commit reads it again for the history; the accounts and
products of one block are often those of the last one. Absence is cached too. New business ids and nonces are looked up
because they should be absent, once at admission and once in execution, and the database takes longest to say so.

Both keep their entries in an `OrderedDict`, which finds its oldest entry at once. A plain dict finds it behind all the
places that earlier removals left empty, which made each entry above the limit cost thousands of steps.

Left out: locking, and which entries were written (`chain_store.py`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

_ENTRY_BYTES: Final = 270
"""What Python adds to a cached entry: places in dict and order, object headers."""


class StateCache:
    """Stored forms by state key; the most recently stored are kept."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._size_bytes = 0
        self._entries: OrderedDict[bytes, bytes | None] = OrderedDict()

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
        entries = self._entries
        if key in entries:
            self._size_bytes -= _size_bytes(key, entries[key])
            entries.move_to_end(key)
        entries[key] = entry
        self._size_bytes += _size_bytes(key, entry)
        while self._size_bytes > self._budget_bytes:
            self._size_bytes -= _size_bytes(*entries.popitem(last=False))


def _size_bytes(key: bytes, entry: bytes | None) -> int:
    return _ENTRY_BYTES + len(key) + (0 if entry is None else len(entry))


class AbsentKeys:
    """Keys of the database that the tip does not have; the most recently found are kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._keys: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, key: bytes) -> bool:
        return key in self._keys

    def found(self, key: bytes) -> None:
        """The tip has no such key."""
        self._keys[key] = None
        if len(self._keys) > self._most:
            self._keys.popitem(last=False)

    def written(self, keys: Iterable[bytes]) -> None:
        """These may be there now."""
        for key in self._keys.keys() & keys:
            del self._keys[key]
