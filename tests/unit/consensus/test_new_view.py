"""NEW-VIEW: evidence that must be checked in full, blocks that must be repeated, and no locks."""

from __future__ import annotations

import pytest

from common.consensus import effects as fx
from common.consensus import events as ev
from common.consensus.messages import NewView, PreparedCertificate, ViewChange
from tests.sim.bench import Bench, kind_of
from tests.support.changed import replace
from tests.unit.consensus import parts
from tests.unit.consensus.parts import codes, hear, kinds, offered, prepared_at, quiet_bench, voted


def test_c2_a_proposal_for_a_later_view_needs_a_new_view() -> None:
    bench = quiet_bench(4)
    block = parts.block_by(bench, 2)
    effects = bench.inject(0, parts.proposal(block, 2, 1), 2)
    assert codes(effects) == ["proposal_without_new_view"]
    bench.expire_all(0, 1, 3)
    effects = bench.inject(0, parts.proposal(block, 2, 1), 2)
    assert codes(effects) == ["proposal_without_new_view"]
    assert ("prepare", 1) not in voted(bench, 0)


def test_c2_a_conflicting_proposal_after_a_view_change_is_accused_not_voted_for() -> None:
    bench = quiet_bench(4)
    first, second = (parts.block_by(bench, 2, text) for text in ("one", "two"))
    changes = [parts.view_change(number) for number in (1, 2, 3)]
    bench.inject(0, parts.new_view(changes, first, 2), 2)
    effects = bench.inject(0, parts.new_view(changes, second, 2), 2)
    assert [type(effect) for effect in effects] == [fx.Accuse]
    assert voted(bench, 0) == [("prepare", 1)]


def test_c3_a_new_view_that_omits_the_prepared_block_is_refused() -> None:
    """The leader holds a view change with a certificate, and offers a quorum's evidence with it for another block."""
    bench = quiet_bench(4)
    due, other = parts.block_by(bench, 1), parts.block_by(bench, 2, "other")
    certificate = parts.prepared((0, 1, 3), parts.block_id(due))
    changes = [parts.view_change(1), parts.view_change(2), parts.view_change(3, 1, certificate)]
    assert codes(bench.inject(0, parts.new_view(changes, other, 2), 2)) == ["new_view_wrong_block"]
    assert not list(bench.signed(0))


def test_c3_the_highest_certificate_counts_not_the_first() -> None:
    bench = quiet_bench(7)
    low, high = parts.block_by(bench, 1), parts.block_by(bench, 2, "higher")
    of_low = parts.prepared(range(5), parts.block_id(low), view=0)
    of_high = parts.prepared(range(5), parts.block_id(high), view=1)
    changes = [
        parts.view_change(1, 2, of_low),
        parts.view_change(2, 2, of_high),
        parts.view_change(3, 2, of_low),
        parts.view_change(4, 2),
        parts.view_change(5, 2),
    ]
    assert codes(bench.inject(0, parts.new_view(changes, low, 3, 2), 3)) == ["new_view_wrong_block"]
    assert not list(bench.signed(0))
    other = quiet_bench(7)
    other.known |= bench.known
    other.inject(0, parts.new_view(changes, high, 3, 2), 3)
    assert voted(other, 0) == [("prepare", 2)]


def test_c4_new_views_with_too_few_foreign_or_forged_voters_are_refused() -> None:
    def judged(changes: list[ViewChange]) -> list[str]:
        bench = quiet_bench(4)
        return codes(bench.inject(0, parts.new_view(changes, parts.block_by(bench, 2), 2), 2))

    good = [parts.view_change(number) for number in (1, 2, 3)]
    assert judged(good) == []
    assert judged(good[:2]) == ["new_view_too_few"]
    assert judged([*good[:2], parts.view_change(4)]) == ["consensus_unknown_signer"]
    assert judged([*good[:2], parts.signed(good[2], number=1)]) == ["consensus_bad_signature"]
    assert judged([*good[:2], replace(good[2], signature=bytes(16))]) == ["consensus_bad_signature"]


def test_c4_evidence_is_checked_even_if_it_never_crossed_a_wire() -> None:
    """Duplicates and evidence for other views are refused by the decoder; the verifier does not rely on that."""
    bench = quiet_bench(4)
    good = [parts.view_change(number) for number in (1, 2, 3)]
    block = parts.block_by(bench, 2)
    replica = bench.seats[0].replica
    for changes, code in (
        ([*good[:2], good[1]], "new_view_duplicate_voter"),
        ([*good[:2], parts.view_change(3, 2)], "new_view_wrong_evidence"),
        ([*good[:2], parts.view_change(3, 1, height=2)], "new_view_wrong_evidence"),
    ):
        bad = parts.new_view(changes, block, 2)
        assert codes(quiet_bench(4).seats[0].replica.step(ev.Received(bad, 2))) == [code]
    stray = replace(parts.new_view(good, block, 2), proposal=parts.proposal(block, 2, 0))
    assert codes(replica.step(ev.Received(parts.signed(stray), 2))) == ["new_view_proposal"]


