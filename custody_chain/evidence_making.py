"""The evidence file for one snapshot: custody headers, state proof, region header, snapshot, proof.

Layout and verification: `crosslink/lightclient/evidence_file.py`, `docs/protocol-evidence.md`. The custody chain keeps
no second copy of snapshots: they are read from the transactions that delivered them, which the index names.

Invariants:
  * Everything belongs to one tip. If a block is committed meanwhile, the file is made again.
  * A file is about the object that was asked for, whatever the index says.
  * What is not anchored yet (a block that is partly delivered) has no evidence.

Left out: verification, and who may ask.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from common.core.errors import InvariantBroken, NotFound, Unavailable
from common.core.validators import ValidatorSet
from common.model.schemas import MODEL
from common.node.store import schema
from common.node.store.chain_store import ChainReader, ChainStore
from crosslink.lightclient.client_types import client_for
from crosslink.lightclient.evidence_file import Evidence, SnapshotEvidence, StateEntry
from crosslink.lightclient.pbft.messages import HeaderMessage
from crosslink.lightclient.pbft.trust import PBFT_CLIENT_TYPE
from custody_chain import intake
from custody_chain.regions import id_in
from custody_chain.tables.deliveries import DELIVERIES, HEADERS, HeaderKey, Origin
from custody_chain.tables.objects import OBJECTS, REVISIONS, ObjectKey
from custody_chain.tables.regions import ANCHORED, bucket_key

_ATTEMPTS: Final = 3
_decode: Final = msgspec.json.Decoder().decode


def own_headers(reader: ChainReader, height: int) -> tuple[bytes, ...]:
    """What leads from this chain's genesis to a block of it (`pbft.chain`): every block below after which its validator
    set changed, ascending, with the set that follows; last the block itself.
    """
    suite = reader.genesis.suite
    headers = []
    for key, value in reader.view.scan(schema.VALIDATORS):
        first_height = schema.read_u64(key, len(schema.VALIDATORS))
        if first_height == 0 or first_height > height:
            continue
        change = HeaderMessage(
            suite=suite,
            header=reader.header(first_height - 1),
            certificate=reader.certificate(first_height - 1),
            next_validators=ValidatorSet.decode(value),
        )
        headers.append(change.encode())
    proven = HeaderMessage(suite=suite, header=reader.header(height), certificate=reader.certificate(height))
    return (*headers, proven.encode())


def own_evidence(
    reader: ChainReader, height: int, entries: tuple[StateEntry, ...], snapshot: SnapshotEvidence | None
) -> Evidence:
    """An evidence file about this chain's state after the block at `height`, which is above 0."""
    return Evidence(
        network=reader.genesis.network,
        genesis_id=reader.genesis.id,
        client_type=PBFT_CLIENT_TYPE,
        headers=own_headers(reader, height),
        state=entries,
        snapshot=snapshot,
    )


def locate(reader: ChainReader, network: str, object_id: str, height: int | None, index: int | None) -> tuple[int, int]:
    """Height and index of an object's snapshot: the newest one unless they are given.

    Raises `NotFound` with `object_unknown` or `snapshot_unknown`.
    """
    stored = reader.index_get(OBJECTS.path(ObjectKey(network, object_id)))
    if stored is None:
        raise NotFound("object_unknown", "The region has reported no such object.", region=network, object_id=object_id)
    if height is None:
        record = OBJECTS.decode(stored)
        return record.height, record.index
    prefix = REVISIONS.prefix(network, object_id, height)
    found = [REVISIONS.key(path).number for path, _ in reader.index_scan(prefix, None, _MAX_IN_BLOCK)]
    if not found or (index is not None and index not in found):
        raise NotFound(
            "snapshot_unknown", "That block holds no such snapshot of the object.", height=height, object_id=object_id
        )
    return height, found[-1] if index is None else index


_MAX_IN_BLOCK: Final = 10_000
"""Snapshots of one object in one block that are looked through; the newest within them is found."""


def delivered_item(reader: ChainReader, origin: Origin) -> dict[str, Any]:
    """The entry of the operation that the index names. Raises `Gone` if it was pruned."""
    place = reader.transaction(bytes.fromhex(origin.tx))
    if place is None:
        raise InvariantBroken("the index names a transaction that the chain does not have")
    envelope = _decode(reader.envelope(place.height, place.index))
    entry: dict[str, Any] = envelope["transaction"]["operations"][origin.operation]["blocks"][origin.entry]
    return entry


