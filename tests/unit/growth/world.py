"""Peers of a toy chain that serve a node which joins; each may lie. Messages go by hand, so a test sees them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from common.chain.application import Application
from common.core.genesis import Genesis
from common.node.effect_performer import EffectPerformer, EffectPorts
from common.node.logic.node import Node
from common.node.logic.node_effects import Disconnect, SendToPeer, SetTimer, Warned
from common.node.logic.node_events import PeerConnected, PeerMessage, Started
from common.node.logic.node_outbox import NodeOutbox
from common.node.logic.wire import peer_messages as pm
from common.node.store.chain_store import ChainStore
from common.node.store.memory_store import MemoryStore
from common.node.store.storage import KeyValueStore
from common.node.upkeep.checkpoint_import import CheckpointImport
from common.node.upkeep.checkpoint_store import CheckpointFiles
from common.node.upkeep.join import Join, JoinPhase
from common.node.upkeep.join_headers import HeaderChain, TrustedBlock
from tests.unit.node.bus import names_of
from tests.unit.node.solo import Solo
from tests.unit.node.toy import START_MS, SUITE, key_of, make_envelope, make_genesis, seed_of, transfer

NAMES = names_of(4)
GENESIS = make_genesis(NAMES)
JOINER = key_of("joiner")

Alter = Callable[[object], object | None]
"""What a lying peer makes of an answer; None for silence."""


def grown(blocks: int, genesis: Genesis = GENESIS) -> Solo:
    """A chain of so many blocks: accounts are opened, money moves, some transactions fail."""
    solo = Solo(genesis)
    grow(solo, blocks)
    return solo


def grow(solo: Solo, blocks: int) -> None:
    """More blocks."""
    genesis = solo.genesis
    for _ in range(blocks):
        at = solo.chain.tip().height + 1
        opened = make_envelope(
            genesis, f"open-{at}", [{"type": "toy.open", "account": f"a{at}"}], client=f"client-{at}"
        )
        envelopes = [opened, transfer(genesis, f"move-{at}", target=f"a{at}")]
        if at % 3 == 0:
            envelopes.append(transfer(genesis, f"fail-{at}", amount=10**9))
        solo.extend(envelopes)


def make_checkpoint(solo: Solo, directory: Path) -> CheckpointFiles:
    """The checkpoint of a chain's tip, as a node makes it."""
    files = CheckpointFiles(directory, SUITE)
    files.make(solo.chain.moment(), lambda seconds: None, lambda: False)
    return files


class Holder(Protocol):
    """What holds a chain."""

    @property
    def genesis(self) -> Genesis: ...
    @property
    def application(self) -> Application: ...
    @property
    def chain(self) -> ChainStore: ...


class Peer:
    """A real node that serves; `alter` makes it lie."""

    def __init__(self, name: str, solo: Holder, files: CheckpointFiles, seed: bytes | None = None) -> None:
        """`seed`: the validator's key, if it does not follow from the name as those of the toy chain do."""
        seed = seed or seed_of(name)
        self.name, self.key = name, SUITE.public_key(seed)
        self.alter: Alter = lambda answer: answer
        store = MemoryStore()
        store.write(list(solo.chain.store.scan(b"")), sync=True)
        self.chain = ChainStore(store, solo.genesis)
        self.node = Node(
            genesis=solo.genesis,
            application=solo.application,
            chain=self.chain,
            seed=seed,
            checkpoints=files,
        )
        self.node.step(Started(), START_MS)
        self.node.step(PeerConnected(JOINER, pm.Hello(0, solo.genesis.id, b"").encode()), START_MS)
        self.now_ms = START_MS
        self.asked: list[object] = []

    def answers(self, payload: bytes) -> list[bytes]:
        """What comes back over the wire."""
        self.asked.append(pm.decode_payload(payload))
        self.now_ms += 1_000
        answers = []
        for effect in self.node.step(PeerMessage(JOINER, payload), self.now_ms):
            if isinstance(effect, SendToPeer) and effect.peer == JOINER:
                altered = self.alter(pm.decode_payload(effect.payload))
                if altered is not None:
                    answers.append(altered.encode())  # type: ignore[attr-defined]
        return answers


@dataclass
class Joiner(EffectPorts):
    """A join over a store, driven by hand."""

    scratch: Path
    genesis: Genesis = GENESIS
    store: KeyValueStore = field(default_factory=MemoryStore)
    trusted: TrustedBlock | None = None
    peers: dict[bytes, Peer] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    warnings: list[Warned] = field(default_factory=list)
    waiting: list[tuple[bytes, bytes]] = field(default_factory=list)
    timer: SetTimer | None = None

    def __post_init__(self) -> None:
        self._performer = EffectPerformer(self)
        self.begin()

    def begin(self) -> None:
        """Start, or start again over what the store holds."""
        self.outbox = NodeOutbox()
        self.headers = HeaderChain(self.store, self.genesis, self.trusted)
        self.importing = CheckpointImport(self.store, self.genesis, self.headers, self.scratch / "scratch")
        self.join = Join(self.genesis, self.headers, self.importing, self.outbox)
        self.waiting.clear()
        self.timer = None

    def meet(self, *peers: Peer) -> None:
        """Channels open."""
        for peer in peers:
            self.peers[peer.key] = peer
        for peer in peers:
            self.join.connected(peer.key)
            self._perform()

    def run(self, limit: int = 10_000, *, until: Callable[[], bool] = lambda: False) -> bool:
        """Carry messages until the join is done or `until` holds; True if it is done. Timers expire when nothing else
        happens, a hundred times at most."""
        expiries = 0
        for _ in range(limit):
            if self.join.phase is JoinPhase.DONE or until():
                break
            if self.waiting:
                key, payload = self.waiting.pop(0)
                for answer in self.peers[key].answers(payload) if key in self.peers else []:
                    self.join.received(key, answer)
                    self._perform()
            elif self.timer is not None and expiries < 100:
                expiries += 1
                timer, self.timer = self.timer, None
                if self.outbox.expired(timer.timer, timer.token):
                    self.join.timed_out()
                self._perform()
            else:
                break
        return self.join.phase is JoinPhase.DONE

    def peers_named(self, name: str) -> Peer:
        """The peer of that name."""
        return next(peer for peer in self.peers.values() if peer.name == name)

    def finish(self, *, may_have_voted: bool = True) -> ChainStore:
        """Prove and seal; the chain as a start would open it."""
        for _ in self.importing.finish(may_have_voted=may_have_voted):
            pass
        chain = ChainStore(self.store, self.genesis)
        chain.check_consistency(deep=True)
        return chain

    def _perform(self) -> None:
        self._performer.take(self.outbox.take())

    def send(self, message: SendToPeer) -> None:
        self.waiting.append((message.peer, message.payload))

    def disconnect(self, order: Disconnect) -> None:
        self.dropped[self.peers.pop(order.peer).name] = order.reason
        self.join.disconnected(order.peer)

    def set_timer(self, timer: SetTimer) -> None:
        self.timer = timer

    def warned(self, warning: Warned) -> None:
        self.warnings.append(warning)
