"""Databases of earlier layouts are brought up to date, whenever the process ends; later ones are left alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import pytest

from common.chain.index_families import ChainSource, IndexFamily
from common.node.startup import open_data
from common.node.store import migration, schema
from common.node.store.chain_prune import prune
from common.node.store.chain_store import ChainStore
from common.node.store.index_layouts import rebuild_indexes
from common.node.store.migration import Migration, check_present, migrate
from common.node.store.storage import LevelDBStore, MemoryStore, ReadView
from common.node.store.store_errors import DamagedStore, StoreFailed, WrongDatabase
from tests.support.stored_chain import TwinChain
from tests.unit.node.toy import ToyApplication, make_genesis

TODAY = schema.DB_VERSION
HEIGHTS = 12
STEP = 3
Writes = list[tuple[bytes, bytes | None]]


def reversed_receipts(view: ReadView, place: bytes) -> tuple[Writes, bytes | None]:
    """A test layout: pages of receipts have their bytes the other way round. A page must be turned exactly once."""
    found = list(islice(view.scan(schema.RECEIPTS, place or None), STEP + 1))
    writes: Writes = [(key, page[::-1]) for key, page in found[:STEP]]
    return writes, found[STEP][0] if len(found) > STEP else None


def renamed_history(view: ReadView, place: bytes) -> tuple[Writes, bytes | None]:
    """A second test layout: past values move to another prefix, in steps that need no place."""
    writes: Writes = []
    for key, value in islice(view.scan(schema.HISTORY), STEP):
        writes += [(b"h" + key[1:], value), (key, None)]
    return writes, place if writes else None


@pytest.fixture
def later_layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """This program knows two layouts after today's."""
    monkeypatch.setattr(schema, "DB_VERSION", TODAY + 2)
    monkeypatch.setitem(migration.MIGRATIONS, TODAY, Migration("turning receipts", reversed_receipts))
    monkeypatch.setitem(migration.MIGRATIONS, TODAY + 1, Migration("renaming history", renamed_history))


def old_database() -> MemoryStore:
    """A chain of today's layout."""
    store = MemoryStore()
    twin = TwinChain.start(store, {b"a": b"0", b"b": b"0"})
    for height in range(HEIGHTS):
        twin.commit({b"a": b"%d" % (height + 1), b"c": None if height % 2 else b"x"}, transactions=2)
    store.write([(schema.VERSION, schema.version_value(TODAY))], sync=True)
    return store


def content(store: ReadView) -> dict[bytes, bytes]:
    return dict(store.scan(b""))


