"""A network of replicas moved by hand: every message waits until the test delivers it.

Used by unit tests and transcripts. The bench performs effects as the node would, except that messages go to `wires`,
timers to `timers`, and nothing happens by itself. Storage is what each seat persisted; a restart resumes from it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from common.consensus import effects as fx
from common.consensus import events as ev
from common.consensus.messages import ConsensusMessage, Mark, NewView, Proposal, Stage, ViewChange, Vote, decode_message
from common.consensus.params import ConsensusParameters
from common.consensus.replica import Replica
from common.core.block import Block
from common.core.certificate import Certificate
from common.core.suite import Suite
from common.core.validators import ValidatorSet
from tests.sim.toys import CHEAP, GENESIS_ID, NETWORK, genesis_tip, seed_of, toy_block, validator_set

KINDS = ("proposal", "prepare", "commit", "view-change", "new-view")


def kind_of(message: ConsensusMessage) -> str:
    """The message's name in transcripts."""
    match message:
        case Proposal():
            return "proposal"
        case Vote(stage=Stage.PREPARE):
            return "prepare"
        case Vote():
            return "commit"
        case ViewChange():
            return "view-change"
        case NewView():
            return "new-view"


@dataclass(slots=True)
class Wire:
    """One message under way."""

    source: int
    target: int
    message: ConsensusMessage


@dataclass
class Seat:
    """A validator's place at the bench: its replica and what surrounds it."""

    number: int
    replica: Replica
    records: list[bytes] = field(default_factory=list)
    chain: list[tuple[Block, Certificate]] = field(default_factory=list)
    sets: list[ValidatorSet] = field(default_factory=list)
    """`sets[h]` signs height h + 1."""
    timer: tuple[int, int, int] | None = None
    log: list[fx.Effect] = field(default_factory=list)
    alive: bool = True

    @property
    def tip(self) -> ev.ChainTip:
        """The last committed block."""
        if not self.chain:
            return genesis_tip()
        header = self.chain[-1][0].header
        return ev.ChainTip(header.height, self.chain[-1][1].block_id, header.time_ms)

    def logged(self, kind: type[fx.Effect]) -> list[fx.Effect]:
        """Effects of one kind since the start."""
        return [effect for effect in self.log if isinstance(effect, kind)]


