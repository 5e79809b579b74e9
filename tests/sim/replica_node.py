"""A node around a replica, as thin as a node can be: disk, bodies, blocks, timers, all in simulated time.

Actor for simulations of consensus alone. It keeps the contracts of `common.consensus.events` and `effects`: effects in
order, everything behind a `Persist` waits for its sync, an unsynced tail is lost in a crash.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from common.consensus import effects as fx
from common.consensus import events as ev
from common.consensus.messages import ConsensusMessage, NewView, Proposal, ViewChange, Vote, decode_message
from common.consensus.params import ConsensusParameters
from common.consensus.replica import Replica
from common.consensus.vote_records import record_height
from common.core.block import Block
from common.core.certificate import Certificate, verify_certificate
from common.core.errors import Rejected
from common.core.validators import ValidatorSet
from tests.sim.bench import kind_of
from tests.sim.network import Address, Payload
from tests.sim.toys import (
    CHEAP,
    GENESIS_ID,
    GENESIS_TIME_MS,
    NETWORK,
    executes_to_header,
    genesis_tip,
    seed_of,
    toy_block,
    validator_set,
)

if TYPE_CHECKING:
    from tests.sim.simulation import Simulation

PARAMETERS = ConsensusParameters(view_timeout_ms=400, max_view_timeout_ms=6000)
MAX_CLOCK_AHEAD_MS = 15_000
BLOCK_INTERVAL_MS = 350
FETCH_RETRY_MS = 150
CATCH_UP_MS = 300
POLL_MS = 700
HOUR_MS = 3_600_000


class ReplicaNode:
    """One validator of the simulated chain."""

    is_correct = True

    def __init__(self, simulation: Simulation, number: int) -> None:
        self.simulation = simulation
        self.world = simulation.world
        self.plan = simulation.plan
        self.number = number
        self.name = f"{number}"
        self.address = Address(NETWORK, number)
        self.camp = self._camp_of(number)
        self.alive = False
        self.chain: list[tuple[Block, Certificate]] = []
        self.disk: list[bytes] = []
        self._unsynced: list[bytes] = []
        self._life = 0
        self.clock_offset_ms = HOUR_MS if number == simulation.plan.fast_clock else 0

    def _camp_of(self, number: int) -> str | None:
        camps = self.plan.camps
        if camps is None:
            return None
        return "a" if number in camps[0] else "b"

    # Life

    @property
    def tip(self) -> ev.ChainTip:
        """The last durable block."""
        if not self.chain:
            return genesis_tip()
        block, certificate = self.chain[-1]
        return ev.ChainTip(block.header.height, certificate.block_id, block.header.time_ms)

    @property
    def height(self) -> int:
        """Tip height on disk."""
        return len(self.chain)

    @property
    def view(self) -> int:
        """View of the open height."""
        return self.replica.view

    def validators(self, height: int) -> ValidatorSet:
        """The set that signs a height."""
        return validator_set(self.simulation.members(height))

    def start(self) -> None:
        """Boot from disk."""
        self.alive = True
        self._life += 1
        self._queue: deque[tuple[fx.Effect, tuple[int, ...]]] = deque()
        self._syncing = self._committing = False
        self._timer = 0
        self._bodies: dict[bytes, Block] = {}
        self._wanted: dict[bytes, list[fx.ValidateBlock | fx.FetchBlock | fx.DecideById]] = {}
        self._working = False
        validators = self.validators(self.tip.height + 1)
        seed = seed_of(self.number)
        index = validators.index_of(CHEAP.public_key(seed))
        self.replica = Replica(PARAMETERS, CHEAP, GENESIS_ID, NETWORK, index, seed)
        self.world.note(f"{self.name} starts at height {self.tip.height} with {len(self.disk)} records")
        self._take(self.replica.restore(self.tip, validators, self.disk))
        self.set_work(self.simulation.has_work)
        if self.plan.set_changes:
            self._later(POLL_MS, self._poll)

    def crash(self) -> None:
        """Lose power: unsynced writes are gone, or a prefix of them survives."""
        self.alive = False
        self._life += 1
        if self.plan.lossy_crash:
            kept = self.world.random.randint(0, len(self._unsynced))
            self.disk += self._unsynced[:kept]
        self._unsynced = []
        self.world.note(f"{self.name} crashes")

    def take_image(self) -> None:
        """Copy the disks as they are."""
        self._image = (list(self.chain), list(self.disk))

    def restore_image(self) -> None:
        """Put the copy back; the node is down."""
        self.chain, self.disk = list(self._image[0]), list(self._image[1])

    def _later(self, delay_ms: int, action: Callable[..., None], *arguments: object) -> None:
        life = self._life

        def act() -> None:
            if self._life == life:
                action(*arguments)

        self.world.after(delay_ms, act)

    # Events

    def set_work(self, pending: bool) -> None:
        """The mempool has something, or nothing."""
        self._working = pending
        if self.alive:
            self._step(ev.WorkPending(pending))

    def connected(self, number: int) -> None:
        """A channel came up."""
        index = self._index_of(number)
        if self.alive and index is not None:
            self._step(ev.MemberConnected(index))

    def _index_of(self, number: int) -> int | None:
        members = self.simulation.members(self.replica.height)
        return members.index(number) if number in members else None

    def receive(self, source: Address, payload: Payload) -> None:
        """A payload arrives."""
        if not self.alive:
            return
        match payload:
            case ("consensus", message):
                self._on_message(source.number, message)
            case ("blocks", blocks):
                for block, certificate in blocks:  # type: ignore[attr-defined]
                    self._on_block(block, certificate)
            case ("get-blocks", int(height)):
                self._send_blocks(source.number, height)
            case ("get-body", bytes(block_id)):
                block = self._find(block_id)
                if block is not None:
                    self._send(source.number, ("body", block))
            case ("body", block):
                self._on_body(block)
            case _:
                raise AssertionError(f"unknown payload {payload[0]}")

    def _on_message(self, source: int, message: object) -> None:
        if isinstance(message, bytes):
            try:
                message = decode_message(message)
            except Rejected as error:
                self.world.note(f"{self.name} refuses bytes of {source}: {error.code}")
                return
        assert isinstance(message, Proposal | Vote | ViewChange | NewView)
        self._step(ev.Received(message, self._index_of(source)))

    def _step(self, event: ev.Event) -> None:
        self._take(self.replica.step(event))

    def _take(self, effects: list[fx.Effect]) -> None:
        members = self.simulation.members(self.replica.height)
        for effect in effects:
            targets: tuple[int, ...] = ()
            match effect:
                case fx.Broadcast():
                    targets = tuple([number for number in members if number != self.number])
                case fx.Send() | fx.SendDecided() | fx.MemberAhead():
                    targets = (members[effect.index],)
                case fx.ValidateBlock() | fx.FetchBlock():
                    targets = tuple([members[index] for index in effect.senders])
                case fx.DecideById():
                    targets = tuple([members[index] for index, _ in effect.certificate.signatures])
            self._queue.append((effect, targets))
        self._pump()

    def _pump(self) -> None:
        while self._queue and not self._syncing:
            effect, targets = self._queue.popleft()
            self._perform(effect, targets)

    # Effects

    def _perform(self, effect: fx.Effect, targets: tuple[int, ...]) -> None:
        match effect:
            case fx.Persist():
                self._persist(effect.records)
            case fx.Broadcast() | fx.Send():
                self._send_message(effect.message, targets)
            case fx.SetViewTimer():
                self._timer += 1
                self._later(effect.delay_ms, self._expire, self._timer, ev.ViewTimerExpired(effect.height, effect.view))
            case fx.CancelViewTimer():
                self._timer += 1
            case fx.BuildBlock():
                wait_ms = BLOCK_INTERVAL_MS if effect.view == 0 else 5
                self._later(wait_ms + self.world.random.randrange(20), self._build, effect)
            case fx.ValidateBlock():
                self._want(effect.proposal.header.id(CHEAP), effect, targets)
            case fx.FetchBlock():
                self._want(effect.block_id, effect, targets)
            case fx.DecideById():
                self._want(effect.block_id, effect, targets)
            case fx.Decide():
                self._commit(effect.block, effect.certificate)
            case fx.SendDecided():
                self._send_blocks(targets[0], effect.height)
            case fx.MemberAhead():
                self._later(CATCH_UP_MS, self._catch_up, targets[0], effect.height)
            case fx.Accuse():
                culprit = self.simulation.members(effect.first.height)[effect.first.signer]
                self.simulation.accused(self, culprit, effect)
            case fx.Refused():
                self.world.note(f"{self.name} refuses {effect.code}")
            case fx.Abstaining():
                self.world.note(f"{self.name} abstains through {effect.height}: {effect.code}")

    def _persist(self, records: tuple[bytes, ...]) -> None:
        delay_ms = self.world.random.randint(0, self.plan.sync_ms) if self.plan.sync_ms else 0
        if delay_ms == 0:
            self.disk += records
            return
        self._syncing = True
        self._unsynced = list(records)
        self._later(delay_ms, self._synced)

    def _synced(self) -> None:
        self.disk += self._unsynced
        self._unsynced = []
        self._syncing = False
        self._pump()

    def _expire(self, token: int, event: ev.ViewTimerExpired) -> None:
        if token == self._timer:
            self.world.note(f"{self.name} times out at {event.height}/{event.view}")
            self._step(event)

    def _send(self, target: int, payload: Payload) -> None:
        if self.simulation.is_ambushed(self.number):
            return
        self.simulation.network.send(self.address, Address(NETWORK, target), payload, self.camp)

    def _send_message(self, message: ConsensusMessage, targets: tuple[int, ...]) -> None:
        self.world.note(f"{self.name} sends {kind_of(message)} {message.height}/{message.view} to {targets}")
        if self.number not in self.plan.forgetful and message.signer == self.replica.own_index:
            self.simulation.conduct.sent(self.number, message)
        for target in targets:
            self._transmit(target, message)

    def _transmit(self, target: int, message: ConsensusMessage) -> None:
        if self.simulation.is_starved(target, message):
            return
        self._send(target, ("consensus", message.encode() if self.plan.on_the_wire else message))

    # Blocks

    def _build(self, request: fx.BuildBlock) -> None:
        if self.replica.height != request.height or self.replica.view != request.view or not self._working:
            return
        index = self.replica.own_index
        if index is None or self._committing:
            return
        block = toy_block(
            self.tip,
            self.replica.validators,
            index,
            envelopes=(f"{self.name} at {self.world.now_ms}".encode(),),
            time_ms=GENESIS_TIME_MS + self.world.now_ms + self.clock_offset_ms,
            next_validators=self.validators(request.height + 1),
        )
        self._bodies[block.header.id(CHEAP)] = block
        self.simulation.gossip(block)
        self._step(ev.BlockBuilt(request.height, request.view, block))

    def _find(self, block_id: bytes) -> Block | None:
        block = self._bodies.get(block_id) or self.replica.body(block_id)
        if block is None:
            block = next((item for item, held in self.chain[-3:] if held.block_id == block_id), None)
        return block

    def _want(
        self, block_id: bytes, effect: fx.ValidateBlock | fx.FetchBlock | fx.DecideById, holders: tuple[int, ...]
    ) -> None:
        block = self._find(block_id) or self.simulation.gossiped(block_id)
        if block is not None:
            self._later(self.world.random.randrange(4), self._use, effect, block)
            return
        self._wanted.setdefault(block_id, []).append(effect)
        self._fetch(block_id, effect.height, holders, 0)

    def _fetch(self, block_id: bytes, height: int, holders: tuple[int, ...], attempt: int) -> None:
        if block_id not in self._wanted or height != self.replica.height or attempt > 40:
            self._wanted.pop(block_id, None)
            return
        others = [number for number in holders if number != self.number]
        if others:
            self._send(others[attempt % len(others)], ("get-body", block_id))
            self._later(FETCH_RETRY_MS, self._fetch, block_id, height, holders, attempt + 1)

    def _on_body(self, block: object) -> None:
        assert isinstance(block, Block)
        block_id = block.header.id(CHEAP)
        self._bodies[block_id] = block
        for effect in self._wanted.pop(block_id, []):
            self._use(effect, block)

    def _use(self, effect: fx.ValidateBlock | fx.FetchBlock | fx.DecideById, block: Block) -> None:
        if self.replica.height != effect.height:
            return
        match effect:
            case fx.FetchBlock():
                self._step(ev.BlockFetched(effect.height, effect.view, block))
            case fx.DecideById():
                self._commit(block, effect.certificate)
            case fx.ValidateBlock():
                self._validate(effect, block)

    def _validate(self, effect: fx.ValidateBlock, block: Block) -> None:
        code = self._flaw(effect, block)
        if code is None:
            self._step(ev.BlockValidated(effect.height, effect.view, block))
        else:
            self._step(ev.BlockRefused(effect.height, effect.view, block.header.id(CHEAP), code))

    def _flaw(self, effect: fx.ValidateBlock, block: Block) -> str | None:
        try:
            block.check_body(CHEAP)
        except Rejected as error:
            return error.code
        header = block.header
        if not executes_to_header(block, self.tip):
            return "block_state_root"
        if header.next_validators_hash != self.validators(header.height + 1).hash(CHEAP):
            return "block_next_validators"
        now_ms = GENESIS_TIME_MS + self.world.now_ms + self.clock_offset_ms
        if effect.fresh and header.time_ms > now_ms + MAX_CLOCK_AHEAD_MS:
            return "block_from_the_future"
        return None

    def _commit(self, block: Block, certificate: Certificate) -> None:
        if self._committing or block.header.height != self.tip.height + 1:
            return
        self._committing = True
        delay_ms = self.world.random.randint(0, self.plan.sync_ms) if self.plan.sync_ms else 0
        if delay_ms:
            self._later(delay_ms, self._committed, block, certificate)
        else:
            self._committed(block, certificate)

    def _committed(self, block: Block, certificate: Certificate) -> None:
        self._committing = False
        height = block.header.height
        self.chain.append((block, certificate))
        self.disk = [record for record in self.disk if record_height(record) > height]
        self.world.note(f"{self.name} commits {height}/{certificate.view} {certificate.block_id.hex()[:8]}")
        self.simulation.committed(self, block, certificate, self.simulation.members(height))
        self._bodies = {key: body for key, body in self._bodies.items() if body.header.height > height}
        self._wanted.clear()
        self._step(ev.Committed(block.header, self.validators(height + 1)))

    # Catching up

    def _send_blocks(self, target: int, height: int) -> None:
        blocks = tuple(self.chain[height - 1 : height + 4])
        if blocks:
            self._send(target, ("blocks", blocks))

    def _on_block(self, block: Block, certificate: Certificate) -> None:
        if self._committing or block.header.height != self.tip.height + 1:
            return
        try:
            verify_certificate(CHEAP, self.validators(block.header.height), block.header, certificate)
        except Rejected as error:
            self.world.note(f"{self.name} refuses a block: {error.code}")
            return
        self._commit(block, certificate)

    def _catch_up(self, target: int, height: int) -> None:
        if self.tip.height < height - 1:
            self._send(target, ("get-blocks", self.tip.height + 1))

    def _poll(self) -> None:
        peer = self.world.random.randrange(self.simulation.population)
        if peer != self.number:
            self._send(peer, ("get-blocks", self.tip.height + 1))
        self._later(POLL_MS, self._poll)
