"""Pre-prepare, prepare, commit at one height, in one view."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from common.consensus import effects as fx
from common.consensus import events as ev
from common.consensus.messages import VOTE_STAGES, PreparedCertificate, Proposal, Stage, Vote
from common.consensus.payloads import Payloads
from common.consensus.verification import Verifier
from common.consensus.vote_records import decode_record
from common.core.block import Block
from common.core.certificate import Certificate, verify_certificate
from common.core.errors import InvariantBroken, Rejected
from common.core.suite import ED25519_SHA256
from tests.sim.bench import Bench, kind_of
from tests.sim.checkers import least_quorum
from tests.sim.toys import CHEAP, GENESIS_ID, NETWORK, CheapSuite, genesis_tip, toy_block, validator_set
from tests.support.changed import replace
from tests.unit.consensus import parts
from tests.unit.consensus.parts import codes, hear, offered, quiet_bench, sent


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 10])
def test_every_size_decides_block_after_block(size: int) -> None:
    bench = Bench(size)
    bench.settle(until_height=4)
    assert min(bench.heights()) >= 4
    for height in range(1, 5):
        assert len(bench.decided(height)) == 1
    for seat in bench.seats:
        block, certificate = seat.chain[2]
        verify_certificate(CHEAP, seat.sets[2], block.header, certificate)


def test_real_signatures_decide_too() -> None:
    bench = Bench(4, suite=ED25519_SHA256)
    bench.settle(until_height=2)
    block, certificate = bench.seats[3].chain[1]
    verify_certificate(ED25519_SHA256, bench.seats[3].sets[1], block.header, certificate)


def test_the_leader_rotates_with_the_height() -> None:
    bench = Bench(4)
    bench.settle(until_height=4)
    assert [block.header.proposer for block, _ in bench.seats[0].chain[:4]] == [1, 2, 3, 0]


def test_no_work_no_block_and_no_timer() -> None:
    """Protocol rule 4: an idle chain is silent."""
    bench = Bench(4, work=False)
    assert not bench.wires
    assert all(seat.timer is None for seat in bench.seats)
    bench.work(1, True)
    bench.settle(until_height=1)
    assert bench.heights() == [1, 1, 1, 1]
    bench.work(1, False)
    bench.settle()
    assert all(seat.timer is None for seat in bench.seats)


def persisted_before(log: list[fx.Effect], at: int) -> list[object]:
    """What was durable when the effect at this place was performed."""
    earlier = [effect for effect in log[:at] if isinstance(effect, fx.Persist)]
    return [decode_record(record) for effect in earlier for record in effect.records]


def test_s1_what_a_vote_rests_on_is_durable_before_it_is_sent() -> None:
    """Effect order is a contract: body, then PREPARE; prepared certificate, then COMMIT (protocol rule 1)."""
    bench = Bench(4)
    bench.settle(until_height=2)
    for seat in bench.seats:
        for at, effect in enumerate(seat.log):
            if not isinstance(effect, fx.Broadcast) or effect.message.height != 1:
                continue
            durable = persisted_before(seat.log, at)
            assert effect.message in durable
            match effect.message:
                case Vote(stage=Stage.PREPARE):
                    assert any(isinstance(item, Block) and item.header.height == 1 for item in durable)
                case Vote():
                    assert any(isinstance(item, PreparedCertificate) and item.height == 1 for item in durable)
                case Proposal():
                    assert any(isinstance(item, Block) for item in durable)
                case _:
                    raise AssertionError("nothing else is sent in a quiet network")


def test_the_body_is_persisted_once_though_voted_for_in_two_views() -> None:
    bench = quiet_bench(4)
    bench.build(1, 1, 0)
    bench.deliver(kind="proposal")
    bench.deliver(kind="prepare")
    bench.drop()
    bench.expire_all(*range(4))
    bench.deliver(kind="view-change")
    bench.deliver(kind="new-view")
    prepares = [m for m in bench.signed(0) if isinstance(m, Vote) and m.stage is Stage.PREPARE]
    assert [vote.view for vote in prepares] == [0, 1]
    bodies = [record for record in bench.seats[0].records if isinstance(decode_record(record), Block)]
    assert len(bodies) == 1


@pytest.mark.parametrize("size", range(1, 11))
def test_c7_one_signature_short_of_a_quorum_proves_nothing(size: int) -> None:
    """q by brute force: the smallest number of which any two sets share more than f members."""
    members = validator_set(tuple(range(size)))
    quorum, faults = least_quorum(size), (size - 1) // 3
    assert members.quorum == quorum <= size - faults
    if size <= 7:
        groups = [set(group) for group in combinations(range(size), quorum)]
        assert all(len(one & other) > faults for one in groups for other in groups)
    verifier = Verifier(Payloads(CHEAP, GENESIS_ID, NETWORK), members, genesis_tip())
    block = toy_block(genesis_tip(), members, 0)
    of = parts.block_id(block)
    verifier.check_prepared(parts.prepared(range(quorum), of))
    with pytest.raises(Rejected, match="prepared_too_few"):
        verifier.check_prepared(parts.prepared(range(quorum - 1), of))
    for count in (quorum - 1, quorum):
        votes = [parts.commit(at, of) for at in range(count)]
        certificate = Certificate(1, 0, of, tuple((vote.signer, vote.signature) for vote in votes))
        if count == quorum:
            verify_certificate(CHEAP, members, block.header, certificate)
        else:
            with pytest.raises(Rejected, match="certificate_too_few"):
                verify_certificate(CHEAP, members, block.header, certificate)


@pytest.mark.parametrize("size", range(2, 11))
def test_c7_a_replica_commits_and_decides_with_q_votes_and_not_with_one_less(size: int) -> None:
    bench = quiet_bench(size)
    leader, quorum = 1 % size, least_quorum(size)
    block = parts.block_by(bench, leader)
    of, seat = parts.block_id(block), 0
    others = [number for number in range(size) if number != seat]
    bench.inject(seat, parts.proposal(block, leader), leader)
    for number in others[: quorum - 2]:
        assert not sent(bench.inject(seat, parts.prepare(number, of), number))
    effects = bench.inject(seat, parts.prepare(others[quorum - 2], of), others[quorum - 2])
    assert [kind_of(message) for message in sent(effects)] == ["commit"]
    hear(bench, seat, (parts.commit(number, of) for number in others[: quorum - 2]))
    assert bench.seats[seat].tip.height == 0
    bench.inject(seat, parts.commit(others[quorum - 2], of), others[quorum - 2])
    assert bench.seats[seat].tip.height == 1


def test_c1_an_equivocating_leader_is_accused_and_gets_one_vote() -> None:
    bench = quiet_bench(4)
    first, second = (parts.block_by(bench, 1, text) for text in ("one", "two"))
    bench.inject(0, parts.proposal(first, 1), 1)
    effects = bench.inject(0, parts.proposal(second, 1), 1)
    assert not sent(effects)
    (accusation,) = [effect for effect in effects if isinstance(effect, fx.Accuse)]
    assert accusation == fx.Accuse(parts.proposal(first, 1), parts.proposal(second, 1))
    again = bench.inject(0, parts.proposal(second, 1), 1)
    assert not [effect for effect in again if isinstance(effect, fx.Accuse)]


def test_c1_a_forged_second_proposal_accuses_nobody() -> None:
    bench = quiet_bench(4)
    first, second = (parts.block_by(bench, 1, text) for text in ("one", "two"))
    bench.inject(0, parts.proposal(first, 1), 1)
    forged = parts.signed(replace(parts.proposal(second, 1)), number=3)
    effects = bench.inject(0, forged, 3)
    assert codes(effects) == ["consensus_bad_signature"]
    assert not [effect for effect in effects if isinstance(effect, fx.Accuse)]


@pytest.mark.parametrize("stage", VOTE_STAGES)
def test_c1_a_double_vote_is_accused_and_counts_once(stage: Stage) -> None:
    bench, block, of = offered()
    bench.inject(0, parts.proposal(block, 1), 1)
    other = parts.vote(stage, 2, bytes(32))
    bench.inject(0, other, 2)
    effects = bench.inject(0, parts.vote(stage, 2, of), 2)
    (accusation,) = [effect for effect in effects if isinstance(effect, fx.Accuse)]
    assert (accusation.first, accusation.second) == (other, parts.vote(stage, 2, of))
    effects = bench.inject(0, parts.vote(stage, 3, of), 3)
    assert not sent(effects), "the first vote of member 2 counts, the second does not"
    assert bench.seats[0].tip.height == 0


def test_c8_a_vote_counts_once_whatever_its_signature_looks_like() -> None:
    """The same vote again, with the same or a malleated signature, over its own or another channel."""

    class Malleable(CheapSuite):
        """Accepts any signature that starts like the right one."""

        def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
            return super().verify(public_key, message, signature[:16])

    bench = Bench(4, suite=Malleable(), work=False)
    block = parts.block_by(bench, 1)
    of = parts.block_id(block)
    bench.inject(0, parts.proposal(block, 1), 1)
    vote = parts.prepare(2, of)
    for copy, sender in ((vote, 2), (vote, 3), (replace(vote, signature=vote.signature + b"x"), 2)):
        assert not sent(bench.inject(0, copy, sender))
    assert [kind_of(message) for message in sent(bench.inject(0, parts.prepare(3, of), 3))] == ["commit"]


@pytest.mark.parametrize("stage", VOTE_STAGES)
def test_c8_votes_are_verified_before_they_count(stage: Stage) -> None:
    bench, block, of = offered()
    bench.inject(0, parts.proposal(block, 1), 1)
    for number in (1, 2, 3):
        effects = bench.inject(0, replace(parts.vote(stage, number, of), signature=bytes(16)), number)
        assert codes(effects) == ["consensus_bad_signature"]
    assert not [m for m in bench.signed(0) if kind_of(m) == "commit"]
    assert bench.seats[0].tip.height == 0
    hear(bench, 0, (parts.prepare(number, of) for number in (2, 3)))
    assert [m for m in bench.signed(0) if kind_of(m) == "commit"], "a forged vote took the place of the real one"


def test_votes_behind_a_quorum_are_verified_only_if_they_differ() -> None:
    """Protocol rule 15: a signature costs more than everything else about a vote."""

    class Counting(CheapSuite):
        """Counts verifications."""

        verified = 0

        def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
            self.verified += 1
            return super().verify(public_key, message, signature)

    suite = Counting()
    bench = Bench(7, suite=suite, work=False)
    block = parts.block_by(bench, 1)
    of = parts.block_id(block)
    bench.inject(0, parts.proposal(block, 1), 1)
    hear(bench, 0, (parts.prepare(number, of) for number in (1, 2, 3, 4)))
    verified = suite.verified
    bench.inject(0, parts.prepare(5, of), 5)
    bench.inject(0, parts.prepare(5, of), 5)
    assert suite.verified == verified
    bench.inject(0, parts.prepare(6, bytes(32)), 6)
    assert suite.verified == verified + 1


def test_what_one_height_costs_in_signatures() -> None:
    """n = 4: the proposal, two PREPAREs and two COMMITs of others; two or three signatures of our own."""

    class Counting(CheapSuite):
        """Counts both."""

        verified = signed = 0

        def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
            self.verified += 1
            return super().verify(public_key, message, signature)

        def sign(self, seed: bytes, message: bytes) -> bytes:
            self.signed += 1
            return super().sign(seed, message)

    suite = Counting()
    bench = Bench(4, suite=suite)
    bench.build_through = 20
    bench.settle()
    assert bench.heights() == [20] * 4
    assert suite.verified <= 20 * 4 * 5
    assert suite.signed == 20 * (4 * 2 + 1)


def test_c10_a_message_for_another_chain_height_or_view_is_not_counted() -> None:
    bench, block, of = offered()
    bench.inject(0, parts.proposal(block, 1), 1)
    for number in (2, 3):
        real = parts.prepare(number, of)
        foreign = CHEAP.sign(number.to_bytes(32, "big"), real.payload(CHEAP, bytes(32), NETWORK))
        elsewhere = CHEAP.sign(number.to_bytes(32, "big"), real.payload(CHEAP, GENESIS_ID, "custody"))
        later = parts.prepare(number, of, view=1).signature
        higher = parts.prepare(number, of, height=2).signature
        other_type = parts.commit(number, of).signature
        for signature in (foreign, elsewhere, later, higher, other_type):
            assert codes(bench.inject(0, replace(real, signature=signature), number)) == ["consensus_bad_signature"]
    assert [kind_of(message) for message in bench.signed(0)] == ["prepare"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"parent_id": bytes(32)}, "proposal_wrong_parent"),
        ({"time_ms": genesis_tip().time_ms}, "proposal_time_not_increasing"),
        ({"validators_hash": bytes(32)}, "proposal_wrong_set"),
        ({"proposer": 2}, "proposal_wrong_proposer"),
        ({"proposer": 4}, "proposal_wrong_proposer"),
        ({"network": "custody"}, "proposal_wrong_chain"),
        ({"genesis_id": bytes(32)}, "proposal_wrong_chain"),
    ],
)
def test_c14_a_header_that_does_not_continue_the_chain_is_refused(change: dict[str, Any], code: str) -> None:
    """Wrong parent (C14), time not increasing (C15), wrong set (C9), wrong chain (C10)."""
    bench = quiet_bench(4)
    block = parts.block_by(bench, 1)
    bad = replace(block, header=replace(block.header, **change))
    effects = bench.inject(0, parts.proposal(bad, 1), 1)
    assert codes(effects) == [code]
    assert not [effect for effect in effects if isinstance(effect, fx.ValidateBlock)]
    assert not list(bench.signed(0))


def test_c1_one_block_at_two_heights_is_refused_even_if_it_never_crossed_a_wire() -> None:
    bench = quiet_bench(4)
    block = parts.block_by(bench, 1)
    stray = replace(block, header=replace(block.header, height=2))
    mixed = parts.signed(replace(parts.proposal(stray, 1), height=1))
    effects = bench.seats[0].replica.step(ev.Received(mixed, 1))
    assert codes(effects) == ["proposal_wrong_height"]


def test_c1_a_forged_proposal_is_refused_and_takes_nobodys_place() -> None:
    bench = quiet_bench(4)
    real, forged = parts.block_by(bench, 1), parts.block_by(bench, 1, "forged")
    effects = bench.inject(0, parts.signed(parts.proposal(forged, 1), number=3), 3)
    assert codes(effects) == ["consensus_bad_signature"]
    bench.inject(0, parts.proposal(real, 1), 1)
    assert [m.block_id for m in bench.signed(0) if isinstance(m, Vote)] == [parts.block_id(real)]


@pytest.mark.parametrize("stage", VOTE_STAGES)
def test_c1_a_forged_second_vote_accuses_nobody(stage: Stage) -> None:
    bench = quiet_bench(4)
    bench.inject(0, parts.vote(stage, 2, bytes(32)), 2)
    forged = parts.signed(parts.vote(stage, 2, b"\x01" * 32), number=3)
    effects = bench.inject(0, forged, 3)
    assert codes(effects) == ["consensus_bad_signature"]
    assert not [effect for effect in effects if isinstance(effect, fx.Accuse)]


def test_prepared_means_validated_too() -> None:
    """A quorum of PREPAREs for a body that we do not have makes us wait, not COMMIT."""
    bench, block, of = offered()
    bench.withheld.add((0, of))
    bench.inject(0, parts.proposal(block, 1), 1)
    hear(bench, 0, (parts.prepare(number, of) for number in (1, 2, 3)))
    assert not list(bench.signed(0))
    bench.step(0, ev.BlockValidated(1, 0, block))
    bench.step(0, ev.BlockValidated(1, 0, block))
    assert [kind_of(message) for message in bench.signed(0)] == ["prepare", "commit"]


def test_c14_commits_out_of_order_are_refused_loudly() -> None:
    bench = quiet_bench(4)
    members = bench.seats[0].replica.validators
    stray = replace(toy_block(genesis_tip(), members, 1).header, parent_id=bytes(32))
    with pytest.raises(InvariantBroken):
        bench.seats[0].replica.step(ev.Committed(stray, members))
    block = parts.block_by(bench, 1)
    bench.step(0, ev.Committed(block.header, members))
    assert bench.seats[0].replica.height == 2
    hear(bench, 0, (parts.view_change(number, 3, height=2) for number in (1, 2)))
    assert bench.step(0, ev.Committed(block.header, members)) == []
    assert (bench.seats[0].replica.height, bench.seats[0].replica.view) == (2, 3)


def test_c14_the_node_must_commit_what_was_decided() -> None:
    bench = quiet_bench(4)
    block, other = parts.block_by(bench, 1), parts.block_by(bench, 1, "other")
    of = parts.block_id(block)
    replica = bench.seats[0].replica
    for number in (1, 2, 3):
        replica.step(ev.Received(parts.commit(number, of), number))
    with pytest.raises(InvariantBroken):
        replica.step(ev.Committed(other.header, replica.validators))


def test_only_the_leader_proposes() -> None:
    bench = quiet_bench(4)
    block = parts.block_by(bench, 2)
    assert codes(bench.inject(0, parts.proposal(block, 2), 2)) == ["consensus_wrong_leader"]
    assert not list(bench.signed(0))


def test_votes_may_come_before_the_proposal() -> None:
    bench, block, of = offered()
    hear(bench, 0, (parts.prepare(number, of) for number in (1, 2, 3)))
    hear(bench, 0, (parts.commit(number, of) for number in (1, 2)))
    assert not list(bench.signed(0))
    bench.inject(0, parts.proposal(block, 1), 1)
    assert [kind_of(message) for message in bench.signed(0)] == ["prepare", "commit"]
    assert bench.seats[0].tip.height == 1


def test_a_quorum_of_commits_decides_though_nothing_else_was_heard() -> None:
    """The certificate is enough; the body comes by id (protocol rule 3)."""
    bench, block, of = offered()
    bench.withheld.add((0, of))
    for number in (1, 2, 3):
        effects = bench.seats[0].replica.step(ev.Received(parts.commit(number, of), number))
    (decision,) = [effect for effect in effects if isinstance(effect, fx.DecideById)]
    assert decision.block_id == of
    verify_certificate(CHEAP, bench.seats[0].replica.validators, block.header, decision.certificate)
    late = bench.seats[0].replica.step(ev.BlockValidated(1, 0, block))
    assert fx.Decide(block, decision.certificate) in late
    assert bench.seats[0].replica.step(ev.BlockValidated(1, 0, block)) == []


def test_a_decision_is_given_once() -> None:
    bench, block, of = offered()
    replica = bench.seats[0].replica
    given: list[fx.Effect] = []
    for event in (
        ev.Received(parts.proposal(block, 1), 1),
        ev.BlockValidated(1, 0, block),
        *(ev.Received(parts.prepare(number, of), number) for number in (1, 2, 3)),
        *(ev.Received(parts.commit(number, of), number) for number in (1, 2, 3)),
        *(ev.Received(parts.commit(number, of, view=1), number) for number in (1, 2, 3)),
        ev.BlockValidated(1, 0, block),
    ):
        given += replica.step(event)  # type: ignore[arg-type]
    assert len([effect for effect in given if isinstance(effect, fx.Decide | fx.DecideById)]) == 1


def test_e7_a_refused_body_is_not_held_against_the_block() -> None:
    """A mangled copy may be refused first; the valid one, re-proposed later, is judged again."""
    bench, block, of = offered()
    bench.invalid.add(of)
    bench.inject(0, parts.proposal(block, 1), 1)
    assert not list(bench.signed(0))
    bench.invalid.clear()
    certificate = parts.prepared((1, 2, 3), of)
    changes = [parts.view_change(number, 1, certificate) for number in (1, 2, 3)]
    bench.inject(0, parts.new_view(changes, block, 2), 2)
    assert [(kind_of(message), message.view) for message in bench.signed(0)] == [("prepare", 1)]


def test_a_block_that_our_own_node_built_wrongly_is_our_fault() -> None:
    bench = quiet_bench(4)
    block = parts.block_by(bench, 2)
    with pytest.raises(InvariantBroken):
        bench.seats[1].replica.step(ev.BlockBuilt(1, 0, block))
