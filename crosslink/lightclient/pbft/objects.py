"""What a block of our chains commits to, and proofs under it: snapshots (RFC 6962 tree) and values of the state.

Commitments, big-endian, no trailing bytes::

    text8  suite | b32 state_root | b32 snapshot_root | u32 snapshot_count

A snapshot's proof is its audit path, the hashes from the leaf up, one after another (none for the only snapshot).

Invariants:
  O1  A snapshot counts only if the root contains it at exactly its index and count (attacks R5 and R6).
  O2  Which snapshots are missing is known from the count: a block is complete when the last one is in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from common.core import merkle
from common.core.codec import Reader, Writer
from common.core.errors import ProofInvalid
from common.core.header import Header
from common.core.snapshot import snapshot_root
from common.core.state_proof import StateProof, verify_state_proof
from common.core.suite import HASH_SIZE, Suite, suite_named
from crosslink.lightclient.port import Delivered

MAX_PATH_HASHES = 32
"""Height of a tree with 2^32 leaves, which is what `snapshot_count` can say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitments:
    """The roots of one block."""

    suite: Suite
    state_root: bytes
    snapshot_root: bytes
    snapshot_count: int

    @classmethod
    def of(cls, suite: Suite, header: Header) -> Self:
        """Those of a header."""
        return cls(
            suite=suite,
            state_root=header.state_root,
            snapshot_root=header.snapshot_root,
            snapshot_count=header.snapshot_count,
        )

    def encode(self) -> bytes:
        """The opaque bytes."""
        writer = Writer().text8(self.suite.name).fixed(self.state_root, HASH_SIZE).fixed(self.snapshot_root, HASH_SIZE)
        return writer.u32(self.snapshot_count).bytes()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The inverse. Raises `CodecError`."""
        reader = Reader(data)
        suite = suite_named(reader.text8())
        state_root, root, count = reader.fixed(HASH_SIZE), reader.fixed(HASH_SIZE), reader.u32()
        reader.end()
        return cls(suite=suite, state_root=state_root, snapshot_root=root, snapshot_count=count)


def verify_objects(
    commitments: bytes, start: int, objects: Sequence[bytes], proofs: Sequence[bytes] | None
) -> Delivered:
    """Check that `objects` are exactly the snapshots `start`, `start + 1`, … of the block.

    Without proofs they must be the whole block, and its root is recomputed; with proofs each is checked by itself.
    Raises `ProofInvalid` with snapshot_count, snapshot_root_mismatch, snapshot_proofs_missing, or a Merkle code
    (attacks R5, R6, E6, E7, E8).
    """
    block = Commitments.decode(commitments)
    suite, count = block.suite, block.snapshot_count
    if not 0 <= start <= count or start + len(objects) > count:
        raise ProofInvalid(
            "snapshot_count",
            "These are not snapshots of this block.",
            start=max(start, 0),
            delivered=len(objects),
            count=count,
        )
    if not objects:
        return Delivered(start == count, contradictory=not count and block.snapshot_root != merkle.root(suite.hash, ()))
    if proofs is None:
        _verify_whole(block, objects)
        return Delivered(complete=True)
    if len(proofs) != len(objects):
        raise ProofInvalid(
            "snapshot_proofs_missing", "Each snapshot of a part needs its own proof.", count=len(objects)
        )
    for offset, (data, proof) in enumerate(zip(objects, proofs, strict=True)):
        merkle.verify_inclusion(suite.hash, block.snapshot_root, data, start + offset, count, audit_path(proof))
    return Delivered(start + len(objects) == count)


def _verify_whole(block: Commitments, objects: Sequence[bytes]) -> None:
    if len(objects) != block.snapshot_count:
        raise ProofInvalid(
            "snapshot_proofs_missing",
            "A part of a block needs inclusion proofs.",
            delivered=len(objects),
            count=block.snapshot_count,
        )
    if snapshot_root(block.suite, objects) != block.snapshot_root:
        raise ProofInvalid("snapshot_root_mismatch", "The snapshots are not those that the block commits.")


def prove_objects(commitments: bytes, objects: Sequence[bytes]) -> tuple[bytes, ...]:
    """The audit path of each snapshot of a block."""
    tree = merkle.Tree(Commitments.decode(commitments).suite.hash, objects)
    return tuple(b"".join(tree.prove(index)) for index in range(len(objects)))


def audit_path(proof: bytes) -> list[bytes]:
    """The hashes of a proof. Raises `ProofInvalid('proof_item_size')`."""
    if len(proof) % HASH_SIZE or len(proof) > MAX_PATH_HASHES * HASH_SIZE:
        raise ProofInvalid("proof_item_size", "An audit path is whole hashes, at most 32.", size=len(proof))
    return [proof[at : at + HASH_SIZE] for at in range(0, len(proof), HASH_SIZE)]


def verify_value(commitments: bytes, key: bytes, value: bytes | None, proof: Any) -> None:
    """Check a state proof under the block's state root. Raises `ProofInvalid` or `Malformed`."""
    block = Commitments.decode(commitments)
    verify_state_proof(block.suite, block.state_root, key, value, StateProof.from_json(proof))
