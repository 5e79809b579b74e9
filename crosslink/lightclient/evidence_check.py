"""Evidence, checked offline against roots that the user holds: what a file proves, and what it does not.

Invariants:
  E1  Trust comes from the argument `trust` alone; the file cannot bring, choose or extend roots (attack R4).
  E2  Every link is checked: what leads from the root to the header, state proof, anchored id, region header, snapshot.
      Any changed bit breaks a link (attack R5). Which client type reads a region's header is proven too: the anchored
      bucket names it.
  E3  The result says what is proven and what is not, so that nobody reads more into it.

The layout of the file: `evidence_file` and docs/protocol-evidence.md. Left out: files and output (command line),
building evidence (nodes), whether the snapshot passes the schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from common.core.codec import parse_json
from common.core.errors import Malformed, Rejected
from common.model.document import parse_document
from common.model.object_header import read_header
from crosslink.lightclient.client_types import client_for
from crosslink.lightclient.evidence_file import (
    BUCKET_SIZE,
    MAX_TEXT,
    SNAPSHOT_KIND,
    STATE_KIND,
    Evidence,
    SnapshotEvidence,
    StateEntry,
    anchored_key,
    parse_evidence,
)
from crosslink.lightclient.port import VerifiedBlock
from crosslink.lightclient.trust import TrustFile
from crosslink.lightclient.trust_root import TrustRoot

_NOT_PROVEN_ALWAYS = (
    "that no later block of the chain changed this, or froze or recovered the region",
    "that a validator set which was replaced did not sign this header afterwards (a recent checkpoint shows that)",
)
_NOT_PROVEN_SNAPSHOT = (
    "that the snapshot is the latest version of its object",
    "that the snapshot passed the data model's schema (an anomalous snapshot is anchored too)",
    "that what the market registered is true",
    "a quorum of the region's own validators, other than by the custody validators' word",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a valid file proves. `chain_root` and `region_root` are the user's own roots; `region_root` None if not
    held. `snapshot_data` are the proven bytes, `snapshot` what they say, None if they are no readable snapshot."""

    kind: str
    network: str
    height: int
    block_id: bytes
    time_ms: int
    chain_root: TrustRoot
    state: tuple[StateEntry, ...]
    region_root: TrustRoot | None = None
    region: str | None = None
    region_height: int | None = None
    region_block_id: bytes | None = None
    region_time_ms: int | None = None
    snapshot_index: int | None = None
    snapshot_data: bytes | None = None
    snapshot: dict[str, Any] | None = None

    @property
    def proves(self) -> tuple[str, ...]:
        """One sentence a fact."""
        where = f"block {self.height} of {self.network} ({self.block_id.hex()}, time {self.time_ms} ms)"
        signed = (
            f"a quorum of the validators that follow from root {self.chain_root.fingerprint().hex()} signed {where}"
        )
        if self.snapshot_data is None:
            facts = [
                f"after it the state key {entry.key} was absent"
                if entry.value is None
                else f"after it the state key {entry.key} held {entry.value}"
                for entry in self.state
            ]
            return (signed, *facts)
        return (
            signed,
            f"by then it had anchored block {self.region_height} of {self.region} "
            f"({self.region_block_id.hex() if self.region_block_id else ''}, time {self.region_time_ms} ms)",
            f"that block contains, at index {self.snapshot_index}, exactly the delivered snapshot: {self._about}",
        )

    @property
    def _about(self) -> str:
        if self.snapshot is None:
            return f"{len(self.snapshot_data or b'')} bytes that are no data object which this software can read"
        content = read_header(self.snapshot)
        return f"{content.operation} of {content.kind} {content.object_id} version {content.version}"

    @property
    def does_not_prove(self) -> tuple[str, ...]:
        """What a reader might think is proven, and is not (invariant E3)."""
        missing = [*_NOT_PROVEN_ALWAYS]
        if self.snapshot_data is not None:
            missing = [*_NOT_PROVEN_SNAPSHOT, *missing]
            if self.region_root is None:
                missing.append(f"which deployment of {self.region} is meant: the trust file has no root for it")
        return tuple(missing)

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprints of the user's roots that were relied on, by network."""
        roots = [self.chain_root] + ([self.region_root] if self.region_root is not None else [])
        return {root.network: root.fingerprint().hex() for root in roots}

    def to_json(self) -> dict[str, Any]:
        """For `tongjian verify --json`."""
        return {
            "kind": self.kind,
            "network": self.network,
            "height": self.height,
            "block_id": self.block_id.hex(),
            "time_ms": self.time_ms,
            "fingerprints": self.fingerprints,
            "region": self.region,
            "region_height": self.region_height,
            "region_block_id": self.region_block_id.hex() if self.region_block_id else None,
            "region_time_ms": self.region_time_ms,
            "snapshot_index": self.snapshot_index,
            "snapshot": self.snapshot,
            "state": [{"key": entry.key, "value": entry.value} for entry in self.state],
            "proves": list(self.proves),
            "does_not_prove": list(self.does_not_prove),
        }


