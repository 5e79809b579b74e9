"""Signed messages of any content, by any validator: what honest code would never say included."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from common.consensus import effects as fx
from common.consensus.messages import ConsensusMessage, NewView, PreparedCertificate, Proposal, Stage, ViewChange, Vote
from common.core.block import Block
from tests.sim.bench import Bench, kind_of
from tests.sim.toys import CHEAP, GENESIS_ID, NETWORK, seed_of, toy_block
from tests.support.changed import replace

Message = TypeVar("Message", Proposal, Vote, ViewChange, NewView)


def signed(message: Message, number: int | None = None) -> Message:
    """The message with a valid signature of validator `number` (default: the one that it names)."""
    signer = message.signer if number is None else number
    return replace(message, signature=CHEAP.sign(seed_of(signer), message.payload(CHEAP, GENESIS_ID, NETWORK)))


def block_id(block: Block) -> bytes:
    """Its id."""
    return block.header.id(CHEAP)


def block_by(bench: Bench, proposer: int, text: str = "a block", seat: int = 0) -> Block:
    """A valid block for the seat's open height, known to everybody who fetches."""
    replica = bench.seats[seat].replica
    block = toy_block(bench.seats[seat].tip, replica.validators, proposer, envelopes=(text.encode(),))
    bench.known[block_id(block)] = block
    return block


def proposal(block: Block, leader: int, view: int = 0) -> Proposal:
    """PRE-PREPARE."""
    hashes = tuple(block.envelope_hashes(CHEAP))
    return signed(Proposal(block.header.height, view, block.header, hashes, leader, b""))


def vote(stage: Stage, voter: int, of: bytes, *, height: int = 1, view: int = 0) -> Vote:
    """PREPARE or COMMIT."""
    return signed(Vote(stage, height, view, of, voter, b""))


def prepare(voter: int, of: bytes, *, height: int = 1, view: int = 0) -> Vote:
    """PREPARE."""
    return vote(Stage.PREPARE, voter, of, height=height, view=view)


def commit(voter: int, of: bytes, *, height: int = 1, view: int = 0) -> Vote:
    """COMMIT."""
    return vote(Stage.COMMIT, voter, of, height=height, view=view)


def prepared(voters: Iterable[int], of: bytes, *, height: int = 1, view: int = 0) -> PreparedCertificate:
    """A certificate of real PREPAREs."""
    votes = [prepare(voter, of, height=height, view=view) for voter in voters]
    return PreparedCertificate(height, view, of, tuple((one.signer, one.signature) for one in votes))


def view_change(
    voter: int, view: int = 1, certificate: PreparedCertificate | None = None, *, height: int = 1
) -> ViewChange:
    """VIEW-CHANGE."""
    return signed(ViewChange(height, view, certificate, voter, b""))


def new_view(changes: Sequence[ViewChange], block: Block, leader: int, view: int = 1) -> NewView:
    """NEW-VIEW."""
    height = block.header.height
    return signed(NewView(height, view, tuple(changes), proposal(block, leader, view), leader, b""))


def sent(effects: Iterable[fx.Effect]) -> list[ConsensusMessage]:
    """Messages that these effects broadcast."""
    return [effect.message for effect in effects if isinstance(effect, fx.Broadcast)]


def codes(effects: Iterable[fx.Effect]) -> list[str]:
    """Codes of what was refused."""
    return [effect.code for effect in effects if isinstance(effect, fx.Refused)]


def quiet_bench(size: int, spare: int = 0) -> Bench:
    """A bench at which nobody builds by itself, and nothing is under way."""
    bench = Bench(size, work=False, spare=spare)
    bench.build_through = 0
    for seat in bench.seats:
        bench.work(seat.number, True)
    return bench


def offered() -> tuple[Bench, Block, bytes]:
    """A quiet bench of four, a block of the leader of its open height, and the block's id."""
    bench = quiet_bench(4)
    block = block_by(bench, 1)
    return bench, block, block_id(block)


def hear(bench: Bench, seat: int, messages: Iterable[Proposal | Vote | ViewChange | NewView]) -> None:
    """The seat gets these messages, each from whoever signed it."""
    for message in messages:
        bench.inject(seat, message, message.signer)


def kinds(effects: list[fx.Effect]) -> list[str]:
    """Kinds of messages broadcast."""
    return [kind_of(message) for message in sent(effects)]


def prepared_at(bench: Bench, seats: tuple[int, ...]) -> Block:
    """View 0 of height 1: the leader's block gets prepared at these seats and nowhere else; no COMMIT arrives."""
    block = bench.build(1, 1, 0)
    bench.deliver(kind="proposal")
    for number in seats:
        bench.deliver(target=number, kind="prepare")
    bench.drop()
    return block


def voted(bench: Bench, number: int) -> list[tuple[str, int]]:
    """(kind, view) of all that the seat broadcast."""
    return [(kind_of(message), message.view) for message in bench.signed(number)]
