"""Evidence files for tests: a custody chain that anchors a small region, and a file that proves one snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from common.core.codec import canonical_json
from common.core.state_proof import StateProof, key_hash, node_hash, value_hash
from common.core.suite import ED25519_SHA256, Suite
from crosslink.lightclient.evidence_file import (
    BUCKET_SIZE,
    Evidence,
    SnapshotEvidence,
    StateEntry,
    anchored_key,
)
from crosslink.lightclient.pbft.trust import PBFT_CLIENT_TYPE
from crosslink.lightclient.trust import TrustFile, build_trust_file
from tests.support.chains import BuiltBlock, ChainBuilder, member_names, sample_snapshot, validator_set


def small_state(values: Mapping[bytes, bytes], suite: Suite = ED25519_SHA256) -> tuple[bytes, StateProof]:
    """Root and (one for all keys) proof of a state with at most 16 entries: the tree is a single bucket."""
    entries = sorted((key_hash(suite, key), value_hash(suite, value)) for key, value in values.items())
    node = bytes((0, len(entries))) + b"".join(key + value for key, value in entries)
    return node_hash(suite, node), StateProof((node,))


@dataclass
class EvidenceCase:
    """`evidence` proves snapshot 1 of the region's block 3 under `trust`; the custody set changed twice on the way."""

    region: ChainBuilder
    custody: ChainBuilder
    evidence: Evidence
    trust: TrustFile


def evidence_case(region_version: int = 1, suite: Suite = ED25519_SHA256) -> EvidenceCase:
    """Build the case; deterministic. `region_version` is the protocol version of the region's block."""
    region = ChainBuilder(suite=suite)
    region.grow(2)
    block = region.extend([sample_snapshot(f"beijing:3:{n}") for n in range(5)], protocol_version=region_version)
    region.extend(protocol_version=region_version)
    custody = ChainBuilder("custody", tier="custody", suite=suite)
    custody.grow(2)
    custody.extend(next_validators=validator_set(member_names("custody", 5), suite=suite))
    custody.grow(1)
    custody.extend(next_validators=validator_set(member_names("custody", 4, first=2), suite=suite))
    key = anchored_key("beijing", block.height)
    ids = [region.id_at(height).hex() for height in range(BUCKET_SIZE) if height <= region.height]
    value = canonical_json({"client_type": PBFT_CLIENT_TYPE, "ids": ids})
    root, proof = small_state({key.encode(): value, b"region/beijing": b"{}"}, suite)
    tip = custody.extend(state_root=root)
    evidence = Evidence(
        network="custody",
        genesis_id=custody.genesis.id,
        client_type=PBFT_CLIENT_TYPE,
        headers=(*(built.signed for built in custody.blocks if built.next_validators is not None), tip.signed),
        state=(StateEntry(key, value.decode(), proof.to_json()),),
        snapshot=SnapshotEvidence(
            network=region.network,
            client_type=PBFT_CLIENT_TYPE,
            header=block.bare,
            index=1,
            data=block.snapshots[1],
            proof=block.proof(1),
        ),
    )
    return EvidenceCase(region, custody, evidence, build_trust_file([custody.trust_root(), region.trust_root()]))


def with_tip(evidence: Evidence, tip: BuiltBlock) -> Evidence:
    """The same about another block of the chain."""
    return replace(evidence, headers=(*evidence.headers[:-1], tip.signed))
