"""A key-value store in memory, for the simulator and for tests: the same port as LevelDB, and a power switch.

Invariants: the same as those of `storage.KeyValueStore`. A write without sync survives only until `crash`, which may
let a prefix of the unsynced batches live (as a real log does); a synced write makes all before it durable. Snapshots
cost nothing until something is overwritten: the store saves the old value into each open snapshot first.

For one thread; LevelDB is for several.
"""

from __future__ import annotations

import weakref
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, KeysView, Sequence

from common.node.store.store_errors import StoreFailed

_SCAN_CHUNK = 64


class MemoryStore:
    """Entries in a dict, with the keys' order kept beside it."""

    def __init__(self) -> None:
        self._entries: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []
        self._fresh_keys: list[bytes] = []
        self._dead_keys = 0
        self._unsynced: list[dict[bytes, bytes | None]] = []
        self._views: weakref.WeakSet[MemoryView] = weakref.WeakSet()
        self.fail_writes = False
        """Set by a simulation to make the disk refuse (attack S5)."""

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, or None."""
        return self._entries.get(key)

    def scan(self, prefix: bytes, start: bytes | None = None, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """See `storage.ReadView.scan`."""
        return self.snapshot().scan(prefix, start, reverse)

    def write(self, batch: Sequence[tuple[bytes, bytes | None]], sync: bool) -> None:
        """Apply one batch. Raises StoreFailed if the simulated disk refuses."""
        if self.fail_writes:
            raise StoreFailed("the disk refuses to write")
        before: dict[bytes, bytes | None] = {}
        for key, value in batch:
            if key not in before:
                before[key] = self._entries.get(key)
            self._put(key, value)
        if sync:
            self._unsynced.clear()
        else:
            self._unsynced.append(before)

    def snapshot(self) -> MemoryView:
        """A read-only view of this moment."""
        view = MemoryView(self)
        self._views.add(view)
        return view

    def close(self) -> None:
        """Nothing to release."""

    def crash(self, surviving_batches: int = 0) -> None:
        """Lose the unsynced batches but for the first `surviving_batches` of them. Open snapshots become useless."""
        while len(self._unsynced) > surviving_batches:
            for key, value in self._unsynced.pop().items():
                self._put(key, value)
        self._unsynced.clear()
        self._views.clear()
        self.fail_writes = False

    @property
    def unsynced_batches(self) -> int:
        """How many batches a crash could lose."""
        return len(self._unsynced)

    def forget(self, view: MemoryView) -> None:
        """Stop saving old values for a closed view."""
        self._views.discard(view)

    def sorted_keys(self) -> list[bytes]:
        """All keys in order; may hold deleted ones."""
        if self._fresh_keys:
            self._keys.extend(self._fresh_keys)
            self._fresh_keys.clear()
            self._keys.sort()
        if self._dead_keys > 1024 and self._dead_keys > len(self._keys) // 2:
            kept = set(self._entries)
            for view in self._views:
                kept.update(view.saved_keys())
            self._keys = sorted(kept)
            self._dead_keys = len(kept) - len(self._entries)
        return self._keys

    def _put(self, key: bytes, value: bytes | None) -> None:
        old = self._entries.get(key)
        for view in self._views:
            view.save(key, old)
        if value is None:
            if old is not None:
                del self._entries[key]
                self._dead_keys += 1
        else:
            if old is None:
                self._fresh_keys.append(key)
            self._entries[key] = value


class MemoryView:
    """One moment of a `MemoryStore`: the store's entries but for those that were changed since."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._saved: dict[bytes, bytes | None] = {}

    def save(self, key: bytes, value: bytes | None) -> None:
        """Remember what `key` held at this view's moment, before its first change."""
        self._saved.setdefault(key, value)

    def saved_keys(self) -> KeysView[bytes]:
        """Keys that were changed since this moment."""
        return self._saved.keys()

    def get(self, key: bytes) -> bytes | None:
        """The value of `key` at this moment, or None."""
        if key in self._saved:
            return self._saved[key]
        return self._store.get(key)

    def scan(self, prefix: bytes, start: bytes | None = None, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """See `storage.ReadView.scan`."""
        return self._descending(prefix, start) if reverse else self._ascending(prefix, start)

    def close(self) -> None:
        """Stop following the store."""
        self._store.forget(self)

    def _ascending(self, prefix: bytes, start: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        low = prefix if start is None else max(prefix, start)
        last: bytes | None = None
        while True:
            keys = self._store.sorted_keys()
            at = bisect_left(keys, low) if last is None else bisect_right(keys, last)
            chunk = keys[at : at + _SCAN_CHUNK]
            for key in chunk:
                if not key.startswith(prefix):
                    return
                if key == last:
                    continue
                last = key
                value = self.get(key)
                if value is not None:
                    yield key, value
            if not chunk:
                return

    def _descending(self, prefix: bytes, start: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        last: bytes | None = None
        while True:
            keys = self._store.sorted_keys()
            if last is not None:
                end = bisect_left(keys, last)
            elif start is not None and start[: len(prefix)] <= prefix:
                end = bisect_right(keys, start)
            else:
                end = bisect_right(keys, prefix, key=lambda key: key[: len(prefix)])
            chunk = keys[max(0, end - _SCAN_CHUNK) : end]
            for key in reversed(chunk):
                if not key.startswith(prefix):
                    return
                if key == last:
                    continue
                last = key
                value = self.get(key)
                if value is not None:
                    yield key, value
            if not chunk:
                return
