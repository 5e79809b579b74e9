"""The authenticated state: hashing rules of its tree, and proofs that a key has a value or is absent.

The state is a map from keys to values. Its tree is radix-16 over hashed keys: a subtree with at most `BUCKET_SIZE`
entries is one bucket, a larger one is a branch with a child for each next nibble of the hashed key that occurs. This
shape depends on the set of entries alone, so the root does not depend on the order in which they were written.

  key hash    tagged_hash("tongjian/state/key/v1", key)
  value hash  tagged_hash("tongjian/state/value/v1", value)
  bucket      u8 0 | u8 count | (b32 key hash | b32 value hash)*          key hashes ascend strictly
  branch      u8 1 | u16 present | (u32 entries | b32 node hash)*         one for each bit set in `present`, bit 0 first
  node hash   tagged_hash("tongjian/state/node/v1", bucket or branch)
  state root  node hash of the top node; of the empty state: of the bucket 00 00

A proof is the nodes on the way from the top to where the key is, or would be. It proves absence by the bucket that
lacks the key, or by the branch that has no child there.

Invariants
  P1  Bucket and branch begin with different bytes and have fixed-size parts, so neither passes for the other or for
      another split of the same bytes (attacks E4, E6).
  P2  Every byte of a proof is hashed or compared; there is no second proof of the same fact with the same nodes, and
      nodes that are not needed are refused (attacks E8, R5).
  P3  Every node is canonical: counts beside child hashes are the children's real sizes, a branch holds more entries
      than a bucket could, only the empty state has an empty bucket, and all keys of a bucket belong below its path.

Specified with worked examples in docs/protocol-state.md. Left out: storing and updating the tree
(`common/node/store/state_tree.py`).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from common.core.errors import ProofInvalid
from common.core.suite import HASH_SIZE, Suite, parse_hex

KEY_TAG: Final = "tongjian/state/key/v1"
VALUE_TAG: Final = "tongjian/state/value/v1"
NODE_TAG: Final = "tongjian/state/node/v1"
PROOF_FORMAT: Final = "tongjian/state-proof/v1"

BUCKET: Final = 0
BRANCH: Final = 1
BUCKET_SIZE: Final = 16
"""Most entries of a bucket. Part of the protocol: another number gives other roots. Measured in ADR 0015."""
ENTRY_BYTES: Final = 2 * HASH_SIZE
BUCKET_START: Final = 2
CHILD_BYTES: Final = 4 + HASH_SIZE
BRANCH_START: Final = 3
MAX_DEPTH: Final = 2 * HASH_SIZE
"""Nibbles of a key hash."""
MAX_NODE_BYTES: Final = BUCKET_START + BUCKET_SIZE * ENTRY_BYTES
EMPTY_BUCKET: Final = bytes((BUCKET, 0))

_COUNT: Final = struct.Struct(">I")


def key_hash(suite: Suite, key: bytes) -> bytes:
    """Where in the tree `key` is: its 64 nibbles, high nibble first, are the path from the top."""
    return suite.tagged_hash(KEY_TAG, key)


def value_hash(suite: Suite, value: bytes) -> bytes:
    """What a bucket holds of a value."""
    return suite.tagged_hash(VALUE_TAG, value)


def node_hash(suite: Suite, node: bytes) -> bytes:
    """Hash of an encoded bucket or branch."""
    return suite.tagged_hash(NODE_TAG, node)


def empty_root(suite: Suite) -> bytes:
    """The root of the state that holds nothing."""
    return node_hash(suite, EMPTY_BUCKET)


@dataclass(frozen=True, slots=True)
class StateProof:
    """The encoded nodes from the top of the tree down to the bucket or branch that decides."""

    nodes: tuple[bytes, ...]

    def to_json(self) -> dict[str, Any]:
        """`{"format": "tongjian/state-proof/v1", "nodes": [lowercase hex, ...]}`."""
        return {"format": PROOF_FORMAT, "nodes": [node.hex() for node in self.nodes]}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Inverse of `to_json`, bounded. Raises ProofInvalid('state_proof_format') or Malformed('hex_invalid')."""
        if not isinstance(value, Mapping) or value.keys() != {"format", "nodes"} or value["format"] != PROOF_FORMAT:
            raise ProofInvalid("state_proof_format", "This is not a state proof of a known format.")
        nodes = value["nodes"]
        if not isinstance(nodes, list) or len(nodes) > MAX_DEPTH + 1:
            raise ProofInvalid("state_proof_format", "A state proof is a list of at most 65 nodes.")
        for node in nodes:
            if not isinstance(node, str) or len(node) > 2 * MAX_NODE_BYTES:
                raise ProofInvalid("state_proof_format", "A node of a state proof is a bounded hex string.")
        return cls(tuple(parse_hex(node, "node") for node in nodes))


