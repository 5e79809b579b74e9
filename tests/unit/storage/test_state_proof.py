"""State proofs: whatever is changed in a proof, it proves nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from common.core import state_proof
from common.core.errors import Malformed, ProofInvalid
from common.core.state_proof import StateProof, empty_root, key_hash, node_hash, value_hash, verify_state_proof
from common.core.suite import ED25519_SHA256 as SUITE
from common.node.store.state_tree import StateTree
from common.node.store.storage import MemoryStore

ENTRIES = {b"account/%d" % number: b"%d" % (number * 7) for number in range(400)}


def built(entries: dict[bytes, bytes]) -> StateTree:
    """The tree of these entries."""
    store = MemoryStore()
    tree = StateTree(store, SUITE)
    update = tree.apply(dict(entries))
    store.write(update.writes, sync=True)
    tree.advance(update)
    return tree


TREE = built(ENTRIES)
KEY = b"account/123"


def refused(root: bytes, key: bytes, value: bytes | None, proof: StateProof) -> str:
    """The code with which the proof is refused."""
    with pytest.raises(ProofInvalid) as caught:
        verify_state_proof(SUITE, root, key, value, proof)
    return caught.value.code


def entry(key: bytes, value: bytes = b"v") -> bytes:
    """One entry of a bucket."""
    return key_hash(SUITE, key) + value_hash(SUITE, value)


def bucket(*entries: bytes) -> bytes:
    """An encoded bucket."""
    return bytes((0, len(entries))) + b"".join(entries)


def child(count: int, node: bytes) -> bytes:
    """A branch's slot for a child."""
    return count.to_bytes(4, "big") + node_hash(SUITE, node)


def test_presence_and_absence_are_proven() -> None:
    for key, value in ENTRIES.items():
        verify_state_proof(SUITE, TREE.root, key, value, TREE.prove(key))
        assert refused(TREE.root, key, None, TREE.prove(key)) == "state_proof_key"
        assert refused(TREE.root, key, value + b"0", TREE.prove(key)) == "state_proof_value"
    for number in range(400, 800):
        key = b"account/%d" % number
        verify_state_proof(SUITE, TREE.root, key, None, TREE.prove(key))
        assert refused(TREE.root, key, b"0", TREE.prove(key)) == "state_proof_key"


def test_absence_is_proven_by_a_branch_without_that_child() -> None:
    sparse = built({b"k%d" % number: b"v" for number in range(17)})
    top = sparse.prove(b"k0").nodes[0]
    present = int.from_bytes(top[1:3], "big")
    key = next(
        key for number in range(10_000) if not present >> (key_hash(SUITE, key := b"absent-%d" % number)[0] >> 4) & 1
    )
    proof = sparse.prove(key)
    assert len(proof.nodes) == 1
    verify_state_proof(SUITE, sparse.root, key, None, proof)
    assert refused(sparse.root, key, b"v", proof) == "state_proof_key"
    assert refused(sparse.root, key, None, StateProof((*proof.nodes, bucket()))) == "state_proof_long"


def test_r5_proof_with_any_bit_changed_is_refused() -> None:
    for key, value in ((KEY, ENTRIES[KEY]), (b"absent", None)):
        proof = TREE.prove(key)
        for at, node in enumerate(proof.nodes):
            for position in range(len(node)):
                for bit in range(8):
                    changed = bytearray(node)
                    changed[position] ^= 1 << bit
                    nodes = (*proof.nodes[:at], bytes(changed), *proof.nodes[at + 1 :])
                    assert refused(TREE.root, key, value, StateProof(nodes)) == "state_proof_hash"
        for position in range(32):
            root = bytearray(TREE.root)
            root[position] ^= 1
            assert refused(bytes(root), key, value, proof) == "state_proof_hash"


def test_r5_json_with_any_byte_changed_is_refused() -> None:
    proof = TREE.prove(KEY)
    text = json.dumps(proof.to_json()).encode()
    for position in range(len(text)):
        for bit in (0, 5):
            changed = bytearray(text)
            changed[position] ^= 1 << bit
            try:
                value = json.loads(bytes(changed))
            except ValueError:
                continue
            if value == proof.to_json():
                continue
            with pytest.raises(Malformed):
                verify_state_proof(SUITE, TREE.root, KEY, ENTRIES[KEY], StateProof.from_json(value))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: None,
        lambda value: [value],
        lambda value: value | {"more": 1},
        lambda value: value | {"format": "tongjian/state-proof/v2"},
        lambda value: {"nodes": value["nodes"]},
        lambda value: value | {"nodes": "00"},
        lambda value: value | {"nodes": [1]},
        lambda value: value | {"nodes": ["00"] * 66},
        lambda value: value | {"nodes": ["00" * 1027]},
        lambda value: value | {"nodes": [node.upper() for node in value["nodes"]]},
        lambda value: value | {"nodes": [node + " " for node in value["nodes"]]},
        lambda value: value | {"nodes": [node[:-1] for node in value["nodes"]]},
    ],
)
def test_e2_only_the_one_json_form_is_read(spoil: Callable[[dict[str, Any]], object]) -> None:
    value = TREE.prove(KEY).to_json()
    assert StateProof.from_json(value) == TREE.prove(KEY)
    with pytest.raises(Malformed):
        StateProof.from_json(spoil(value))


