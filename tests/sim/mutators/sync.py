"""Lies beside consensus: blocks and certificates that nobody decided, tips that nobody has, bodies of other blocks.

Attack C17, and what a peer can say about bodies, drafts and its own height.
"""

from __future__ import annotations

from dataclasses import replace

from common.consensus.messages import Stage
from common.core.block import Block
from common.core.certificate import Certificate
from common.core.errors import Rejected
from common.node.logic.wire.peer_messages import (
    AnswerBlocks,
    AnswerBody,
    AnswerTransactions,
    BlockDraft,
    GetBlocks,
    PeerPayload,
    Status,
    Transactions,
)
from tests.sim.mutators.catalogue import Workshop, mutator, named
from tests.sim.toys import CHEAP

Lie = PeerPayload | bytes | None


def _spoilt_pair(workshop: Workshop, pair: tuple[bytes, bytes]) -> tuple[bytes, bytes] | None:
    """A block with a certificate that is a lie."""
    block, data = pair
    try:
        certificate = Certificate.decode(data)
    except Rejected:
        return None
    known = [found for found in named("certificate") if found.name in workshop.forgeries or not workshop.forgeries]
    for chosen in workshop.in_turn(known):
        lie = chosen.apply(workshop, certificate)
        if lie is not None:
            return block, lie
    return None


@mutator("sync")
def blocks_with_a_false_certificate(workshop: Workshop, answer: PeerPayload) -> Lie:
    """Right blocks, one certificate spoilt in one of the ways of certificates."""
    if not isinstance(answer, AnswerBlocks) or not answer.blocks:
        return None
    at = workshop.random.randrange(len(answer.blocks))
    spoilt = _spoilt_pair(workshop, answer.blocks[at])
    if spoilt is None:
        return None
    return replace(answer, blocks=(*answer.blocks[:at], spoilt, *answer.blocks[at + 1 :]))


@mutator("sync")
def blocks_that_nobody_decided(workshop: Workshop, answer: PeerPayload) -> Lie:
    """A block of the liar's own making, with the certificate of the real one."""
    return _forged(workshop, answer, certify=False)


@mutator("sync")
def blocks_certified_by_the_liar(workshop: Workshop, answer: PeerPayload) -> Lie:
    """A block of the liar's own making, with a certificate that the liar signed alone."""
    return _forged(workshop, answer, certify=True)


def _forged(workshop: Workshop, answer: PeerPayload, *, certify: bool) -> Lie:
    if not isinstance(answer, AnswerBlocks) or not answer.blocks:
        return None
    data, certificate = answer.blocks[0]
    block = Block.decode(data)
    header = replace(block.header, time_ms=block.header.time_ms + 1)
    if certify:
        own = workshop.vote(Stage.COMMIT, header.height, 0, header.id(CHEAP))
        signatures = tuple((at, own.signature) for at in range(workshop.members))
        certificate = Certificate(header.height, 0, header.id(CHEAP), signatures).encode()
    return replace(answer, blocks=((replace(block, header=header).encode(), certificate), *answer.blocks[1:]))


@mutator("sync")
def blocks_with_a_gap(workshop: Workshop, answer: PeerPayload) -> Lie:
    """The first block is left out: what follows is of another height than was asked for."""
    if not isinstance(answer, AnswerBlocks) or len(answer.blocks) < 2:
        return None
    return replace(answer, blocks=answer.blocks[1:])


@mutator("sync")
def blocks_in_another_order(workshop: Workshop, answer: PeerPayload) -> Lie:
    """The highest block comes first."""
    if not isinstance(answer, AnswerBlocks) or len(answer.blocks) < 2:
        return None
    return replace(answer, blocks=tuple(reversed(answer.blocks)))


@mutator("sync")
def blocks_of_lower_heights(workshop: Workshop, answer: PeerPayload) -> Lie:
    """An older answer again: blocks that the asker has had for long; heights never fall (attack C17)."""
    if not isinstance(answer, AnswerBlocks):
        return None
    older = [held for held in workshop.answers if isinstance(held, AnswerBlocks) and held.blocks]
    if not older:
        return None
    return replace(answer, blocks=older[0].blocks)


