"""The state tree against a naive twin: same roots, same nodes, same proofs, whatever the order of changes."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.core.errors import InvariantBroken
from common.core.state_proof import BRANCH, empty_root, key_hash, verify_state_proof
from common.core.suite import ED25519_SHA256 as SUITE
from common.node.store import schema
from common.node.store.state_tree import StateTree
from common.node.store.storage import LevelDBStore, MemoryStore
from common.node.store.store_errors import DamagedStore
from tests.support.naive_state_tree import naive_nodes, naive_root

Changes = Mapping[bytes, bytes | None]


def commit(store: MemoryStore, tree: StateTree, changes: Changes) -> None:
    """Apply, write, advance."""
    update = tree.apply(changes)
    store.write(update.writes, sync=True)
    tree.advance(update)


def stored_nodes(store: MemoryStore) -> dict[str, bytes]:
    """Path -> node of everything that is stored."""
    return {key[2:].decode(): node for key, node in store.scan(schema.TREE)}


def applied(state: dict[bytes, bytes], changes: Changes) -> None:
    """The same change to the naive state."""
    for key, value in changes.items():
        if value is None:
            state.pop(key, None)
        else:
            state[key] = value


def prove_all(tree: StateTree, keys: Iterable[bytes]) -> None:
    """Read every node on the way to these keys."""
    for key in keys:
        tree.prove(key)


def colliding_keys(prefix: str, count: int) -> list[bytes]:
    """Keys whose hashes begin alike, so that their tree is deep."""
    found, number = [], 0  # type: ignore[var-annotated]
    while len(found) < count:
        key = b"collide-%d" % number
        if key_hash(SUITE, key).hex().startswith(prefix):
            found.append(key)
        number += 1
    return found


KEYS = [b"key-%d" % number for number in range(120)] + colliding_keys("a7", 20)


@settings(max_examples=150)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(KEYS), st.one_of(st.none(), st.sampled_from([b"", b"1", b"2"])), max_size=60),
        max_size=6,
    )
)
def test_tree_equals_one_rebuilt_from_scratch(batches: list[dict[bytes, bytes | None]]) -> None:
    store = MemoryStore()
    tree = StateTree(store, SUITE, branch_cache_bytes=2000, bucket_cache_bytes=2000)
    state: dict[bytes, bytes] = {}
    for changes in batches:
        commit(store, tree, changes)
        applied(state, changes)
        assert tree.root == naive_root(SUITE, state)
        assert tree.entries == len(state)
        expected = naive_nodes(SUITE, state)
        assert {"": expected[""]} | stored_nodes(store) == expected


@pytest.mark.parametrize("seed", range(3))
def test_large_random_batches_equal_the_naive_twin(seed: int) -> None:
    source = random.Random(seed)
    store = MemoryStore()
    tree = StateTree(store, SUITE)
    state: dict[bytes, bytes] = {}
    for size, deletions in ((3000, 0.0), (500, 0.5), (1, 0.0), (2000, 0.95), (3000, 1.0)):
        changes: dict[bytes, bytes | None] = {
            b"k%d" % source.randrange(4000): None if source.random() < deletions else b"%d" % source.randrange(9)
            for _ in range(size)
        }
        commit(store, tree, changes)
        applied(state, changes)
        assert tree.root == naive_root(SUITE, state)
        reopened = StateTree(store, SUITE, tree.root)
        for key in [*source.sample(sorted(state), min(20, len(state))), b"absent-1", b"absent-2"]:
            verify_state_proof(SUITE, tree.root, key, state.get(key), reopened.prove(key))


def test_root_does_not_depend_on_the_order_of_insertion() -> None:
    source = random.Random(3)
    entries: list[tuple[bytes, bytes | None]] = [(key, b"v" + key) for key in KEYS]
    roots = set()
    for batch_size in (1, 7, 1000):
        source.shuffle(entries)
        store = MemoryStore()
        tree = StateTree(store, SUITE)
        for first in range(0, len(entries), batch_size):
            commit(store, tree, dict(entries[first : first + batch_size]))
        roots.add(tree.root)
    assert len(roots) == 1


def test_deleting_everything_leaves_the_empty_root_and_no_nodes() -> None:
    store = MemoryStore()
    tree = StateTree(store, SUITE)
    assert tree.root == empty_root(SUITE)
    commit(store, tree, dict.fromkeys(KEYS, b"v"))
    assert len(stored_nodes(store)) > 20
    commit(store, tree, dict.fromkeys(KEYS))
    assert tree.root == empty_root(SUITE)
    assert list(stored_nodes(store)) == [""]


def test_apply_changes_nothing_and_a_stale_update_is_refused() -> None:
    store = MemoryStore()
    tree = StateTree(store, SUITE)
    commit(store, tree, dict.fromkeys(KEYS, b"v"))
    before, nodes = tree.root, stored_nodes(store)
    update = tree.apply({KEYS[0]: b"other", KEYS[1]: None})
    assert tree.root == before
    assert stored_nodes(store) == nodes
    assert update.root != before
    commit(store, tree, {KEYS[2]: b"first"})
    with pytest.raises(InvariantBroken, match="another root"):
        tree.advance(update)


def test_batch_without_effect_writes_nothing() -> None:
    store = MemoryStore()
    tree = StateTree(store, SUITE)
    commit(store, tree, dict.fromkeys(KEYS, b"v"))
    update = tree.apply({KEYS[0]: b"v", b"absent": None})
    assert (update.root, update.writes) == (tree.root, ())
    assert tree.apply({}).writes == ()


def test_s2_changed_or_missing_node_is_never_used() -> None:
    keys = {b"k%d" % number: b"v" for number in range(600)}
    store = MemoryStore()
    tree = StateTree(store, SUITE)
    commit(store, tree, dict(keys))
    for path, node in stored_nodes(store).items():
        for damaged in (None, node[:-1] + bytes((node[-1] ^ 1,)), stored_nodes(store)["0"]):
            if damaged == node:
                continue
            store.write([(schema.tree_node(path), damaged)], sync=True)
            with pytest.raises(DamagedStore, match="state tree") as caught:
                prove_all(StateTree(store, SUITE, tree.root), keys)
            assert caught.value.key == schema.tree_node(path)
            with pytest.raises(DamagedStore):
                StateTree(store, SUITE, tree.root).apply(dict.fromkeys(keys, b"w"))
        store.write([(schema.tree_node(path), node)], sync=True)
        if path and node[0] == BRANCH:
            break


def test_caches_stay_within_their_budget() -> None:
    store = MemoryStore()
    tree = StateTree(store, SUITE, branch_cache_bytes=20_000, bucket_cache_bytes=10_000)
    for first in range(0, 5000, 500):
        commit(store, tree, {b"k%d" % number: b"v" for number in range(first, first + 500)})
    for cache, budget in ((tree._branches, 20_000), (tree._buckets, 10_000)):
        assert sum(len(node) + 220 for node in cache.values()) == cache._size_bytes <= budget
        assert cache


def test_tree_on_leveldb_survives_a_restart(tmp_path: Path) -> None:
    store = LevelDBStore(tmp_path / "db")
    tree = StateTree(store, SUITE)
    state: dict[bytes, bytes | None] = {b"k%d" % number: b"%d" % number for number in range(2000)}
    update = tree.apply(state)
    store.write(update.writes, sync=True)
    root = update.root
    store.close()
    store = LevelDBStore(tmp_path / "db")
    tree = StateTree(store, SUITE, root)
    assert tree.entries == 2000
    assert tree.apply({b"k1": b"1"}).root == root
    store.close()
