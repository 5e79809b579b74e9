"""One schedule of leaders and partitions, run over real replicas of which some are two processes with one key.

A round is a view. Within a round messages pass between processes of one component, in the order in which they were
sent; at its end every running timer expires, and what is said then belongs to the next round. After the scheduled
rounds the network is whole, and every correct process must decide. Nothing is random.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from common.consensus import effects as fx
from common.consensus import events as ev
from common.consensus.messages import ConsensusMessage, Stage, Vote
from common.consensus.params import ConsensusParameters
from common.consensus.replica import Replica
from common.core.block import Block
from common.core.certificate import Certificate, verify_certificate
from common.core.suite import Suite
from common.core.validators import ValidatorSet
from tests.sim.checkers import Violation
from tests.sim.toys import CHEAP, GENESIS_ID, NETWORK, genesis_tip, seed_of, toy_block, validator_set

ROUNDS_TO_HEAL = 12
MOST_MESSAGES = 4_000
"""Of one round; more is a storm."""


@dataclass(frozen=True, slots=True, order=True)
class Round:
    """Who leads, who hears whom, and whom COMMITs reach.

    `components` are disjoint sets of processes; whoever is in none is alone. `commits_to` and `prepares_to`: None for
    everybody in the component, else only these.
    """

    leader: int
    components: tuple[tuple[int, ...], ...]
    commits_to: tuple[int, ...] | None = None
    prepares_to: tuple[int, ...] | None = None


DEAD = Round(-1, ())
"""A round in which nobody hears anybody."""


class ScheduledSet(ValidatorSet):
    """A validator set whose leaders at height 1 follow a schedule."""

    def leader(self, height: int, view: int) -> int:
        """By the schedule; after it, in turn."""
        schedule: tuple[int, ...] = self.__dict__["schedule"]
        if height == 1 and view < len(schedule) and schedule[view] >= 0:
            return schedule[view]
        return (height + view) % self.size


def scheduled_set(size: int, leaders: tuple[int, ...], suite: Suite) -> ScheduledSet:
    """The toy set of `size` members with these leaders."""
    made = ScheduledSet(validator_set(tuple(range(size)), suite).members)  # type: ignore[arg-type]
    object.__setattr__(made, "schedule", leaders)
    return made


@dataclass
class Process:
    """One replica and what surrounds it."""

    number: int
    """Among the processes; a twin's halves differ in it."""
    member: int
    replica: Replica
    timer: tuple[int, int] | None = None
    committed: tuple[Block, Certificate] | None = None
    answers: deque[ev.Event] = field(default_factory=deque)


Said = ConsensusMessage | tuple[Block, Certificate]


