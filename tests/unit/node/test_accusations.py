"""Double votes become evidence on the chain: once, proven, bounded (attacks C1, C9, C20; protocol rule 20)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from common.chain import evidence
from common.chain.application import BlockContext, Outcome, OverlayView, StateReader, StateView
from common.chain.validator_history import KEPT_SETS, record_set, set_at
from common.consensus.contradiction import Statement
from common.consensus.messages import Stage, Vote, decode_message, vote_payload
from common.consensus.params import MAX_SHOWN_DISSENTS
from common.core.certificate import Certificate, commit_payload
from common.core.errors import Rejected
from common.core.transaction import SignedTransaction, parse_envelope
from common.core.validators import ValidatorSet
from common.node.logic.node_events import Timer
from common.node.logic.wire.peer_messages import Consensus
from common.node.store.committed_state import CommittedState
from tests.unit.node.bus import Bus, names_of
from tests.unit.node.toy import (
    SUITE,
    ToyApplication,
    key_of,
    make_envelope,
    make_genesis,
    seed_of,
    transfer,
    validator_set,
)

NAMES = names_of(4)
GENESIS = make_genesis(NAMES)


class Accountable(ToyApplication):
    """The toy with evidence, as the tiers have it; `client-…` keys count as registered."""

    def check(self, tx: SignedTransaction, state: StateReader, context: BlockContext) -> None:
        if evidence.is_evidence(tx):
            evidence.check(tx, state, context.genesis, _registered)
        else:
            super().check(tx, state, context)

    def execute(self, tx: SignedTransaction, context: BlockContext, state: StateView) -> Outcome:
        if evidence.is_evidence(tx):
            return evidence.execute(tx, context, state, _registered)
        return super().execute(tx, context, state)

    def operation_types(self, version: int) -> list[str]:
        return sorted([*super().operation_types(version), *evidence.EVIDENCE_TYPES])


def _registered(public_key: str) -> bool:
    return public_key == SUITE.format_key(key_of("client-1"))


def network() -> Bus:
    bus = Bus(GENESIS, NAMES, application=Accountable())
    bus.start()
    return bus


def vote(signer: str, height: int, block: bytes, *, view: int = 0, stage: Stage = Stage.COMMIT) -> Vote:
    """A vote of a validator that says what it likes."""
    payload = vote_payload(SUITE, GENESIS.id, GENESIS.network, stage, height, view, block)
    return Vote(stage, height, view, block, NAMES.index(signer), SUITE.sign(seed_of(signer), payload))


def statement(signer: str = "node-3", height: int = 1, block: bytes = bytes(32), **options: Any) -> Statement:
    return Statement.of(vote(signer, height, block, **options), SUITE, GENESIS.id, GENESIS.network)


A, B = b"a" * 32, b"b" * 32


def accuse(nonce: str, first: Statement, second: Statement, *, client: str = "client-1") -> bytes:
    operation = {"type": evidence.ACCUSE, "first": first.to_json(), "second": second.to_json()}
    return make_envelope(GENESIS, nonce, [operation], client=client)


def listed(bus: Bus, name: str) -> list[dict[str, Any]]:
    """What a node's state says of culprits."""
    state = CommittedState(bus.machines[name].chain)
    return [msgspec.json.decode(value) for _, value in state.scan(evidence.EVIDENCE, 100)]


def tell(bus: Bus, message: Vote, *targets: str) -> None:
    for target in targets:
        bus.inject("node-3", target, Consensus(message.encode()).encode())


@pytest.mark.parametrize("stage", [Stage.PREPARE, Stage.COMMIT])
def test_c1_a_double_vote_becomes_evidence_on_chain_once(stage: Stage) -> None:
    bus = network()
    for block in (A, B):
        tell(bus, vote("node-3", 1, block, stage=stage), *NAMES[:3])
    bus.run(lambda: all(listed(bus, name) for name in NAMES[:3]))
    bus.pass_time(30_000)
    for name in NAMES[:3]:
        (entry,) = listed(bus, name)
        (culprit,) = entry["culprits"]
        assert culprit == {
            "name": "node-3",
            "organisation": "of-node-3",
            "public_key": SUITE.format_key(key_of("node-3")),
        }
        assert (entry["kind"], entry["height"], entry["view"]) == (stage.name.lower(), 1, 0)
        assert {entry["first"]["value"], entry["second"]["value"]} == {A.hex(), B.hex()}
    receipts = [receipt for committed in bus.machines["node-0"].committed for receipt in committed.receipts]
    assert [receipt.status for receipt in receipts] == ["applied"]
    assert all(Timer.ACCUSE not in machine.timers for machine in bus.machines.values())


