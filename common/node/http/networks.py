"""The node interface for supervision, in the shape of JR/T 0314-2024 chapter 7, for both tiers.

Invariants
  N1  Everything that can be proven comes with what proves it: headers and certificates as their wire bytes in hex,
      snapshots as their canonical JSON text (the Merkle leaf), paths as lists of hex.
  N2  Answers are bounded in entries and bytes, and a bulk answer is gathered block by block with the event loop in
      between, so that a bulk reader never holds up a vote.
  N3  Reading needs no more than the role `reader`, and that role reaches nothing else. The routes of `router` know no
      regions and leave no line in a query log, so regulators and markets do not get the custody chain's blocks here
      (`access.chain_content_roles`). Those of `facts_router` tell of a network what every chain reader may know on
      either tier: nothing that a market has registered is in them (docs/adr/0063).

Left out: submission, business queries, evidence files.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from common.core import merkle
from common.core.certificate import commit_payload
from common.core.errors import Malformed, NotFound, Rejected
from common.core.header import Header
from common.core.protocol import supported_versions
from common.core.snapshot import MAX_SNAPSHOT_BYTES
from common.core.transaction import MAX_ENVELOPE_BYTES, MAX_OPERATIONS, parse_envelope
from common.node.access import CHAIN_READERS, SUPERVISORS
from common.node.http.answer import PIECE_BYTES
from common.node.http.budget import HOLDS, Holds
from common.node.http.context import (
    DIGITS,
    MAX_HEIGHT,
    Height,
    Network,
    Node,
    Reader,
    parse_tx_id,
    require_chain_role,
    require_role,
)
from common.node.http.node_ports import NetworkDescription
from common.node.http.transactions import MAX_WAIT_S
from common.node.logic.execution.next_block import NextBlock
from common.node.store.chain_store import ChainStore
from common.node.store.committed_state import CommittedState
from common.version import VERSION

MAX_BULK_BYTES: Final = 8 * 1024 * 1024
"""A bulk answer; the relay holds a few of them at once."""
MAX_BULK_BLOCKS: Final = 512
BULK_HEAD_BYTES: Final = 1024
"""More than what a bulk answer has besides its blocks: a network id, a height, and a comma a block."""
MAX_REVISIONS: Final = 10_000
RESULT_STATES: Final = ("pending", "applied", "rejected", "expired", "unknown")
_INCLUDES: Final = frozenset({"snapshots", "validators"})
_encode: Final = msgspec.json.Encoder().encode


class _Content(msgspec.Struct):
    object_id: str
    operation: str
    type: str
    version: int


class _SnapshotHeader(msgspec.Struct):
    content: _Content


class _Snapshot(msgspec.Struct):
    header: _SnapshotHeader


_snapshot_decoder: Final = msgspec.json.Decoder(_Snapshot)


def _content(snapshot: bytes) -> _Content:
    """`header.content` of a snapshot that this chain has made, hence well formed; a tenth of a full parse."""
    return _snapshot_decoder.decode(snapshot).header.content


facts_router = APIRouter(
    prefix="/v1/networks", tags=["Node interface"], dependencies=[Depends(require_role(CHAIN_READERS))]
)
router = APIRouter(
    prefix="/v1/networks", tags=["Node interface"], dependencies=[Depends(require_chain_role(CHAIN_READERS))]
)


@facts_router.get("")
async def networks(node: Node, who: Reader) -> dict[str, Any]:
    """Networks that this node knows: its own, and those below it; for a regulator those that the token may see."""
    genesis, application = node.genesis, node.application
    below: list[dict[str, Any]] = []
    if isinstance(application, NetworkDescription):
        below = application.sub_networks(CommittedState(node.chain))
        if who.role in SUPERVISORS:
            below = [network for network in below if who.may_see_region(network["network_id"])]
    own = {
        "network_id": genesis.network,
        "tier": genesis.tier,
        "genesis_id": genesis.id.hex(),
        "suite": genesis.suite.name,
        "description": _described(node).get("name", genesis.network),
        "sub_networks": below,
    }
    return {"networks": [own]}


@facts_router.get("/{network}/options")
async def options(network: Network, node: Node) -> dict[str, Any]:
    """What this network accepts: operation types, result states, suite, limits, and the tier's own facts."""
    genesis = node.genesis
    context = NextBlock(node.chain).context()
    return {
        "network": network,
        "tier": genesis.tier,
        "node_version": VERSION,
        "protocol_version": context.protocol_version,
        "supported_versions": list(supported_versions()),
        "genesis_id": genesis.id.hex(),
        "suite": genesis.suite.name,
        "operation_types": node.application.operation_types(context.protocol_version),
        "result_states": list(RESULT_STATES),
        "limits": {
            **context.parameters.to_json(),
            "max_envelope_bytes": MAX_ENVELOPE_BYTES,
            "max_operations": MAX_OPERATIONS,
            "max_snapshot_bytes": MAX_SNAPSHOT_BYTES,
            "max_wait_s": MAX_WAIT_S,
            "max_blocks_per_answer": MAX_BULK_BLOCKS,
        },
        "application": _described(node),
    }


