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
from crosslink.lightclient.delivery import BlockDelivery, Delivery, MisbehaviourDelivery
from crosslink.lightclient.messages import HeaderMessage
from crosslink.lightclient.port import client_for
from crosslink.relay.planner import FetchedBlock, Read
from crosslink.relay.ports import RegionSource

Header = tuple[bytes, bytes]
"""Encoded header and certificate."""


async def contradiction_operations(
    source: RegionSource, state: ClientState, block: FetchedBlock, now_ms: int
) -> list[dict[str, Any]]:
    """Operations that show the custody chain what `block` contradicts, what proves most first. Never raises
    `Rejected`."""
    entry = BlockDelivery(header=block.header, certificate=block.certificate, next_validators=block.next_validators)
    alone = Delivery(state.network, (entry,)).to_operation()
    pair = await _pair(source, state, now_ms)
    if pair is None:
        return [alone]
    return [MisbehaviourDelivery(region=state.network, first=pair[0], second=pair[1]).to_operation(), alone]


async def _pair(source: RegionSource, state: ClientState, now_ms: int) -> tuple[Header, Header] | None:
    """Two certified headers of the trusted tip's height, the trusted one first, if the region's nodes hold both."""
    if state.height < 1:
        return None
    client = client_for(state.client_type)
    held: dict[bool, tuple[Header, HeaderMessage]] = {}
    for node in range(source.size):
        try:
            page = await source.read_node(node, Read(state.height, 1, 0))
            if not page.blocks:
                continue
            served = page.blocks[0]
            message = client.decode(served.header, served.certificate, served.validators)
        except Rejected:
            continue
        trusted = message.header.id(state.algorithms) == state.block_id
        held.setdefault(trusted, ((served.header, served.certificate), message))
    if len(held) < 2:
        return None
    try:
        client.verify_misbehaviour(state, held[True][1], held[False][1], now_ms=now_ms)
    except Rejected:
        return None
    return held[True][0], held[False][0]