def test_c1_the_next_member_submits_when_the_first_is_away() -> None:
    bus = network()
    for block in (A, B):
        tell(bus, vote("node-3", 1, block), "node-2")
    bus.run(lambda: bool(listed(bus, "node-1")))
    assert listed(bus, "node-1")[0]["submitter"] == SUITE.format_key(key_of("node-2"))


def refusal_of(bus: Bus, envelope: bytes) -> str:
    with pytest.raises(Rejected) as refusal:
        bus.submit("node-0", envelope)
    return refusal.value.code


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (statement(block=A), statement(block=A), "accusation_same_value"),
        (statement(block=A), statement(block=B, view=1), "accusation_other_place"),
        (statement(block=A), statement(block=B, height=2), "accusation_other_place"),
        (statement(block=A), statement(block=B, stage=Stage.PREPARE), "accusation_other_place"),
        (statement(block=A), statement("node-2", block=B), "accusation_other_place"),
        (statement(block=A), replace(statement(block=B), signature=bytes(64)), "accusation_bad_signature"),
        (statement(block=A), replace(statement(block=B), value=bytes(32)), "accusation_bad_signature"),
        (replace(statement(block=A), signer=9), replace(statement(block=B), signer=9), "accusation_no_member"),
        (replace(statement(block=A), signer=2), replace(statement(block=B), signer=2), "accusation_bad_signature"),
        (statement(block=A), replace(statement(block=B), value=bytes(31)), "accusation_statement"),
    ],
)
def test_c20_a_false_accusation_is_refused(first: Statement, second: Statement, code: str) -> None:
    """Rule 20: honest replicas commit in two views; nobody is named for that, nor by forged or foreign votes (C9)."""
    bus = network()
    assert refusal_of(bus, accuse("n", first, second)) == code
    assert refusal_of(bus, accuse("n", second, first)) == code
    assert listed(bus, "node-0") == []


def test_c10_votes_of_another_chain_prove_nothing() -> None:
    other = make_genesis(NAMES, heartbeat_ms=9_000)
    forged = [
        replace(
            statement(block=block),
            signature=SUITE.sign(
                seed_of("node-3"), vote_payload(SUITE, other.id, other.network, Stage.COMMIT, 1, 0, block)
            ),
        )
        for block in (A, B)
    ]
    assert refusal_of(network(), accuse("n", *forged)) == "accusation_bad_signature"


def test_an_accusation_needs_a_known_submitter_and_stands_alone() -> None:
    bus = network()
    proof = statement(block=A), statement(block=B)
    assert refusal_of(bus, accuse("n", *proof, client="client-2")) == "accuser_unknown"
    operation = {"type": evidence.ACCUSE, "first": proof[0].to_json(), "second": proof[1].to_json()}
    assert refusal_of(bus, make_envelope(GENESIS, "n", [operation, operation])) == "accusation_not_alone"
    assert refusal_of(bus, make_envelope(GENESIS, "n", [operation | {"x": 1}])) == "accusation_fields"
    bus.submit("node-0", accuse("n", *proof, client="node-1"))
    bus.run(lambda: bool(listed(bus, "node-0")))


def test_n4_the_same_act_again_changes_nothing() -> None:
    bus = network()
    proof = statement(block=A), statement(block=B)
    bus.submit("node-0", accuse("first", *proof))
    bus.submit("node-0", accuse("second", *reversed(proof)))
    bus.run(lambda: bool(listed(bus, "node-0")))
    (entry,) = listed(bus, "node-0")
    receipts = [receipt for done in bus.machines["node-0"].committed for receipt in done.receipts]
    assert (
        sorted((receipt.status, receipt.code) for receipt in receipts)
        == [
            ("applied", ""),
            ("rejected", "accusation_known"),
        ]
        or len(receipts) == 1
    )
    assert refusal_of(bus, accuse("third", *proof)) == "accusation_known"
    assert refusal_of(bus, accuse("fourth", statement(block=A), statement(block=b"c" * 32))) == "accusation_known"
    assert listed(bus, "node-0") == [entry]