class Bench:
    """`size` seats with a common genesis set; all know that there is work."""

    def __init__(self, size: int, *, suite: Suite = CHEAP, work: bool = True, spare: int = 0) -> None:
        self.suite = suite
        self.size = size
        self.wires: list[Wire] = []
        self.known: dict[bytes, Block] = {}
        """Every body that anybody built: where `ValidateBlock` and `FetchBlock` find it."""
        self.invalid: set[bytes] = set()
        self.withheld: set[tuple[int, bytes]] = set()
        """(seat, block id) that this seat cannot get."""
        self.next_sets: dict[int, ValidatorSet] = {}
        """Validator set that takes over after the block of this height."""
        self.builds = 0
        self.build_through = 8
        """Leaders build up to this height without being told to; 0 leaves it to the test."""
        self._answers: deque[tuple[int, ev.Event]] = deque()
        self._draining = False
        self.observe: Callable[[int, fx.Effect], None] = lambda _seat, _effect: None
        validators = validator_set(tuple(range(size)), suite)  # type: ignore[arg-type]
        self.seats = [Seat(number, self.new_replica(number, validators)) for number in range(size + spare)]
        for seat in self.seats:
            seat.sets.append(validators)
            self.perform(seat.number, seat.replica.restore(genesis_tip(), validators))
        if work:
            for seat in self.seats:
                self.step(seat.number, ev.WorkPending(True))

    def new_replica(self, number: int, validators: ValidatorSet, *, observer: bool = False) -> Replica:
        """A replica for this seat that knows nothing yet."""
        seed = None if observer else seed_of(number)
        index = None if seed is None else validators.index_of(self.suite.public_key(seed))
        return Replica(ConsensusParameters(), self.suite, GENESIS_ID, NETWORK, index, seed)

    def number_at(self, seat: int, index: int) -> int:
        """The seat of the member with this index, as `seat` sees the set of its open height."""
        key = self.seats[seat].replica.validators.members[index].public_key
        return next(other.number for other in self.seats if self.suite.public_key(seed_of(other.number)) == key)

    def index_of(self, number: int, viewer: int) -> int | None:
        """The index of seat `number` in the set of the viewer's open height."""
        return self.seats[viewer].replica.validators.index_of(self.suite.public_key(seed_of(number)))

    # Driving

    def step(self, number: int, event: ev.Event) -> list[fx.Effect]:
        """Give one event to one replica and perform what it wants; then whatever the node answers to that."""
        effects = self.seats[number].replica.step(event)
        self.perform(number, effects)
        self._drain()
        return effects

    def _drain(self) -> None:
        if not self._draining:
            self._draining = True
            while self._answers:
                self.step(*self._answers.popleft())
            self._draining = False

    def answer(self, number: int, event: ev.Event) -> None:
        """The node's answer to an effect: given once the effects of the present step are performed."""
        self._answers.append((number, event))

    def inject(self, target: int, message: ConsensusMessage, sender: int | None) -> list[fx.Effect]:
        """Give a message to a replica as if it had just arrived on the channel of `sender` (an index)."""
        return self.step(target, ev.Received(decode_message(message.encode()), sender))

    def select(self, source: int | None = None, target: int | None = None, kind: str | None = None) -> list[Wire]:
        """Messages under way, oldest first."""
        return [
            wire
            for wire in self.wires
            if (source is None or wire.source == source)
            and (target is None or wire.target == target)
            and (kind is None or kind_of(wire.message) == kind)
        ]

    def deliver(self, source: int | None = None, target: int | None = None, kind: str | None = None) -> int:
        """Deliver what is under way now and matches, oldest first; return how many messages."""
        chosen = self.select(source, target, kind)
        for wire in chosen:
            self.wires.remove(wire)
            self.arrive(wire)
        return len(chosen)

    def arrive(self, wire: Wire) -> None:
        """One message reaches its target."""
        if self.seats[wire.target].alive:
            self.inject(wire.target, wire.message, self.index_of(wire.source, wire.target))

    def drop(self, source: int | None = None, target: int | None = None, kind: str | None = None) -> int:
        """Lose messages."""
        chosen = self.select(source, target, kind)
        for wire in chosen:
            self.wires.remove(wire)
        return len(chosen)

    def settle(self, until_height: int | None = None, limit: int = 20_000) -> None:
        """Deliver everything, oldest first, until nothing is under way or every living seat has the height."""
        for _ in range(limit):
            if until_height is not None and all(s.tip.height >= until_height for s in self.seats if s.alive):
                return
            if not self.wires:
                return
            self.arrive(self.wires.pop(0))
        raise AssertionError("the network does not come to rest")

    def expire(self, number: int) -> list[fx.Effect]:
        """The seat's timer runs out, if it runs."""
        seat = self.seats[number]
        if seat.timer is None:
            return []
        height, view, _ = seat.timer
        seat.timer = None
        return self.step(number, ev.ViewTimerExpired(height, view))

    def expire_all(self, *numbers: int) -> None:
        """The timers of these seats run out, one after the other."""
        for number in numbers:
            self.expire(number)

    def work(self, number: int, pending: bool) -> None:
        """The seat's mempool has something, or nothing."""
        self.step(number, ev.WorkPending(pending))

    def crash(self, number: int) -> None:
        """The process dies; messages to it are lost."""
        seat = self.seats[number]
        seat.alive, seat.timer = False, None
        self.drop(target=number)

    def restart(
        self,
        number: int,
        *,
        records: Sequence[bytes] | None = None,
        floor: Mark | None = None,
        may_vote: bool = True,
        connect: bool = True,
    ) -> list[fx.Effect]:
        """A new process takes over from what was persisted, or from other `records`; peers connect to it."""
        seat = self.seats[number]
        seat.alive = True
        validators = seat.sets[-1]
        seat.replica = self.new_replica(number, validators)
        kept = seat.records if records is None else list(records)
        effects = seat.replica.restore(seat.tip, validators, kept, floor=floor, may_vote=may_vote)
        self.perform(number, effects)
        self._drain()
        if connect:
            self.connect(number)
        return effects

    def connect(self, number: int) -> None:
        """Channels between this seat and all living others come up."""
        for other in self.seats:
            if other.number == number or not other.alive:
                continue
            for here, there in ((number, other.number), (other.number, number)):
                index = self.index_of(there, here)
                if index is not None:
                    self.step(here, ev.MemberConnected(index))

    # Performing

    def perform(self, number: int, effects: Sequence[fx.Effect]) -> None:
        """Do what the node would do."""
        seat = self.seats[number]
        for effect in effects:
            seat.log.append(effect)
            self.observe(number, effect)
            match effect:
                case fx.Persist():
                    seat.records += effect.records
                case fx.Broadcast():
                    for member in range(seat.replica.validators.size):
                        target = self.number_at(number, member)
                        if target != number:
                            self.send(number, target, effect.message)
                case fx.Send():
                    self.send(number, self.number_at(number, effect.index), effect.message)
                case fx.SetViewTimer():
                    seat.timer = (effect.height, effect.view, effect.delay_ms)
                case fx.CancelViewTimer():
                    seat.timer = None
                case fx.BuildBlock() if effect.height <= self.build_through:
                    self._build(number, effect.height, effect.view, None)
                case fx.ValidateBlock():
                    self.validate(number, effect)
                case fx.FetchBlock():
                    block = self.known.get(effect.block_id)
                    if block is not None and (number, effect.block_id) not in self.withheld:
                        self.answer(number, ev.BlockFetched(effect.height, effect.view, block))
                case fx.Decide():
                    self.commit(number, effect.block, effect.certificate)
                case fx.DecideById():
                    block = self.known.get(effect.block_id)
                    if block is not None:
                        self.commit(number, block, effect.certificate)
                case fx.SendDecided():
                    self._help(number, self.number_at(number, effect.index), effect.height)
                case _:
                    pass

    def send(self, source: int, target: int, message: ConsensusMessage) -> None:
        """Put a message on its way."""
        self.wires.append(Wire(source, target, message))

    def build(self, number: int, height: int, view: int, *, envelopes: tuple[bytes, ...] | None = None) -> Block:
        """Build what the seat's replica asked for, and give it the block."""
        block = self._build(number, height, view, envelopes)
        self._drain()
        return block

    def _build(self, number: int, height: int, view: int, envelopes: tuple[bytes, ...] | None) -> Block:
        seat = self.seats[number]
        self.builds += 1
        index = seat.replica.own_index
        assert index is not None
        block = toy_block(
            seat.tip,
            seat.replica.validators,
            index,
            envelopes=envelopes or (f"transaction {self.builds}".encode(),),
            next_validators=self.next_sets.get(height),
            suite=self.suite,
        )
        self.known[block.header.id(self.suite)] = block
        self.answer(number, ev.BlockBuilt(height, view, block))
        return block

    def validate(self, number: int, request: fx.ValidateBlock) -> None:
        """Answer as a node that finds every known body."""
        block_id = request.proposal.header.id(self.suite)
        block = self.known.get(block_id)
        if block_id in self.invalid:
            self.answer(number, ev.BlockRefused(request.height, request.view, block_id, "block_invalid"))
        elif block is not None and (number, block_id) not in self.withheld:
            self.answer(number, ev.BlockValidated(request.height, request.view, block))

    def commit(self, number: int, block: Block, certificate: Certificate) -> None:
        """Make a decided block the tip."""
        seat = self.seats[number]
        if block.header.height != seat.tip.height + 1:
            return
        seat.chain.append((block, certificate))
        seat.sets.append(self.next_sets.get(block.header.height, seat.sets[-1]))
        seat.records.clear()
        self.answer(number, ev.Committed(block.header, seat.sets[-1]))

    def help(self, source: int, target: int, height: int) -> None:
        """The final block reaches the peer at once."""
        self._help(source, target, height)
        self._drain()

    def _help(self, source: int, target: int, height: int) -> None:
        block, certificate = self.seats[source].chain[height - 1]
        if self.seats[target].alive:
            self.commit(target, block, certificate)

    # Asking

    def heights(self) -> list[int]:
        """Tip heights by seat."""
        return [seat.tip.height for seat in self.seats]

    def decided(self, height: int) -> set[bytes]:
        """Ids of all blocks that any seat committed at this height."""
        return {seat.chain[height - 1][0].header.id(self.suite) for seat in self.seats if len(seat.chain) >= height}

    def signed(self, number: int) -> Iterator[ConsensusMessage]:
        """Own messages that the seat broadcast, in order."""
        for effect in self.seats[number].log:
            if isinstance(effect, fx.Broadcast):
                yield effect.message
