"""A block from which trust in a chain may begin anew, as several of its nodes show it.

What nodes say is proven by nothing here: a checkpoint is as good as the organisations whose nodes agree on it, and
their telephone call about its id. Used for recoveries of a region and for joining with a trust file of one's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cli.client import Api
from common.core.errors import Conflict, Malformed, NotFound
from common.core.genesis import Genesis
from common.core.header import Header
from common.core.validators import ValidatorSet
from crosslink.lightclient.pbft.trust import checkpoint_document
from crosslink.lightclient.trust_root import Checkpoint


def agreed_checkpoint(nodes: Sequence[Api], genesis: Genesis, height: int | None) -> Checkpoint:
    """The block at `height` with the set that signs the next one, as every one of `nodes` shows them; without a height,
    the newest block that all of them have.

    Raises Malformed('genesis_differs') for a node of another chain, NotFound('block_unknown') for a height that a node
    has not reached, Conflict('nodes_disagree') if they show different blocks, and what the requests raise.
    """
    tips = [_tip(node, genesis) for node in nodes]
    wanted = min(tips) if height is None else height
    if wanted > min(tips):
        raise NotFound("block_unknown", f"a node of {genesis.network} is only at height {min(tips)}", height=wanted)
    seen = [_block(node, genesis, wanted) for node in nodes]
    if any(other != seen[0] for other in seen):
        ids = ", ".join(sorted({checkpoint.id.hex() for checkpoint in seen}))
        raise Conflict("nodes_disagree", f"the nodes show different blocks at height {wanted}: {ids}")
    return seen[0]


def _tip(node: Api, genesis: Genesis) -> int:
    status = node.get(f"/v1/networks/{genesis.network}/status")
    if status["genesis_id"] != genesis.id.hex():
        raise Malformed("genesis_differs", f"{node.urls[0]} is of another chain than the genesis document")
    return int(status["height"])


def _block(node: Api, genesis: Genesis, height: int) -> Checkpoint:
    base = f"/v1/networks/{genesis.network}"
    blocks = node.get(f"{base}/blocks", **{"from": height, "limit": 1})["blocks"]
    header = Header.decode(bytes.fromhex(blocks[0]["header"])) if blocks else None
    if header is None or header.height != height:
        raise NotFound("block_unknown", f"{node.urls[0]} does not show block {height}", height=height)
    following = ValidatorSet.from_json(_signers_after(node, base, height), genesis.suite)
    if header.next_validators_hash != following.hash(genesis.suite):
        raise Conflict("set_changed", f"{genesis.network} changes its validators at this moment: try again")
    return Checkpoint(
        height=height,
        id=header.id(genesis.suite),
        time_ms=header.time_ms,
        trust=checkpoint_document(genesis.suite, following),
    )


def _signers_after(node: Api, base: str, height: int) -> list[dict[str, Any]]:
    """The set that signs the block after `height`: of the tip, the present one."""
    if int(node.get(f"{base}/status")["height"]) == height:
        return list(node.get(f"{base}/governance")["validators"])
    members = node.get(f"{base}/blocks/{height + 1}/consensus-state")["validators"]
    return [{name: value for name, value in member.items() if name != "index"} for member in members]
