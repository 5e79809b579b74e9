"""One node driven by hand; its peers are whoever the test plays."""

from __future__ import annotations

from common.core.genesis import Genesis
from common.node.logic.execution.genesis_state import initialise_chain
from common.node.logic.node import Node
from common.node.logic.node_effects import CommitBlock, Disconnect, NodeEffect, SendToPeer, SetTimer, Warned
from common.node.logic.node_events import (
    BlockWritten,
    NodeEvent,
    PeerConnected,
    PeerMessage,
    Started,
    Timer,
    TimerExpired,
)
from common.node.logic.wire import peer_messages as pm
from common.node.store.chain_store import ChainStore
from common.node.store.memory_store import MemoryStore
from tests.unit.node.bus import names_of
from tests.unit.node.toy import START_MS, ToyApplication, key_of, seed_of

NAMES = names_of(4)


class Victim:
    """A fresh node-3 driven by hand; its peers are whoever the test plays."""

    def __init__(self, genesis: Genesis) -> None:
        store = MemoryStore()
        self.store = store
        self.chain = ChainStore(store, genesis)
        self.application = ToyApplication()
        initialise_chain(self.chain, genesis, self.application)
        self.node = Node(genesis=genesis, application=self.application, chain=self.chain, seed=seed_of("node-3"))
        self.effects: list[NodeEffect] = []
        self.timers: dict[Timer, int] = {}
        self.writes_at_once = True
        self.step(Started())

    def step(self, event: NodeEvent) -> list[NodeEffect]:
        """Step, write what is to be written, and go on until nothing is left to write."""
        new = self.node.step(event, START_MS)
        self.effects += new
        for effect in new:
            if isinstance(effect, SetTimer):
                self.timers[effect.timer] = effect.token
            elif isinstance(effect, CommitBlock) and self.writes_at_once:
                self.store.write(effect.writes, sync=True)
                self.step(BlockWritten(effect.height))
        return new

    def meet(self, *names: str, height: int) -> None:
        """These peers connect and claim a tip."""
        for name in names:
            self.step(PeerConnected(key_of(name), pm.Hello(height, bytes(32), b"").encode()))

    @property
    def asked(self) -> list[tuple[str, pm.GetBlocks]]:
        """Catch-up requests so far: whom, and what."""
        found = []
        for effect in self.effects:
            if isinstance(effect, SendToPeer) and effect.payload[0] == pm.KIND_GET_BLOCKS:
                request = pm.decode_payload(effect.payload)
                name = next(name for name in NAMES if key_of(name) == effect.peer)
                if isinstance(request, pm.GetBlocks):
                    found.append((name, request))
        return found

    def answer(self, blocks: tuple[tuple[bytes, bytes], ...], tip: int = 6) -> str:
        """The peer that was asked last answers; returns its name."""
        name, request = self.asked[-1]
        self.step(PeerMessage(key_of(name), pm.AnswerBlocks(request.request, tip, blocks).encode()))
        return name

    @property
    def dropped(self) -> dict[str, str]:
        """Peers that were disconnected, and why."""
        return {
            next(name for name in NAMES if key_of(name) == effect.peer): effect.reason
            for effect in self.effects
            if isinstance(effect, Disconnect)
        }

    def sent(self, kind: int) -> list[tuple[str, pm.PeerPayload]]:
        """Messages of one kind to single peers: to whom, and what."""
        return [
            (next(name for name in NAMES if key_of(name) == effect.peer), pm.decode_payload(effect.payload))
            for effect in self.effects
            if isinstance(effect, SendToPeer) and effect.payload[0] == kind
        ]

    @property
    def warnings(self) -> list[str]:
        """Codes and details of all warnings so far."""
        return [f"{effect.code} {effect.detail}" for effect in self.effects if isinstance(effect, Warned)]

    def expire(self, timer: Timer) -> None:
        """The running timer runs out."""
        self.step(TimerExpired(timer, self.timers[timer]))

    def receive(self, name: str, message: pm.PeerPayload) -> None:
        """A peer says something."""
        self.step(PeerMessage(key_of(name), message.encode()))