def test_c4_only_the_leader_of_a_view_announces_it() -> None:
    bench = quiet_bench(4)
    good = [parts.view_change(number) for number in (1, 2, 3)]
    stolen = parts.new_view(good, parts.block_by(bench, 3), 3)
    assert codes(bench.inject(0, stolen, 3)) == ["consensus_wrong_leader"]


def test_c4_certificates_are_checked_even_if_they_never_crossed_a_wire() -> None:
    bench, _, of = offered()
    good = parts.prepared((1, 2, 3), of)
    doubled = replace(good, signatures=(good.signatures[0],) * 3)
    later = parts.prepared((1, 2, 3), of, view=2)
    elsewhere = parts.prepared((1, 2, 3), of, height=2)
    for certificate, code in (
        (doubled, "prepared_duplicate_signer"),
        (later, "view_change_prepared"),
        (elsewhere, "view_change_prepared"),
    ):
        effects = bench.seats[0].replica.step(ev.Received(parts.view_change(3, 2, certificate), 3))
        assert codes(effects) == [code]


def test_c4_a_new_view_must_be_signed_as_a_whole() -> None:
    """All its parts may be real, and yet put together by somebody else."""
    bench = quiet_bench(4)
    real = parts.new_view([parts.view_change(number) for number in (1, 2, 3)], parts.block_by(bench, 2), 2)
    assert codes(bench.inject(0, parts.signed(real, number=3), 3)) == ["consensus_bad_signature"]
    assert not list(bench.signed(0))


@pytest.mark.parametrize(
    ("certificate", "code"),
    [
        (lambda of: parts.prepared((1, 2), of), "prepared_too_few"),
        (lambda of: parts.prepared((), of), "prepared_too_few"),
        (lambda of: parts.prepared((1, 2, 4), of), "consensus_unknown_signer"),
        (lambda of: replace(parts.prepared((1, 2, 3), of), block_id=bytes(32)), "consensus_bad_signature"),
        (lambda of: replace(parts.prepared((1, 2, 3), of, view=1), view=0), "consensus_bad_signature"),
        (lambda of: _with_commits(of), "consensus_bad_signature"),
    ],
    ids=["too few", "empty", "foreign signer", "other block", "other view", "commits"],
)
def test_c4_c6_a_view_change_with_a_bad_certificate_is_dropped(certificate: object, code: str) -> None:
    bench, _, of = offered()
    assert callable(certificate)
    change = parts.view_change(3, 2, certificate(of))
    assert codes(bench.inject(0, change, 3)) == [code]


def _with_commits(of: bytes) -> PreparedCertificate:
    votes = [parts.commit(number, of) for number in (1, 2, 3)]
    return PreparedCertificate(1, 0, of, tuple((vote.signer, vote.signature) for vote in votes))


def test_c5_one_bad_view_change_hides_no_other() -> None:
    """The leader gets a view change with a broken certificate, and still finds and repeats the prepared block."""
    bench = quiet_bench(4)
    block = prepared_at(bench, (3,))
    bench.expire_all(0, 2, 3)
    broken = parts.prepared((0, 1), parts.block_id(block))
    assert codes(bench.inject(2, parts.view_change(1, 1, broken), 1)) == ["prepared_too_few"]
    bench.deliver(target=2, kind="view-change")
    (announced,) = [message for message in bench.signed(2) if isinstance(message, NewView)]
    assert announced.proposal.header == block.header
    assert [change.signer for change in announced.view_changes] == [0, 2, 3]
    bench.settle(until_height=1)
    assert bench.decided(1) == {parts.block_id(block)}


def test_c5_a_new_view_that_somebody_spoiled_does_not_discredit_the_real_one() -> None:
    """The signature inside the proposal is the only part that another peer can change and keep the rest valid."""
    bench = quiet_bench(4)
    real = parts.new_view([parts.view_change(number) for number in (1, 2, 3)], parts.block_by(bench, 2), 2)
    spoiled = replace(real, proposal=replace(real.proposal, signature=bytes(16)))
    assert codes(bench.inject(0, spoiled, 3)) == ["consensus_bad_signature"]
    bench.inject(0, real, 2)
    assert voted(bench, 0) == [("prepare", 1)]


