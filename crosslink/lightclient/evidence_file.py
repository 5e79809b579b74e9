"""Evidence files `tongjian/evidence/v1`: their layout, and strict parsing.

All binary values are lowercase hex; unknown fields are refused at every level; the full text is
docs/protocol-evidence.md::

    {"format": "tongjian/evidence/v1",
     "kind": "snapshot" | "state",
     "chain": {"network", "genesis_id",
               "set_changes": [{"header", "certificate", "next_validators"}],   every set change since genesis,
               ascending "header", "certificate"},                                         the block whose state_root
               is used
     "state": [{"key": text, "value": text | null, "proof": state proof}],       one for "snapshot", 1..1000 for "state"
     "region": {"network", "header"},                                            only for "snapshot"
     "snapshot": {"index", "data": text, "proof": [hex]}}                         only for "snapshot"

The custody state holds the ids of a region's blocks at `anchored/<network>/<height // 64>`: the canonical JSON list
whose element `h % 64` is the id of height h (`""` where nothing was anchored; element 0 of bucket 0 is the genesis
id).

Nodes build an `Evidence` and write `encode()`; `evidence.verify_evidence` checks one. Left out: whether anything is
true.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from common.core.certificate import MAX_CERTIFICATE_BYTES
from common.core.codec import canonical_json, parse_json
from common.core.errors import InvariantBroken, Malformed
from common.core.header import MAX_HEADER_BYTES, Header
from common.core.state_proof import StateProof
from common.core.suite import HASH_SIZE
from crosslink.lightclient.delivery import MAX_PROOF_ITEMS
from crosslink.lightclient.fields import Fields, hex_list
from crosslink.lightclient.messages import MAX_VALIDATORS_BYTES, HeaderMessage, decode_header_message

EVIDENCE_FORMAT = "tongjian/evidence/v1"
SNAPSHOT_KIND = "snapshot"
STATE_KIND = "state"
BUCKET_SIZE = 64
"""Block ids in one state value: a block's id costs one leaf of 4 KB to rewrite, and a proof carries 64 ids at most."""

MAX_EVIDENCE_BYTES = 32 * 1024 * 1024
"""A thousand state values with proofs, or ten thousand set changes: far above what a node builds."""

MAX_SET_CHANGES = 10_000
MAX_STATE_ENTRIES = 1000
MAX_KEY_CHARACTERS = 8192
"""A state key. The longest, of a pledge, has names of 128, 256 and 256 characters: percent-encoded 7,680 at most."""

MAX_TEXT = 2_000_000
"""Characters of a state value or snapshot: above the largest snapshot that an operation can carry."""


@dataclass(frozen=True, slots=True)
class StateEntry:
    """One proven state value (`value` None: proven absent)."""

    key: str
    value: str | None
    proof: StateProof


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotEvidence:
    """The region's part of kind `snapshot`."""

    header: Header
    index: int
    data: str
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A parsed file; nothing is verified yet. `set_changes` and `tip` are of the chain whose state is proven."""

    network: str
    genesis_id: bytes
    set_changes: tuple[HeaderMessage, ...]
    tip: HeaderMessage
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
                "set_changes": [_set_change_json(change) for change in self.set_changes],
                "header": self.tip.header.encode().hex(),
                "certificate": self.tip.certificate.encode().hex(),
            },
            "state": [{"key": entry.key, "value": entry.value, "proof": entry.proof.to_json()} for entry in self.state],
        }
        if self.snapshot is not None:
            document["region"] = {
                "network": self.snapshot.header.network,
                "header": self.snapshot.header.encode().hex(),
            }
            document["snapshot"] = {
                "index": self.snapshot.index,
                "data": self.snapshot.data,
                "proof": [sibling.hex() for sibling in self.snapshot.proof],
            }
        return document

    def encode(self) -> bytes:
        """The file's canonical bytes."""
        return canonical_json(self.to_json())


def _set_change_json(change: HeaderMessage) -> dict[str, str]:
    if change.next_validators is None:
        raise InvariantBroken("a set change without the set that it leads to")
    return {
        "header": change.header.encode().hex(),
        "certificate": change.certificate.encode().hex(),
        "next_validators": change.next_validators.encode().hex(),
    }


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
    network, genesis_id = chain.text("network"), chain.hex("genesis_id", size=HASH_SIZE)
    changes = tuple(_set_change(item) for item in chain.list("set_changes", max_count=MAX_SET_CHANGES))
    tip = _header_message(chain)
    chain.end()
    state = tuple(_state_entry(item) for item in fields.list("state", max_count=MAX_STATE_ENTRIES))
    snapshot = _snapshot_evidence(fields) if kind == SNAPSHOT_KIND else None
    fields.end()
    if not state or (snapshot is not None and len(state) != 1):
        raise Malformed("evidence_state", "A file has at least one state entry, and exactly one for a snapshot.")
    return Evidence(
        network=network, genesis_id=genesis_id, set_changes=changes, tip=tip, state=state, snapshot=snapshot
    )


def _header_message(fields: Fields, next_validators: bytes | None = None) -> HeaderMessage:
    header = fields.hex("header", max_size=MAX_HEADER_BYTES)
    return decode_header_message(header, fields.hex("certificate", max_size=MAX_CERTIFICATE_BYTES), next_validators)


def _set_change(item: Any) -> HeaderMessage:
    fields = Fields(item, "set_change")
    change = _header_message(fields, fields.hex("next_validators", max_size=MAX_VALIDATORS_BYTES))
    fields.end()
    return change


def _state_entry(item: Any) -> StateEntry:
    fields = Fields(item, "state")
    key = fields.text("key", max_size=MAX_KEY_CHARACTERS)
    value = fields.any("value")
    if value is not None and not isinstance(value, str):
        raise Malformed("field_type", "state.value is not a string or null.", field="state.value")
    proof = StateProof.from_json(fields.any("proof"))
    fields.end()
    return StateEntry(key, value, proof)


def _snapshot_evidence(fields: Fields) -> SnapshotEvidence:
    region, snapshot = fields.object("region"), fields.object("snapshot")
    header = Header.decode(region.hex("header", max_size=MAX_HEADER_BYTES))
    if region.text("network") != header.network:
        raise Malformed("evidence_region", "The region header names another network than the file.")
    evidence = SnapshotEvidence(
        header=header,
        index=snapshot.integer("index", maximum=2**32 - 1),
        data=snapshot.text("data", max_size=MAX_TEXT),
        proof=hex_list(snapshot.list("proof", max_count=MAX_PROOF_ITEMS), "snapshot.proof", size=HASH_SIZE),
    )
    region.end()
    snapshot.end()
    return evidence


def set_changes_of(blocks: Iterable[HeaderMessage]) -> tuple[HeaderMessage, ...]:
    """Those of a chain's blocks, in order, after which the validator set changes: what `set_changes` must hold."""
    return tuple(block for block in blocks if block.header.next_validators_hash != block.header.validators_hash)