def certificate(block: bytes, signers: list[str], *, view: int = 0, height: int = 1) -> Certificate:
    payload = commit_payload(SUITE, GENESIS.id, GENESIS.network, height, view, block)
    indexes = sorted(NAMES.index(name) for name in signers)
    return Certificate(height, view, block, tuple((at, SUITE.sign(seed_of(NAMES[at]), payload)) for at in indexes))


def contradict(nonce: str, first: Certificate, second: Certificate) -> bytes:
    operation = {
        "type": evidence.ACCUSE_CERTIFICATES,
        "first": first.encode().hex(),
        "second": second.encode().hex(),
    }
    return make_envelope(GENESIS, nonce, [operation])


def test_c20_conflicting_certificates_name_whoever_signed_both_in_one_view() -> None:
    bus = network()
    bus.submit("node-0", transfer(GENESIS, "n"))
    bus.run_to_height(1)
    first, second = certificate(A, ["node-0", "node-2", "node-3"]), certificate(B, ["node-1", "node-2", "node-3"])
    bus.submit("node-0", contradict("proof", first, second))
    bus.run(lambda: bool(listed(bus, "node-0")))
    entries = listed(bus, "node-0")
    assert sorted(entry["culprits"][0]["name"] for entry in entries if entry["kind"] == "commit") == [
        "node-2",
        "node-3",
    ]
    (whole,) = [entry for entry in entries if entry["kind"] == "certificates"]
    assert [culprit["name"] for culprit in whole["culprits"]] == ["node-2", "node-3"]
    assert (whole["first"], whole["second"]) == (first.encode().hex(), second.encode().hex())
    assert refusal_of(bus, contradict("again", second, first)) == "accusation_known"
    assert refusal_of(bus, accuse("one", statement(block=A), statement(block=B))) == "accusation_known"


def test_c20_certificates_of_two_views_name_nobody() -> None:
    bus = network()
    bus.submit("node-0", transfer(GENESIS, "n"))
    bus.run_to_height(1)
    first, second = certificate(A, NAMES[:3]), certificate(B, NAMES[1:], view=2)
    bus.submit("node-0", contradict("proof", first, second))
    bus.run(lambda: bool(listed(bus, "node-0")))
    (entry,) = listed(bus, "node-0")
    assert (entry["kind"], entry["culprits"]) == ("certificates", [])


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (certificate(A, NAMES[:3]), certificate(A, NAMES[1:]), "accusation_same_value"),
        (certificate(A, NAMES[:3]), certificate(B, NAMES[1:], height=2), "accusation_other_place"),
        (certificate(A, NAMES[:3]), certificate(B, NAMES[2:]), "accusation_too_few"),
        (
            certificate(A, NAMES[:3]),
            replace(certificate(B, NAMES[1:]), signatures=certificate(A, NAMES[1:]).signatures),
            "accusation_bad_signature",
        ),
        (
            certificate(A, NAMES[:3]),
            replace(certificate(B, NAMES[1:]), signatures=tuple((at, bytes(64)) for at in (1, 2, 9))),
            "accusation_bad_signature",
        ),
    ],
)
def test_c4_certificates_that_do_not_hold_prove_nothing(first: Certificate, second: Certificate, code: str) -> None:
    assert refusal_of(network(), contradict("n", first, second)) == code


class Ground:
    """Executes evidence on a state of its own, at any height."""

    def __init__(self) -> None:
        bus = network()
        self.state = OverlayView(CommittedState(bus.machines["node-0"].chain))

    def execute(self, envelope: bytes, height: int) -> None:
        tx = parse_envelope(envelope, SUITE)
        context = BlockContext(GENESIS.network, height, 1, GENESIS, GENESIS.validators, 1, GENESIS.parameters)
        evidence.execute(tx, context, self.state, _registered)

    def code(self, envelope: bytes, height: int) -> str:
        with pytest.raises(Rejected) as refusal:
            self.execute(envelope, height)
        return refusal.value.code


def test_old_evidence_is_taken_within_the_window() -> None:
    ground = Ground()
    proof = accuse("n", statement(height=5, block=A), statement(height=5, block=B))
    assert ground.code(proof, 4) == "accusation_future"
    assert ground.code(proof, 5 + evidence.WINDOW_BLOCKS + 1) == "accusation_too_old"
    ground.execute(proof, 5 + evidence.WINDOW_BLOCKS)