def expected(before: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """The old content in the test's second layout."""
    after = {}
    for key, value in before.items():
        if key.startswith(schema.RECEIPTS):
            after[key] = value[::-1]
        elif key.startswith(schema.HISTORY):
            after[b"h" + key[1:]] = value
        else:
            after[key] = value
    return after | {schema.VERSION: schema.version_value()}


class Ended(Exception):
    """The process ends."""


class Mortal(MemoryStore):
    """A store whose process ends before or after one of its writes."""

    def __init__(self, entries: dict[bytes, bytes]) -> None:
        super().__init__()
        super().write(list(entries.items()), sync=True)
        self.writes = 0
        self.ends_before: int | None = None
        self.ends_after: int | None = None

    def write(self, batch: Sequence[tuple[bytes, bytes | None]], sync: bool) -> None:
        self.writes += 1
        if self.writes == self.ends_before:
            raise Ended
        super().write(batch, sync)
        if self.writes == self.ends_after:
            raise Ended


def survives_every_end(old: dict[bytes, bytes], work: Callable[[MemoryStore], None]) -> dict[bytes, bytes]:
    """Do the work with an end before and after each of its writes, then again; the outcome must always be the same."""
    whole = Mortal(old)
    work(whole)
    outcome = content(whole)
    assert whole.writes > 4
    for at in range(1, whole.writes + 1):
        for moment in ("ends_before", "ends_after"):
            store = Mortal(old)
            setattr(store, moment, at)
            with pytest.raises(Ended):
                work(store)
            store.crash()
            store.ends_before = store.ends_after = None
            work(store)
            assert content(store) == outcome, (moment, at)
    return outcome


@pytest.mark.usefixtures("later_layouts")
def test_s1_a_migration_that_ends_at_any_moment_goes_on_to_the_same_content() -> None:
    old = content(old_database())
    assert survives_every_end(old, migrate) == expected(old)


@pytest.mark.usefixtures("later_layouts")
def test_progress_is_told_and_the_work_is_done_once() -> None:
    store, told = old_database(), list[tuple[str, int]]()
    migrate(store, lambda what, entries: told.append((what, entries)))
    assert {what for what, _ in told} == {"turning receipts", "renaming history"}
    assert [entries for what, entries in told if what == "turning receipts"] == [3, 6, 9, 12]
    told.clear()
    migrate(store, lambda what, entries: told.append((what, entries)))
    assert told == []


def test_a_half_migrated_database_is_refused_by_the_earlier_program_and_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Mortal(content(old_database()))
    with monkeypatch.context() as patch:
        patch.setattr(schema, "DB_VERSION", TODAY + 1)
        patch.setitem(migration.MIGRATIONS, TODAY, Migration("turning receipts", reversed_receipts))
        store.ends_after = 2
        with pytest.raises(Ended):
            migrate(store)
        with pytest.raises(WrongDatabase, match="Start the node"):
            check_present(store)
    store.ends_after = None
    before = content(store)
    for opening in (migrate, check_present):
        with pytest.raises(WrongDatabase, match=r"newer version of Tongjian.*nothing was changed"):
            opening(store)
    assert content(store) == before


@pytest.mark.usefixtures("later_layouts")
def test_a_program_that_only_reads_says_what_brings_an_old_database_up_to_date() -> None:
    store = old_database()
    before = content(store)
    with pytest.raises(WrongDatabase, match="tongjian node run"):
        ChainStore(store, TwinChain.start(MemoryStore()).genesis)
    assert content(store) == before


def test_s2_unreadable_records_are_damage() -> None:
    for record, value in ((schema.VERSION, b"1"), (schema.VERSION, bytes(4)), (schema.MIGRATION, b"x")):
        store = old_database()
        store.write([(record, value)], sync=True)
        with pytest.raises(DamagedStore):
            migrate(store)


def test_a_node_that_starts_migrates_its_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    genesis = make_genesis(["v1"])
    open_data(tmp_path, genesis, ToyApplication()).close()
    monkeypatch.setattr(schema, "DB_VERSION", TODAY + 1)
    monkeypatch.setitem(migration.MIGRATIONS, TODAY, Migration("nothing to do", lambda view, place: ([], None)))
    open_data(tmp_path, genesis, ToyApplication()).close()
    store = LevelDBStore(tmp_path / "chain")
    assert migration.layout_of(store) == TODAY + 1
    store.close()
    monkeypatch.setattr(schema, "DB_VERSION", TODAY)
    with pytest.raises(StoreFailed, match="newer version"):
        open_data(tmp_path, genesis, ToyApplication())


def by_value(source: ChainSource, place: bytes) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
    """A test index, made from the state: value and key of each entry."""
    found = source.state_scan(b"", place or None, STEP)
    return [(b"by-value/" + value + b"/" + key, b"2") for key, value in found], found[-1][0] if found else None


def by_block(source: ChainSource, place: bytes) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
    """A test index, made from the blocks: how many envelopes each has."""
    height = int(place or b"1")
    count = len(source.block(height).envelopes)
    return [(b"size/%06d" % height, b"%d" % count)], None if height == source.tip().height else b"%d" % (height + 1)


BY_VALUE = IndexFamily(b"by-value/", 2, by_value)
BY_BLOCK = IndexFamily(b"size/", 2, by_block)


def with_old_index() -> tuple[TwinChain, dict[bytes, bytes]]:
    store = old_database()
    store.write([(schema.index(b"by-value/%d" % number), b"old") for number in range(2500)], sync=True)
    twin = TwinChain.start(MemoryStore())
    return twin, content(store)


def test_s1_an_index_of_another_layout_is_built_again_whenever_the_process_ends() -> None:
    twin, old = with_old_index()

    def work(store: MemoryStore) -> None:
        rebuild_indexes(ChainStore(store, twin.genesis), [BY_VALUE, BY_BLOCK])

    outcome = survives_every_end(old, work)
    store = MemoryStore()
    store.write(list(outcome.items()), sync=True)
    chain = ChainStore(store, twin.genesis)
    state = chain.state_scan(b"", None, 100)
    assert chain.index_scan(b"by-value/", None, 100) == sorted((b"by-value/" + v + b"/" + k, b"2") for k, v in state)
    assert len(chain.index_scan(b"size/", None, 100)) == HEIGHTS
    others = {key: value for key, value in outcome.items() if key[:1] != schema.INDEX and key != schema.INDEX_LAYOUTS}
    assert others == {key: value for key, value in old.items() if key[:1] != schema.INDEX}
    assert not rebuild_indexes(chain, [BY_VALUE, BY_BLOCK])


def test_an_index_of_a_later_layout_is_refused() -> None:
    twin, old = with_old_index()
    store = MemoryStore()
    store.write(list(old.items()), sync=True)
    rebuild_indexes(ChainStore(store, twin.genesis), [IndexFamily(b"by-value/", 3, by_value)])
    with pytest.raises(WrongDatabase, match="newer version"):
        rebuild_indexes(ChainStore(store, twin.genesis), [BY_VALUE])


def test_an_index_made_of_pruned_blocks_says_what_to_do() -> None:
    twin, old = with_old_index()
    store = MemoryStore()
    store.write(list(old.items()), sync=True)
    chain = ChainStore(store, twin.genesis)
    prune(chain, 5)
    with pytest.raises(WrongDatabase, match="node join"):
        rebuild_indexes(chain, [BY_BLOCK])


class Indexed(ToyApplication):
    """The toy with an index family of a later layout."""

    def index_families(self) -> list[IndexFamily]:
        return [BY_VALUE]


def test_a_new_chain_has_its_indexes_in_the_present_layout_and_an_old_one_gets_them(tmp_path: Path) -> None:
    genesis = make_genesis(["v1"])
    opened = open_data(tmp_path / "new", genesis, Indexed())
    assert not rebuild_indexes(opened.chain, [BY_VALUE])
    opened.close()
    open_data(tmp_path / "old", genesis, ToyApplication()).close()
    opened = open_data(tmp_path / "old", genesis, Indexed())
    state = opened.chain.state_scan(b"", None, 100)
    assert len(opened.chain.index_scan(b"by-value/", None, 100)) == len(state)
    opened.close()
