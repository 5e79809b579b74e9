"""Whatever a peer says, a node goes on (N1 of `node`): the largest numbers, and real messages with spoilt bytes."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from common.consensus.messages import VOTE_STAGES, NewView, PreparedCertificate, Proposal, ViewChange, Vote
from common.core.block import Block
from common.node.logic.node_effects import Disconnect
from common.node.logic.node_events import PeerDisconnected, PeerMessage, TimerExpired
from common.node.logic.wire import checkpoint_messages as cm
from common.node.logic.wire import peer_messages as pm
from tests.support.changed import replace
from tests.unit.growth.world import GENESIS, grown
from tests.unit.node.toy import START_MS, SUITE, key_of, seed_of, transfer
from tests.unit.node.victim import Victim

HEIGHT = 8
LARGEST = (0, 1, HEIGHT, HEIGHT + 1, 2**16 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1)
SPOILT = 4_000


@pytest.fixture(scope="module")
def chain() -> tuple[tuple[bytes, bytes], ...]:
    solo = grown(HEIGHT + 1)
    return tuple([(solo.chain.block(at).encode(), solo.chain.certificate(at).encode()) for at in range(1, HEIGHT + 2)])


@pytest.fixture
def victim(chain: tuple[tuple[bytes, bytes], ...]) -> Victim:
    """A member at height 8, which knows three others."""
    victim = Victim(GENESIS)
    victim.meet("node-0", height=HEIGHT)
    victim.answer(chain[:HEIGHT], tip=HEIGHT)
    victim.meet("node-1", "node-2", height=HEIGHT)
    assert victim.chain.tip().height == HEIGHT
    return victim


def tell(victim: Victim, name: str, payload: bytes) -> None:
    """A peer says this; if that costs it its channel, it comes again."""
    effects = victim.step(PeerMessage(key_of(name), payload))
    for timer, token in list(victim.timers.items()):
        effects += victim.step(TimerExpired(timer, token))
    if any(isinstance(effect, Disconnect) for effect in effects):
        victim.step(PeerDisconnected(key_of(name)))
        victim.meet(name, height=HEIGHT)
    victim.effects.clear()


def with_numbers(number: int) -> Iterator[pm.PeerPayload]:
    """Every payload that has a number, with this one in one or all of its places."""
    small, word = number & 0xFFFF, number & 0xFFFFFFFF
    some = bytes(32)
    yield pm.GetTransactions(word, (some,))
    yield pm.AnswerTransactions(word, ())
    yield pm.GetBlocks(1, number, 10)
    yield pm.GetBlocks(word, 1, small)
    yield pm.AnswerBlocks(0, number, ())
    yield pm.AnswerBlocks(word, number, ())
    yield pm.GetBody(word, number, some)
    yield pm.AnswerBody(word, b"")
    yield pm.Status(number, some)
    yield pm.BlockDraft(number, number, number, some, (some,))
    yield cm.GetHeaders(1, number, 10)
    yield cm.GetHeaders(word, 1, small)
    yield cm.AnswerHeaders(word, number, ())
    yield cm.GetCheckpoints(word)
    yield cm.AnswerCheckpoints(word, (cm.Offer(number, some, some),))
    yield cm.GetPart(word, number, word)
    yield cm.AnswerPart(word, b"")
    yield cm.Pruned(word, number, number)
    for stage in VOTE_STAGES:
        for height, view, voter in ((number, 0, 0), (HEIGHT + 1, number, 0), (HEIGHT + 1, 0, small)):
            yield pm.Consensus(Vote(stage, height, view, some, voter, bytes(64)).encode())
    if number:
        for height in (number, HEIGHT + 1):
            held = PreparedCertificate(height, number - 1, some, ((small, bytes(64)),))
            yield pm.Consensus(ViewChange(height, number, held, small, bytes(64)).encode())


@pytest.mark.parametrize("number", LARGEST)
def test_c13_no_number_stops_a_node(victim: Victim, number: int) -> None:
    for message in with_numbers(number):
        tell(victim, "node-0", message.encode())
    victim.step(PeerDisconnected(key_of("node-0")))
    victim.meet("node-0", height=number)
    assert victim.chain.tip().height == HEIGHT


def real_messages(victim: Victim, chain: tuple[tuple[bytes, bytes], ...]) -> list[bytes]:
    """Valid ones of every kind about the open height, signed by their members."""
    block, genesis = Block.decode(chain[HEIGHT][0]), GENESIS
    of, height = block.header.id(SUITE), HEIGHT + 1
    hashes = tuple(block.envelope_hashes(SUITE))

    def signed(message: Proposal | Vote | ViewChange | NewView) -> Proposal | Vote | ViewChange | NewView:
        payload = message.payload(SUITE, genesis.id, genesis.network)
        return replace(message, signature=SUITE.sign(seed_of(f"node-{message.signer}"), payload))

    votes = [signed(Vote(stage, height, 0, of, at, b"")) for stage in VOTE_STAGES for at in range(3)]
    held = PreparedCertificate(height, 0, of, tuple([(vote.signer, vote.signature) for vote in votes[:3]]))
    changes = tuple([signed(ViewChange(height, 1, held, at, b"")) for at in range(3)])
    leader, next_leader = height % 4, (height + 1) % 4
    proposal = signed(Proposal(height, 0, block.header, hashes, leader, b""))
    again = signed(Proposal(height, 1, block.header, hashes, next_leader, b""))
    announced = signed(NewView(height, 1, changes, again, next_leader, b""))  # type: ignore[arg-type]
    said = [pm.Consensus(message.encode()) for message in (*votes, *changes, proposal, announced)]
    body = transfer(GENESIS, "fresh")
    others = [
        pm.Transactions((body, *block.envelopes)),
        pm.AnswerTransactions(1, block.envelopes),
        pm.AnswerBlocks(0, height, (chain[HEIGHT],)),
        pm.AnswerBody(1, chain[HEIGHT][0]),
        pm.BlockDraft(height, 0, START_MS, block.header.parent_id, hashes),
        cm.AnswerHeaders(1, height, ((block.header.encode(), chain[HEIGHT][1], b""),)),
    ]
    return [message.encode() for message in (*said, *others)]  # type: ignore[attr-defined]


def spoil(random: Random, payload: bytes) -> bytes:
    """Some bytes changed, to the ends of their range as often as not; sometimes a part is cut or doubled."""
    data = bytearray(payload)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(1, len(data))
        width = random.choice((1, 1, 2, 4, 8))
        data[at : at + width] = random.choice((b"\0", b"\xff", b"\x7f", random.randbytes(1))) * width
    if random.random() < 0.1:
        at = random.randrange(1, len(data))
        del data[at : at + random.randrange(1, 40)]
    return bytes(data)


def test_e2_no_spoilt_message_stops_a_node(victim: Victim, chain: tuple[tuple[bytes, bytes], ...]) -> None:
    random = Random("spoilt")
    messages = real_messages(victim, chain)
    for _ in range(SPOILT):
        tell(victim, random.choice(("node-0", "node-1", "node-2")), spoil(random, random.choice(messages)))
    assert victim.chain.tip().height <= HEIGHT + 1
