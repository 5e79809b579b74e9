"""Evidence, checked offline against roots that the user holds: what a file proves, and what it does not.

Invariants:
  E1  Trust comes from the argument `trust` alone; the file cannot bring, choose or extend roots (attack R4).
  E2  Every link is checked: set changes, header and certificate, state proof, anchored id, region header, snapshot.
      Any changed bit breaks a link (attack R5).
  E3  The result says what is proven and what is not, so that nobody reads more into it.

The layout of the file: `evidence_file` and docs/protocol-evidence.md. Left out: files and output (command line),
building evidence (nodes), whether the snapshot passes the schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from common.core import merkle
from common.core.codec import parse_json
from common.core.errors import Malformed
from common.core.header import Header
from common.core.protocol import latest_version
from common.core.state_proof import verify_state_proof
from common.core.suite import Suite, suite_named
from common.core.validators import ValidatorSet
from common.model.header import read_header
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
from crosslink.lightclient.messages import HeaderMessage
from crosslink.lightclient.trust import TrustFile
from crosslink.lightclient.trust_root import TrustRoot
from crosslink.lightclient.verify import check_signed_by

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
    held."""

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
    snapshot: dict[str, Any] | None = None

    @property
    def proves(self) -> tuple[str, ...]:
        """One sentence a fact."""
        where = f"block {self.height} of {self.network} ({self.block_id.hex()}, time {self.time_ms} ms)"
        signed = (
            f"a quorum of the validators that follow from root {self.chain_root.fingerprint().hex()} signed {where}"
        )
        if self.snapshot is None:
            facts = [
                f"after it the state key {entry.key} was absent"
                if entry.value is None
                else f"after it the state key {entry.key} held {entry.value}"
                for entry in self.state
            ]
            return (signed, *facts)
        content = read_header(self.snapshot)
        return (
            signed,
            f"by then it had anchored block {self.region_height} of {self.region} "
            f"({self.region_block_id.hex() if self.region_block_id else ''}, time {self.region_time_ms} ms)",
            f"that block contains, at index {self.snapshot_index}, exactly the delivered snapshot: "
            f"{content.operation} of {content.kind} {content.object_id} version {content.version}",
        )

    @property
    def does_not_prove(self) -> tuple[str, ...]:
        """What a reader might think is proven, and is not (invariant E3)."""
        missing = [*_NOT_PROVEN_ALWAYS]
        if self.snapshot is not None:
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
    `evidence_wrong_tier`, `evidence_set_changes_order`, `evidence_checkpoint_conflict`, `evidence_not_anchored`;
    `HeaderRefused('wrong_set')`; `CertificateInvalid`; `ProofInvalid` (attacks R2, R4, R5, E8, C4, C9, C10).
    """
    root = trust.root(evidence.network)
    if root.genesis_id != evidence.genesis_id:
        raise Malformed("evidence_wrong_genesis", "The user's root for this network has another genesis id.")
    if evidence.snapshot is not None and root.tier not in ("", "custody"):
        raise Malformed("evidence_wrong_tier", "Snapshots are anchored on a custody chain, and this root is not one.")
    suite = suite_named(root.suite)
    _verify_tip(suite, root, evidence)
    for entry in evidence.state:
        value = None if entry.value is None else entry.value.encode()
        verify_state_proof(suite, evidence.tip.header.state_root, entry.key.encode(), value, entry.proof)
    header = evidence.tip.header
    if evidence.snapshot is None:
        return Findings(
            kind=STATE_KIND,
            network=header.network,
            height=header.height,
            block_id=header.id(suite),
            time_ms=header.time_ms,
            chain_root=root,
            state=evidence.state,
        )
    region_root, document = _verify_snapshot(suite, evidence.snapshot, evidence.state[0], trust)
    region_suite = suite if region_root is None else suite_named(region_root.suite)
    region_header = evidence.snapshot.header
    return Findings(
        kind=SNAPSHOT_KIND,
        network=header.network,
        height=header.height,
        block_id=header.id(suite),
        time_ms=header.time_ms,
        chain_root=root,
        state=evidence.state,
        region_root=region_root,
        region=region_header.network,
        region_height=region_header.height,
        region_block_id=region_header.id(region_suite),
        region_time_ms=region_header.time_ms,
        snapshot_index=evidence.snapshot.index,
        snapshot=document,
    )


def verify_evidence_file(data: bytes, trust: TrustFile) -> Findings:
    """Parse and verify. Raises as `parse_evidence` and `verify_evidence`."""
    return verify_evidence(parse_evidence(data), trust)


def _check_identity(evidence: Evidence, header: Header) -> None:
    if header.network != evidence.network or header.genesis_id != evidence.genesis_id:
        raise Malformed(
            "evidence_wrong_genesis", "A header of the file belongs to another chain.", height=header.height
        )
    _check_version(header)


def _check_version(header: Header) -> None:
    if header.protocol_version > latest_version():
        raise Malformed(
            "protocol_version_unknown",
            "A header obeys a protocol version that this verifier does not know; use a newer one.",
            protocol_version=header.protocol_version,
        )


def _verify_tip(suite: Suite, root: TrustRoot, evidence: Evidence) -> None:
    """Walk the set changes from the user's root (or its checkpoint) to the header, and verify its certificate."""
    tip = evidence.tip.header
    _check_identity(evidence, tip)
    signing, skip_to = root.validators, 0
    checkpoint = root.checkpoint
    if checkpoint is not None and tip.height > checkpoint.height:
        signing, skip_to = checkpoint.validators, checkpoint.height
    if checkpoint is not None and tip.height == checkpoint.height and tip.id(suite) != checkpoint.id:
        raise Malformed("evidence_checkpoint_conflict", "The header is not the block of the user's checkpoint.")
    previous = 0
    for change in evidence.set_changes:
        height = change.header.height
        if not previous < height < tip.height:
            raise Malformed("evidence_set_changes_order", "Set changes ascend and lie below the header.", height=height)
        previous = height
        if height > skip_to:
            signing = _verify_change(suite, evidence, change, signing)
    check_signed_by(suite, signing, signing.hash(suite), evidence.tip)


