"""Nodes that keep bodies, joined in one process: exchange, keeper and store are real, channels and chain are not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from common.core.suite import ED25519_SHA256
from common.model.sealed import SealedBody
from common.node.bodies.body_exchange import BodyExchange
from common.node.bodies.body_keeper import BodyKeeper
from common.node.bodies.body_store import BodyRoom, BodyStore
from common.node.logic.node_effects import Channel, Warned
from common.node.logic.node_events import PeerKey
from tests.unit.runtime.network import Recorder, now_ms

ROOM = BodyRoom(bodies=1_000, size_bytes=1 << 28)


def sealed(data: bytes) -> SealedBody:
    """What a snapshot says of these bytes."""
    digest = ED25519_SHA256.hash(data).hex()
    return SealedBody(digest=digest, media_type="application/pdf", size_bytes=len(data))


class Ledger:
    """A chain whose blocks commit to what a test says."""

    def __init__(self) -> None:
        self.committed: list[SealedBody] = []
        self._grown = asyncio.Event()

    @property
    def chain(self) -> Any:
        return SimpleNamespace(tip=lambda: SimpleNamespace(height=len(self.committed)))

    def commit(self, *bodies: SealedBody) -> None:
        self.committed += bodies
        self._grown.set()

    async def wait_height(self, height: int, timeout_s: float) -> bool:
        self._grown.clear()
        if len(self.committed) < height:
            try:
                await asyncio.wait_for(self._grown.wait(), timeout_s)
            except TimeoutError:
                return False
        return True

    def sealed_bodies(self, chain: Any, after: bytes | None, limit: int) -> list[tuple[bytes, SealedBody]]:
        first = 0 if after is None else int(after) + 1
        return [(b"%d" % at, body) for at, body in enumerate(self.committed)][first : first + limit]


class Wire:
    """Carries payloads between nodes; `sent` has all of them."""

    def __init__(self) -> None:
        self.nodes: dict[PeerKey, Keeping] = {}
        self.sent: list[tuple[PeerKey, bytes]] = []

    def carry(self, sender: PeerKey, receiver: PeerKey, payload: bytes) -> None:
        self.sent.append((sender, payload))
        target = self.nodes.get(receiver)
        if target is not None:
            member = sender in target.node.peer_keys()
            asyncio.get_running_loop().call_soon(target.exchange.peer_message, sender, payload, member)


class Keeping:
    """One node."""

    def __init__(self, directory: Path, key: PeerKey, wire: Wire, members: dict[str, PeerKey]) -> None:
        self.key, self.wire, self.node = key, wire, Recorder(members)
        self.ledger = Ledger()
        self.warnings: list[Warned] = []
        self.store = BodyStore(directory, ED25519_SHA256, ROOM)
        self.keeper = BodyKeeper(self.store, self.ledger, self.ledger, now_ms)
        self.exchange = BodyExchange(
            self.node,
            ED25519_SHA256,
            self.keeper.size_of,
            self.keeper.part,
            self.keeper.in_thread,
            now_ms,
            self.warnings.append,
        )
        wire.nodes[key] = self

    def send(self, peer: PeerKey, channel: Channel, payload: bytes) -> None:
        assert channel is Channel.SYNC
        self.wire.carry(self.key, peer, payload)

    def meet(self, *others: PeerKey) -> None:
        for other in others:
            self.exchange.peer_connected(other, b"")

    def start(self) -> None:
        self.exchange.start(self.send)
        self.keeper.start(self.exchange.fetch)

    async def stop(self) -> None:
        self.exchange.stop()
        await self.keeper.stop()


@asynccontextmanager
async def keeping(*nodes: Keeping) -> AsyncIterator[None]:
    """All of them meet and run for a test's while."""
    for node in nodes:
        node.meet(*(other.key for other in nodes if other is not node))
        node.start()
    try:
        yield
    finally:
        for node in nodes:
            await node.stop()
