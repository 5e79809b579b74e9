"""A whole node in simulated time: `Node`, its chain store and vote log on simulated disks, its channels and timers.

Actor for simulations of everything between the sockets and the disks. It keeps the contracts of
`common.node.logic.node_events` and `node_effects`: effects in order, everything behind a `Persist` waits for its
sync, blocks are written beside that; a crash loses what was not synced, and may tear the last write of the vote log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING

from common.chain.application import Application
from common.consensus.messages import ConsensusMessage, decode_message
from common.core.errors import InvariantBroken, Rejected
from common.node.effect_performer import EffectPerformer, EffectPorts
from common.node.logic.execution.genesis_state import initialise_chain
from common.node.logic.node import Node
from common.node.logic.node_effects import (
    Accusation,
    BlockCommitted,
    CancelTimer,
    CommitBlock,
    Disconnect,
    SendToPeer,
    SendToPeers,
    SetTimer,
    Warned,
)
from common.node.logic.node_events import (
    BlockWritten,
    NodeEvent,
    PeerConnected,
    PeerDisconnected,
    PeerMessage,
    Started,
    Timer,
    TimerExpired,
)
from common.node.logic.wire.peer_messages import KIND_CONSENSUS, Consensus, Hello
from common.node.store.chain_store import ChainStore
from common.node.store.log_directory import MemoryDirectory
from common.node.store.memory_store import MemoryStore
from common.node.store.store_errors import StoreFailed
from common.node.store.vote_log import VoteLog
from tests.sim.bench import kind_of
from tests.sim.byzantine import LIES, LIES_OF_PEERS, Liar
from tests.sim.network import Address, Payload
from tests.sim.toys import CHEAP, GENESIS_TIME_MS, NETWORK, seed_of
from tests.unit.node.toy import ToyApplication

if TYPE_CHECKING:
    from tests.sim.node_simulation import NodeSimulation

HOUR_MS = 3_600_000
_channels = count(1)


class ChainNode(EffectPorts):
    """One validator's machine."""

    is_correct = True
    make_application: Callable[[], Application] = ToyApplication

    def __init__(self, simulation: NodeSimulation, number: int) -> None:
        self.simulation = simulation
        self.world = simulation.world
        self.number = number
        self.name = f"{number}"
        self.address = Address(NETWORK, number)
        self.camp: str | None = None
        self.alive = False
        self.key = CHEAP.public_key(seed_of(number))
        self.store = MemoryStore()
        self.votes_file = MemoryDirectory()
        self.channels: dict[int, tuple[ChainNode, int]] = {}
        """Peer's number -> its machine, and the number of the channel."""
        self._life = 0
        skew_ms = self.world.random.choice((0, 0, -3_000, 2_000))
        self.clock_offset_ms = HOUR_MS if number == simulation.plan.fast_clock else skew_ms

    @property
    def height(self) -> int:
        """Tip height on disk."""
        return self.chain.tip().height

    @property
    def view(self) -> int:
        """View of the open height."""
        return self.node.status().view

    @property
    def wall_clock_ms(self) -> int:
        """What this machine thinks the time is."""
        return GENESIS_TIME_MS + 10_000 + self.world.now_ms + self.clock_offset_ms

    # Life

    def start(self) -> None:
        """Boot from disk."""
        genesis, application = self.simulation.genesis, self.make_application()
        self.alive = True
        self._life += 1
        self._performer = EffectPerformer(self)
        self._timers: dict[Timer, int] = {}
        self.chain = ChainStore(self.store, genesis)
        initialise_chain(self.chain, genesis, application)
        self._votes = VoteLog.open(
            self.votes_file, genesis.id, self.chain.vote_log_mark(), draw_log_id=self.world.random.randbytes
        )
        self.chain.check_consistency(self._votes)
        self.world.note(f"{self.name} starts at height {self.height} with {len(self._votes.recovered)} records")
        self.node = Node(
            genesis=genesis,
            application=application,
            chain=self.chain,
            seed=seed_of(self.number),
            recovered=self._votes.recovered,
            limits=self.simulation.limits,
        )
        self._give(Started())

    def crash(self) -> None:
        """Lose power: unsynced writes are gone, or a part of the last one survives."""
        random = self.world.random
        self.world.note(f"{self.name} crashes")
        self.alive = False
        self._life += 1
        self._performer.stop()
        self.votes_file.fail_syncs = True
        try:
            self._votes.sync()
        except StoreFailed:
            self.votes_file.crash(random.choice((0, random.randrange(4000))))
        self.votes_file.fail_syncs = False
        self._votes.close()
        self.store.crash()
        for peer, _ in list(self.channels.values()):
            self.hang_up(peer)

    def set_work(self, pending: bool) -> None:
        """Work comes from clients alone."""

    def take_image(self) -> None:
        """Copy the disks as they are."""
        self._image = (list(self.store.scan(b"")), self.votes_file.read())

    def restore_image(self) -> None:
        """Put the copy back; the node is down."""
        entries, votes = self._image
        self.store, self.votes_file = MemoryStore(), MemoryDirectory()
        self.store.write(entries, sync=True)
        self.votes_file.overwrite(votes)

    def _later(self, delay_ms: int, action: Callable[[], None]) -> None:
        life = self._life

        def act() -> None:
            if self._life == life:
                action()

        self.world.after(delay_ms, act)

    # Channels

    def open_channel(self, peer: ChainNode) -> None:
        """A channel to `peer` comes up, at both ends at once."""
        if not (self.alive and peer.alive) or peer.number in self.channels or self.number in peer.channels:
            return
        if self.simulation.network.is_cut(self.address, peer.address):
            return
        number = next(_channels)
        self.channels[peer.number] = (peer, number)
        peer.channels[self.number] = (self, number)
        ours, theirs = self.node.hello_for(peer.key), peer.node.hello_for(self.key)
        self.greeted(peer, theirs)
        peer.greeted(self, ours)

    def greeted(self, peer: ChainNode, hello: bytes) -> None:
        """The peer's hello has arrived."""
        self._give(PeerConnected(peer.key, hello))

    def hang_up(self, peer: ChainNode) -> None:
        """The channel is gone, for both ends."""
        for here, there in ((self, peer), (peer, self)):
            if here.channels.get(there.number, (None, 0))[0] is there:
                del here.channels[there.number]
                if here.alive:
                    here._give(PeerDisconnected(there.key))

    def receive(self, source: Address, payload: Payload) -> None:
        """A payload arrives."""
        number, channel, data = payload
        assert isinstance(number, int)
        assert isinstance(data, bytes)
        if self.alive and self.channels.get(number, (None, 0))[1] == channel:
            self.hear(self.channels[number][0], data)

    def hear(self, peer: ChainNode, data: bytes) -> None:
        """A frame from a peer."""
        self._give(PeerMessage(peer.key, data))

    # Steps

    def submit(self, envelope: bytes) -> None:
        """A client's transaction. Raises `Rejected`."""
        _, effects = self.node.submit(envelope, self.wall_clock_ms)
        self._performer.take(effects)

    def _give(self, event: NodeEvent) -> None:
        self._performer.take(self.node.step(event, self.wall_clock_ms))

    # Ports

    def send(self, message: SendToPeer) -> None:
        self._say(message.payload, [self.simulation.number_of(message.peer)])

    def send_to_all(self, message: SendToPeers) -> None:
        self._say(message.payload, sorted(self.channels))

    def set_timer(self, timer: SetTimer) -> None:
        self._timers[timer.timer] = timer.token
        self._later(timer.delay_ms, lambda: self._expire(timer))

    def cancel_timer(self, timer: CancelTimer) -> None:
        self._timers.pop(timer.timer, None)

    def accused(self, accusation: Accusation) -> None:
        self.simulation.accused(self, self.simulation.number_of(accusation.culprit), accusation)

    def warned(self, warning: Warned) -> None:
        self.world.note(f"{self.name} warns {warning.code}")
        self.simulation.warned(self, warning)

    def _disk_delay_ms(self) -> int:
        longest = self.simulation.plan.sync_ms
        return self.world.random.randint(0, longest) if longest else 0

    def persist(self, records: Sequence[bytes], durable: Callable[[], None]) -> None:
        self._votes.append(records)

        def synced() -> None:
            self._votes.sync()
            durable()

        delay_ms = self._disk_delay_ms()
        if delay_ms == 0:
            synced()
        else:
            self._later(delay_ms, synced)

    def write_block(self, block: CommitBlock) -> None:
        self._later(self._disk_delay_ms(), lambda: self._write(block))

    def _write(self, block: CommitBlock) -> None:
        self.store.write(block.writes, sync=True)
        self._votes.compact(block.height, block.block_id)
        self._give(BlockWritten(block.height))

    def _expire(self, effect: SetTimer) -> None:
        if self._timers.get(effect.timer) == effect.token:
            del self._timers[effect.timer]
            if effect.timer is Timer.VIEW:
                self.world.note(f"{self.name} times out")
            self._give(TimerExpired(effect.timer, effect.token))

    def disconnect(self, order: Disconnect) -> None:
        number = self.simulation.number_of(order.peer)
        self.world.note(f"{self.name} cuts off {number}: {order.reason}")
        if number in self.channels:
            peer = self.channels[number][0]
            self.simulation.cut_off(self, peer, order)
            self.hang_up(peer)

    def block_committed(self, block: BlockCommitted) -> None:
        height = block.header.height
        self.world.note(f"{self.name} commits {height}/{block.certificate.view} {block.block_id.hex()[:8]}")
        self.simulation.block_committed(self, block)

    # Saying

    def _say(self, payload: bytes, targets: list[int]) -> None:
        message = decode_message(payload[1:]) if payload[0] == KIND_CONSENSUS else None
        if message is None:
            self.world.note(f"{self.name} sends kind {payload[0]} to {targets}")
        else:
            self.world.note(f"{self.name} sends {kind_of(message)} {message.height}/{message.view} to {targets}")
            if self.number not in self.simulation.plan.forgetful and self._is_own(message):
                self.simulation.conduct.sent(self.number, message)
        for target in targets:
            self.transmit(target, payload, message)

    def _is_own(self, message: ConsensusMessage) -> bool:
        return self.chain.validators(message.height).index_of(self.key) == message.signer

    def transmit(self, target: int, payload: bytes, message: ConsensusMessage | None) -> None:
        """Send one frame, unless the plan loses it."""
        if message is not None and self.simulation.is_starved(target, message):
            return
        if target not in self.channels or self.simulation.is_ambushed(self.number):
            return
        peer, channel = self.channels[target]
        self.simulation.network.send(self.address, peer.address, (self.number, channel, payload))


