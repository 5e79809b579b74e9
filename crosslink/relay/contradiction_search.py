"""What to submit when a region's validators have certified two histories (attack R3).

A block above the trusted tip with another parent proves it by itself. A *pair* of certified headers at the tip's
height proves more: it names the members that signed both in one view (protocol rule 20). So the region's nodes are
asked for their block at the tip's height; if they hold two, the pair is submitted, and otherwise the block alone. The
block follows, too, where governance has judged the pair already: it may be of a new contradiction.

Left out: judgement. The custody chain verifies either.
"""

from __future__ import annotations

from typing import Any

from common.core.errors import Rejected
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.client_types import client_for
from crosslink.lightclient.delivery import BlockDelivery, Delivery, MisbehaviourDelivery
from crosslink.lightclient.reading import Read
from crosslink.lightclient.verify import verify_misbehaviour
from crosslink.relay.planner import FetchedBlock
from crosslink.relay.ports import RegionSource


async def contradiction_operations(
    source: RegionSource, state: ClientState, block: FetchedBlock, now_ms: int
) -> list[dict[str, Any]]:
    """Operations that show the custody chain what `block` contradicts, what proves most first. Never raises
    `Rejected`."""
    alone = Delivery(state.network, (BlockDelivery(header=block.header),)).to_operation()
    pair = await _pair(source, state, now_ms)
    if pair is None:
        return [alone]
    return [MisbehaviourDelivery(region=state.network, first=pair[0], second=pair[1]).to_operation(), alone]


async def _pair(source: RegionSource, state: ClientState, now_ms: int) -> tuple[bytes, bytes] | None:
    """Two certified headers of the trusted tip's height, the trusted one first, if the region's nodes hold both."""
    if state.height < 1:
        return None
    client = client_for(state.client_type)
    held: dict[bool, bytes] = {}
    for node in range(source.size):
        try:
            page = await source.read_node(state, node, Read(state.height, 1, 0))
            if not page.blocks:
                continue
            header = page.blocks[0].header
            block = client.read_block(header, network=state.network, genesis_id=state.genesis_id)
        except Rejected:
            continue
        if block.height == state.height:
            held.setdefault(block.id == state.block_id, header)
    if len(held) < 2:
        return None
    try:
        verify_misbehaviour(state, held[True], held[False], now_ms=now_ms)
    except Rejected:
        return None
    return held[True], held[False]
