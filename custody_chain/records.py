"""Typed records during one transaction: read once, changed in memory, written once, undone snapshot by snapshot.

A transaction may carry a thousand snapshots that touch the same product and the same region record; decoding and
encoding those for each would cost more than the rules themselves.

Invariants:
  * Records are never changed in place: `put` stores another one. So an undo is exact, and a record read before stays
    true.
  * Nothing reaches the state view before `flush`; a transaction that is rejected before leaves no trace of its own.
  * `flush` writes in ascending order of paths, whatever order the rules used (invariant A1 of the application port).
  * A record of a family that a later protocol version has is never written: old blocks give the same state for ever,
    whatever software replays them.

Left out: transactions and their rollback (the node's), families, keys and codecs (`custody_chain.tables`).
"""

from __future__ import annotations

from typing import Any

from common.chain.application import StateView
from common.core.errors import InvariantBroken
from custody_chain.tables.table import K, R, Table

_Cell = tuple[Table[Any, Any], Any]
"""Table and key. Paths are built where the state is read or written, and not where a record is looked up again."""


class _Values(dict[_Cell, Any]):
    """Records by cell; what was not asked for before is read. None means absent."""

    def __init__(self, state: StateView) -> None:
        super().__init__()
        self._state = state

    def __missing__(self, cell: _Cell) -> Any:
        table, key = cell
        path = table.path(key)
        data = self._state.get_index(path) if table.index else self._state.get(path)
        record = self[cell] = None if data is None else table.decode(data)
        return record


class Records:
    """A write-back layer over a `StateView`, with savepoints. None means absent."""

    def __init__(self, state: StateView, protocol_version: int) -> None:
        """`protocol_version` is that of the block whose rules are at work."""
        self._state = state
        self.protocol_version = protocol_version
        self._values = _Values(state)
        self._changed: set[_Cell] = set()
        self._journal: list[tuple[_Cell, Any, bool]] = []
        self._touched: dict[_Cell, Any] = {}

    def get(self, table: Table[K, R], key: K) -> R | None:
        """The record under a key, or None. Do not change it in place."""
        record: R | None = self._values[table, key]
        return record

    def put(self, table: Table[K, R], key: K, record: R) -> None:
        """Set the record under a key."""
        self._change((table, key), record)

    def delete(self, table: Table[K, R], key: K) -> None:
        """Leave no record under a key; removing what is absent is allowed."""
        self._change((table, key), None)

    def put_judged(self, table: Table[K, R], key: K, record: R) -> None:
        """Set a record that no rule has to be asked about again."""
        cell = table, key
        self._write(cell, self._values[cell], record)

    def take_touched(self) -> list[tuple[Table[Any, Any], Any, Any]]:
        """Table, key and record of before, of each judged record that changed since the last time, in the order in
        which they changed first.
        """
        touched = [(table, key, before) for (table, key), before in self._touched.items()]
        self._touched.clear()
        return touched

    def add(self, table: Table[K, R], key: K, record: R) -> None:
        """Set the record under a key that is new, which saves reading what is not there."""
        cell = table, key
        if table.judged:
            self._touched.setdefault(cell, None)
        self._write(cell, self._values.get(cell), record)

    def _change(self, cell: _Cell, record: Any) -> None:
        before = self._values[cell]
        if cell[0].judged:
            self._touched.setdefault(cell, before)
        self._write(cell, before, record)

    def _write(self, cell: _Cell, before: Any, record: Any) -> None:
        if cell[0].since > self.protocol_version:
            raise InvariantBroken(f"{cell[0].name} records are of a later protocol version than the block")
        self._journal.append((cell, before, cell in self._changed))
        self._values[cell] = record
        self._changed.add(cell)

    def savepoint(self) -> None:
        """Forget how to undo what was done so far."""
        self._journal.clear()

    def undo(self) -> None:
        """Take back everything since the last savepoint, newest first. No rule has been asked about it."""
        self._touched.clear()
        for cell, before, was_changed in reversed(self._journal):
            self._values[cell] = before
            if not was_changed:
                self._changed.discard(cell)
        self._journal.clear()

    def scan(
        self, table: Table[K, R], limit: int, *leading: Any, start_after: bytes | None = None
    ) -> list[tuple[K, R]]:
        """At most `limit` keys and records of a family, those whose keys begin with `leading` and whose paths are above
        `start_after`, in the order of paths. Flushes first, so that own changes are seen.
        """
        self.flush()
        below = self._state.scan_index if table.index else self._state.scan
        keys = [table.key(path) for path, _ in below(table.prefix(*leading), limit, start_after)]
        return [(key, self._values[table, key]) for key in keys]

    def flush(self) -> None:
        """Write all changes to the view. Raises `Malformed` if a value has no canonical form (a bug of the caller)."""
        state = self._state
        for path, (table, key) in sorted([(cell[0].path(cell[1]), cell) for cell in self._changed], key=_path_of):
            record = self._values[table, key]
            match (record is None, table.index):
                case (True, True):
                    state.delete_index(path)
                case (True, False):
                    state.delete(path)
                case (False, True):
                    state.put_index(path, table.encode(record))
                case (False, False):
                    state.put(path, table.encode(record))
        self._changed.clear()
        self._journal.clear()


def _path_of(change: tuple[bytes, _Cell]) -> bytes:
    return change[0]