@mutator("sync")
def blocks_with_a_swapped_body(workshop: Workshop, answer: PeerPayload) -> Lie:
    """The certified header with another body (attack E7)."""
    if not isinstance(answer, AnswerBlocks) or not answer.blocks:
        return None
    data, certificate = answer.blocks[0]
    block = Block.decode(data)
    envelopes = block.envelopes[:-1] if block.envelopes else (b"{}",)
    return replace(answer, blocks=((replace(block, envelopes=envelopes).encode(), certificate), *answer.blocks[1:]))


@mutator("sync")
def blocks_never_come(workshop: Workshop, answer: PeerPayload) -> Lie:
    """A tip is claimed, and nothing delivered."""
    if not isinstance(answer, AnswerBlocks) or not answer.blocks:
        return None
    return replace(answer, blocks=())


@mutator("sync")
def blocks_of_a_far_tip(workshop: Workshop, answer: PeerPayload) -> Lie:
    """The answer claims a tip that no chain has."""
    return replace(answer, tip_height=2**50) if isinstance(answer, AnswerBlocks) else None


@mutator("sync")
def blocks_of_no_tip(workshop: Workshop, answer: PeerPayload) -> Lie:
    """The answer denies every block: height 0."""
    return replace(answer, tip_height=0) if isinstance(answer, AnswerBlocks) else None


@mutator("sync")
def body_of_another_block(workshop: Workshop, answer: PeerPayload) -> Lie:
    """The body that a new leader or a late replica asks for, with another header."""
    if not isinstance(answer, AnswerBody) or not answer.block:
        return None
    block = Block.decode(answer.block)
    header = replace(block.header, time_ms=block.header.time_ms + 1)
    return replace(answer, block=replace(block, header=header).encode())


@mutator("sync")
def body_denied(workshop: Workshop, answer: PeerPayload) -> Lie:
    """The body is there, and the liar says that it is not."""
    return replace(answer, block=b"") if isinstance(answer, AnswerBody) and answer.block else None


@mutator("sync")
def transactions_withheld(workshop: Workshop, answer: PeerPayload) -> Lie:
    """Bodies of the liar's own proposal are not given (attack C22)."""
    return replace(answer, envelopes=()) if isinstance(answer, AnswerTransactions) and answer.envelopes else None


@mutator("sync")
def transactions_forged(workshop: Workshop, message: PeerPayload) -> Lie:
    """Gossip in which one envelope was touched: its signature does not hold."""
    if not isinstance(message, Transactions) or not message.envelopes:
        return None
    digit = b"1" if message.envelopes[0].find(b'"amount":5') < 0 else b"6"
    touched = message.envelopes[0].replace(b'"amount":5', b'"amount":' + digit).replace(b"alice", b"mallo")
    return replace(message, envelopes=(touched, *message.envelopes[1:]))


@mutator("sync")
def status_of_a_far_tip(workshop: Workshop, message: PeerPayload) -> Lie:
    """A claim of a tip that no chain has: everybody asks, and gets nothing."""
    return replace(message, tip_height=2**50) if isinstance(message, Status) else None


@mutator("sync")
def status_of_no_tip(workshop: Workshop, message: PeerPayload) -> Lie:
    """A claim to be at genesis."""
    return replace(message, tip_height=0) if isinstance(message, Status) else None


@mutator("sync")
def draft_of_other_transactions(workshop: Workshop, message: PeerPayload) -> Lie:
    """A hint that leads to nothing: the hashes are unknown."""
    if not isinstance(message, BlockDraft):
        return None
    return replace(message, envelope_hashes=tuple(workshop.flip(item) for item in message.envelope_hashes))


@mutator("sync")
def request_for_far_blocks(workshop: Workshop, message: PeerPayload) -> Lie:
    """Asks for blocks that nobody has."""
    return replace(message, from_height=2**50) if isinstance(message, GetBlocks) else None


@mutator("sync")
def bytes_cut_short(workshop: Workshop, message: PeerPayload) -> Lie:
    """A frame whose end is missing (attack E2)."""
    data = message.encode()
    return data[: workshop.random.randrange(1, len(data))]


@mutator("sync")
def bytes_with_a_bit_flipped(workshop: Workshop, message: PeerPayload) -> Lie:
    """A frame in which any one bit is wrong."""
    return workshop.flip(message.encode())
