"""The register of mutators, and what a faulty validator has at hand when it makes a lie.

A mutator is a small function with a docstring: it takes a message and returns what is said instead, or None if it has
nothing to change there. Whatever it makes is signed with the liar's own key at most, since nobody else's can be had.

Invariant: a lie counts only if its bytes differ from the truth's (`Mutator.apply`), and what counts is tallied in
`EXERCISED`, so that a test can tell that every mutator is at work.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Protocol

from common.consensus.messages import ConsensusMessage, NewView, Proposal, Stage, ViewChange, Vote
from common.core.certificate import Certificate
from common.core.header import Header
from common.node.logic.wire.peer_messages import PeerPayload
from tests.sim.toys import CHEAP, seed_of
from tests.support.changed import replace

MOST_REMEMBERED: Final = 300
TARGETS: Final = (
    "pre-prepare",
    "prepare",
    "commit",
    "view-change",
    "new-view",
    "certificate",
    "sync",
    "packet",
)
"""What mutators change. `certificate`: commit certificates, wherever they travel; `sync`: what peers tell each other
beside consensus; `packet`: the content of `crosslink.submit`."""


class Encodable(Protocol):
    """Something with wire bytes."""

    def encode(self) -> bytes:
        """Wire bytes."""


@dataclass
class Workshop:
    """A faulty validator's memory, key and randomness."""

    random: Random
    number: int
    genesis_id: bytes
    network: str
    members: int = 4
    heard: deque[ConsensusMessage] = field(default_factory=lambda: deque(maxlen=MOST_REMEMBERED))
    answers: deque[PeerPayload] = field(default_factory=lambda: deque(maxlen=20))
    """Block answers that passed by, for stale replays."""
    forgeries: tuple[str, ...] = ()
    """The mutators of certificates that this liar knows; none: all."""
    used: Counter[str] = field(default_factory=Counter)
    """How often each mutator served this liar: what it has not said for long comes first."""

    def in_turn(self, mutators: Sequence[Mutator]) -> list[Mutator]:
        """The least used ones first, otherwise in any order."""
        mixed = self.random.sample(mutators, len(mutators))
        return sorted(mixed, key=lambda found: self.used[found.name])

    def signed(self, message: ConsensusMessage) -> ConsensusMessage:
        """The same message with the liar's signature, whatever it says."""
        return replace(message, signature=self.sign(message.payload(CHEAP, self.genesis_id, self.network)))

    def sign(self, payload: bytes) -> bytes:
        """The liar's signature."""
        return CHEAP.sign(seed_of(self.number), payload)

    def vote(self, stage: Stage, height: int, view: int, block_id: bytes) -> Vote:
        """Any vote, signed."""
        vote = self.signed(Vote(stage, height, view, block_id, self.number, b""))
        assert isinstance(vote, Vote)
        return vote

    def heard_of(self, kind: type[ConsensusMessage], height: int | None = None) -> list[Any]:
        """What others said, of one kind and height."""
        return [
            message
            for message in self.heard
            if isinstance(message, kind)
            and message.signer != self.number
            and (height is None or message.height == height)
        ]

    def another_id(self) -> bytes:
        """The id of no block, or of one that somebody proposed."""
        proposals = self.heard_of(Proposal)
        if proposals and self.random.random() < 0.5:
            return bytes(self.random.choice(proposals).header.id(CHEAP))
        return CHEAP.hash(b"another block %d" % self.random.randrange(3))

    def another_member(self) -> int:
        """Somebody else."""
        return self.random.choice([at for at in range(max(self.members, 2)) if at != self.number])

    def flip(self, data: bytes) -> bytes:
        """One bit changed."""
        spoilt = bytearray(data)
        if spoilt:
            spoilt[self.random.randrange(len(spoilt))] ^= 1 << self.random.randrange(8)
        return bytes(spoilt)


Change = Callable[[Any, Any], Any]


@dataclass(frozen=True, slots=True)
class Mutator:
    """One kind of lie."""

    name: str
    target: str
    change: Change
    meaning: str

    def apply(self, workshop: Any, truth: Any) -> bytes | None:
        """The lie's bytes; None if this truth offers nothing to change, or the bytes come out the same."""
        lie = self.change(workshop, truth)
        if lie is None:
            return None
        data = lie if isinstance(lie, bytes) else bytes(lie.encode())
        if data == truth.encode():
            return None
        EXERCISED[self.name] += 1
        if isinstance(workshop, Workshop):
            workshop.used[self.name] += 1
        return data


MUTATORS: Final[dict[str, Mutator]] = {}
EXERCISED: Final[Counter[str]] = Counter()
"""How often each mutator changed bytes in this process."""


def mutator(target: str) -> Callable[[Change], Change]:
    """Enter a function into the register, under its own name."""

    def enter(change: Change) -> Change:
        name, meaning = change.__name__, (change.__doc__ or "").strip()
        if target not in TARGETS or not meaning or name in MUTATORS:
            raise ValueError(f"mutator {name} needs a known target, a docstring and a name of its own")
        MUTATORS[name] = Mutator(name, target, change, meaning)
        return change

    return enter


def named(*targets: str) -> list[Mutator]:
    """All mutators of these targets, in the order of their definition."""
    return [found for found in MUTATORS.values() if found.target in targets]


def target_of(message: ConsensusMessage) -> str:
    """Which mutators fit a consensus message."""
    match message:
        case Proposal():
            return "pre-prepare"
        case Vote(stage=Stage.PREPARE):
            return "prepare"
        case Vote():
            return "commit"
        case ViewChange():
            return "view-change"
        case NewView():
            return "new-view"


def with_header(workshop: Workshop, proposal: Proposal, **changes: Any) -> ConsensusMessage:
    """The proposal with other header fields, signed again."""
    header: Header = replace(proposal.header, **changes)
    return workshop.signed(replace(proposal, header=header, height=header.height))


def signatures_of(votes: Iterable[Vote]) -> tuple[tuple[int, bytes], ...]:
    """(member, signature), ascending, one for each member."""
    return tuple(sorted({vote.signer: vote.signature for vote in votes}.items()))


def recertified(certificate: Certificate, **changes: Any) -> Certificate:
    """The certificate with other fields; its signatures are what they were."""
    return replace(certificate, **changes)
