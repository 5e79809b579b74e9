"""The key-value store port, and the adapter that keeps it in LevelDB.

A store holds byte strings in key order, takes atomic batches, and gives read-only snapshots. `LevelDBStore` is the
adapter of a running node; `memory_store.MemoryStore` (also importable from here) is the one of the simulator.

Invariants
  K1  A batch is applied completely or not at all, also across a crash. `write(..., sync=True)` returns only when the
      batch is durable, and all before it if they were synced too; `settle` makes all of a closed database durable.
  K2  Every block that is read is checked against its checksum. Damage raises `DamagedStore`, which names the key and
      the remedy; altered data is never returned (attack S2).
  K3  A directory that holds remains of a database is never turned into a new, empty one: LevelDB itself does that
      when its file CURRENT is missing.
  K4  After a failed write nothing more is written: LevelDB may have left half a record in its log, and a later
      record behind it would be lost. A restart repairs that (attacks S2, S5).

LevelDB drops a torn tail of its log silently, and a flipped length in the log's last 32 KiB looks like one. That the
database went *backwards* is therefore found out elsewhere: `chain_store` and the vote log name each other's tip.

On Python 3.13 and later the package plyvel-next provides the same interface as `plyvel_next`; nothing else in the
suite imports either of them.
Left out: what the keys mean (`schema.py`).
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

if sys.version_info >= (3, 13):
    import plyvel_next as plyvel
else:
    import plyvel

from common.node.store import fault_points
from common.node.store.memory_store import MemoryStore
from common.node.store.store_errors import REMEDY_RESYNC, DamagedStore, StoreFailed, StoreInUse

__all__ = ["DamagedStore", "KeyValueStore", "LevelDBStore", "MemoryStore", "ReadView", "StoreFailed", "prefix_end"]

WRITE_BUFFER_BYTES: Final = 4 * 1024 * 1024
BLOCK_CACHE_BYTES: Final = 4 * 1024 * 1024
MAX_OPEN_FILES: Final = 64
"""LevelDB maps open tables into memory; about 54 of them at 2 MiB bound that share of the resident size."""


_REFUSALS: Final = tuple(
    os.strerror(number)
    for number in (*(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO), *(errno.EACCES, errno.EMFILE, errno.ENFILE))
)
"""What LevelDB says when the disk or the system refuses; opening writes a new log. Any other failure is damage."""


class ReadView(Protocol):
    """Read access to one moment of a store."""

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, or None. Raises DamagedStore."""
        ...

    def scan(self, prefix: bytes, start: bytes | None = None, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Entries whose key starts with `prefix`, in ascending key order, or descending if `reverse`.

        `start` is where to begin, included, in the direction of the scan. The entries are those of the moment of the
        call, whatever is written meanwhile. Raises DamagedStore, also in the middle.
        """
        ...


class Snapshot(ReadView, Protocol):
    """A `ReadView` that holds on to its moment until it is closed."""

    def close(self) -> None:
        """Release what the snapshot holds; closing twice is allowed."""
        ...


class KeyValueStore(ReadView, Protocol):
    """The port. Reads and `snapshot` may run in any thread, also during a write; writes come from one at a time."""

    def write(self, batch: Sequence[tuple[bytes, bytes | None]], sync: bool) -> None:
        """Apply all of `batch` in order; a value of None deletes. Raises StoreFailed or DamagedStore (K1, K4)."""
        ...

    def snapshot(self) -> Snapshot:
        """A read-only view of this moment."""
        ...

    def close(self) -> None:
        """Release files and memory; closing twice is allowed."""
        ...


def prefix_end(prefix: bytes) -> bytes | None:
    """The smallest key above every key with this prefix, or None if there is no such key."""
    stripped = prefix.rstrip(b"\xff")
    if not stripped:
        return None
    return stripped[:-1] + bytes((stripped[-1] + 1,))


def _damaged(what: str, key: bytes | None, error: Exception) -> DamagedStore:
    return DamagedStore(f"{what}: {_text(error)}", key=key, remedy=REMEDY_RESYNC)


def _text(error: Exception) -> str:
    """What an error says; LevelDB's own words come as bytes."""
    words = error.args[0] if error.args else ""
    return words.decode("utf-8", "replace") if isinstance(words, bytes) else str(error)


class _LevelDBView:
    """Checked reads over a `plyvel.DB` or one of its snapshots."""

    def __init__(self, source: Any) -> None:
        self._source: Any = source

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, or None. Raises DamagedStore."""
        try:
            value: bytes | None = self._source.get(key, verify_checksums=True)
        except plyvel.Error as error:
            raise _damaged("the database cannot be read", key, error) from error
        return value

    def scan(self, prefix: bytes, start: bytes | None = None, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """See `ReadView.scan`."""
        low, high, include_high = prefix, prefix_end(prefix), False
        if start is not None:
            if not reverse:
                low = max(low, start)
            elif high is None or start < high:
                high, include_high = start, True
        # Descending, plyvel 1.5 leaves out the lowest entry if its key equals `start`; so the end is found here.
        lower_bound = None if reverse else low
        try:
            iterator = self._source.iterator(
                start=lower_bound, stop=high, include_stop=include_high, reverse=reverse, verify_checksums=True
            )
        except plyvel.Error as error:
            raise _damaged("the database cannot be scanned", prefix, error) from error
        return _checked(iterator, prefix)

    def close(self) -> None:
        """Release the snapshot."""
        self._source.close()


def _checked(iterator: Any, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The iterator's entries below `prefix`; its failures become DamagedStore."""
    last = prefix
    try:
        for last, value in iterator:
            if not last.startswith(prefix):
                return
            yield last, value
    except plyvel.Error as error:
        raise _damaged("the database cannot be scanned", last, error) from error
    finally:
        iterator.close()


class _LevelDBSnapshot(_LevelDBView):
    """A moment of the database. Its look-ups go through one iterator."""

    def __init__(self, source: Any) -> None:
        super().__init__(source)
        self._lock = threading.Lock()
        self._finder: Any = None

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, or None. Raises DamagedStore.

        LevelDB's own `get` counts every table that it asks in vain as a wasted seek, and rewrites a table into the next
        level after a hundred or so: business ids and nonces, which are looked up because they should be new, then cost
        more in compaction than all that is written (docs/adr/0018). An iterator's seek is as fast and is not counted.
        """
        with self._lock:
            try:
                if self._finder is None:
                    self._finder = self._source.raw_iterator(verify_checksums=True)
                finder = self._finder
                finder.seek(key)
                if not finder.valid() or finder.key() != key:
                    return None
                value: bytes = finder.value()
            except plyvel.Error as error:
                raise _damaged("the database cannot be read", key, error) from error
            return value

    def close(self) -> None:
        """Release the snapshot."""
        with self._lock:
            if self._finder is not None:
                self._finder.close()
        super().close()


class LevelDBStore(_LevelDBView):
    """A LevelDB database in a directory of its own; one process at a time."""

    def __init__(self, path: Path) -> None:
        """Open the database, or create it in an absent or empty directory.

        Raises DamagedStore if it is damaged, StoreFailed if another process has it open or the disk refuses.
        """
        fresh = _check_directory(path)
        try:
            fault_points.before("database.open")
            database = plyvel.DB(
                str(path),
                create_if_missing=fresh,
                error_if_exists=fresh,
                paranoid_checks=True,
                compression="snappy",
                write_buffer_size=WRITE_BUFFER_BYTES,
                lru_cache_size=BLOCK_CACHE_BYTES,
                max_open_files=MAX_OPEN_FILES,
            )
            fault_points.after("database.open")
        except plyvel.CorruptionError as error:
            raise _damaged(f"the database in {path} is damaged", None, error) from error
        except plyvel.IOError as error:
            if "lock" in str(error).lower():
                raise StoreInUse(f"another process has the database in {path} open; end it first") from error
            if fresh:
                raise StoreFailed(f"the database in {path} cannot be created: {_text(error)}") from error
            if any(reason in str(error) for reason in _REFUSALS):
                raise StoreFailed(f"the database in {path} cannot be opened: {_text(error)}") from error
            raise _damaged(f"the database in {path} cannot be opened", None, error) from error
        except plyvel.Error as error:
            raise _damaged(f"the database in {path} cannot be opened", None, error) from error
        super().__init__(database)
        self._path = path
        self._failed: str | None = None

    def write(self, batch: Sequence[tuple[bytes, bytes | None]], sync: bool) -> None:
        """Apply one batch; see K1 and K4."""
        if self._failed is not None:
            raise StoreFailed(f"an earlier write failed ({self._failed}); restart the node")
        try:
            fault_points.before("database.write")
            with self._source.write_batch(sync=sync) as writer:
                for key, value in batch:
                    if value is None:
                        writer.delete(key)
                    else:
                        writer.put(key, value)
            fault_points.after("database.write")
        except plyvel.CorruptionError as error:
            self._failed = _text(error)
            raise _damaged("the database cannot be written", None, error) from error
        except (plyvel.Error, OSError) as error:
            self._failed = _text(error)
            raise StoreFailed(f"the database cannot be written: {self._failed}; free disk space and restart") from error

    def snapshot(self) -> _LevelDBSnapshot:
        """A read-only view of this moment; close it, or LevelDB keeps what it sees."""
        return _LevelDBSnapshot(self._source.snapshot())

    def compact(self) -> None:
        """Rewrite all tables; for maintenance and measurements."""
        self._source.compact_range()

    def property_text(self, name: str) -> str:
        """A LevelDB property such as `leveldb.stats`, empty if unknown."""
        value: bytes | None = self._source.get_property(name.encode("ascii"))
        return "" if value is None else value.decode("utf-8", "replace")


def settle(path: Path) -> None:
    """Make all of a closed database durable, whatever log it is in. Raises as opening does.

    A synced write covers LevelDB's present log. The one before it was closed without a sync when it was full, and what
    it holds may not be in a table yet; opening writes what the logs hold into tables, which are synced.
    """
    LevelDBStore(path).close()


def _check_directory(path: Path) -> bool:
    """Whether a new database is to be created here. Raises DamagedStore for remains without CURRENT (K3)."""
    if path.exists() and not path.is_dir():
        raise StoreFailed(f"{path} is not a directory")
    path.mkdir(parents=True, exist_ok=True)
    if (path / "CURRENT").exists():
        return False
    remains = sorted(
        entry.name for entry in path.iterdir() if entry.name.startswith("MANIFEST-") or entry.suffix in (".ldb", ".log")
    )
    if remains:
        raise DamagedStore(
            f"the database in {path} has lost its file CURRENT but still holds {', '.join(remains[:4])}",
            key=None,
            remedy=REMEDY_RESYNC,
        )
    return True
