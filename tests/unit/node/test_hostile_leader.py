"""What a faulty leader proposes, drafts or withholds, seen by one replica (node-3; node-1 leads height 1)."""

from __future__ import annotations

from typing import Any

from common.consensus.effects import Persist
from common.consensus.messages import Proposal, Stage, Vote, vote_payload
from common.core import merkle
from common.core.block import Block
from common.core.header import Header
from common.core.transaction import parse_envelope
from common.node.logic.node_effects import SendToPeers
from common.node.logic.node_events import PeerConnected, Timer
from common.node.logic.wire import peer_messages as pm
from tests.support.changed import replace
from tests.unit.node.solo import Solo
from tests.unit.node.toy import START_MS, SUITE, ToyApplication, key_of, make_genesis, seed_of, transfer
from tests.unit.node.victim import NAMES, Victim

GENESIS = make_genesis(NAMES, max_block_bytes=2_000, heartbeat_ms=1_000)
LEADER = "node-1"


def replica() -> Victim:
    victim = Victim(GENESIS)
    victim.meet("node-0", "node-1", "node-2", height=0)
    return victim


def hashes_of(envelopes: list[bytes]) -> tuple[bytes, ...]:
    return tuple([parse_envelope(envelope, SUITE).envelope_hash for envelope in envelopes])


def propose(header: Header, hashes: tuple[bytes, ...]) -> pm.Consensus:
    unsigned = Proposal(header.height, 0, header, hashes, 1, b"")
    signature = SUITE.sign(seed_of(LEADER), unsigned.payload(SUITE, GENESIS.id, GENESIS.network))
    return pm.Consensus(replace(unsigned, signature=signature).encode())


def valid_block(envelopes: list[bytes], time_ms: int = START_MS + 1, **changes: Any) -> Block:
    return Solo(GENESIS).block(envelopes, time_ms, **{"proposer": 1, **changes})


def votes(victim: Victim) -> int:
    """PREPAREs and COMMITs sent."""
    return sum(
        1
        for effect in victim.effects
        if isinstance(effect, SendToPeers) and effect.payload[:2] == b"\x01\x01" and effect.payload[2] in (2, 3)
    )


def test_valid_proposal_is_voted_for_after_its_body_is_durable() -> None:
    victim = replica()
    envelopes = [transfer(GENESIS, "a")]
    victim.receive("node-0", pm.Transactions(tuple(envelopes)))
    block = valid_block(envelopes)
    victim.receive(LEADER, propose(block.header, hashes_of(envelopes)))
    assert votes(victim) == 1
    kinds = [type(effect) for effect in victim.effects]
    persisted = next(effect for effect in victim.effects if isinstance(effect, Persist))
    assert envelopes[0] in b"".join(persisted.records)
    assert kinds.index(Persist) < kinds.index(SendToPeers)


def test_n1_bodies_beyond_a_blocks_bytes_are_not_fetched_to_the_end() -> None:
    victim = replica()
    envelopes = [transfer(GENESIS, f"n{at}") for at in range(20)]
    header = valid_block([]).header
    hashes = hashes_of(envelopes)
    header = replace(header, tx_count=20, tx_root=merkle.root(SUITE.hash, hashes))
    victim.receive(LEADER, propose(header, hashes))
    victim.expire(Timer.FETCH)
    ((asked, request),) = victim.sent(pm.KIND_GET_TRANSACTIONS)
    assert isinstance(request, pm.GetTransactions)
    assert asked == LEADER
    victim.receive(LEADER, pm.AnswerTransactions(request.request, tuple(envelopes[:6])))
    assert any("block_too_large" in warning for warning in victim.warnings)
    assert len(victim.sent(pm.KIND_GET_TRANSACTIONS)) == 1
    assert votes(victim) == 0


def test_body_with_a_bad_signature_costs_the_sender_its_channel_and_the_block_its_vote() -> None:
    victim = replica()
    good = transfer(GENESIS, "a")
    at = good.index(b'"signatures":["') + 20
    bad = good[:at] + (b"0" if good[at : at + 1] != b"0" else b"1") + good[at + 1 :]
    block = valid_block([bad])
    victim.receive(LEADER, propose(block.header, hashes_of([bad])))
    victim.expire(Timer.FETCH)
    ((_, request),) = victim.sent(pm.KIND_GET_TRANSACTIONS)
    assert isinstance(request, pm.GetTransactions)
    victim.receive(LEADER, pm.AnswerTransactions(request.request, (bad,)))
    assert victim.dropped == {LEADER: "bad_signature"}
    assert votes(victim) == 0
    assert victim.sent(pm.KIND_GET_TRANSACTIONS)[-1][0] != LEADER


def test_c16_a_vote_shown_in_a_hello_keeps_a_restored_machine_silent() -> None:
    """node-0 proves that we signed PREPARE in view 3 of height 1, of which our records know nothing."""
    payload = vote_payload(SUITE, GENESIS.id, GENESIS.network, Stage.PREPARE, 1, 3, bytes(32))
    vote = Vote(Stage.PREPARE, 1, 3, bytes(32), 3, SUITE.sign(seed_of("node-3"), payload))
    forged = replace(vote, view=9)
    for shown, silent in ((vote, True), (forged, False)):
        for late in (False, True):
            victim = Victim(GENESIS)
            if late:
                victim.meet("node-1", "node-2", height=0)
            victim.step(PeerConnected(key_of("node-0"), pm.Hello(0, bytes(32), shown.encode()).encode()))
            if not late:
                victim.meet("node-1", "node-2", height=0)
            envelopes = [transfer(GENESIS, "a")]
            victim.receive("node-2", pm.Transactions(tuple(envelopes)))
            victim.receive(LEADER, propose(valid_block(envelopes).header, hashes_of(envelopes)))
            assert votes(victim) == (0 if silent else 1)
            assert victim.node.status().voting is not silent


