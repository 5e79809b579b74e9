"""Merkle trees against a literal transcription of RFC 6962 section 2.1, and the attacks on them."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.core import merkle
from common.core.errors import InvariantBroken, ProofInvalid
from tests.support.refusals import refused

LEAVES = st.lists(st.binary(max_size=6), max_size=40)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH(D[n]) of RFC 6962 section 2.1, word for word."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:]))


def naive_path(leaves: list[bytes], index: int) -> list[bytes]:
    """PATH(m, D[n]) of RFC 6962 section 2.1.1, word for word."""
    if len(leaves) == 1:
        return []
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    if index < split:
        return [*naive_path(leaves[:split], index), naive_root(leaves[split:])]
    return [*naive_path(leaves[split:], index - split), naive_root(leaves[:split])]


@given(LEAVES)
def test_roots_and_proofs_equal_the_naive_twin(leaves: list[bytes]) -> None:
    assert merkle.root(sha256, leaves) == naive_root(leaves)
    for index, leaf in enumerate(leaves):
        proof = merkle.prove(sha256, leaves, index)
        assert proof == naive_path(leaves, index)
        merkle.verify_inclusion(sha256, naive_root(leaves), leaf, index, len(leaves), proof)


@given(LEAVES.filter(bool), st.data())
def test_e8_a_proof_holds_for_its_own_leaf_and_index_only(leaves: list[bytes], data: st.DataObject) -> None:
    root, count = merkle.root(sha256, leaves), len(leaves)
    index = data.draw(st.integers(0, count - 1))
    proof = merkle.prove(sha256, leaves, index)
    for wrong in range(count):
        if wrong != index and leaves[wrong] != leaves[index]:
            with pytest.raises(ProofInvalid):
                merkle.verify_inclusion(sha256, root, leaves[wrong], index, count, proof)
            with pytest.raises(ProofInvalid):
                merkle.verify_inclusion(sha256, root, leaves[index], wrong, count, proof)


@pytest.mark.parametrize("count", range(1, 34))
def test_e8_missing_extra_and_altered_proof_items_are_refused(count: int) -> None:
    leaves = [bytes([at]) for at in range(count)]
    root = merkle.root(sha256, leaves)
    for index in range(count):
        proof = merkle.prove(sha256, leaves, index)
        long = [[*proof, bytes(32)], [bytes(32), *proof], [*proof, root]]
        short = [proof[:at] + proof[at + 1 :] for at in range(len(proof))]
        altered = [[*proof[:at], sha256(proof[at]), *proof[at + 1 :]] for at in range(len(proof))]
        cut = [[*proof[:at], proof[at][:31], *proof[at + 1 :]] for at in range(len(proof))]
        padded = [[*proof[:at], proof[at] + b"\x00", *proof[at + 1 :]] for at in range(len(proof))]
        for items, code in [
            *((items, "proof_length") for items in long + short),
            *((items, "proof_root_mismatch") for items in altered),
            *((items, "proof_item_size") for items in cut + padded),
        ]:
            with refused(code, ProofInvalid):
                merkle.verify_inclusion(sha256, root, leaves[index], index, count, items)


@pytest.mark.parametrize(("index", "count"), [(0, 0), (1, 1), (-1, 1), (2, 2), (2**64, 1)])
def test_e8_empty_trees_and_indexes_outside_have_no_members(index: int, count: int) -> None:
    leaf = b"x"
    for root in (sha256(b""), merkle.root(sha256, [leaf]), bytes(32)):
        with refused("proof_index", ProofInvalid):
            merkle.verify_inclusion(sha256, root, leaf, index, count, [])


def test_e8_single_leaf_has_an_empty_proof_and_empty_tree_a_root_of_its_own() -> None:
    assert merkle.prove(sha256, [b"x"], 0) == []
    assert merkle.root(sha256, []) == sha256(b"")
    assert merkle.root(sha256, []) != merkle.root(sha256, [b""])
    with pytest.raises(InvariantBroken):
        merkle.prove(sha256, [], 0)


def test_e8_the_committed_count_matters() -> None:
    leaves = [b"a", b"b", b"c"]
    root, proof = merkle.root(sha256, leaves), merkle.prove(sha256, leaves, 2)
    with pytest.raises(ProofInvalid):
        merkle.verify_inclusion(sha256, root, b"c", 2, 4, proof)
    with pytest.raises(ProofInvalid):
        merkle.verify_inclusion(sha256, root, b"c", 2, 5, proof)


def test_e6_an_inner_node_cannot_pass_for_a_leaf() -> None:
    leaves = [b"a", b"b", b"c", b"d"]
    root = merkle.root(sha256, leaves)
    left = sha256(b"\x00a") + sha256(b"\x00b")
    right = merkle.node_hash(sha256, sha256(b"\x00c"), sha256(b"\x00d"))
    with pytest.raises(ProofInvalid):
        merkle.verify_inclusion(sha256, root, left, 0, 2, [right])
    assert merkle.root(sha256, [left, b"x"]) != merkle.root(sha256, [b"a", b"b", b"x", b"x"])
    assert merkle.leaf_hash(sha256, left) != merkle.node_hash(sha256, left[:32], left[32:])


def test_e7_repeating_the_last_leaf_changes_the_root() -> None:
    """CVE-2012-2459: with duplication of odd nodes, [a, b, c] and [a, b, c, c] share a root."""
    for count in range(1, 20):
        leaves = [bytes([at]) for at in range(count)]
        for repeat in range(1, count + 1):
            assert merkle.root(sha256, leaves + leaves[-repeat:]) != merkle.root(sha256, leaves)


@given(LEAVES.filter(bool))
def test_a_kept_tree_gives_the_same_root_and_proofs(leaves: list[bytes]) -> None:
    tree = merkle.Tree(sha256, leaves)
    assert tree.root == merkle.root(sha256, leaves)
    assert [tree.prove(at) for at in range(len(leaves))] == [naive_path(leaves, at) for at in range(len(leaves))]