def read_header(reader: ChainReader, network: str, height: int) -> bytes:
    """A region's header as it was delivered, opaque. Raises `NotFound('snapshot_unknown')`."""
    stored = reader.index_get(HEADERS.path(HeaderKey(network, height)))
    if stored is None:
        raise NotFound("snapshot_unknown", "That block was not delivered.", height=height)
    return bytes.fromhex(delivered_item(reader, HEADERS.decode(stored))["header"])


def read_snapshot(
    reader: ChainReader, client_type: str, network: str, height: int, index: int, *, prove: bool = True
) -> tuple[bytes, bytes]:
    """Bytes and proof of one delivered snapshot, of a region of this client type. Raises `NotFound` or `Gone`."""
    for _, value in reader.index_scan(DELIVERIES.prefix(network, height), None, _MAX_IN_BLOCK):
        batch = DELIVERIES.decode(value)
        if not batch.first <= index < batch.first + batch.count:
            continue
        items = delivered_item(reader, batch)["snapshots"]
        item = next(item for item in items if item["index"] == index)
        if "proof" in item or not prove:
            return _data(item), bytes.fromhex(item.get("proof", ""))
        client = client_for(client_type)
        block = client.read_block(read_header(reader, network, height), network=network)
        proofs = client.prove_objects(block.commitments, [_data(other) for other in items])
        return _data(item), proofs[index]
    raise NotFound("snapshot_unknown", "That snapshot was not delivered.", height=height, index=index)


def _data(item: dict[str, Any]) -> bytes:
    text: str | None = item.get("data")
    return bytes.fromhex(item["data_hex"]) if text is None else text.encode("utf-8")


def snapshot_of(
    reader: ChainReader, client_type: str, network: str, object_id: str, height: int, index: int, *, prove: bool = True
) -> tuple[bytes, bytes]:
    """Like `read_snapshot`, of this object alone. Raises `NotFound('snapshot_unknown')` if another one stands there.

    The index names what was taken in of a block that a recovery abandoned too; another block may be at its height.
    """
    data, proof = read_snapshot(reader, client_type, network, height, index, prove=prove)
    if intake.read_snapshot(data, MODEL).object_id != object_id:  # the same under every set of schemas
        raise NotFound(
            "snapshot_unknown", "That block holds no such snapshot of the object.", object_id=object_id, height=height
        )
    return data, proof


def build_evidence(
    chain: ChainStore, client_type: str, network: str, object_id: str, height: int | None, index: int | None
) -> tuple[Evidence, int]:
    """The evidence file for one snapshot of an object, and the custody height that it proves.

    `client_type` is the region's.

    Raises `NotFound` (`object_unknown`, `snapshot_unknown`, `not_anchored`), `Gone`, `Unavailable`.
    """
    for _ in range(_ATTEMPTS):
        reader = chain.moment()
        if reader.tip().header is None:
            raise Unavailable("chain_empty", "The custody chain has no block yet.")
        at_height, at_index = locate(reader, network, object_id, height, index)
        data, proof = snapshot_of(reader, client_type, network, object_id, at_height, at_index)
        client = client_for(client_type)
        header = client.bare_header(read_header(reader, network, at_height))
        block_id = client.read_block(header, network=network).id
        key = ANCHORED.path(bucket_key(network, at_height))
        proven = chain.proven_state(key)
        if proven.tip.height != reader.tip().height:
            continue
        anchored_id = None if proven.value is None else id_in(ANCHORED.decode(proven.value), at_height)
        if anchored_id != block_id:
            raise NotFound(
                "not_anchored", "The block is not completely delivered yet.", height=at_height, object_id=object_id
            )
        entry = StateEntry(key.decode("ascii"), (proven.value or b"").decode("utf-8"), proven.proof.to_json())
        snapshot = SnapshotEvidence(
            network=network, client_type=client_type, header=header, index=at_index, data=data, proof=proof
        )
        return own_evidence(reader, proven.tip.height, (entry,), snapshot), proven.tip.height
    raise Unavailable("tip_moved", "Blocks were committed while the proof was made; ask again.")