def test_answers_that_were_not_asked_for_are_dropped() -> None:
    victim = replica()
    envelope = transfer(GENESIS, "a")
    victim.receive("node-0", pm.AnswerTransactions(1, (envelope,)))
    block = valid_block([envelope])
    victim.receive(LEADER, propose(block.header, hashes_of([envelope])))
    victim.expire(Timer.FETCH)
    ((_, request),) = victim.sent(pm.KIND_GET_TRANSACTIONS)
    assert isinstance(request, pm.GetTransactions)
    victim.receive("node-0", pm.AnswerTransactions(request.request, (envelope,)))
    victim.receive(LEADER, pm.AnswerTransactions(request.request + 1, (envelope,)))
    assert votes(victim) == 0
    victim.receive(LEADER, pm.AnswerTransactions(request.request, (envelope,)))
    assert votes(victim) == 1


def test_e7_mangled_proposal_does_not_poison_the_block_it_names() -> None:
    """The leader signs the valid header with other hashes. A later proof of the same id must still be accepted."""
    victim = replica()
    envelopes = [transfer(GENESIS, "a"), transfer(GENESIS, "b")]
    block = valid_block(envelopes)
    hashes = hashes_of(envelopes)
    victim.receive(LEADER, propose(block.header, (hashes[1], hashes[0])))
    assert any("block_body_mismatch" in warning for warning in victim.warnings)
    assert votes(victim) == 0
    solo = Solo(GENESIS)
    certificate = solo.certify(block.header, NAMES)
    victim.receive("node-0", pm.AnswerBlocks(0, 1, ((block.encode(), certificate.encode()),)))
    assert victim.chain.tip().block_id == block.header.id(SUITE)


def test_wrong_roots_time_and_proposer_are_refused() -> None:
    envelopes = [transfer(GENESIS, "a")]
    cases = {
        "block_state_root": valid_block(envelopes, state_root=bytes(32)),
        "block_receipt_root": valid_block(envelopes, receipt_root=bytes(32)),
        "block_time_ahead": valid_block(envelopes, START_MS + GENESIS.parameters.max_clock_ahead_ms + 1),
        "block_empty_too_early": valid_block([], START_MS + 999),
        "proposal_wrong_proposer": valid_block(envelopes, proposer=2),
    }
    for code, block in cases.items():
        victim = replica()
        victim.receive("node-0", pm.Transactions(tuple(envelopes)))
        victim.receive(LEADER, propose(block.header, hashes_of(list(block.envelopes))))
        assert any(code in warning for warning in victim.warnings), code
        assert votes(victim) == 0, code


def test_draft_is_executed_once_and_only_from_the_views_leader() -> None:
    envelopes = [transfer(GENESIS, f"n{at}") for at in range(3)]
    draft = pm.BlockDraft(1, 0, START_MS + 1, GENESIS.id, hashes_of(envelopes))
    victim = replica()
    application = victim.application
    assert isinstance(application, ToyApplication)
    victim.receive("node-0", pm.Transactions(tuple(envelopes)))
    victim.receive("node-0", draft)
    victim.receive("node-2", draft)
    assert application.executed == []
    for ignored in (replace(draft, height=2), replace(draft, view=1), replace(draft, parent_id=bytes(32))):
        victim.receive(LEADER, ignored)
    assert application.executed == []
    victim.receive(LEADER, draft)
    assert len(application.executed) == 3
    victim.receive(LEADER, replace(draft, time_ms=START_MS + 2))
    assert len(application.executed) == 3, "one draft a view"
    block = valid_block(envelopes)
    victim.receive(LEADER, propose(block.header, hashes_of(envelopes)))
    assert len(application.executed) == 3, "the proposal finds the draft's execution"
    assert votes(victim) == 1


def test_draft_with_missing_bodies_fetches_them_ahead_of_the_proposal() -> None:
    envelopes = [transfer(GENESIS, f"n{at}") for at in range(3)]
    victim = replica()
    victim.receive(LEADER, pm.BlockDraft(1, 0, START_MS + 1, GENESIS.id, hashes_of(envelopes)))
    victim.receive("node-0", pm.Transactions(tuple(envelopes[:2])))
    victim.expire(Timer.FETCH)
    ((_, request),) = victim.sent(pm.KIND_GET_TRANSACTIONS)
    assert isinstance(request, pm.GetTransactions)
    assert request.envelope_hashes == hashes_of(envelopes[2:])
    victim.receive(LEADER, pm.AnswerTransactions(request.request, tuple(envelopes[2:])))
    assert isinstance(victim.application, ToyApplication)
    assert len(victim.application.executed) == 3


def test_draft_that_lies_costs_one_execution_and_no_vote() -> None:
    envelopes = [transfer(GENESIS, f"n{at}") for at in range(3)]
    victim = replica()
    victim.receive("node-0", pm.Transactions(tuple(envelopes)))
    twice = hashes_of(envelopes) + hashes_of(envelopes[:1])
    victim.receive(LEADER, pm.BlockDraft(1, 0, START_MS + 1, GENESIS.id, twice))
    assert votes(victim) == 0
    block = valid_block(envelopes)
    victim.receive(LEADER, propose(block.header, hashes_of(envelopes)))
    assert votes(victim) == 1