def _described(node: Node) -> dict[str, Any]:
    return node.application.describe(CommittedState(node.chain), NextBlock(node.chain).context())


@facts_router.get("/{network}/status")
async def status(network: Network, node: Node) -> dict[str, Any]:
    """The node's place in its network: final height, connected peers, view, validators."""
    now = node.status()
    return {
        "network": network,
        "tier": node.genesis.tier,
        "genesis_id": node.genesis.id.hex(),
        "height": now.height,
        "block_id": now.block_id.hex(),
        "time_ms": now.time_ms,
        "peers": list(now.connected),
        "view": now.view,
        "validators": list(now.validators),
        "own_index": now.own_index,
        "public_key": None if now.own_key is None else node.suite.format_key(now.own_key),
        "best_peer_height": now.best_peer_height,
        "syncing": now.syncing,
        "voting": now.voting,
        "ready": node.ready(),
        "mempool": {"transactions": now.mempool_transactions, "bytes": now.mempool_bytes},
        "pruned_below": node.chain.pruning_floor(),
    }


@router.get("/{network}/blocks")
async def blocks(
    request: Request,
    network: Network,
    node: Node,
    from_: Annotated[int, DIGITS, Query(alias="from", ge=1, le=MAX_HEIGHT, description="First height.")] = 1,
    limit: Annotated[int, DIGITS, Query(ge=1, le=MAX_BULK_BLOCKS)] = 64,
    wait: Annotated[
        int, DIGITS, Query(ge=0, le=MAX_WAIT_S, description="Seconds to wait if there is nothing yet.")
    ] = 0,
    include: Annotated[str, Query(max_length=64, description="Comma-separated: snapshots, validators.")] = "",
) -> Response:
    """Headers and certificates in order, for bulk readers; with all snapshots and changed validator sets if asked.

    Fewer than asked when the answer would exceed 8 MiB, or what this node has room for, but at least one if there is
    any.
    """
    wanted = frozenset(include.split(",")) - {""}
    if not wanted <= _INCLUDES:
        raise Malformed("include_unknown", "include takes snapshots and validators, separated by a comma.")
    if wait:
        await node.wait_height(from_, wait)
    tip = node.chain.tip().height
    entries: list[bytes] = []
    size = 0
    holds: Holds = request.scope[HOLDS]
    for height in range(from_, min(from_ + limit - 1, tip) + 1):
        entry = _encode(bulk_entry(node.chain, height, wanted))
        size += len(entry)
        if entries and size > MAX_BULK_BYTES:
            break
        try:
            if size > PIECE_BYTES:
                holds.hold(request.app.state.answers, size + BULK_HEAD_BYTES)
        except Rejected:
            if not entries:
                raise
            break
        entries.append(entry)
        await asyncio.sleep(0)
    content = b'{"network":%s,"blocks":[%s],"tip":%d}' % (_encode(network), b",".join(entries), tip)
    return Response(content, media_type="application/json")


def bulk_entry(chain: ChainStore, height: int, include: frozenset[str]) -> dict[str, Any]:
    """One block for bulk readers; `validators` only if the next height has another set."""
    header = chain.header(height)
    entry: dict[str, Any] = {
        "height": height,
        "id": chain.block_id(height).hex(),
        "header": header.encode().hex(),
        "certificate": chain.certificate(height).encode().hex(),
    }
    if "validators" in include and header.next_validators_hash != header.validators_hash:
        entry["validators"] = chain.validators(height + 1).encode().hex()
    if "snapshots" in include:
        entry["snapshots"] = [snapshot.decode() for snapshot in chain.snapshots(height)]
    return entry


def header_document(header: Header) -> dict[str, Any]:
    """A header's fields as JSON: integers, and digests in hex."""
    fields = {name: getattr(header, name) for name in Header.__dataclass_fields__}
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()}


@router.get("/{network}/blocks/{height}")
async def block(network: Network, height: Height, node: Node) -> dict[str, Any]:
    """One block's ids, time, transactions and header; height 0 is genesis, which has neither parent nor header."""
    chain = node.chain
    document: dict[str, Any] = {"network": network, "height": height, "id": chain.block_id(height).hex()}
    if height == 0:
        genesis = node.genesis
        return document | {
            "parent_height": None,
            "parent_id": None,
            "time_ms": genesis.time_ms,
            "tx_ids": [],
            "block_receipt": None,
            "header": None,
            "genesis": genesis.document.decode(),
        }
    header, own = chain.header(height), chain.block_receipt(height)
    return document | {
        "parent_height": height - 1,
        "parent_id": header.parent_id.hex(),
        "time_ms": header.time_ms,
        "tx_ids": [receipt.tx_id.hex() for receipt in chain.receipts(height)],
        "block_receipt": None if own is None else own.to_json(),
        "header": header_document(header),
        "header_bytes": header.encode().hex(),
    }


