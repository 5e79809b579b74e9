"""A faulty validator's mouth: which mutators it knows is drawn once, which it uses each time it speaks."""

from __future__ import annotations

from random import Random
from typing import Final

from common.consensus.messages import ConsensusMessage
from common.core.errors import InvariantBroken, Rejected
from common.node.peer_messages import AnswerBlocks, decode_payload
from tests.sim.mutators import MUTATORS
from tests.sim.mutators.catalogue import Mutator, Workshop, named, target_of

FEWEST: Final = 4
MOST: Final = 16


def draw_repertoire(random: Random) -> tuple[str, ...]:
    """Names of the mutators that one faulty validator uses."""
    known = [found.name for found in named(*_SPOKEN)]
    return tuple(sorted(random.sample(known, random.randint(FEWEST, MOST))))


_SPOKEN: Final = ("pre-prepare", "prepare", "commit", "view-change", "new-view", "sync")


class Liar:
    """Turns what correct code would say into lies, signed with the liar's own key."""

    def __init__(
        self, random: Random, number: int, genesis_id: bytes, network: str, repertoire: tuple[str, ...] | None = None
    ) -> None:
        self.workshop = Workshop(random, number, genesis_id, network)
        self.repertoire = draw_repertoire(random) if repertoire is None else repertoire
        self._by_target: dict[str, list[Mutator]] = {}
        for name in self.repertoire:
            self._by_target.setdefault(MUTATORS[name].target, []).append(MUTATORS[name])

    def remember(self, message: ConsensusMessage) -> None:
        """Keep it for a replay."""
        self.workshop.heard.append(message)

    def knows(self, message: ConsensusMessage) -> bool:
        """Whether any of its mutators fits."""
        return target_of(message) in self._by_target

    def spoil(self, message: ConsensusMessage, members: int) -> bytes | None:
        """What is said instead of `message`; None for the truth."""
        return self._lie(target_of(message), message, members)

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
        try:
            return self.workshop.random.choice(fitting).apply(self.workshop, truth)
        except InvariantBroken:
            return None  # the lie has no encoding: nothing can be said
