"""Merkle trees as in RFC 6962 section 2.1.

Invariants:
  * Leaves are hashed with prefix 0x00 and inner nodes with 0x01, so that neither can pass for the other (attack E6).
  * An odd node is promoted, never duplicated, so two different lists never share a root with equal counts (attack
    E7, CVE-2012-2459).
  * The root of no leaves is `hash(b"")`. Counts are committed beside roots by whoever stores a root.
  * A proof has exactly the length that index and count demand (attack E8).

`hash` is the chain suite's hash. Left out: consistency proofs (finality is by certificate; no log ever needs one).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from common.core.errors import InvariantBroken, ProofInvalid
from common.core.suite import HASH_SIZE

Hash = Callable[[bytes], bytes]

LEAF_PREFIX = b"\x00"
NODE_PREFIX = b"\x01"


def leaf_hash(hash: Hash, leaf: bytes) -> bytes:
    """`hash(0x00 || leaf)`."""
    return hash(LEAF_PREFIX + leaf)


def node_hash(hash: Hash, left: bytes, right: bytes) -> bytes:
    """`hash(0x01 || left || right)`."""
    return hash(NODE_PREFIX + left + right)


def _above(hash: Hash, level: Sequence[bytes]) -> list[bytes]:
    """The level above; a last odd node moves up unchanged, which gives RFC 6962's shape."""
    above = [hash(NODE_PREFIX + left + right) for left, right in zip(level[::2], level[1::2], strict=False)]
    if len(level) % 2:
        above.append(level[-1])
    return above


def root_of_leaf_hashes(hash: Hash, leaf_hashes: Sequence[bytes]) -> bytes:
    """Root of a tree whose leaf hashes (prefix 0x00 applied) are given."""
    if not leaf_hashes:
        return hash(b"")
    level = leaf_hashes
    while len(level) > 1:
        level = _above(hash, level)
    return level[0]


def root(hash: Hash, leaves: Sequence[bytes]) -> bytes:
    """Root of the tree over `leaves` in their order; `hash(b"")` if there are none."""
    return root_of_leaf_hashes(hash, [hash(LEAF_PREFIX + leaf) for leaf in leaves])


class Tree:
    """A tree kept with all its levels, for many proofs out of one block. Immutable."""

    def __init__(self, hash: Hash, leaves: Sequence[bytes]) -> None:
        self._levels: list[Sequence[bytes]] = [[hash(LEAF_PREFIX + leaf) for leaf in leaves]]
        while len(self._levels[-1]) > 1:
            self._levels.append(_above(hash, self._levels[-1]))
        self.count = len(leaves)
        self.root = self._levels[-1][0] if leaves else hash(b"")

    def prove(self, index: int) -> list[bytes]:
        """Sibling hashes from the leaf to the root. Raises `InvariantBroken` if there is no such leaf."""
        if not 0 <= index < self.count:
            raise InvariantBroken(f"no leaf {index} in a tree of {self.count}")
        proof: list[bytes] = []
        for level in self._levels[:-1]:
            sibling = index ^ 1
            if sibling < len(level):
                proof.append(level[sibling])
            index >>= 1
        return proof


def prove(hash: Hash, leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Inclusion proof of one leaf (RFC 6962 section 2.1.1). Raises `InvariantBroken` if there is no such leaf."""
    return Tree(hash, leaves).prove(index)


def root_from_leaf_hash(hash: Hash, leaf_hash_: bytes, index: int, count: int, proof: Sequence[bytes]) -> bytes:
    """Root that the proof leads to, from a leaf hash (RFC 9162 section 2.1.3.2). Raises `ProofInvalid`."""
    if not 0 <= index < count:
        raise ProofInvalid("proof_index", "The index is outside the tree.", index=index, count=count)
    if len(leaf_hash_) != HASH_SIZE or any(len(item) != HASH_SIZE for item in proof):
        raise ProofInvalid("proof_item_size", f"Every hash of a proof has {HASH_SIZE} bytes.")
    result, last = leaf_hash_, count - 1
    for item in proof:
        if last == 0:
            raise ProofInvalid("proof_length", "The proof has more items than the tree has levels.")
        if index % 2 or index == last:
            result = hash(NODE_PREFIX + item + result)
            while not index % 2 and index:
                index, last = index >> 1, last >> 1
        else:
            result = hash(NODE_PREFIX + result + item)
        index, last = index >> 1, last >> 1
    if last != 0:
        raise ProofInvalid("proof_length", "The proof has fewer items than the tree has levels.")
    return result


def root_from_proof(hash: Hash, leaf: bytes, index: int, count: int, proof: Sequence[bytes]) -> bytes:
    """Root that the proof leads to for `leaf` at `index` of `count`. Raises `ProofInvalid`."""
    return root_from_leaf_hash(hash, hash(LEAF_PREFIX + leaf), index, count, proof)


def verify_inclusion(hash: Hash, root_: bytes, leaf: bytes, index: int, count: int, proof: Sequence[bytes]) -> None:
    """Return if `leaf` is leaf `index` of the `count` leaves under `root_`; raise `ProofInvalid` otherwise."""
    if root_from_proof(hash, leaf, index, count, proof) != root_:
        raise ProofInvalid("proof_root_mismatch", "The proof leads to another root.", index=index, count=count)