def test_e8_empty_tree_proves_absence_and_nothing_else() -> None:
    empty = built({})
    assert empty.root == empty_root(SUITE)
    verify_state_proof(SUITE, empty.root, b"any", None, empty.prove(b"any"))
    assert refused(empty.root, b"any", b"", empty.prove(b"any")) == "state_proof_key"


def test_e8_single_leaf() -> None:
    single = built({b"only": b"value"})
    verify_state_proof(SUITE, single.root, b"only", b"value", single.prove(b"only"))
    verify_state_proof(SUITE, single.root, b"other", None, single.prove(b"other"))
    assert refused(single.root, b"only", None, single.prove(b"only")) == "state_proof_key"


def test_e8_empty_proof_proves_nothing() -> None:
    for root in (TREE.root, empty_root(SUITE), bytes(32)):
        for value in (None, b"", b"861"):
            assert refused(root, KEY, value, StateProof(())) == "state_proof_short"


def test_e8_proof_that_is_too_short_or_too_long_is_refused() -> None:
    proof = TREE.prove(KEY)
    assert len(proof.nodes) >= 2
    value = ENTRIES[KEY]
    for length in range(len(proof.nodes)):
        short = StateProof(proof.nodes[:length])
        assert refused(TREE.root, KEY, value, short) == "state_proof_short"
        absent = StateProof(TREE.prove(b"absent").nodes[:length])
        assert refused(TREE.root, b"absent", None, absent) == "state_proof_short"
    for extra in (bucket(), proof.nodes[-1], proof.nodes[0], b""):
        assert refused(TREE.root, KEY, value, StateProof((*proof.nodes, extra))) == "state_proof_long"
        assert refused(TREE.root, KEY, value, StateProof((extra, *proof.nodes))) != ""


def test_e8_proof_of_another_key_proves_nothing_about_this_one() -> None:
    for other in ENTRIES:
        proof = TREE.prove(other)
        if proof.nodes[-1] == TREE.prove(KEY).nodes[-1]:
            continue
        assert refused(TREE.root, KEY, None, proof) == "state_proof_hash"
        assert refused(TREE.root, KEY, ENTRIES[KEY], proof) == "state_proof_hash"


def test_e6_branch_cannot_pass_for_a_bucket_nor_a_bucket_for_a_branch() -> None:
    """The kinds begin with different bytes, which are hashed: the same body has another hash as the other kind."""
    proof = TREE.prove(KEY)
    for at, node in enumerate(proof.nodes):
        other = bytes((1 - node[0],)) + node[1:]
        nodes = (*proof.nodes[:at], other, *proof.nodes[at + 1 :])
        assert refused(TREE.root, KEY, ENTRIES[KEY], StateProof(nodes)) == "state_proof_hash"
        assert refused(node_hash(SUITE, other), KEY, ENTRIES[KEY], StateProof((other,))) != ""


def test_e6_value_that_looks_like_a_node_hashes_as_a_value() -> None:
    """A client chooses values; one that equals an encoded node must not have that node's hash."""
    node = bucket(entry(b"forged"))
    assert value_hash(SUITE, node) != node_hash(SUITE, node) != key_hash(SUITE, node)
    assert node_hash(SUITE, node) != SUITE.hash(node)
    assert value_hash(SUITE, node) != key_hash(SUITE, node)


def test_e4_key_and_value_cannot_be_split_differently() -> None:
    one = built({b"ab": b"c"})
    other = built({b"a": b"bc"})
    assert one.root != other.root
    assert refused(one.root, b"a", b"bc", other.prove(b"a")) == "state_proof_hash"
    assert refused(one.root, b"a", b"bc", one.prove(b"a")) == "state_proof_key"


def test_e4_tree_of_one_subtree_is_not_the_subtree() -> None:
    """A subtree's node as a root of its own proves nothing for keys of other paths, as a short proof might claim."""
    proof = TREE.prove(KEY)
    inner = proof.nodes[-1]
    absent = next(key for key in ENTRIES if key_hash(SUITE, key)[0] != key_hash(SUITE, KEY)[0])
    assert refused(TREE.root, absent, None, StateProof((inner,))) == "state_proof_hash"
    assert refused(TREE.root, absent, None, StateProof((proof.nodes[0], inner))) == "state_proof_hash"