def _verify_change(suite: Suite, evidence: Evidence, change: HeaderMessage, signing: ValidatorSet) -> ValidatorSet:
    header, following = change.header, change.next_validators
    _check_identity(evidence, header)
    check_signed_by(suite, signing, signing.hash(suite), change)
    if following is None or following.hash(suite) != header.next_validators_hash:
        raise Malformed(
            "next_set_mismatch", "The delivered next set is not the one that the header commits.", height=header.height
        )
    following.check_keys(suite)
    return following


def _verify_snapshot(
    custody_suite: Suite, snapshot: SnapshotEvidence, bucket: StateEntry, trust: TrustFile
) -> tuple[TrustRoot | None, dict[str, Any]]:
    """The anchored bucket names the region header, and the header commits the snapshot. Returns the root and
    document."""
    header = snapshot.header
    _check_version(header)
    root = trust.find(header.network)
    if root is not None and root.genesis_id != header.genesis_id:
        raise Malformed(
            "evidence_wrong_genesis", "The region header belongs to another deployment than the user's root."
        )
    suite = custody_suite if root is None else suite_named(root.suite)
    if bucket.key != anchored_key(header.network, header.height):
        raise Malformed("evidence_not_anchored", "The state entry is not the bucket of the region header.")
    ids = [] if bucket.value is None else parse_json(bucket.value.encode(), max_size=MAX_TEXT)
    position = header.height % BUCKET_SIZE
    if not isinstance(ids, list) or position >= len(ids) or ids[position] != header.id(suite).hex():
        raise Malformed("evidence_not_anchored", "The bucket does not hold this header's id.", height=header.height)
    data = snapshot.data.encode()
    merkle.verify_inclusion(
        suite.hash, header.snapshot_root, data, snapshot.index, header.snapshot_count, snapshot.proof
    )
    document = parse_json(data, max_size=MAX_TEXT)
    read_header(document)
    return root, document
