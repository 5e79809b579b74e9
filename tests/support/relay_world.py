"""Both sides of a relay in memory: business chains behind nodes that may lie, and a small model of the custody chain.

`ModelCustody` keeps the rules that matter to a relay (protocol rules 16, 17, 20), with the same light client as the
custody chain, and records every block and snapshot that it takes in, so that a test can say: everything once, in
order, nothing left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.core.codec import canonical_json
from common.core.errors import Rejected, Unavailable
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.client_types import client_for
from crosslink.lightclient.delivery import (
    MAX_OPERATION_BYTES,
    MISBEHAVIOUR,
    BlockDelivery,
    MisbehaviourDelivery,
    parse_misbehaviour,
    parse_submit,
    verify_items,
)
from crosslink.lightclient.port import Verdict, VerifiedBlock
from crosslink.lightclient.reading import Read, ServedBlock
from crosslink.lightclient.update import freeze, update
from crosslink.lightclient.verify import check_misbehaviour, verify, verify_misbehaviour
from crosslink.relay.node_pool import NodeFault, NodePool
from crosslink.relay.planner import AnchoredPosition, Partial
from crosslink.relay.ports import Page, RegionStatus, SubmissionFate
from tests.support.chains import BuiltBlock, ChainBuilder


@dataclass
class ModelRegion:
    """What the model keeps of a region; `taken` are (height, index) of snapshots in the order of arrival."""

    state: ClientState
    anchored: int = 0
    partial: Partial | None = None
    block: VerifiedBlock | None = None
    frozen: bool = False
    taken: list[tuple[int, int, bytes]] = field(default_factory=list)
    ids: dict[int, bytes] = field(default_factory=dict)


class ModelCustody:
    """Implements `ports.Custody` directly; `apply` is the rule, for other adapters. One custody block a submission."""

    def __init__(self, chains: Sequence[ChainBuilder], now_ms: Callable[[], int]) -> None:
        self.regions = {chain.network: ModelRegion(chain.client_state(established_ms=now_ms())) for chain in chains}
        self.height = 0
        self.now_ms = now_ms
        self.results: list[SubmissionFate] = []
        self.sizes: list[int] = []
        self.doubts = 0
        self.culprits: tuple[str, ...] = ()

    async def region(self, network: str, *, at_least: int = 0) -> RegionStatus:
        """The cursor."""
        await asyncio.sleep(0)
        region = self.regions[network]
        return RegionStatus(
            network=network,
            position=AnchoredPosition(region.anchored, region.state.block_id, region.partial),
            client_state=region.state,
            custody_height=self.height,
            frozen=region.frozen,
        )

    async def submit(self, operation: dict[str, Any], custody_height: int) -> SubmissionFate:
        """Apply at once."""
        await asyncio.sleep(0)
        return self.apply(operation)

    def doubt(self) -> None:
        """Counted."""
        self.doubts += 1

    def apply(self, operation: dict[str, Any]) -> SubmissionFate:
        """All of an operation or nothing; a misbehaving region freezes."""
        self.height += 1
        size = len(canonical_json(operation))
        self.sizes.append(size)
        if operation["type"] == MISBEHAVIOUR:
            return self._judge(parse_misbehaviour(operation))
        delivery = parse_submit(operation)
        region = self.regions[delivery.region]
        before = ModelRegion(
            region.state,
            region.anchored,
            region.partial,
            region.block,
            region.frozen,
            list(region.taken),
            dict(region.ids),
        )
        try:
            if size > MAX_OPERATION_BYTES:
                raise Rejected("operation_too_large", "too large")
            for entry in delivery.blocks:
                self._take(region, entry)
            result = SubmissionFate("applied", "ok", self.height)
        except Rejected as refusal:
            self.regions[delivery.region] = before
            result = SubmissionFate("rejected", refusal.code, self.height)
        self.results.append(result)
        return result

    def _judge(self, delivery: MisbehaviourDelivery) -> SubmissionFate:
        region = self.regions[delivery.region]
        try:
            found = verify_misbehaviour(region.state, delivery.first, delivery.second, now_ms=self.now_ms())
            region.state, region.frozen = freeze(region.state, found), True
            self.culprits = tuple(culprit.name for culprit in found.culprits)
            result = SubmissionFate("applied", "ok", self.height)
        except Rejected as refusal:
            result = SubmissionFate("rejected", refusal.code, self.height)
        self.results.append(result)
        return result

    def _take(self, region: ModelRegion, entry: BlockDelivery) -> None:
        if entry.header is None:
            if entry.height is not None and entry.height <= region.anchored:
                return
            if region.partial is None or region.block is None or entry.height != region.partial.height:
                raise Rejected("header_gap", "no such open block")
            self._snapshots(region, region.block, entry)
            return
        verified = verify(region.state, entry.header, now_ms=self.now_ms(), held=region.ids.get)
        block = verified.block
        found = check_misbehaviour(region.state, verified, region.ids.get)
        if found is not None:
            region.state, region.frozen = freeze(region.state, found), True
            return
        if verified.verdict is Verdict.KNOWN:
            if region.partial is not None and region.partial.height == block.height:
                self._snapshots(region, block, entry)
            return
        if region.partial is not None:
            raise Rejected("block_incomplete", "the block before is not complete")
        region.state = update(region.state, verified)
        region.ids[block.height] = block.id
        region.partial, region.block = Partial(block.height, 0), block
        self._snapshots(region, block, entry)

    def _snapshots(self, region: ModelRegion, block: VerifiedBlock, entry: BlockDelivery) -> None:
        partial = region.partial
        items = [item for item in entry.snapshots if item.index >= partial.next_index]
        if entry.snapshots and not items:
            return
        if len(items) < len(entry.snapshots) and items and items[0].proof is None:
            raise Rejected("snapshot_proofs_missing", "the rest of a block needs proofs")
        delivered = verify_items(client_for(region.state.client_type), block.commitments, partial.next_index, items)
        region.taken += [(block.height, item.index, item.data) for item in items]
        region.partial = Partial(block.height, partial.next_index + len(items))
        if delivered.complete:
            region.anchored, region.partial, region.block = block.height, None, None

    def complete(self, chain: ChainBuilder) -> bool:
        """Whether everything of a chain is in, once, in order."""
        region = self.regions[chain.network]
        if region.anchored != chain.height or region.partial is not None:
            return False
        expected = [(block.height, index, data) for block in chain.blocks for index, data in enumerate(block.snapshots)]
        return region.taken == expected


Tamper = Callable[[BuiltBlock], ServedBlock | None]
"""How a node serves a block; None: not at all."""


def honest(block: BuiltBlock) -> ServedBlock:
    """As it is."""
    return ServedBlock(block.signed, block.snapshots)


@dataclass
class ModelNode:
    """One node of a business chain: `visible` bounds what it has, `tamper` what it says, `down` whether it answers.

    `chain`: its own branch, if the validators forked.
    """

    tamper: Tamper = honest
    visible: int | None = None
    down: bool = False
    served: int = 0
    chain: ChainBuilder | None = None


class ModelSource:
    """Implements `ports.RegionSource` over nodes in memory."""

    def __init__(self, chain: ChainBuilder, nodes: list[ModelNode], now_ms: Callable[[], int], page: int = 50) -> None:
        self.chain = chain
        self.nodes = nodes
        self.pool = NodePool([f"node-{index}" for index in range(len(nodes))])
        self.now_ms = now_ms
        self.page = page
        self.faults: list[tuple[int, NodeFault]] = []

    async def read(self, state: ClientState, read: Read) -> Page:
        """What the node in use serves."""
        await asyncio.sleep(0)
        for _ in self.nodes:
            index = self.pool.choose(self.now_ms())
            node = self.nodes[index]
            if node.down:
                self.blame(index, NodeFault.DOWN)
                continue
            chain = node.chain or self.chain
            tip = chain.height if node.visible is None else min(node.visible, chain.height)
            if tip < read.from_height:
                await asyncio.sleep(0.005 if read.wait_s else 0)
                self.pool.rotate()
                return Page(index, (), tip)
            last = min(tip, read.from_height + min(read.limit, self.page) - 1)
            blocks = [node.tamper(chain.block(height)) for height in range(read.from_height, last + 1)]
            node.served += 1
            return Page(index, tuple(block for block in blocks if block is not None), tip)
        raise Unavailable("no_node_serves", "all down")

    async def read_node(self, state: ClientState, node: int, read: Read) -> Page:
        """What that node has at the height asked for."""
        await asyncio.sleep(0)
        if self.nodes[node].down:
            raise Unavailable("node_down", "down")
        chain = self.nodes[node].chain or self.chain
        block = self.nodes[node].tamper(chain.block(read.from_height))
        return Page(node, () if block is None else (block,), chain.height)

    @property
    def size(self) -> int:
        """Number of nodes."""
        return len(self.nodes)

    def blame(self, node: int, fault: NodeFault) -> None:
        """Pause it."""
        self.faults.append((node, fault))
        self.pool.failed(node, fault, self.now_ms())

    def praise(self, node: int) -> None:
        """Fine."""
        self.pool.succeeded(node)

    def describe(self) -> dict[str, Any]:
        """For the status API."""
        return {"endpoint": self.pool.url(self.pool.current)}


class WarpClock:
    """Implements `ports.Clock`: sleeping takes no time, it moves the clock. `skew_ms`: how wrong the wall clock is."""

    def __init__(self, start_ms: int) -> None:
        self.time_ms = start_ms
        self.skew_ms = 0

    def now_ms(self) -> int:
        """What the wall clock shows."""
        return self.time_ms + self.skew_ms

    def elapsed_ms(self) -> int:
        """The time so far."""
        return self.time_ms

    async def sleep(self, delay_ms: int) -> None:
        """Move on, and let others run."""
        self.time_ms += delay_ms
        await asyncio.sleep(0)