KEYS = sorted((b"n%d" % number for number in range(40)), key=lambda key: key_hash(SUITE, key))


@pytest.mark.parametrize(
    ("node", "why"),
    [
        (b"", "empty bytes"),
        (b"\x00", "no count"),
        (b"\x02\x00", "an unknown kind"),
        (bucket(entry(KEYS[1]), entry(KEYS[0])), "descending keys"),
        (bucket(entry(KEYS[0]), entry(KEYS[0], b"w")), "the same key twice"),
        (bucket(entry(KEYS[0])) + b"\x00", "a trailing byte"),
        (bucket(entry(KEYS[0]))[:-1], "a byte too few"),
        (b"\x00\x02" + entry(KEYS[0]), "a count that is too high"),
        (bucket(*map(entry, KEYS[:17])), "more than sixteen entries"),
        (b"\x01", "a branch without children field"),
        (b"\x01\x00\x00", "a branch without children"),
        (b"\x01\x00\x03" + child(0, b"x") + child(17, b"y"), "an empty child"),
        (b"\x01\x00\x03" + child(9, b"x") + child(7, b"y"), "a branch of sixteen entries"),
        (b"\x01\x00\x03" + child(17, b"x"), "fewer slots than children"),
        (b"\x01\x00\x01" + child(17, b"x") + child(17, b"y"), "more slots than children"),
    ],
)
def test_e8_node_that_is_not_canonical_is_refused_even_under_its_own_root(node: bytes, why: str) -> None:
    for key in (KEYS[0], KEYS[20], b"absent"):
        for value in (None, b"v"):
            code = refused(node_hash(SUITE, node), key, value, StateProof((node,)))
            assert code == "state_proof_node", why


def test_e8_child_of_another_path_or_size_is_refused_even_under_its_own_root() -> None:
    """A dishonest builder of a root cannot make a tree that proves a present key absent."""
    below = [key for key in (b"m%d" % number for number in range(2000)) if key_hash(SUITE, key)[0] >> 4 == 5]
    below.sort(key=lambda key: key_hash(SUITE, key))
    elsewhere = next(key for key in KEYS if key_hash(SUITE, key)[0] >> 4 == 6)
    probe = below[0]

    def code(declared: int, leaf: bytes) -> str:
        top = b"\x01" + (1 << 5 | 1 << 9).to_bytes(2, "big") + child(declared, leaf) + child(30, b"other")
        return refused(node_hash(SUITE, top), probe, None, StateProof((top, leaf)))

    honest = bucket(*map(entry, below[:5]))
    assert code(5, honest) == "state_proof_key"
    assert code(4, honest) == "state_proof_node"
    assert code(5, bucket(*map(entry, below[1:5]), entry(elsewhere))) == "state_proof_node"
    assert code(1, bucket(entry(elsewhere))) == "state_proof_node"
    assert code(1, bucket()) == "state_proof_node"


def test_e8_branch_of_another_size_than_its_parent_says_is_refused() -> None:
    """Counts are hashed, so a root proves them; a builder whose counts do not add up has no valid proofs."""
    key = next(key for key in (b"p%d" % number for number in range(2000)) if key_hash(SUITE, key)[0] == 0x5A)
    inner = b"\x01\x00\x03" + child(9, b"x") + child(9, b"y")
    for declared, expected in ((18, None), (17, "state_proof_node"), (19, "state_proof_node")):
        top = b"\x01" + (1 << 5).to_bytes(2, "big") + child(declared, inner)
        proof = StateProof((top, inner))
        if expected is None:
            verify_state_proof(SUITE, node_hash(SUITE, top), key, None, proof)
        else:
            assert refused(node_hash(SUITE, top), key, None, proof) == expected


def test_e8_branch_below_the_last_digit_is_refused() -> None:
    """64 digits lead to one key; deeper there is nothing."""
    digest = key_hash(SUITE, KEY)
    node = bucket(entry(KEY))
    nodes = [node]
    for digit in reversed((*digest.hex(), "0")):
        node = b"\x01" + (1 << int(digit, 16)).to_bytes(2, "big") + child(17, node)
        nodes.insert(0, node)
    assert refused(node_hash(SUITE, nodes[0]), KEY, b"v", StateProof(tuple(nodes))) == "state_proof_long"


def test_suite_of_another_digest_gives_other_roots() -> None:
    """Everything goes through the suite: a second suite needs no change here (architecture decision 10)."""

    class Reversed:
        """SHA-256 with its bytes reversed, as a stand-in for a second hash."""

        name = "reversed"

        def tagged_hash(self, tag: str, data: bytes) -> bytes:
            return SUITE.tagged_hash(tag, data)[::-1]

    assert state_proof.empty_root(Reversed()) == empty_root(SUITE)[::-1]  # type: ignore[arg-type]
