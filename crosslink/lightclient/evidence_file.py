"""Evidence files `tongjian/evidence/v1`: their layout, and strict parsing.

All binary values are lowercase hex; unknown fields are refused at every level; the full text is
docs/protocol-evidence.md::

    {"format": "tongjian/evidence/v1",
     "kind": "snapshot" | "state",
     "chain": {"network", "genesis_id", "client_type",
               "headers": [hex, …]},             what leads from the root to the block whose state is proven, it last
     "state": [{"key": text, "value": text | null, "proof": proof}],             one for "snapshot", 1..1000 for "state"
     "region": {"network", "client_type", "header": hex},                        only for "snapshot"
     "snapshot": {"index", "data": text | "data_hex": hex, "proof": hex}}         only for "snapshot"

Headers and the proofs of snapshots and values belong to the client type that is named beside them. The region's header
is bare: without what its id does not bind.

The custody state holds the ids of a region's blocks at `anchored/<network>/<height // 64>`: `{"client_type", "ids"}`,
where element `h % 64` of `ids` is the id of height h (`""` where nothing was anchored; element 0 of bucket 0 is the
genesis id).

Nodes build an `Evidence` and write `encode()`; `evidence.verify_evidence` checks one. Left out: whether anything is
true.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from common.core.codec import canonical_json, parse_json
from common.core.errors import Malformed
from crosslink.lightclient.client_types import MAX_CLIENT_TYPE_CHARACTERS
from crosslink.lightclient.delivery import MAX_HEADER_BYTES, MAX_PROOF_BYTES, data_document, read_data
from crosslink.lightclient.json_fields import Fields
from crosslink.lightclient.trust_root import MAX_ID_BYTES

EVIDENCE_FORMAT = "tongjian/evidence/v1"
SNAPSHOT_KIND = "snapshot"
STATE_KIND = "state"
BUCKET_SIZE = 64
"""Block ids in one state value: a block's id costs one leaf of 4 KB to rewrite, and a proof carries 64 ids at most."""

MAX_EVIDENCE_BYTES = 32 * 1024 * 1024
"""A thousand state values with proofs, or ten thousand set changes: far above what a node builds."""

MAX_HEADERS = 10_001
MAX_STATE_ENTRIES = 1000
MAX_KEY_CHARACTERS = 8192
"""A state key. The longest, of a pledge, has names of 128, 256 and 256 characters: percent-encoded 7,680 at most."""

MAX_TEXT = 2_000_000
"""Characters of a state value or snapshot: above the largest snapshot that an operation can carry."""


@dataclass(frozen=True, slots=True)
class StateEntry:
    """One proven state value (`value` None: proven absent). `proof` is JSON of the chain's client type."""

    key: str
    value: str | None
    proof: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotEvidence:
    """The region's part of kind `snapshot`: the bare header of its block, and the snapshot with its proof."""

    network: str
    client_type: str
    header: bytes
    index: int
    data: bytes
    proof: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A parsed file; nothing is verified yet. `headers` are of the chain whose state is proven."""

    network: str
    genesis_id: bytes
    client_type: str
    headers: tuple[bytes, ...]
    state: tuple[StateEntry, ...]
    snapshot: SnapshotEvidence | None = None

    @property
    def kind(self) -> str:
        """`snapshot` or `state`."""
        return STATE_KIND if self.snapshot is None else SNAPSHOT_KIND

    def to_json(self) -> dict[str, Any]:
        """The file's document."""
        document: dict[str, Any] = {
            "format": EVIDENCE_FORMAT,
            "kind": self.kind,
            "chain": {
                "network": self.network,
                "genesis_id": self.genesis_id.hex(),
                "client_type": self.client_type,
                "headers": [header.hex() for header in self.headers],
            },
            "state": [{"key": entry.key, "value": entry.value, "proof": entry.proof} for entry in self.state],
        }
        if self.snapshot is not None:
            document["region"] = {
                "network": self.snapshot.network,
                "client_type": self.snapshot.client_type,
                "header": self.snapshot.header.hex(),
            }
            document["snapshot"] = {
                "index": self.snapshot.index,
                **data_document(self.snapshot.data),
                "proof": self.snapshot.proof.hex(),
            }
        return document

    def encode(self) -> bytes:
        """The file's canonical bytes."""
        return canonical_json(self.to_json())


def anchored_key(region: str, height: int) -> str:
    """State key of the bucket that holds the id of a region's block."""
    return f"anchored/{region}/{height // BUCKET_SIZE}"


def parse_evidence(data: bytes) -> Evidence:
    """Parse a file's bytes. Raises `Malformed` or `TooLarge`; verifies nothing."""
    fields = Fields(parse_json(data, max_size=MAX_EVIDENCE_BYTES), "evidence")
    if fields.text("format") != EVIDENCE_FORMAT:
        raise Malformed("evidence_format", "Not an evidence file of a known format.")
    kind = fields.text("kind")
    if kind not in (SNAPSHOT_KIND, STATE_KIND):
        raise Malformed("evidence_kind", "The kind is 'snapshot' or 'state'.")
    chain = fields.object("chain")
    network, genesis_id = chain.text("network"), chain.hex("genesis_id", max_size=MAX_ID_BYTES)
    client_type = chain.text("client_type", max_size=MAX_CLIENT_TYPE_CHARACTERS)
    headers = chain.hex_list("headers", max_count=MAX_HEADERS, max_size=MAX_HEADER_BYTES)
    chain.end()
    state = tuple(_state_entry(item) for item in fields.list("state", max_count=MAX_STATE_ENTRIES))
    snapshot = _snapshot_evidence(fields) if kind == SNAPSHOT_KIND else None
    fields.end()
    if not headers:
        raise Malformed("evidence_headers", "A file has the header whose state is proven.")
    if not state or (snapshot is not None and len(state) != 1):
        raise Malformed("evidence_state", "A file has at least one state entry, and exactly one for a snapshot.")
    return Evidence(
        network=network,
        genesis_id=genesis_id,
        client_type=client_type,
        headers=headers,
        state=state,
        snapshot=snapshot,
    )


def _state_entry(item: Any) -> StateEntry:
    fields = Fields(item, "state")
    key = fields.text("key", max_size=MAX_KEY_CHARACTERS)
    value = fields.any("value")
    if value is not None and not isinstance(value, str):
        raise Malformed("field_type", "state.value is not a string or null.", field="state.value")
    proof = fields.any("proof")
    fields.end()
    return StateEntry(key, value, proof)


def _snapshot_evidence(fields: Fields) -> SnapshotEvidence:
    region, snapshot = fields.object("region"), fields.object("snapshot")
    evidence = SnapshotEvidence(
        network=region.text("network"),
        client_type=region.text("client_type", max_size=MAX_CLIENT_TYPE_CHARACTERS),
        header=region.hex("header", max_size=MAX_HEADER_BYTES),
        index=snapshot.integer("index", maximum=2**32 - 1),
        data=read_data(snapshot, max_size=MAX_TEXT),
        proof=snapshot.hex("proof", max_size=MAX_PROOF_BYTES),
    )
    region.end()
    snapshot.end()
    return evidence
