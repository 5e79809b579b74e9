"""Decoded state values during one transaction: read once, changed in memory, written once, undone snapshot by snapshot.

A transaction may carry a thousand snapshots that touch the same product and the same region record; decoding and
encoding those for each would cost more than the rules themselves.

Invariants:
  * Values are never changed in place: `put` stores a new value. So an undo is exact, and a value read before stays
    true.
  * Nothing reaches the state view before `flush`; a transaction that is rejected before leaves no trace of its own.
  * `flush` writes in ascending key order, whatever order the rules used (invariant A1 of the application port).

Left out: transactions and their rollback (the node's), key names (`custody_chain.state`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from common.chain.application import StateView
from common.core.codec import canonical_json

_decode = msgspec.json.Decoder().decode

_Undo = tuple[dict[bytes, Any], dict[bytes, Any], bytes, Any, bool]


class Records:
    """A write-back layer over a `StateView`, with savepoints. Values are JSON; None means absent."""

    def __init__(self, state: StateView) -> None:
        self._state = state
        self._values: dict[bytes, Any] = {}
        self._index: dict[bytes, Any] = {}
        self._changed: dict[bytes, Any] = {}
        self._index_changed: dict[bytes, Any] = {}
        self._journal: list[_Undo] = []

    def get(self, key: bytes) -> Any:
        """An authenticated value, decoded, or None. Do not change it in place."""
        try:
            return self._values[key]
        except KeyError:
            data = self._state.get(key)
            value = None if data is None else _decode(data)
            self._values[key] = value
            return value

    def get_index(self, key: bytes) -> Any:
        """An index value, decoded, or None. Do not change it in place."""
        try:
            return self._index[key]
        except KeyError:
            data = self._state.get_index(key)
            value = None if data is None else _decode(data)
            self._index[key] = value
            return value

    def put(self, key: bytes, value: Any) -> None:
        """Set an authenticated value (None removes it)."""
        self._note(self._values, self._changed, key, self.get(key))
        self._values[key] = value
        self._changed[key] = value

    def put_index(self, key: bytes, value: Any) -> None:
        """Set an index value (None removes it)."""
        self._note(self._index, self._index_changed, key, self.get_index(key))
        self._index[key] = value
        self._index_changed[key] = value

    def add_index(self, key: bytes, value: Any) -> None:
        """Set an index value under a key that is new, which saves reading what is not there."""
        self._note(self._index, self._index_changed, key, None)
        self._index[key] = value
        self._index_changed[key] = value

    def _note(self, values: dict[bytes, Any], changed: dict[bytes, Any], key: bytes, before: Any) -> None:
        self._journal.append((values, changed, key, before, key in changed))

    def savepoint(self) -> None:
        """Forget how to undo what was done so far."""
        self._journal.clear()

    def undo(self) -> None:
        """Take back everything since the last savepoint, newest first."""
        for values, changed, key, before, was_changed in reversed(self._journal):
            values[key] = before
            if was_changed:
                changed[key] = before
            else:
                changed.pop(key, None)
        self._journal.clear()

    def scan(self, prefix: bytes, limit: int) -> list[bytes]:
        """Keys of authenticated values below a prefix; flushes first, so that own changes are seen."""
        self.flush()
        return [key for key, _ in self._state.scan(prefix, limit)]

    def scan_index(self, prefix: bytes, limit: int) -> list[bytes]:
        """Keys of index values below a prefix; flushes first."""
        self.flush()
        return [key for key, _ in self._state.scan_index(prefix, limit)]

    def flush(self) -> None:
        """Write all changes to the view. Raises `Malformed` if a value has no canonical form (a bug of the caller)."""
        for key in sorted(self._changed):
            value = self._changed[key]
            if value is None:
                self._state.delete(key)
            else:
                self._state.put(key, canonical_json(value))
        for key in sorted(self._index_changed):
            value = self._index_changed[key]
            if value is None:
                self._state.delete_index(key)
            else:
                self._state.put_index(key, canonical_json(value))
        self._changed.clear()
        self._index_changed.clear()
        self._journal.clear()