def test_c6_the_new_leader_must_not_bring_its_own_block_where_one_is_due() -> None:
    bench = quiet_bench(4)
    block = prepared_at(bench, (3,))
    bench.expire_all(0, 2, 3)
    bench.deliver(target=2, kind="view-change")
    own = parts.block_by(bench, 2, "own")
    bench.seats[2].log.clear()
    bench.step(2, ev.BlockBuilt(1, 1, own))
    assert not bench.seats[2].logged(fx.Broadcast)
    assert bench.seats[2].replica.view == 1
    assert block.header != own.header


def test_c6_a_fresh_block_that_names_another_proposer_is_refused() -> None:
    """Without evidence for it, another leader's earlier block cannot come back."""
    bench = quiet_bench(4)
    changes = [parts.view_change(number) for number in (1, 2, 3)]
    old = parts.block_by(bench, 1)
    assert codes(bench.inject(0, parts.new_view(changes, old, 2), 2)) == ["proposal_wrong_proposer"]


@pytest.mark.parametrize("size", [4, 5, 6, 7])
def test_c12_no_lock_stands_against_a_justified_new_view(size: int) -> None:
    """Some prepare X in view 0; a quorum without them prepares Y in view 1. In view 2, Y is due, and everybody obeys.

    With IBFT's locks the holders of X would refuse, and n = 5 and 6 would come to a standstill.
    """
    bench = quiet_bench(size)
    members = bench.seats[0].replica.validators
    quorum = members.quorum
    x, y = parts.block_by(bench, 1, "X"), parts.block_by(bench, 2, "Y")
    locked = bench.seats[0]
    bench.inject(0, parts.proposal(x, 1), 1)
    hear(bench, 0, (parts.prepare(number, parts.block_id(x)) for number in range(1, quorum)))
    assert voted(bench, 0) == [("prepare", 0), ("commit", 0)]
    of_y = parts.prepared(range(1, quorum + 1) if quorum < size else range(quorum), parts.block_id(y), view=1)
    changes = [parts.view_change(number, 2, of_y if number == 1 else None) for number in range(1, size)][:quorum]
    if len(changes) < quorum:
        changes.insert(0, parts.view_change(0, 2, parts.prepared(range(quorum), parts.block_id(x))))
    bench.inject(0, parts.new_view(changes, y, 3, 2), 3)
    assert voted(bench, 0)[2:] == [("prepare", 2)]
    *_, last = bench.signed(0)
    assert last.block_id == parts.block_id(y)
    assert locked.replica.view == 2


@pytest.mark.parametrize("size", [4, 5, 6, 7])
def test_c21_a_prepared_block_is_repeated_byte_for_byte_and_its_proposer_accepts_it(size: int) -> None:
    """No wall clock, no proposer check: the request says `fresh=False`; the first proposer votes for its old block."""
    bench = quiet_bench(size)
    block = prepared_at(bench, (3,))
    for seat in bench.seats:
        bench.expire(seat.number)
    bench.settle(until_height=1)
    assert bench.decided(1) == {parts.block_id(block)}
    assert ("prepare", 1) in voted(bench, 1)
    certificate = bench.seats[1].chain[0][1]
    assert certificate.view == 1
    assert bench.seats[1].chain[0][0].header.proposer == 1


def test_c21_a_re_proposal_asks_for_no_clock_and_names_who_has_the_body() -> None:
    bench = quiet_bench(4)
    block = parts.block_by(bench, 1)
    certificate = parts.prepared((0, 1, 3), parts.block_id(block))
    changes = [parts.view_change(number, 1, certificate) for number in (1, 2, 3)]
    effects = bench.seats[0].replica.step(ev.Received(parts.new_view(changes, block, 2), 2))
    (request,) = [effect for effect in effects if isinstance(effect, fx.ValidateBlock)]
    assert not request.fresh
    assert request.senders == (2, 0, 1, 3)
    fresh = quiet_bench(4).seats[0].replica.step(ev.Received(parts.proposal(block, 1), 1))
    assert [effect.fresh for effect in fresh if isinstance(effect, fx.ValidateBlock)] == [True]


def test_a_new_leader_without_the_body_fetches_it() -> None:
    bench, block, of = offered()
    certificate = parts.prepared((0, 1, 3), of)
    bench.withheld.add((2, of))
    hear(bench, 2, (parts.view_change(number, 1, certificate if number == 3 else None) for number in (0, 1, 3)))
    (request,) = bench.seats[2].logged(fx.FetchBlock)
    assert request == fx.FetchBlock(1, 1, of, (0, 1, 3))
    assert "new-view" not in kinds(bench.seats[2].log)
    wrong = parts.block_by(bench, 1, "another")
    bench.step(2, ev.BlockFetched(1, 1, wrong))
    assert "new-view" not in kinds(bench.seats[2].log)
    bench.withheld.clear()
    bench.step(2, ev.BlockFetched(1, 1, block))
    assert voted(bench, 2)[-2:] == [("new-view", 1), ("prepare", 1)]
    request = bench.seats[2].logged(fx.ValidateBlock)[-1]
    assert not request.fresh


