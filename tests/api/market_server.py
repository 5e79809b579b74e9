"""A business chain of one validator behind real HTTP: the market's rules and routes on a `Solo` node."""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path
from typing import Any

import uvicorn

from business_chain.main import application_for
from business_chain.routes import router
from common.core.suite import ED25519_SHA256
from common.core.transaction import sign_envelope
from common.node.access import TokenStore
from common.node.bodies.body_keeper import BodyKeeper
from common.node.bodies.body_store import BodyRoom, BodyStore
from common.node.effect_performer import EffectPerformer
from common.node.http.app import create_app
from common.node.http.body_routes import body_router
from common.node.logic.execution.genesis_state import initialise_chain
from common.node.logic.node import Node
from common.node.logic.node_events import Started
from common.node.store.chain_store import ChainStore
from common.node.store.memory_store import MemoryStore
from tests.api.server import LiveServer
from tests.api.solo import Solo
from tests.unit.business.market import genesis, key, seed


class MarketNode(Solo):
    """`Solo` with the business application instead of the toy."""

    def __init__(self) -> None:
        self._genesis = genesis()
        self._market = application_for(self._genesis)
        self._chain = ChainStore(MemoryStore(), self._genesis)
        initialise_chain(self._chain, self._genesis, self._market)
        self._node = Node(genesis=self._genesis, application=self._market, chain=self._chain, seed=seed("v1"))
        self._performer = EffectPerformer(self)
        self._timers = {}
        self._held = []
        self._wake = asyncio.Event()
        self.paused = False
        self.is_ready = True
        self.warnings = []
        self.fail_with = None
        self._give(Started())

    @property
    def application(self) -> Any:
        """The market's rules."""
        return self._market


async def no_peers(digest: str, most_bytes: int) -> bytes | None:
    """Nobody gives a body."""
    return None


class MarketServer(LiveServer):
    """Serves a `MarketNode`."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, routers=(router,))
        self.bodies = directory / "bodies"
        self._nonces = itertools.count(1)

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.node = node = MarketNode()
        store = BodyStore(self.bodies, ED25519_SHA256, BodyRoom(bodies=64, size_bytes=256 << 20))
        keeper = BodyKeeper(store, node.application, node, lambda: time.time_ns() // 1_000_000)
        routers = [*self._routers, body_router(keeper)]
        self.app = create_app(node, tokens=TokenStore(self.tokens_file), routers=routers)
        keeper.start(no_peers)
        self._server = uvicorn.Server(uvicorn.Config(self.app, **self._options))
        self._started.set()
        await self._server.serve(sockets=[self._socket])
        await keeper.stop()
        self.node.close()

    def envelope(self, *operations: dict[str, Any]) -> bytes:
        """A signed transaction of the operator, with a fresh nonce."""
        transaction = {
            "network": "beijing",
            "genesis": genesis().id.hex(),
            "signers": [key("operator")],
            "nonce": str(next(self._nonces)),
            "expires_at_height": 1000,
            "operations": list(operations),
        }
        return sign_envelope(transaction, [seed("operator")], ED25519_SHA256)

    def submit(self, *operations: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Submit and wait for the receipt; status and answer."""
        with self.client() as client:
            answer = client.post("/v1/transactions", content=self.envelope(*operations), headers={"Prefer": "wait=10"})
        return answer.status_code, answer.json()
