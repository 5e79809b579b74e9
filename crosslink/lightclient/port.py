"""The port through which chains of any make attach (protocol rule 22, decision 21).

A *client type* is one object of class `LightClient`, in a package of its own, registered in one line. It alone reads
its chain's headers, knows who signs them, and says which bytes a block commits to. The custody chain, the relay and the
evidence verifier see

  * headers, as bytes: whatever lets the type judge one block (signatures and announced sets included);
  * `VerifiedBlock`: what every chain's block has, and its commitments, as bytes;
  * the type's part of a trust root and of a client state, as JSON that it writes and reads itself.

Nothing here asks that heights are consecutive, that a header counts its objects, or that it names its signers. What
holds for every type (frozen, expired, time) is judged once, in `verify` and `update`, so that no type can forget it.

Invariants:
  L1  Every function is pure: the same arguments give the same result on every machine, for ever. What a type judges
      may depend on the verifier's `protocol_version`, which is the chain's, never the software's.
  L2  A block id is a hash that binds the whole header's meaning, commitments included: two headers with one id say the
      same.
  L3  `verify_objects` accepts a set of objects at one place of one block alone, and says `complete` only if the block
      commits to no further one (attacks R5, R6).

Reference: ICS-002. Left out: reading from nodes (`reading`), which types there are (`registry`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from common.core.codec import MAX_SAFE_INTEGER
from common.core.errors import CodecError, Rejected, RuleBroken
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.reading import SourceReader
from crosslink.lightclient.trust_root import MAX_ID_BYTES, TrustRoot

SAME_HEIGHT = "same_height"
WRONG_PARENT = "wrong_parent"

MAX_COMMITMENTS_BYTES = 4096
"""What a block commits to: some roots and counts. It is kept in state while a block is partly delivered."""

RETRYABLE = frozenset({"future_header", "header_gap", "protocol_version_ahead"})
"""Refusals that a later delivery of the same bytes may not meet again (protocol rule 17)."""

Held = Callable[[int], bytes | None]
"""The id that the verifier holds for a height, or None where it holds none."""


def holds_nothing(height: int) -> None:
    """A `Held` of a verifier that remembers no block but the trusted tip."""


class HeaderRefused(RuleBroken):
    """A header or a piece of evidence is refused by the light client; `code` is the named verdict.

    Codes of every type: frozen, expired, future_header (retryable), wrong_time, wrong_parent, stale_header; the others
    stand in docs/crosslink.md.
    """


def is_retryable(refusal: Rejected) -> bool:
    """Whether the same delivery may succeed later, for any refusal of a verification."""
    return refusal.code in RETRYABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedBlock:
    """What every chain's block has. `id` and `parent` are 1 to 64 bytes; `time_ms` is milliseconds since the epoch.

    `commitments` are the client type's own bytes: all that it needs to verify objects (and values) of this block.
    Raises `CodecError('header_range')` for numbers that JSON (receipts, state) could not carry, and ids or commitments
    out of bounds.
    """

    height: int
    id: bytes
    parent: bytes
    time_ms: int
    commitments: bytes

    def __post_init__(self) -> None:
        if not (0 <= self.height <= MAX_SAFE_INTEGER and 0 <= self.time_ms <= MAX_SAFE_INTEGER):
            raise CodecError("header_range", "Height or time is above 2^53-1.")
        if not (1 <= len(self.id) <= MAX_ID_BYTES and 1 <= len(self.parent) <= MAX_ID_BYTES):
            raise CodecError("header_range", f"A block id has 1 to {MAX_ID_BYTES} bytes.")
        if len(self.commitments) > MAX_COMMITMENTS_BYTES:
            raise CodecError("header_range", f"Commitments have at most {MAX_COMMITMENTS_BYTES} bytes.")


class Verdict(StrEnum):
    """What a delivered header is to the state it was verified against."""

    NEXT = "next"
    """The successor of the tip: `update` moves to it."""
    KNOWN = "known"
    """A block that is trusted already: nothing to do (attack R7)."""
    CONFLICTING = "conflicting"
    """Validly certified and incompatible with what is trusted: misbehaviour (protocol rule 20, attack R3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A block with its verdict. Only a client type's `verify` makes one.

    `trust`: for NEXT, the type's trust after this block. `trusted_id`: for CONFLICTING, the id that it contradicts.
    """

    block: VerifiedBlock
    verdict: Verdict
    trust: object = None
    trusted_id: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Culprit:
    """Who signed both sides beyond doubt. `public_key` is in the text form of that chain."""

    name: str
    organisation: str
    public_key: str

    def to_json(self) -> dict[str, str]:
        """For state and answers."""
        return {"name": self.name, "organisation": self.organisation, "public_key": self.public_key}


@dataclass(frozen=True, slots=True, kw_only=True)
class Misbehaviour:
    """Proven contradiction: `kind` is `same_height` or `wrong_parent`.

    `first_id` is the id held before (for `wrong_parent` the trusted tip), `second_id` the one that contradicts it.
    `culprits` are sorted by name; empty when nobody can be named beyond doubt. `details` is what the type tells besides
    (JSON; for ours the view).

    `pairs` are (height, id, id) that cannot both belong to the chain: what governance has judged once it recovers the
    region. `settled_by` are the pairs of which one that was judged settles this contradiction, too.
    """

    kind: str
    network: str
    height: int
    first_id: bytes
    second_id: bytes
    culprits: tuple[Culprit, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    pairs: tuple[tuple[int, bytes, bytes], ...] = ()
    settled_by: tuple[tuple[bytes, bytes], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For state, logs and receipts."""
        return {
            "kind": self.kind,
            "network": self.network,
            "height": self.height,
            "first_id": self.first_id.hex(),
            "second_id": self.second_id.hex(),
            "culprits": [culprit.name for culprit in self.culprits],
        }


@dataclass(frozen=True, slots=True)
class Delivered:
    """What verified objects say of their block. `complete`: it commits to no further object.

    `contradictory`: the block has no object, and what it commits to is not "none"; it is anchored with an alert
    (protocol rule 16).
    """

    complete: bool
    contradictory: bool = False


class LightClient(Protocol):
    """One client type. All functions are pure (L1); those that judge raise `Rejected` kinds with a stable code."""

    @property
    def client_type(self) -> str:
        """The name that trust roots, states and evidence files use, for example `tongjian-pbft/v1`."""
        ...

    @property
    def since(self) -> int:
        """The protocol version of the custody chain since which regions of this type may attach."""
        ...

    @property
    def reader(self) -> SourceReader:
        """How a relay reads a chain of this make."""
        ...

    # Trust

    def fingerprint(self, root: TrustRoot) -> bytes:
        """32 bytes that two people compare before they trust a root: a hash over `root.identity()`."""
        ...

    def initial_trust(self, root: TrustRoot) -> object:
        """The type's trust right after a root. Raises `Malformed` for a root that is zero, incomplete or unsafe."""
        ...

    def read_trust(self, document: Any, *, height: int) -> object:
        """The type's part of a client state whose tip is at `height`. Raises `Malformed`."""
        ...

    def write_trust(self, trust: object) -> dict[str, Any]:
        """The inverse of `read_trust`: JSON of integers, strings, booleans, null."""
        ...

    # Judgement: verify, check misbehaviour, update

    def verify(self, state: ClientState, header: bytes, *, held: Held, protocol_version: int) -> Verified:
        """Judge one delivered header; `verify.verify` has seen to what is alike for all types."""
        ...

    def check_misbehaviour(self, state: ClientState, verified: Verified, held: Held) -> Misbehaviour | None:
        """The contradiction that a verified header proves against `state`, or None."""
        ...

    def verify_misbehaviour(self, state: ClientState, first: bytes, second: bytes) -> Misbehaviour:
        """Judge a pair of headers that anybody brought. Raises `HeaderRefused('misbehaviour_unproven')` and others."""
        ...

    # Commitments

    def bare_header(self, header: bytes) -> bytes:
        """The header without what its id does not bind (signatures, sets), as evidence files carry it. Of a bare
        header: itself. Raises `Malformed` kinds.
        """
        ...

    def read_block(self, header: bytes, *, network: str, genesis_id: bytes | None = None) -> VerifiedBlock:
        """What a header, bare or not, says, *unverified*: the id binds it, so it is as true as the id is trusted.

        Raises `Malformed` kinds; `HeaderRefused` (`wrong_network`, `wrong_genesis`) if the header names another chain
        than the arguments do (`genesis_id` None: any deployment).
        """
        ...

    def verify_chain(self, root: TrustRoot, headers: Sequence[bytes]) -> VerifiedBlock:
        """The last of `headers`, verified from a user's root without a clock; the others show what leads to it.

        Raises `Malformed`, `HeaderRefused`, `CertificateInvalid` kinds.
        """
        ...

    def verify_objects(
        self, commitments: bytes, start: int, objects: Sequence[bytes], proofs: Sequence[bytes] | None
    ) -> Delivered:
        """Check that `objects` are exactly those from index `start` on of the block that commits so (L3).

        Without proofs they are all of the block. No objects at all are never refused; they complete an empty block.
        Raises `ProofInvalid` kinds.
        """
        ...

    def prove_objects(self, commitments: bytes, objects: Sequence[bytes]) -> tuple[bytes, ...]:
        """A proof for each object of a block, from all of them."""
        ...

    def verify_value(self, commitments: bytes, key: bytes, value: bytes | None, proof: Any) -> None:
        """Check a value (None: absence) of the chain's state after the block; `proof` is the type's JSON.

        Raises `ProofInvalid` kinds; a type whose chain proves no state refuses every proof.
        """
        ...
