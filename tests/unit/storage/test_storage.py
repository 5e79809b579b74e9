"""The key-value port: LevelDB and memory answer the same; crashes lose unsynced writes, and only those."""

from __future__ import annotations

import contextlib
import gc
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.node.store.storage import KeyValueStore, LevelDBStore, MemoryStore, plyvel, prefix_end  # type: ignore[attr-defined]
from common.node.store.store_errors import DamagedStore, StoreFailed

Entries = list[tuple[bytes, bytes]]


@pytest.fixture(params=["leveldb", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyValueStore]:
    opened: KeyValueStore = LevelDBStore(tmp_path / "db") if request.param == "leveldb" else MemoryStore()
    yield opened
    opened.close()


def naive_scan(entries: dict[bytes, bytes], prefix: bytes, start: bytes | None, reverse: bool) -> Entries:
    """What a scan must answer."""
    found = sorted((key, value) for key, value in entries.items() if key.startswith(prefix))
    if reverse:
        return [entry for entry in reversed(found) if start is None or entry[0] <= start]
    return [entry for entry in found if start is None or entry[0] >= start]


def random_key(source: random.Random) -> bytes:
    """Short keys over few bytes, so that prefixes matter."""
    return bytes(source.choice(b"\x00ab\xfe\xff") for _ in range(source.randrange(1, 4)))


@pytest.mark.parametrize("seed", range(5))
def test_stores_and_snapshots_answer_like_a_dict(store: KeyValueStore, seed: int) -> None:
    source = random.Random(seed)
    entries: dict[bytes, bytes] = {}
    snapshots = []
    for step in range(60):
        batch: list[tuple[bytes, bytes | None]] = []
        for _ in range(source.randrange(12)):
            key = random_key(source)
            value = None if source.random() < 0.4 else b"%d" % source.randrange(99)
            batch.append((key, value))
            if value is None:
                entries.pop(key, None)
            else:
                entries[key] = value
        store.write(batch, sync=False)
        if step % 10 == 0:
            snapshots.append((store.snapshot(), dict(entries)))
        for view, expected in [(store, entries), *snapshots]:
            key = random_key(source)
            assert view.get(key) == expected.get(key)
            prefix = random_key(source)[: source.randrange(3)]
            start = source.choice([None, random_key(source), prefix + random_key(source)])
            reverse = source.random() < 0.5
            assert list(view.scan(prefix, start, reverse)) == naive_scan(expected, prefix, start, reverse)
    for view, _ in snapshots:
        view.close()


def test_scan_answers_the_moment_of_its_call(store: KeyValueStore) -> None:
    store.write([(b"k%03d" % number, b"old") for number in range(300)], sync=False)
    scan = store.scan(b"k")
    first = next(scan)
    store.write([(b"k%03d" % number, None if number % 2 else b"new") for number in range(300)], sync=False)
    store.write([(b"k%03dx" % number, b"new") for number in range(300)], sync=False)
    assert [first, *scan] == [(b"k%03d" % number, b"old") for number in range(300)]


def test_later_entries_of_a_batch_win(store: KeyValueStore) -> None:
    store.write([(b"a", b"1"), (b"a", None), (b"b", None), (b"b", b"2"), (b"c", b"1"), (b"c", b"2")], sync=True)
    assert list(store.scan(b"")) == [(b"b", b"2"), (b"c", b"2")]


def test_closing_twice_is_allowed(store: KeyValueStore) -> None:
    snapshot = store.snapshot()
    snapshot.close()
    snapshot.close()
    store.close()
    store.close()


@pytest.mark.parametrize(
    ("prefix", "end"), [(b"", None), (b"a", b"b"), (b"a\xff", b"b"), (b"\xff\xff", None), (b"a\x00", b"a\x01")]
)
def test_prefix_end(prefix: bytes, end: bytes | None) -> None:
    assert prefix_end(prefix) == end


def test_leveldb_keeps_everything_across_a_restart(tmp_path: Path) -> None:
    entries = {b"%05d" % number: b"value %d" % number for number in range(5000)}
    store = LevelDBStore(tmp_path / "a" / "db")
    store.write(list(entries.items()), sync=True)
    store.close()
    store = LevelDBStore(tmp_path / "a" / "db")
    assert dict(store.scan(b"")) == entries
    assert "leveldb" not in store.property_text("leveldb.nothing")
    assert store.property_text("leveldb.stats") != ""
    store.close()


def test_leveldb_is_opened_by_one_process_at_a_time(tmp_path: Path) -> None:
    store = LevelDBStore(tmp_path / "db")
    with pytest.raises(StoreFailed, match="another process"):
        LevelDBStore(tmp_path / "db")
    store.close()


def test_leveldb_snapshot_needs_no_close(tmp_path: Path) -> None:
    store = LevelDBStore(tmp_path / "db")
    store.write([(b"k", b"1")], sync=False)
    snapshot = store.snapshot()
    store.write([(b"k", b"2")], sync=False)
    assert snapshot.get(b"k") == b"1"
    del snapshot
    gc.collect()
    store.close()


def tables(path: Path) -> dict[bytes, bytes]:
    """A closed database whose entries lie in three tables that overlap."""
    source = random.Random(7)
    entries: dict[bytes, bytes] = {}
    for generation in range(3):
        store = LevelDBStore(path)  # opening makes a table of what the log holds
        batch = [(b"k%05d" % number, source.randbytes(60)) for number in range(0, 2_000, 1 + generation)]
        store.write(batch, sync=True)
        entries.update(batch)
        store.close()
    LevelDBStore(path).close()
    return entries


def test_leveldb_rewrites_no_table_because_of_look_ups_in_vain(tmp_path: Path) -> None:
    """`plyvel.DB.get` makes it do so after a hundred."""
    tables(tmp_path / "db")
    store = LevelDBStore(tmp_path / "db")
    files = sorted(path.name for path in (tmp_path / "db").glob("*.ldb"))
    with contextlib.closing(store.snapshot()) as view:
        assert [view.get(b"k%05d+" % number) for number in range(2_000)] == [None] * 2_000
    time.sleep(0.3)
    assert sorted(path.name for path in (tmp_path / "db").glob("*.ldb")) == files
    store.close()


@pytest.mark.parametrize("seed", range(20))
def test_s2_look_up_in_a_damaged_table_is_refused_or_right(tmp_path: Path, seed: int) -> None:
    """One damaged block is passed over by LevelDB's iterators; what lies behind it must not be taken for the answer."""
    source = random.Random(seed)
    entries = tables(tmp_path / "db")
    table = source.choice(sorted((tmp_path / "db").glob("*.ldb")))
    content = bytearray(table.read_bytes())
    content[source.randrange(len(content))] ^= 1 << source.randrange(8)
    table.write_bytes(content)
    try:
        store = LevelDBStore(tmp_path / "db")
    except DamagedStore:
        return
    for key in [min(entries), max(entries), *source.sample(sorted(entries), 60)]:
        with contextlib.closing(store.snapshot()) as view, contextlib.suppress(DamagedStore):
            assert view.get(key) == entries[key]
    with contextlib.closing(store.snapshot()) as view:
        for key in source.sample(sorted(entries), 60):
            with contextlib.suppress(DamagedStore):
                assert view.get(key) == entries[key]
    store.close()


def test_s2_leveldb_refuses_to_open_with_a_flipped_bit_in_its_log(tmp_path: Path) -> None:
    """Without paranoid checks LevelDB would open, and drop everything behind the damage."""
    store = LevelDBStore(tmp_path / "db")
    for number in range(100):
        store.write([(b"%d" % number, b"value" * 10)], sync=True)
    store.close()
    (log,) = (path for path in (tmp_path / "db").glob("*.log") if path.stat().st_size)
    content = bytearray(log.read_bytes())
    content[len(content) // 3] ^= 1
    log.write_bytes(content)
    with pytest.raises(DamagedStore, match="Remedy"):
        LevelDBStore(tmp_path / "db")


class RefusingBatch:
    """A write batch of a disk that is full."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __enter__(self) -> RefusingBatch:
        return self

    def __exit__(self, *arguments: object) -> None:
        raise self._error

    def put(self, key: bytes, value: bytes) -> None:
        """Takes it."""

    def delete(self, key: bytes) -> None:
        """Takes it."""


@pytest.mark.parametrize(
    "error", [plyvel.IOError("No space left on device"), OSError(5, "Input/output error"), plyvel.Error("other")]
)
def test_s5_failed_write_stops_all_writes_until_a_restart(tmp_path: Path, error: Exception) -> None:
    store = LevelDBStore(tmp_path / "db")
    store.write([(b"k", b"1")], sync=True)
    database = store._source

    class Database:
        """The open database, with a disk that refuses."""

        write_batch: Callable[..., RefusingBatch] = staticmethod(lambda sync: RefusingBatch(error))

    store._source = Database()
    with pytest.raises(StoreFailed, match="cannot be written"):
        store.write([(b"k", b"2")], sync=True)
    store._source = database
    with pytest.raises(StoreFailed, match="restart"):
        store.write([(b"k", b"3")], sync=True)
    assert store.get(b"k") == b"1"
    store.close()
    store = LevelDBStore(tmp_path / "db")
    store.write([(b"k", b"4")], sync=True)
    assert store.get(b"k") == b"4"
    store.close()


def test_s1_memory_store_loses_exactly_what_was_not_synced() -> None:
    store = MemoryStore()
    store.write([(b"a", b"1"), (b"b", b"1")], sync=False)
    store.write([(b"b", b"2")], sync=True)
    store.write([(b"b", b"3"), (b"c", b"3")], sync=False)
    store.write([(b"a", None), (b"b", b"4")], sync=False)
    assert store.unsynced_batches == 2
    store.crash(surviving_batches=1)
    assert list(store.scan(b"")) == [(b"a", b"1"), (b"b", b"3"), (b"c", b"3")]
    store.write([(b"a", None)], sync=False)
    store.crash()
    assert list(store.scan(b"")) == [(b"a", b"1"), (b"b", b"3"), (b"c", b"3")]


def test_s5_memory_store_with_a_full_disk_refuses_and_recovers() -> None:
    store = MemoryStore()
    store.write([(b"a", b"1")], sync=True)
    store.fail_writes = True
    with pytest.raises(StoreFailed):
        store.write([(b"a", b"2")], sync=True)
    assert store.get(b"a") == b"1"
    store.crash()
    store.write([(b"a", b"3")], sync=True)
    assert store.get(b"a") == b"3"


def test_memory_store_forgets_deleted_keys_but_not_those_that_a_snapshot_sees() -> None:
    store = MemoryStore()
    store.write([(b"%05d" % number, b"v") for number in range(5000)], sync=True)
    view = store.snapshot()
    store.write([(b"%05d" % number, None) for number in range(4900)], sync=True)
    assert len(list(store.scan(b""))) == 100
    assert len(list(view.scan(b""))) == 5000
    view.close()
    del view
    gc.collect()
    assert len(list(store.scan(b""))) == 100
    assert len(store.sorted_keys()) < 5000