def test_c13_a_faulty_validator_cannot_fill_the_state() -> None:
    ground = Ground()
    for view in range(evidence.MAX_ACTS):
        ground.execute(accuse(f"n{view}", statement(view=view, block=A), statement(view=view, block=B)), 1)
    proof = accuse("more", statement(view=99, block=A), statement(view=99, block=B))
    assert ground.code(proof, 1) == "accusation_limit"
    key = evidence.ACCUSED + SUITE.format_key(key_of("node-3")).encode()
    assert msgspec.json.decode(ground.state.get(key) or b"")["acts"] == evidence.MAX_ACTS


def test_c9_an_act_is_judged_under_the_set_of_its_height() -> None:
    ground = Ground()
    changed = validator_set(["node-9", *NAMES[:3]])
    record_set(ground.state, 10, changed, SUITE)
    old = accuse("old", statement(height=9, block=A), statement(height=9, block=B))
    ground.execute(old, 20)
    proof = accuse("new", statement(height=10, block=A), statement(height=10, block=B))
    assert ground.code(proof, 20) == "accusation_bad_signature"


def test_sets_of_past_heights_are_remembered_and_forgotten() -> None:
    state: OverlayView = Ground().state

    def names_at(height: int | None) -> list[str] | None:
        validators: ValidatorSet | None = set_at(state, GENESIS, height)
        return None if validators is None else [member.name for member in validators.members]

    assert names_at(0) == names_at(None) == NAMES
    for number in range(1, KEPT_SETS + 2):
        record_set(state, 10 * number, validator_set([f"set-{number}"]), SUITE)
        if number == KEPT_SETS:
            assert names_at(9) == NAMES
    assert names_at(None) == names_at(10_000) == [f"set-{KEPT_SETS + 1}"]
    assert names_at(29) == ["set-2"]
    assert names_at(19) is None
    assert names_at(9) is None


def test_c1_a_double_vote_for_two_audiences_is_put_together() -> None:
    """No replica gets both votes from the liar; each passes on what contradicts the block that it was proposed."""
    bus = network()
    tell(bus, vote("node-3", 1, A), "node-0")
    tell(bus, vote("node-3", 1, B), "node-2")
    bus.pass_time(50)
    assert not any(machine.accusations for machine in bus.machines.values())
    bus.submit("node-1", transfer(GENESIS, "n"))
    bus.run(lambda: all(listed(bus, name) for name in NAMES[:3]))
    bus.pass_time(5_000)
    (entry,) = listed(bus, "node-1")
    assert entry["culprits"][0]["name"] == "node-3"
    assert {entry["first"]["value"], entry["second"]["value"]} == {A.hex(), B.hex()}


def test_c1_a_vote_against_the_final_block_is_held_against_its_certificate() -> None:
    bus = network()
    bus.submit("node-0", transfer(GENESIS, "n"))
    bus.run_to_height(1)
    signers = [NAMES[index] for index, _ in bus.machines["node-0"].chain.certificate(1).signatures]
    liar = next(name for name in signers if name != "node-0")
    bus.inject("node-3", "node-0", Consensus(vote(liar, 1, B).encode()).encode())
    bus.run(lambda: bool(listed(bus, "node-0")))
    (entry,) = listed(bus, "node-0")
    assert (entry["culprits"][0]["name"], entry["height"]) == (liar, 1)


def test_c13_votes_against_a_proposal_are_passed_on_a_few_times_only() -> None:
    names = names_of(16)
    genesis = make_genesis(names)
    liars = names[11:]
    bus = Bus(genesis, names, application=Accountable())
    bus.start(*names[:11])
    for name in liars:
        payload = vote_payload(SUITE, genesis.id, genesis.network, Stage.PREPARE, 1, 0, A)
        lie = Vote(Stage.PREPARE, 1, 0, A, names.index(name), SUITE.sign(seed_of(name), payload))
        bus.inject("node-1", "node-0", Consensus(lie.encode()).encode())
    bus.submit("node-0", transfer(genesis, "n"))
    bus.run_to_height(1)
    passed_on = [
        target
        for target, payload in bus.machines["node-0"].sent
        if payload[0] == 1 and decode_message(payload[1:]).signer >= 11
    ]
    assert len(liars) > MAX_SHOWN_DISSENTS
    assert len(passed_on) == MAX_SHOWN_DISSENTS * 10
