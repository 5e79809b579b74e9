"""A faulty validator's mouth: which mutators it knows is drawn once, which it uses each time it speaks."""

from __future__ import annotations

from collections import OrderedDict
from random import Random
from typing import Final

from common.consensus.messages import ConsensusMessage, NewView, Proposal, Stage, decode_message
from common.core.errors import InvariantBroken, Rejected
from common.node.logic.wire.peer_messages import AnswerBlocks, decode_payload
from tests.sim.mutators import MUTATORS
from tests.sim.mutators.catalogue import Mutator, Workshop, named, target_of
from tests.sim.toys import CHEAP

SPOKEN: Final = ("pre-prepare", "prepare", "commit", "view-change", "new-view", "sync")
"""Targets of what a validator says."""
FEWEST: Final = 4
MOST: Final = 60
INSISTENCE: Final = 0.4
"""Chance that everybody hears the same lie instead of one message."""
SILENCE: Final = 0.25
"""Chance that a liar keeps a message to itself."""
MOST_STANDING: Final = 50


def draw_repertoire(random: Random) -> tuple[str, ...]:
    """Names of the mutators that one faulty validator uses."""
    known = [found.name for found in named(*SPOKEN)]
    return tuple(sorted(random.sample(known, random.randint(FEWEST, MOST))))


class Liar:
    """Turns what correct code would say into lies, signed with the liar's own key."""

    def __init__(
        self,
        random: Random,
        number: int,
        genesis_id: bytes,
        network: str,
        repertoire: tuple[str, ...] | None = None,
        insistence: float = INSISTENCE,
    ) -> None:
        self.workshop = Workshop(random, number, genesis_id, network)
        self.repertoire = draw_repertoire(random) if repertoire is None else repertoire
        self._insistence = insistence
        self.silence = SILENCE
        self._by_target: dict[str, list[Mutator]] = {}
        self._standing: OrderedDict[bytes, bytes | None] = OrderedDict()
        for name in self.repertoire:
            self._by_target.setdefault(MUTATORS[name].target, []).append(MUTATORS[name])

    def remember(self, message: ConsensusMessage) -> None:
        """Keep it for a replay."""
        self.workshop.heard.append(message)

    def knows(self, message: ConsensusMessage) -> bool:
        """Whether any of its mutators fits."""
        return target_of(message) in self._by_target

    def stand_by(self, message: ConsensusMessage, members: int) -> bytes | None:
        """The lie that everybody is told instead of `message`: chosen once, and for half of all messages none."""
        truth = message.encode()
        if truth not in self._standing:
            insists = self.workshop.random.random() < self._insistence
            self._standing[truth] = self.spoil(message, members) if insists else None
            if len(self._standing) > MOST_STANDING:
                self._standing.popitem(last=False)
        return self._standing[truth]

    def spoil(self, message: ConsensusMessage, members: int) -> bytes | None:
        """What is said instead of `message`; None for the truth."""
        return self._lie(target_of(message), message, members)

    def votes_for(self, lie: bytes) -> list[bytes]:
        """The liar's own PREPARE and COMMIT for a block that it invented: it means to get it decided."""
        told = proposal_in(lie)
        if told is None:
            return []
        block_id = told.header.id(CHEAP)
        phases = (Stage.PREPARE, Stage.COMMIT)
        return [self.workshop.vote(stage, told.height, told.view, block_id).encode() for stage in phases]

    def spoil_payload(self, payload: bytes, members: int) -> bytes | None:
        """What is said instead of a payload that is no consensus message; None for the truth."""
        try:
            truth = decode_payload(payload)
        except Rejected:
            return None
        if isinstance(truth, AnswerBlocks):
            self.workshop.answers.append(truth)
        return self._lie("sync", truth, members)

    def _lie(self, target: str, truth: object, members: int) -> bytes | None:
        fitting = self._by_target.get(target)
        if not fitting:
            return None
        self.workshop.members = members
        for chosen in self.workshop.in_turn(fitting):
            try:
                lie = chosen.apply(self.workshop, truth)
            except InvariantBroken:
                continue  # the lie has no encoding: it cannot be said
            if lie is not None:
                return lie
        return None


def proposal_in(lie: bytes) -> Proposal | None:
    """The proposal that a lie consists of or contains."""
    try:
        told = decode_message(lie)
    except Rejected:
        return None
    if isinstance(told, NewView):
        return told.proposal
    return told if isinstance(told, Proposal) else None