def test_c6_a_fresh_block_does_not_replace_one_that_is_due_and_still_under_way() -> None:
    bench, _, of = offered()
    bench.withheld.add((2, of))
    for number in (0, 1, 3):
        certificate = parts.prepared((0, 1, 3), of) if number == 3 else None
        bench.inject(2, parts.view_change(number, 1, certificate), number)
    bench.step(2, ev.BlockBuilt(1, 1, parts.block_by(bench, 2, "fresh")))
    assert ("new-view", 1) not in voted(bench, 2)


def test_a_certificate_that_turns_up_late_replaces_the_block_under_construction() -> None:
    bench = quiet_bench(5)
    block = parts.block_by(bench, 1)
    of = parts.block_id(block)
    hear(bench, 2, (parts.view_change(number) for number in (0, 1, 3)))
    assert bench.seats[2].logged(fx.BuildBlock)[-1] == fx.BuildBlock(1, 1)
    bench.inject(2, parts.view_change(4, 1, parts.prepared((0, 1, 3, 4), of)), 4)
    bench.step(2, ev.BlockBuilt(1, 1, parts.block_by(bench, 2, "fresh")))
    (announced,) = [message for message in bench.signed(2) if isinstance(message, NewView)]
    assert announced.proposal.header == block.header


def test_c22_replicas_in_one_view_do_not_answer_each_other_for_ever() -> None:
    """A VIEW-CHANGE that arrives after its NEW-VIEW is answered once, and the answer asks for nothing."""
    bench = quiet_bench(4)
    bench.expire_all(*range(4))
    late = bench.select(source=0, target=1, kind="view-change")[0].message
    bench.deliver(kind="view-change")
    bench.build(2, 1, 1)
    bench.deliver(kind="new-view")
    bench.drop()
    bench.inject(1, late, 0)
    answers = bench.select(source=1, target=0)
    assert [kind_of(wire.message) for wire in answers] == ["new-view", "prepare"]
    bench.deliver()
    assert len(bench.wires) < 10
    bench.drop()


def test_c22_an_invalid_proposal_starts_no_storm() -> None:
    """Judged once; no vote; no view change before the time-out; not repeated by the next leader."""
    bench = quiet_bench(4)
    bad = parts.block_by(bench, 1, "bad")
    bench.invalid.add(parts.block_id(bad))
    for number in (0, 2, 3):
        for _ in range(5):
            bench.inject(number, parts.proposal(bad, 1), 1)
        assert len(bench.seats[number].logged(fx.ValidateBlock)) == 1
        assert not list(bench.signed(number))
        assert bench.seats[number].replica.view == 0
    for number in (0, 2, 3):
        bench.expire(number)
        assert voted(bench, number) == [("view-change", 1)]
    bench.deliver(kind="view-change")
    good = bench.build(2, 1, 1)
    bench.settle(until_height=1)
    assert bench.decided(1) == {parts.block_id(good)}


def test_c22_a_header_refused_once_is_not_judged_again() -> None:
    bench = quiet_bench(4)
    block = parts.block_by(bench, 1)
    bad = replace(block, header=replace(block.header, parent_id=bytes(32)))
    assert codes(bench.inject(0, parts.proposal(bad, 1), 1)) == ["proposal_wrong_parent"]
    assert bench.inject(0, parts.proposal(bad, 1), 1) == []


def test_c22_an_unjustified_new_view_is_judged_once() -> None:
    bench = quiet_bench(4)
    bad = parts.new_view([parts.view_change(number) for number in (1, 2)], parts.block_by(bench, 2), 2)
    assert codes(bench.inject(0, bad, 2)) == ["new_view_too_few"]
    assert bench.inject(0, bad, 2) == []
    good = parts.new_view([parts.view_change(n, 5) for n in (0, 1, 3)], parts.block_by(bench, 2), 2, 5)
    bench.inject(0, good, 2)
    assert bench.seats[0].replica.view == 5


def test_c22_a_busy_liar_cannot_make_an_idle_network_move() -> None:
    """f members may ask for views as often as they like."""
    bench = Bench(4, work=False)
    for view in range(1, 50):
        for number in (0, 1, 2):
            bench.inject(number, parts.view_change(3, view), 3)
    assert not bench.wires
    assert all(bench.seats[number].replica.view == 0 for number in (0, 1, 2))