class TwinChainNode(ChainNode):
    """Half of a faulty validator: a whole node with the same key as its twin, which also lies."""

    is_correct = False

    def __init__(self, simulation: NodeSimulation, number: int, half: str) -> None:
        super().__init__(simulation, number)
        self.name = f"{number}{half}"
        self.address = Address(NETWORK, number if half == "a" else number + 100)
        self.liar = Liar(self.world.random, number, simulation.genesis.id, NETWORK)

    def greeted(self, peer: ChainNode, hello: bytes) -> None:
        """Overhear what would show that the other half exists."""
        heard = Hello.decode(hello)
        super().greeted(peer, Hello(heard.tip_height, heard.tip_id, b"").encode())

    def hear(self, peer: ChainNode, data: bytes) -> None:
        """Like a correct node, but deaf to the other half's messages."""
        if data[0] == KIND_CONSENSUS:
            try:
                message = decode_message(data[1:])
            except Rejected:
                return
            if message.signer == self.number:
                return
            self.liar.remember(message)
        super().hear(peer, data)

    def _give(self, event: NodeEvent) -> None:
        try:
            super()._give(event)
        except InvariantBroken:
            # Lies can confuse the liar; it is deaf and dumb until it is restarted.
            self.crash()

    def transmit(self, target: int, payload: bytes, message: ConsensusMessage | None) -> None:
        """Say it, say nothing, or lie."""
        random, size = self.world.random, self.simulation.plan.size
        if message is None:
            lie = self.liar.spoil_payload(payload, size) if random.random() < LIES_OF_PEERS else None
            super().transmit(target, lie or payload, None)
            return
        spoilt = self.liar.stand_by(message, size)
        if spoilt is None and random.random() < self.liar.silence:
            return
        if spoilt is None and random.random() < LIES:
            spoilt = self.liar.spoil(message, size)
        if spoilt is None:
            super().transmit(target, payload, message)
            return
        self.world.note(f"{self.name} lies to {target}")
        for data in (spoilt, *self.liar.votes_for(spoilt)):
            super().transmit(target, Consensus(data).encode(), None)
