"""Proofs of the past: at every kept height, for every key, against the root in that height's header."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from common.core.errors import Gone, NotFound, ProofInvalid
from common.core.state_proof import BRANCH, verify_state_proof
from common.node.store import schema
from common.node.store.chain_prune import keep_past_trees, prune
from common.node.store.past_tree import node_at
from common.node.store.storage import MemoryStore
from common.node.store.store_errors import DamagedStore
from tests.support.naive_state_tree import naive_nodes
from tests.support.stored_chain import SUITE, TwinChain

KEYS = [b"key-%d" % number for number in range(150)]
HEIGHTS = 60


def grown(heights: int = HEIGHTS, seed: int = 5) -> tuple[MemoryStore, TwinChain]:
    """A state that grows from one bucket to branches and shrinks again; blocks change one key or most of them."""
    source = random.Random(seed)
    store = MemoryStore()
    twin = TwinChain.start(store, dict.fromkeys(KEYS[:5], b"genesis"))
    grow(twin, heights, source)
    return store, twin


def grow(twin: TwinChain, heights: int, source: random.Random) -> None:
    for number in range(heights):
        deleted = 0.1 if number % 30 < 20 else 0.9
        keys = source.sample(KEYS, source.choice((1, 1, 2, 60)))
        twin.commit({key: None if source.random() < deleted else b"%d" % source.randrange(9) for key in keys})


def root_at(twin: TwinChain, height: int) -> bytes:
    block = twin.blocks[height]
    return block.header.state_root


def check_proofs(twin: TwinChain, lowest: int) -> None:
    """Every key has its proof at every kept height, and no proof of another value holds."""
    for height in range(max(lowest, 1), len(twin.blocks)):
        root = root_at(twin, height)
        for key in KEYS[::7]:
            value = twin.states[height].get(key)
            proof = twin.chain.prove_at(key, height)
            verify_state_proof(SUITE, root, key, value, proof)
            with pytest.raises(ProofInvalid):
                verify_state_proof(SUITE, root, key, b"another", proof)


def test_every_key_is_proven_at_every_height() -> None:
    store, twin = grown()
    shapes = {len(naive_nodes(SUITE, state)) > 1 for state in twin.states}
    assert shapes == {True, False}
    check_proofs(twin, 1)
    kinds = {entry[0] for _, entry in store.scan(schema.PAST_TREE)}
    assert kinds == {0, 1}
    twin.reopen(store)
    check_proofs(twin, 1)
    twin.chain.check_consistency(deep=True)
    assert twin.chain.proof_floor() == 0
    with pytest.raises(NotFound):
        twin.chain.prove_at(KEYS[0], HEIGHTS + 1)


def test_the_kept_nodes_are_those_of_the_naive_tree() -> None:
    _, twin = grown()
    for height, state in enumerate(twin.states):
        for path, node in naive_nodes(SUITE, state).items():
            assert node_at(twin.chain.view, path, height) == node


def test_a_moment_proves_its_past_whatever_is_committed_meanwhile() -> None:
    _, twin = grown(20)
    moment = twin.chain.moment()
    grow(twin, 10, random.Random(1))
    for height in (1, 13, 20):
        for key in KEYS[::11]:
            value = twin.states[height].get(key)
            verify_state_proof(SUITE, root_at(twin, height), key, value, moment.prove_at(key, height))


@pytest.mark.parametrize("floor", [1, 17, HEIGHTS])
def test_pruning_gives_up_the_trees_below_and_says_from_where_on(floor: int) -> None:
    store, twin = grown()
    before = len(list(store.scan(schema.PAST_TREE)))
    prune(twin.chain, floor)
    twin.reopen(store)
    assert len(list(store.scan(schema.PAST_TREE))) < before
    check_proofs(twin, floor)
    twin.chain.check_consistency(deep=True)
    with pytest.raises(Gone) as caught:
        twin.chain.prove_at(KEYS[0], floor - 1)
    assert (caught.value.code, caught.value.parameters["lowest"]) == ("proof_pruned", floor)


def test_a_node_that_does_not_keep_the_past_proves_its_tip_and_starts_again_from_there() -> None:
    store, twin = grown(20)
    keep_past_trees(twin.chain, False)
    assert list(store.scan(schema.PAST_TREE)) == []
    grow(twin, 5, random.Random(2))
    twin.reopen(store)
    assert list(store.scan(schema.PAST_TREE)) == []
    assert twin.chain.proof_floor() == 25
    check_proofs(twin, 25)
    with pytest.raises(Gone):
        twin.chain.prove_at(KEYS[0], 24)
    keep_past_trees(twin.chain, True)
    grow(twin, 5, random.Random(3))
    twin.reopen(store)
    keep_past_trees(twin.chain, True)
    check_proofs(twin, 25)
    twin.chain.check_consistency(deep=True)
    with pytest.raises(Gone):
        twin.chain.prove_at(KEYS[0], 24)


def test_s1_a_process_that_ends_while_trees_are_given_up_leaves_no_gap() -> None:
    store, twin = grown(20)
    store.write([(schema.PROOF_FLOOR, None)], sync=True)  # the floor moved, and nothing was removed yet
    twin.reopen(store)
    grow(twin, 5, random.Random(2))
    keep_past_trees(twin.chain, True)
    grow(twin, 5, random.Random(3))
    assert twin.chain.proof_floor() == 25
    check_proofs(twin, 25)
    twin.chain.check_consistency(deep=True)


Damage = Callable[[bytes], bytes | None]


@pytest.mark.parametrize(
    "damage",
    [lambda entry: None, lambda entry: entry[:-1] + bytes((entry[-1] ^ 1,)), lambda entry: entry[:2]],
    ids=["removed", "flipped", "cut"],
)
def test_s2_a_damaged_node_of_the_past_is_never_proven(damage: Damage) -> None:
    _, healthy = grown(20)
    entries = list(healthy.chain.store.scan(schema.PAST_TREE))
    entries.remove((schema.past_node("", 1), healthy.chain.store.get(schema.past_node("", 1)) or b""))  # no header
    for at, (key, entry) in enumerate(entries[:: len(entries) // 15]):
        store, twin = grown(20)
        store.write([(key, damage(entry))], sync=True)
        twin.reopen(store)
        with pytest.raises(DamagedStore):
            twin.chain.check_consistency(deep=True)
        for height in range(1, 21):
            for probe in KEYS[at::15]:
                try:
                    proof = twin.chain.prove_at(probe, height)
                except DamagedStore:
                    continue
                verify_state_proof(SUITE, root_at(twin, height), probe, twin.states[height].get(probe), proof)


def test_reading_a_node_of_the_past_applies_few_differences() -> None:
    """A node that changes in each block for long is kept whole often enough."""
    store = MemoryStore()
    twin = TwinChain.start(store, dict.fromkeys(KEYS, b"0"))
    source = random.Random(8)
    for number in range(300):
        twin.commit({source.choice(KEYS): b"%d" % (number + 1)}, transactions=0)
    tops = [entry[0] for _, entry in store.scan(schema.past_nodes(""))]
    assert node_at(twin.chain.view, "", 300)[:1] == bytes((BRANCH,))  # type: ignore[index]
    assert len(tops) == 300
    runs = "".join(map(str, tops)).split("0")
    assert 300 // 32 < tops.count(0) < 300 // 8
    assert max(map(len, runs)) < 120