def verify_evidence(evidence: Evidence, trust: TrustFile) -> Findings:
    """Check every link of a parsed file against the user's roots; return what it proves.

    Raises `Rejected` kinds: `NotFound('evidence_no_root')`, `Malformed` with `evidence_wrong_genesis`,
    `evidence_wrong_type`, `evidence_wrong_tier`, `evidence_not_anchored`; `ProofInvalid`; and what the client types
    raise (attacks R2, R4, R5, E8, C4, C9, C10).
    """
    root = trust.root(evidence.network)
    _check_root(root, evidence.genesis_id, evidence.client_type)
    if evidence.snapshot is not None and root.tier not in ("", "custody"):
        raise Malformed("evidence_wrong_tier", "Snapshots are anchored on a custody chain, and this root is not one.")
    client = client_for(root.client_type)
    block = client.verify_chain(root, evidence.headers)
    for entry in evidence.state:
        value = None if entry.value is None else entry.value.encode()
        client.verify_value(block.commitments, entry.key.encode(), value, entry.proof)
    if evidence.snapshot is None:
        return Findings(
            kind=STATE_KIND,
            network=evidence.network,
            height=block.height,
            block_id=block.id,
            time_ms=block.time_ms,
            chain_root=root,
            state=evidence.state,
        )
    region_root = trust.find(evidence.snapshot.network)
    region_block = _verify_snapshot(evidence.snapshot, evidence.state[0], region_root)
    return Findings(
        kind=SNAPSHOT_KIND,
        network=evidence.network,
        height=block.height,
        block_id=block.id,
        time_ms=block.time_ms,
        chain_root=root,
        state=evidence.state,
        region_root=region_root,
        region=evidence.snapshot.network,
        region_height=region_block.height,
        region_block_id=region_block.id,
        region_time_ms=region_block.time_ms,
        snapshot_index=evidence.snapshot.index,
        snapshot_data=evidence.snapshot.data,
        snapshot=_readable(evidence.snapshot.data),
    )


def verify_evidence_file(data: bytes, trust: TrustFile) -> Findings:
    """Parse and verify. Raises as `parse_evidence` and `verify_evidence`."""
    return verify_evidence(parse_evidence(data), trust)


def _check_root(root: TrustRoot, genesis_id: bytes | None, client_type: str) -> None:
    if genesis_id is not None and root.genesis_id != genesis_id:
        raise Malformed("evidence_wrong_genesis", "The user's root for this network has another genesis id.")
    if root.client_type != client_type:
        raise Malformed("evidence_wrong_type", "The user's root for this network is of another client type.")


def _verify_snapshot(snapshot: SnapshotEvidence, bucket: StateEntry, root: TrustRoot | None) -> VerifiedBlock:
    """The anchored bucket names client type and region header, and the header commits the snapshot."""
    if root is not None:
        _check_root(root, None, snapshot.client_type)
    client = client_for(snapshot.client_type)
    if client.bare_header(snapshot.header) != snapshot.header:
        raise Malformed("evidence_header", "The region header carries more than its id binds.")
    genesis_id = None if root is None else root.genesis_id
    block = client.read_block(snapshot.header, network=snapshot.network, genesis_id=genesis_id)
    if bucket.key != anchored_key(snapshot.network, block.height):
        raise Malformed("evidence_not_anchored", "The state entry is not the bucket of the region header.")
    held = None if bucket.value is None else parse_json(bucket.value.encode(), max_size=MAX_TEXT)
    if not isinstance(held, dict) or held.get("client_type") != snapshot.client_type:
        raise Malformed("evidence_not_anchored", "The bucket does not name this client type.")
    ids, position = held.get("ids"), block.height % BUCKET_SIZE
    if not isinstance(ids, list) or position >= len(ids) or ids[position] != block.id.hex():
        raise Malformed("evidence_not_anchored", "The bucket does not hold this header's id.", height=block.height)
    client.verify_objects(block.commitments, snapshot.index, [snapshot.data], [snapshot.proof])
    return block


def _readable(data: bytes) -> dict[str, Any] | None:
    """What the bytes say, if they are a data object of the suite's JSON; a foreign chain may commit to others."""
    try:
        document = parse_document(data, max_size=MAX_TEXT)
        read_header(document)
    except Rejected:
        return None
    return dict(document)