def verify_state_proof(suite: Suite, state_root: bytes, key: bytes, value: bytes | None, proof: StateProof) -> None:
    """Return if the state with this root has `value` at `key`, or nothing if `value` is None.

    Raises ProofInvalid with `state_proof_short` (it ends before the key's place), `state_proof_long` (nodes follow
    that decide nothing), `state_proof_hash` (a node is not the one that the root or its parent names),
    `state_proof_node` (not canonical), `state_proof_key` or `state_proof_value` (it proves something else). Attacks
    E4, E6, E8, R5.
    """
    digest = key_hash(suite, key)
    found = _find(suite, state_root, digest, proof.nodes)
    if value is None:
        if found is not None:
            raise ProofInvalid("state_proof_key", "The proof shows that the key exists.")
    elif found is None:
        raise ProofInvalid("state_proof_key", "The proof shows that the key is absent.")
    elif found != value_hash(suite, value):
        raise ProofInvalid("state_proof_value", "The proof is for another value.")


def _find(suite: Suite, state_root: bytes, digest: bytes, nodes: tuple[bytes, ...]) -> bytes | None:
    """The value hash that the nodes prove for the key hash `digest`, or None if they prove that it is absent."""
    expected, entries = state_root, None
    path = digest.hex()
    for depth, node in enumerate(nodes):
        if node_hash(suite, node) != expected:
            raise ProofInvalid("state_proof_hash", "A node is not the one that is named above it.", depth=depth)
        last = depth == len(nodes) - 1
        if node[:1] == bytes((BUCKET,)):
            if not last:
                raise ProofInvalid("state_proof_long", "Nodes follow the bucket.", depth=depth)
            return _find_in_bucket(node, path, depth, entries, digest)
        children = _branch_children(node, entries, depth)
        child = children.get(int(path[depth], 16)) if depth < MAX_DEPTH else None
        if child is None:
            if not last:
                raise ProofInvalid("state_proof_long", "Nodes follow a branch that has no child there.", depth=depth)
            return None
        entries, expected = child
    raise ProofInvalid("state_proof_short", "The proof ends before the place of the key.", nodes=len(nodes))


def _not_canonical(depth: int, why: str) -> ProofInvalid:
    return ProofInvalid("state_proof_node", f"A node is not canonical: {why}.", depth=depth)


def _find_in_bucket(node: bytes, path: str, depth: int, entries: int | None, digest: bytes) -> bytes | None:
    """The value hash of `digest` in a bucket, or None; the bucket must be canonical (P3)."""
    count = node[1] if len(node) > 1 else -1
    if not 0 <= count <= BUCKET_SIZE or len(node) != BUCKET_START + count * ENTRY_BYTES:
        raise _not_canonical(depth, "the length of a bucket does not fit its count")
    if entries is not None and (entries != count or count == 0):
        raise _not_canonical(depth, "a bucket holds another number of entries than is named above it")
    found: bytes | None = None
    previous = b""
    prefix = path[:depth]
    for at in range(BUCKET_START, len(node), ENTRY_BYTES):
        entry = node[at : at + HASH_SIZE]
        if entry <= previous:
            raise _not_canonical(depth, "the keys of a bucket do not ascend")
        if entry.hex()[:depth] != prefix:
            raise _not_canonical(depth, "a bucket holds a key of another path")
        if entry == digest:
            found = node[at + HASH_SIZE : at + ENTRY_BYTES]
        previous = entry
    return found


def _branch_children(node: bytes, entries: int | None, depth: int) -> dict[int, tuple[int, bytes]]:
    """Nibble -> (number of entries, node hash) of a branch, which must be canonical (P3)."""
    if len(node) < BRANCH_START or node[0] != BRANCH:
        raise _not_canonical(depth, "it is neither a bucket nor a branch")
    present = int.from_bytes(node[1:BRANCH_START], "big")
    if len(node) != BRANCH_START + present.bit_count() * CHILD_BYTES:
        raise _not_canonical(depth, "the length of a branch does not fit its children")
    children: dict[int, tuple[int, bytes]] = {}
    at, total = BRANCH_START, 0
    for nibble in range(16):
        if present >> nibble & 1:
            (count,) = _COUNT.unpack_from(node, at)
            if count == 0:
                raise _not_canonical(depth, "a branch has an empty child")
            children[nibble] = (count, node[at + 4 : at + CHILD_BYTES])
            total += count
            at += CHILD_BYTES
    if total <= BUCKET_SIZE:
        raise _not_canonical(depth, "a branch holds no more entries than a bucket could")
    if entries is not None and total != entries:
        raise _not_canonical(depth, "a branch holds another number of entries than is named above it")
    return children
