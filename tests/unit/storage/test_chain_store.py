"""The chain store against a naive record: blocks, receipts, objects, state now and at every height."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from common.core.errors import InvariantBroken, NotFound, ProofInvalid
from common.core.state_proof import verify_state_proof
from common.node.store import chain_store, schema
from common.node.store.chain_store import ChainStore
from common.node.store.committed_state import CommittedState
from common.node.store.state_cache import StateCache
from common.node.store.state_tree import _NodeCache
from common.node.store.storage import KeyValueStore, LevelDBStore, MemoryStore, ReadView
from common.node.store.store_errors import DamagedStore, WrongDatabase
from tests.support.stored_chain import CLIENT_SEED, SUITE, TwinChain, make_genesis

KEYS = [b"holding/P1/A%d" % number for number in range(8)] + [b"product/P%d" % number for number in range(4)]


def random_changes(source: random.Random) -> dict[bytes, bytes | None]:
    """Some puts and deletes, some of them of what is there already."""
    changes: dict[bytes, bytes | None] = {}
    for _ in range(source.randrange(6)):
        changes[source.choice(KEYS)] = None if source.random() < 0.3 else b"%d" % source.randrange(4)
    return changes


def check_against_record(twin: TwinChain) -> None:
    """Everything the chain answers is what was put in."""
    chain = twin.chain
    tip = chain.tip()
    assert tip.height == len(twin.blocks) - 1
    for height in range(1, tip.height + 1):
        assert chain.block(height) == twin.blocks[height]
        assert chain.receipts(height) == twin.receipts[height]
        assert chain.snapshots(height) == twin.snapshots[height]
        assert chain.validators(height) == twin.sets[height]
    for height, state in enumerate(twin.states):
        for key in KEYS:
            assert chain.state_at(key, height) == state.get(key), (key, height)
        for prefix in (b"", b"holding/", b"product/P1"):
            expected = sorted((key, value) for key, value in state.items() if key.startswith(prefix))
            assert chain.state_scan(prefix, None, 100, height=height) == expected
            assert chain.state_scan(prefix, KEYS[3], 2, height=height) == [e for e in expected if e[0] > KEYS[3]][:2]
    for key in KEYS:
        assert chain.state_get(key) == twin.states[-1].get(key)
        proven = chain.proven_state(key)
        verify_state_proof(SUITE, proven.tip.state_root, key, proven.value, proven.proof)


@pytest.mark.parametrize("seed", range(4))
def test_every_read_answers_what_a_naive_record_says(seed: int) -> None:
    source = random.Random(seed)
    store = MemoryStore()
    twin = TwinChain.start(store, {KEYS[0]: b"genesis"})
    for _ in range(12):
        twin.commit(random_changes(source), transactions=source.randrange(5))
        if source.random() < 0.3:
            twin.reopen(store)
    check_against_record(twin)
    twin.chain.check_consistency(deep=True)


def test_the_same_on_leveldb_across_a_restart(tmp_path: Path) -> None:
    source = random.Random(7)
    store: KeyValueStore = LevelDBStore(tmp_path / "chain")
    twin = TwinChain.start(store)
    for _ in range(8):
        twin.commit(random_changes(source), transactions=3)
    store.close()
    store = LevelDBStore(tmp_path / "chain")
    twin.reopen(store)
    twin.commit({KEYS[1]: b"after"}, next_members=(2, 3, 4, 5))
    twin.commit({KEYS[2]: b"after"})
    check_against_record(twin)
    twin.chain.check_consistency(deep=True)
    store.close()


def test_transactions_nonces_and_objects_are_found() -> None:
    twin = TwinChain.start(MemoryStore())
    for _ in range(3):
        twin.commit({}, transactions=4)
    chain = twin.chain
    signer = SUITE.format_key(SUITE.public_key(CLIENT_SEED))
    for height in (1, 2, 3):
        for index, receipt in enumerate(twin.receipts[height]):
            place = chain.transaction(receipt.tx_id)
            assert (place.height, place.index) == (height, index)
            assert chain.receipt_of(receipt.tx_id) == receipt
            assert chain.used_nonce(signer, f"{height}-{index}") == place
    assert chain.transaction(bytes(32)) is None
    assert chain.receipt_of(bytes(32)) is None
    assert chain.used_nonce(signer, "4-0") is None
    assert chain.object_revisions("object-3") == [(3, 2, 3), (2, 2, 2), (1, 2, 1)]
    assert chain.object_revisions("object-3", limit=1) == [(3, 2, 3)]
    assert chain.object_revisions("object-2") == []
    assert chain.snapshot(2, 1) == twin.snapshots[2][1]
    assert chain.envelope(2, 3) == twin.blocks[2].envelopes[3]
    assert chain.index_get(b"latest") == b"3"
    assert chain.index_scan(b"at/", b"at/000001", 5) == [(b"at/000002", b"x"), (b"at/000003", b"x")]


def test_n2_questions_for_old_validator_sets_take_bounded_memory_while_the_chain_stands_still() -> None:
    store = MemoryStore()
    twin = TwinChain.start(store)
    for _ in range(100):
        twin.commit({}, transactions=0)
    chain = ChainStore(store, twin.genesis)
    for height in range(1, 101):
        assert chain.validators(height) == twin.sets[height]
    assert len(chain._sets) <= 65


def test_what_is_not_there_is_not_found() -> None:
    chain = TwinChain.start(MemoryStore()).chain
    for read in (chain.block, chain.header, chain.certificate, chain.receipts, chain.snapshots, chain.block_id):
        with pytest.raises(NotFound):
            read(1)
    with pytest.raises(NotFound):
        chain.state_at(b"k", 1)
    with pytest.raises(NotFound):
        chain.validators(2)
    assert chain.block_id(0) == chain.genesis.id


def test_a_write_in_flight_is_invisible_until_it_is_reported() -> None:
    store = MemoryStore()
    twin = TwinChain.start(store, {KEYS[0]: b"old"})
    before = twin.chain.moment()
    prepared = twin.next_block({KEYS[0]: b"new", KEYS[1]: b"more"})
    writes = twin.chain.prepare_commit(**prepared.arguments())
    store.write(writes, sync=True)
    assert twin.chain.tip().height == 0
    assert twin.chain.state_get(KEYS[0]) == b"old"
    assert twin.chain.state_get(KEYS[1]) is None
    assert twin.chain.proven_state(KEYS[1]).value is None
    twin.chain.committed(1)
    assert twin.chain.tip().height == 1
    assert twin.chain.state_get(KEYS[0]) == b"new"
    assert twin.chain.state_get(KEYS[1]) == b"more"
    assert (before.tip().height, before.state_get(KEYS[0]), before.state_get(KEYS[1])) == (0, b"old", None)


def test_value_read_while_the_tip_moves_is_not_remembered() -> None:
    """A reader in another thread may still hold the old moment when the new one has come."""
    store = MemoryStore()
    twin = TwinChain.start(store, {KEYS[0]: b"old"})
    twin.reopen(store)
    chain = twin.chain

    class SlowView:
        """The old moment; the tip moves before it answers."""

        def __init__(self, view: ReadView) -> None:
            self._view = view

        def get(self, key: bytes) -> bytes | None:
            value = self._view.get(key)
            chain._view = self._view
            twin.commit({KEYS[0]: b"new"})
            return value

    chain._view = SlowView(chain._view)  # type: ignore[assignment]
    assert chain.state_get(KEYS[0]) == b"old"
    assert chain.state_get(KEYS[0]) == b"new"


def test_tree_reads_the_same_moment_as_everything_else() -> None:
    twin = TwinChain.start(MemoryStore())
    tree = twin.chain.tree
    tree._branches = tree._buckets = _NodeCache(0)
    for first in range(0, 200, 40):
        twin.commit({b"k%d" % number: b"%d" % first for number in range(first, first + 60)})
    for number in range(220):
        key = b"k%d" % number
        proven = twin.chain.proven_state(key)
        verify_state_proof(SUITE, proven.tip.state_root, key, twin.states[-1].get(key), proven.proof)


def test_readers_in_other_threads_see_whole_blocks(tmp_path: Path) -> None:
    """Every answer of a moment is of one height, while blocks are committed as fast as possible."""
    store = LevelDBStore(tmp_path / "chain")
    keys = [b"key-%d" % number for number in range(30)]
    twin = TwinChain.start(store, dict.fromkeys(keys, b"0"))
    stop = threading.Event()
    failures: list[str] = []
    answers = 0

    def read() -> None:
        nonlocal answers
        while not stop.is_set():
            moment = twin.chain.moment()
            expected = b"%d" % moment.tip().height
            seen = {moment.state_get(key) for key in keys} | {value for _, value in moment.state_scan(b"key", None, 99)}
            proven = twin.chain.proven_state(keys[3])
            if seen != {expected} or proven.value != b"%d" % proven.tip.height:
                failures.append(f"{seen} at {expected!r}")
            try:
                verify_state_proof(SUITE, proven.tip.state_root, keys[3], proven.value, proven.proof)
            except ProofInvalid as error:
                failures.append(str(error))
            answers += 1

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for height in range(1, 60):
        twin.commit(dict.fromkeys(keys, b"%d" % height))
    stop.set()
    for thread in threads:
        thread.join()
    store.close()
    assert failures == []
    assert answers > 0


def test_c14_block_out_of_order_or_on_another_parent_is_not_committed() -> None:
    twin = TwinChain.start(MemoryStore())
    first = twin.commit({KEYS[0]: b"1"})
    second = twin.next_block({KEYS[0]: b"2"})
    with pytest.raises(InvariantBroken, match="out of order"):
        twin.chain.commit(**first.arguments())
    twin.chain.commit(**second.arguments())
    with pytest.raises(InvariantBroken, match="out of order"):
        twin.chain.commit(**second.arguments())


def test_parts_that_do_not_belong_together_are_not_committed() -> None:
    twin = TwinChain.start(MemoryStore())
    good = twin.next_block({KEYS[0]: b"1"}, transactions=2)
    other = twin.next_block({KEYS[0]: b"2"}, transactions=2, next_members=(1, 2, 3))
    for name, value in (
        ("certificate", other.certificate),
        ("transactions", good.transactions[:1]),
        ("transactions", good.transactions[::-1]),
        ("receipts", good.receipts[:1]),
        ("snapshots", good.snapshots[:1]),
        ("tree_update", other.tree_update),
        ("validators_next", other.validators_next),
        ("state_changes", {b"a\0b": b""}),
    ):
        with pytest.raises(InvariantBroken):
            twin.chain.prepare_commit(**(good.arguments() | {name: value}))
    assert twin.chain.tip().height == 0
    with pytest.raises(InvariantBroken):
        twin.chain.committed(2)


@pytest.mark.parametrize("sync_point", ["before", "after"])
def test_s1_crash_around_the_block_write_loses_all_of_it_or_nothing(sync_point: str) -> None:
    store = MemoryStore()
    twin = TwinChain.start(store)
    twin.commit({KEYS[0]: b"1"})
    prepared = twin.next_block({KEYS[0]: b"2"}, transactions=3)
    writes = twin.chain.prepare_commit(**prepared.arguments())
    store.write(writes, sync=sync_point == "after")
    store.crash()
    twin.reopen(store)
    twin.chain.check_consistency(deep=True)
    assert twin.chain.tip().height == (2 if sync_point == "after" else 1)
    assert twin.chain.state_get(KEYS[0]) == (b"2" if sync_point == "after" else b"1")


def test_another_chain_or_layout_version_is_refused_by_name() -> None:
    store = MemoryStore()
    TwinChain.start(store)
    with pytest.raises(WrongDatabase, match="belongs to genesis"):
        ChainStore(store, make_genesis("shanghai"))
    store.write([(schema.VERSION, (99).to_bytes(4, "big"))], sync=True)
    with pytest.raises(WrongDatabase, match=r"newer version of Tongjian.*layout 99"):
        ChainStore(store, make_genesis())
    store.write([(schema.VERSION, None)], sync=True)
    with pytest.raises(DamagedStore, match="does not say"):
        ChainStore(store, make_genesis())


def test_initialise_happens_once() -> None:
    store = MemoryStore()
    genesis = make_genesis()
    chain = ChainStore(store, genesis)
    assert not chain.initialised
    with pytest.raises(InvariantBroken):
        chain.tip()
    chain.initialise(genesis, {}, {})
    assert chain.initialised
    with pytest.raises(InvariantBroken):
        chain.initialise(genesis, {}, {})
    assert ChainStore(store, genesis).initialised


def test_an_absent_entry_is_looked_up_once_a_tip_and_found_once_it_is_written() -> None:
    twin = TwinChain.start(MemoryStore())
    signer, chain = SUITE.format_key(SUITE.public_key(CLIENT_SEED)), twin.chain
    view, asked = chain._view, list[bytes]()

    class CountingView:
        """The tip, and which keys it was asked for."""

        def get(self, key: bytes) -> bytes | None:
            asked.append(key)
            return view.get(key)

    chain._view = CountingView()  # type: ignore[assignment]
    assert [chain.index_get(b"latest"), chain.index_get(b"latest")] == [None, None]
    assert [chain.used_nonce(signer, "1-0"), chain.used_nonce(signer, "1-0")] == [None, None]
    assert asked == [schema.index(b"latest"), schema.used_nonce(signer, "1-0")]
    chain._view = view
    twin.commit({})
    assert chain.index_get(b"latest") == b"1"
    assert chain.used_nonce(signer, "1-0") is not None


def test_absent_entries_are_remembered_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_store, "ABSENT_KEYS", 2)
    chain = TwinChain.start(MemoryStore()).chain
    for key, remembered in ((b"a", {b"a"}), (b"b", {b"a", b"b"}), (b"a", {b"a", b"b"}), (b"c", {b"c"})):
        assert chain.index_get(key) is None
        assert chain._absent == {schema.index(kept) for kept in remembered}


def test_the_most_recently_stored_entries_are_kept_within_a_budget() -> None:
    entry_bytes, asked = 1_000, list[bytes]()

    def read(key: bytes) -> bytes | None:
        asked.append(key)
        return None

    cache = StateCache(10 * entry_bytes, read)
    for number in range(200):
        cache.store({b"always": b"%d" % number})
        cache.store({b"%d" % number: bytes(entry_bytes // 2)})
        assert cache[b"always"] == b"%d" % number
        assert cache[b"%d" % number] == bytes(entry_bytes // 2)
    assert not asked
    known = [number for number in range(200) if cache[b"%d" % number] is not None]
    assert known == list(range(known[0], 200))
    assert asked == [b"%d" % number for number in range(known[0])]
    assert 5 <= len(known) <= 20
    cache.store({b"gone": None})
    asked.clear()
    assert [cache[b"gone"], cache[b"never"]] == [None, None]
    assert asked == [b"never"]


def test_that_nothing_is_below_a_prefix_holds_until_something_is_written_there() -> None:
    twin = TwinChain.start(MemoryStore(), {KEYS[0]: b"old"})
    state = CommittedState(twin.chain)
    assert [state.scan(b"work/", 1), state.scan(b"work/", 1)] == [[], []]
    twin.commit({KEYS[1]: b"1"})
    assert state.scan(b"work/", 1) == []
    twin.commit({b"work/a": b"2"})
    assert state.scan(b"work/", 1) == [(b"work/a", b"2")]
    twin.commit({b"work/a": None})
    assert state.scan(b"work/", 1) == []