@router.get("/{network}/blocks/{height}/transactions/{tx_id}")
async def block_transaction(network: Network, height: Height, tx_id: str, node: Node) -> dict[str, Any]:
    """A transaction's operations with their types, and its result."""
    identity = parse_tx_id(tx_id)
    place = node.chain.transaction(identity)
    if place is None or place.height != height:
        raise NotFound("transaction_unknown", "The block holds no such transaction.", height=height)
    tx = parse_envelope(node.chain.envelope(height, place.index), node.suite)
    receipt = node.chain.receipt(height, place.index)
    return {
        "network": network,
        "tx_id": tx_id,
        "height": height,
        "index": place.index,
        "signers": list(tx.signers),
        "nonce": tx.nonce,
        "types": [operation["type"] for operation in tx.operations],
        "operations": list(tx.operations),
        "status": receipt.status,
        "receipt": receipt.to_json(),
    }


@router.get("/{network}/blocks/{height}/consensus-state")
async def consensus_state(network: Network, height: Height, node: Node) -> dict[str, Any]:
    """What the validators signed, who they are, who signed, and the roots."""
    chain, suite = node.chain, node.suite
    header, certificate, validators = chain.header(height), chain.certificate(height), chain.validators(height)
    block_id = certificate.block_id
    payload = commit_payload(suite, header.genesis_id, header.network, height, certificate.view, block_id)
    members = validators.members
    return {
        "network": network,
        "height": height,
        "block_id": block_id.hex(),
        "view": certificate.view,
        "state_root": header.state_root.hex(),
        "tx_root": header.tx_root.hex(),
        "receipt_root": header.receipt_root.hex(),
        "receipt_count": header.receipt_count,
        "snapshot_root": header.snapshot_root.hex(),
        "quorum": validators.quorum,
        "validators": [{"index": at, **member} for at, member in enumerate(validators.to_json(suite))],
        "voters": [members[index].name for index, _ in certificate.signatures],
        "signatures": [
            {
                "index": index,
                "name": members[index].name,
                "public_key": suite.format_key(members[index].public_key),
                "signature": signature.hex(),
            }
            for index, signature in certificate.signatures
        ],
        "signed_bytes": payload.hex(),
        "certificate": certificate.encode().hex(),
    }


@router.get("/{network}/blocks/{height}/objects")
async def block_objects(network: Network, height: Height, node: Node) -> list[dict[str, Any]]:
    """The data objects that a block made snapshots of, in business order."""
    return [
        {
            "index": index,
            "object_id": content.object_id,
            "version": content.version,
            "operation": content.operation,
            "type": content.type,
        }
        for index, content in enumerate(map(_content, node.chain.snapshots(height)))
    ]


@router.get("/{network}/blocks/{height}/objects/{object_id}")
async def block_object(network: Network, height: Height, object_id: str, node: Node) -> dict[str, Any]:
    """Every snapshot of one object in a block, each as the canonical text that was hashed, with its Merkle proof."""
    chain = node.chain
    snapshots = chain.snapshots(height)
    # A search for the bytes finds candidates without decoding a whole block; decoding them decides.
    mark = b'"object_id":' + _encode(object_id)
    candidates = [(index, _content(data)) for index, data in enumerate(snapshots) if mark in data]
    found = [(index, content) for index, content in candidates if content.object_id == object_id]
    if not found:
        raise NotFound(
            "object_unknown", "The block holds no snapshot of this object.", height=height, object_id=object_id
        )
    tree = merkle.Tree(node.suite.hash, snapshots)
    return {
        "network": network,
        "height": height,
        "block_id": chain.block_id(height).hex(),
        "object_id": object_id,
        "snapshot_root": tree.root.hex(),
        "snapshot_count": tree.count,
        "snapshots": [
            {
                "index": index,
                "version": content.version,
                "operation": content.operation,
                "snapshot": snapshots[index].decode(),
                "proof": [item.hex() for item in tree.prove(index)],
            }
            for index, content in found
        ],
    }


@router.get("/{network}/objects/{object_id}")
async def object_revisions(
    network: Network,
    object_id: str,
    node: Node,
    version_: Annotated[
        int | None, DIGITS, Query(alias="version", ge=0, le=MAX_HEIGHT, description="Only this version.")
    ] = None,
) -> dict[str, Any]:
    """Every revision of an object with its height and index, latest first; an overwrite reuses its version."""
    revisions = node.chain.object_revisions(object_id, MAX_REVISIONS + 1)
    if not revisions:
        raise NotFound("object_unknown", "There is no such object.", object_id=object_id)
    return {
        "network": network,
        "object_id": object_id,
        "revisions": [
            {"height": height, "index": index, "version": number}
            for height, index, number in revisions[:MAX_REVISIONS]
            if version_ is None or number == version_
        ],
        "complete": len(revisions) <= MAX_REVISIONS,
    }
