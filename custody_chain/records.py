"""Typed records during one transaction: read once, changed in memory, written once, undone snapshot by snapshot.

A transaction may carry a thousand snapshots that touch the same product and the same region record; decoding and
encoding those for each would cost more than the rules themselves.

Invariants:
  * Records are never changed in place: `put` stores another one. So an undo is exact, and a record read before stays
    true.
  * Nothing reaches the state view before `flush`; a transaction that is rejected before leaves no trace of its own.
  * `flush` writes in ascending key order, whatever order the rules used (invariant A1 of the application port).

Left out: transactions and their rollback (the node's), families, keys and codecs (`custody_chain.tables`).
"""

from __future__ import annotations

from typing import Any, NamedTuple, overload

from common.chain.application import StateView
from custody_chain.tables.table import K, R, Table


class _Untyped(NamedTuple):
    """Stands for a key whose path the caller builds."""


_STATE: Table[_Untyped, Any] = Table("untyped", _Untyped, Any)
_INDEX: Table[_Untyped, Any] = Table("untyped_index", _Untyped, Any, index=True)

_Undo = tuple[bytes, Any, Table[Any, Any] | None]
_Touched = tuple[Table[Any, Any], Any, Any]
"""Table, key, and the record as it was before it was changed first."""


class Records:
    """A write-back layer over a `StateView`, with savepoints. None means absent.

    Families that have no table yet are read and written by path, as plain JSON values.
    """

    def __init__(self, state: StateView) -> None:
        self._state = state
        self._values: dict[bytes, Any] = {}
        self._changed: dict[bytes, Table[Any, Any]] = {}
        self._journal: list[_Undo] = []
        self._touched: dict[bytes, _Touched] = {}

    @overload
    def get(self, table: bytes) -> Any: ...
    @overload
    def get(self, table: Table[K, R], key: K) -> R | None: ...
    def get(self, table: Any, key: Any = None) -> Any:
        """The record under a key, or None. Do not change it in place."""
        if isinstance(table, bytes):
            return self._read(_STATE, table)
        return self._read(table, table.path(key))

    @overload
    def put(self, table: bytes, key: Any) -> None: ...
    @overload
    def put(self, table: Table[K, R], key: K, record: R) -> None: ...
    def put(self, table: Any, key: Any, record: Any = None) -> None:
        """Set the record under a key."""
        if isinstance(table, bytes):
            self._write(_STATE, table, key)
        else:
            self._change(table, key, record)

    def delete(self, table: Table[K, R], key: K) -> None:
        """Leave no record under a key; removing what is absent is allowed."""
        self._change(table, key, None)

    def put_judged(self, table: Table[K, R], key: K, record: R) -> None:
        """Set a record that no rule has to be asked about again."""
        self._write(table, table.path(key), record)

    def take_touched(self) -> list[_Touched]:
        """The judged records that changed since the last time, in the order in which they changed first."""
        touched = list(self._touched.values())
        self._touched.clear()
        return touched

    def _change(self, table: Table[K, R], key: K, record: R | None) -> None:
        path = table.path(key)
        if table.judged and path not in self._touched:
            self._touched[path] = (table, key, self._read(table, path))
        self._write(table, path, record)

    def add(self, table: Table[K, R], key: K, record: R) -> None:
        """Set the record under a key that is new, which saves reading what is not there."""
        path = table.path(key)
        self._values.setdefault(path, None)
        self._write(table, path, record)

    def get_index(self, key: bytes) -> Any:
        """An index value by its path, or None."""
        return self._read(_INDEX, key)

    def put_index(self, key: bytes, value: Any) -> None:
        """Set an index value by its path (None removes it)."""
        self._write(_INDEX, key, value)

    def add_index(self, key: bytes, value: Any) -> None:
        """Set an index value by its path, which is new."""
        self._values.setdefault(key, None)
        self._write(_INDEX, key, value)

    def _read(self, table: Table[Any, Any], path: bytes) -> Any:
        try:
            return self._values[path]
        except KeyError:
            data = self._state.get_index(path) if table.index else self._state.get(path)
            record = None if data is None else table.decode(data)
            self._values[path] = record
            return record

    def _write(self, table: Table[Any, Any], path: bytes, record: Any) -> None:
        self._journal.append((path, self._read(table, path), self._changed.get(path)))
        self._values[path] = record
        self._changed[path] = table

    def savepoint(self) -> None:
        """Forget how to undo what was done so far."""
        self._journal.clear()

    def undo(self) -> None:
        """Take back everything since the last savepoint, newest first. No rule has been asked about it."""
        self._touched.clear()
        for path, before, changed in reversed(self._journal):
            self._values[path] = before
            if changed is not None:
                self._changed[path] = changed
            else:
                del self._changed[path]
        self._journal.clear()

    @overload
    def scan(self, table: bytes, limit: int) -> list[bytes]: ...
    @overload
    def scan(self, table: Table[K, R], limit: int, *leading: Any) -> list[tuple[K, R]]: ...
    def scan(self, table: Any, limit: int, *leading: Any) -> Any:
        """At most `limit` keys and records of a family, those whose keys begin with `leading`, in the order of paths.

        Flushes first, so that own changes are seen.
        """
        self.flush()
        if isinstance(table, bytes):
            return [path for path, _ in self._state.scan(table, limit)]
        below = self._state.scan_index if table.index else self._state.scan
        return [(table.key(path), self._read(table, path)) for path, _ in below(table.prefix(*leading), limit)]

    def scan_index(self, prefix: bytes, limit: int) -> list[bytes]:
        """Paths of index values below a prefix; flushes first."""
        self.flush()
        return [key for key, _ in self._state.scan_index(prefix, limit)]

    def flush(self) -> None:
        """Write all changes to the view. Raises `Malformed` if a value has no canonical form (a bug of the caller)."""
        state = self._state
        for path in sorted(self._changed):
            table, record = self._changed[path], self._values[path]
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