class TwinsWorld:
    """`size` members, of which the first `twins` are two processes each.

    Processes 0, 1 are the halves of member 0, and so on; the correct members follow.
    """

    def __init__(self, size: int, twins: int, schedule: tuple[Round, ...], suite: Suite = CHEAP) -> None:
        self.size, self.twins, self.schedule, self._suite = size, twins, schedule, suite
        members = [at // 2 for at in range(2 * twins)] + list(range(twins, size))
        self.validators = scheduled_set(size, tuple(item.leader for item in schedule), suite)
        self.known: dict[bytes, Block] = {}
        self.heard: list[ConsensusMessage] = []
        self.accused: set[int] = set()
        self._wires: deque[tuple[int, int, Said]] = deque()
        self._round = schedule[0] if schedule else self._whole(members)
        self.processes = [self._boot(number, member) for number, member in enumerate(members)]
        self._reaches = self._reach()

    def _whole(self, members: list[int]) -> Round:
        return Round(-1, (tuple(range(len(members))),))

    def _boot(self, number: int, member: int) -> Process:
        replica = Replica(ConsensusParameters(), self._suite, GENESIS_ID, NETWORK, member, seed_of(member))
        process = Process(number, member, replica)
        self._perform(process, replica.restore(genesis_tip(), self.validators))
        return process

    @property
    def correct(self) -> list[Process]:
        """Processes of members that have no twin."""
        return self.processes[2 * self.twins :]

    @property
    def settled(self) -> bool:
        """Whether every correct process has decided."""
        return all(process.committed for process in self.correct)

    @property
    def decisions(self) -> dict[bytes, Certificate]:
        """What correct processes decided: more than one block is a fork."""
        return {process.committed[1].block_id: process.committed[1] for process in self.correct if process.committed}

    # A run

    def run_schedule(self) -> int:
        """Run the scheduled rounds; return after how many of them everybody correct had decided, or their number + 1.

        Raises `Violation` on a storm.
        """
        for process in self.processes:
            self._step(process, ev.WorkPending(True))
        for number, item in enumerate(self.schedule):
            if number:
                self._next_round(item)
            self._settle()
            if self.settled:
                return number + 1
        return len(self.schedule) + 1

    def heal(self) -> None:
        """Run whole rounds until every correct process has decided. Raises `Violation` if that does not come about."""
        whole = self._whole([process.member for process in self.processes])
        for _ in range(ROUNDS_TO_HEAL):
            if self.settled:
                return
            self._next_round(whole)
            self._settle()
        if not self.settled:
            raise Violation(f"no decision {ROUNDS_TO_HEAL} rounds after healing")

    def check(self) -> None:
        """Raise `Violation` if correct processes decided different blocks, or one of them is accused."""
        if len(self.decisions) > 1:
            raise Violation(f"fork at height 1: {[block_id.hex()[:8] for block_id in self.decisions]}")
        if any(member >= self.twins for member in self.accused):
            raise Violation(f"a correct member is accused: {sorted(self.accused)}")

    def _next_round(self, item: Round) -> None:
        self._round = item
        self._reaches = self._reach()
        expiring = [(process, process.timer) for process in self.processes if process.timer is not None]
        for process, timer in expiring:
            if timer is not None and process.timer == timer and timer[0] == 1:
                process.timer = None
                self._step(process, ev.ViewTimerExpired(*timer))

    def _reach(self) -> list[frozenset[int]]:
        found = [frozenset((process.number,)) for process in self.processes]
        for component in self._round.components:
            for number in component:
                found[number] = frozenset(component)
        return found

    def _settle(self) -> None:
        for _ in range(MOST_MESSAGES):
            if not self._wires:
                return
            source, target, said = self._wires.popleft()
            self._arrive(self.processes[source], self.processes[target], said)
        raise Violation(f"a storm: more than {MOST_MESSAGES} messages in one round")

    # Messages

    def _send(self, source: Process, member: int | None, said: Said) -> None:
        for target in self.processes:
            if target.member == source.member or member not in (None, target.member):
                continue
            if target.number in self._reaches[source.number] and self._passes(target, said):
                self._wires.append((source.number, target.number, said))

    def _passes(self, target: Process, said: Said) -> bool:
        is_prepare = isinstance(said, Vote) and said.stage is Stage.PREPARE
        is_commit = isinstance(said, tuple) or (isinstance(said, Vote) and said.stage is Stage.COMMIT)
        only = self._round.prepares_to if is_prepare else self._round.commits_to if is_commit else None
        return only is None or target.number in only

    def _arrive(self, source: Process, target: Process, said: Said) -> None:
        if isinstance(said, tuple):
            block, certificate = said
            verify_certificate(self._suite, self.validators, block.header, certificate)
            self._commit(target, block, certificate)
        elif said.signer != target.member:
            self._step(target, ev.Received(said, source.member))

    def _step(self, process: Process, event: ev.Event) -> None:
        process.answers.append(event)
        while process.answers:
            self._perform(process, process.replica.step(process.answers.popleft()))

    def _perform(self, process: Process, effects: list[fx.Effect]) -> None:
        for effect in effects:
            match effect:
                case fx.Broadcast():
                    self.heard.append(effect.message)
                    self._send(process, None, effect.message)
                case fx.Send():
                    self._send(process, effect.index, effect.message)
                case fx.SetViewTimer():
                    process.timer = (effect.height, effect.view)
                case fx.CancelViewTimer():
                    process.timer = None
                case fx.BuildBlock() if effect.height == 1:
                    process.answers.append(ev.BlockBuilt(1, effect.view, self._build(process, effect.view)))
                case fx.ValidateBlock():
                    block = self.known[effect.proposal.header.id(self._suite)]
                    process.answers.append(ev.BlockValidated(effect.height, effect.view, block))
                case fx.FetchBlock():
                    process.answers.append(ev.BlockFetched(effect.height, effect.view, self.known[effect.block_id]))
                case fx.Decide():
                    self._commit(process, effect.block, effect.certificate)
                case fx.DecideById():
                    self._commit(process, self.known[effect.block_id], effect.certificate)
                case fx.SendDecided() if process.committed is not None:
                    self._send(process, effect.index, process.committed)
                case fx.Accuse():
                    self.accused.add(effect.first.signer)
                case _:
                    pass

    def _build(self, process: Process, view: int) -> Block:
        text = f"process {process.number}, view {view}".encode()
        block = toy_block(genesis_tip(), self.validators, process.member, envelopes=(text,), suite=self._suite)
        self.known[block.header.id(self._suite)] = block
        return block

    def _commit(self, process: Process, block: Block, certificate: Certificate) -> None:
        if process.committed is None:
            process.committed = (block, certificate)
            process.answers.append(ev.Committed(block.header, self.validators))
