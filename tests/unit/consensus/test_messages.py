"""Wire formats and signed bytes of the consensus messages."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from common.consensus.messages import (
    MAX_MESSAGE_BYTES,
    ConsensusMessage,
    Mark,
    NewView,
    PreparedCertificate,
    Stage,
    Type,
    ViewChange,
    decode_message,
)
from common.consensus.params import ConsensusParameters
from common.consensus.vote_records import CurrentView, decode_record, encode_record, record_height
from common.core.certificate import commit_payload
from common.core.errors import InvariantBroken, Malformed, Rejected
from common.core.parameters import ChainParameters
from common.core.suite import ED25519_SHA256
from tests.sim.toys import CHEAP, GENESIS_ID, NETWORK
from tests.support.changed import replace
from tests.unit.consensus import golden, parts
from tests.unit.consensus.parts import offered, quiet_bench

VECTORS = Path(__file__).parents[2] / "vectors" / "consensus_v1.json"


def all_messages() -> list[ConsensusMessage]:
    """One of each type, the richest forms among them."""
    _, block, of = offered()
    certificate = parts.prepared((0, 1, 2), of)
    changes = [parts.view_change(0), parts.view_change(1, 1, certificate), parts.view_change(3)]
    return [
        parts.proposal(block, 1),
        parts.prepare(2, of),
        parts.commit(3, of),
        *changes,
        parts.new_view(changes, block, 2),
    ]


@pytest.mark.parametrize("at", range(7))
def test_messages_survive_the_wire(at: int) -> None:
    message = all_messages()[at]
    assert decode_message(message.encode()) == message


@pytest.mark.parametrize("at", range(7))
def test_e2_truncated_or_extended_messages_are_refused(at: int) -> None:
    data = all_messages()[at].encode()
    for end in range(len(data)):
        with pytest.raises(Malformed):
            decode_message(data[:end])
    with pytest.raises(Malformed):
        decode_message(data + b"\x00")


@pytest.mark.parametrize("at", range(7))
def test_c8_no_message_has_two_encodings(at: int) -> None:
    """Whatever bit is flipped, what still decodes encodes to exactly those bytes."""
    data = all_messages()[at].encode()
    for position in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            try:
                message = decode_message(bytes(changed))
            except Rejected:
                continue
            assert message.encode() == bytes(changed)


def test_e2_lengths_are_checked_before_anything_is_allocated() -> None:
    start = struct.pack(">BBQQH", 1, Type.PROPOSAL, 1, 0, 0)
    with pytest.raises(Malformed, match="codec_too_long"):
        decode_message(start + b"\xff\xff\xff\xff")
    evidence = struct.pack(">BBQQH", 1, Type.NEW_VIEW, 1, 1, 0) + b"\xff\xff"
    with pytest.raises(Malformed, match="consensus_count"):
        decode_message(evidence)
    with pytest.raises(Malformed, match="consensus_too_large"):
        decode_message(bytes(MAX_MESSAGE_BYTES + 1))


def test_e2_evidence_does_not_nest() -> None:
    """A NEW-VIEW inside a NEW-VIEW inside … would exhaust the stack of a decoder that recurses."""
    inner = b""
    for _ in range(500):
        start = struct.pack(">BBQQHH", 1, Type.NEW_VIEW, 1, 1, 0, 1)
        inner = start + struct.pack(">I", len(inner)) + inner
    with pytest.raises(Malformed):
        decode_message(inner)


def test_c4_voters_inside_evidence_ascend_strictly() -> None:
    message = all_messages()[-1]
    assert isinstance(message, NewView)
    for order in ((0, 0, 1), (1, 0, 2)):
        changes = tuple(message.view_changes[at] for at in order)
        with pytest.raises(Malformed, match="consensus_order"):
            decode_message(replace(message, view_changes=changes).encode())
    certificate = message.view_changes[1].prepared
    assert certificate is not None
    doubled = replace(certificate, signatures=(certificate.signatures[0],) * 3)
    with pytest.raises(Malformed, match="consensus_order"):
        PreparedCertificate.decode(doubled.encode())


def test_c6_evidence_of_another_height_or_view_does_not_decode() -> None:
    message = all_messages()[-1]
    assert isinstance(message, NewView)
    strange = parts.view_change(3, 2)
    with pytest.raises(Malformed, match="new_view_evidence"):
        decode_message(replace(message, view_changes=(*message.view_changes[:2], strange)).encode())
    with pytest.raises(Malformed, match="new_view_proposal"):
        decode_message(replace(message, leader=3).encode())
    late = parts.prepared((0, 1, 2), bytes(32), view=1)
    with pytest.raises(Malformed, match="view_change_prepared"):
        decode_message(ViewChange(1, 1, late, 0, b"").encode())
    with pytest.raises(Malformed, match="view_change_view"):
        decode_message(ViewChange(1, 0, None, 0, b"").encode())


def test_c1_a_proposal_of_a_block_at_another_height_does_not_decode() -> None:
    proposal = parts.proposal(parts.block_by(quiet_bench(4), 1), 1)
    with pytest.raises(Malformed, match="proposal_header"):
        decode_message(replace(proposal, height=2).encode())
    with pytest.raises(Malformed, match="proposal_header"):
        decode_message(replace(proposal, envelope_hashes=()).encode())


def test_c10_nothing_signed_can_pass_for_something_else() -> None:
    """Type, genesis, network, height and view are all inside the signed bytes (protocol rule 6)."""
    seen: dict[bytes, str] = {}
    for message in all_messages():
        variants = {"": message, "view": replace(message, view=message.view + 1)}
        variants["height"] = replace(message, height=message.height + 1)
        for name, variant in variants.items():
            for genesis_id, network in ((GENESIS_ID, NETWORK), (bytes(32), NETWORK), (GENESIS_ID, "custody")):
                label = f"{type(message).__name__} {message.encode()[1]} {name} {genesis_id.hex()[:4]} {network}"
                if isinstance(message, ViewChange):
                    label += f" {message.prepared is not None}"
                payload = variant.payload(CHEAP, genesis_id, network)
                assert seen.setdefault(payload, label) == label
    # 3 plain view changes differ only by voter, of which two have no certificate.
    assert len(seen) == (len(all_messages()) - 1) * 9


def test_a_commit_signs_what_the_certificate_needs() -> None:
    commit = parts.commit(3, bytes(32), height=7, view=2)
    assert commit.payload(CHEAP, GENESIS_ID, NETWORK) == commit_payload(CHEAP, GENESIS_ID, NETWORK, 7, 2, bytes(32))


def test_marks_order_what_a_validator_signs_in_one_view() -> None:
    messages = all_messages()
    marks = {message.mark for message in messages}
    assert Mark(1, 0, Stage.PROPOSAL) < Mark(1, 0, Stage.PREPARE) < Mark(1, 0, Stage.COMMIT)
    assert Mark(1, 0, Stage.COMMIT) < Mark(1, 1, Stage.VIEW_CHANGE) < Mark(1, 1, Stage.PROPOSAL)
    assert max(marks) == Mark(1, 1, Stage.PROPOSAL)


def test_records_survive_the_vote_log() -> None:
    block = parts.block_by(quiet_bench(4), 1)
    certificate = parts.prepared((0, 1, 2), parts.block_id(block))
    for record in (block, certificate, CurrentView(1, 9), *all_messages()):
        data = encode_record(record)
        assert decode_record(data) == record
        assert record_height(data) == 1


def test_damaged_records_are_our_fault_and_named() -> None:
    data = encode_record(CurrentView(1, 9))
    for damaged in (b"", b"\x02" + data[1:], data[:-1], data + b"\x00", data[:1] + b"\x09" + data[2:]):
        with pytest.raises(InvariantBroken):
            decode_record(damaged)
    with pytest.raises(InvariantBroken):
        record_height(b"\x01")


def test_c13_time_outs_double_up_to_their_cap() -> None:
    parameters = ConsensusParameters.of(ChainParameters())
    assert [parameters.timeout_ms(view) for view in range(7)] == [2000, 4000, 8000, 16000, 32000, 60000, 60000]
    assert parameters.timeout_ms(2**63 - 1) == 60_000


def test_golden_bytes_of_every_message() -> None:
    """Bytes on the wire are frozen; changing them is a new version. Provenance: see the file."""
    vectors = json.loads(VECTORS.read_text())
    assert vectors == golden.document()
    genesis_id, network = bytes.fromhex(vectors["genesis_id"]), vectors["network"]
    for case in vectors["messages"]:
        message = decode_message(bytes.fromhex(case["wire"]))
        assert message.encode().hex() == case["wire"], case["name"]
        payload = message.payload(ED25519_SHA256, genesis_id, network)
        assert payload.hex() == case["signed"], case["name"]
        key = ED25519_SHA256.public_key(bytes.fromhex(vectors["seeds"][message.signer]))
        assert ED25519_SHA256.verify(key, payload, message.signature), case["name"]


def test_golden_messages_cover_every_type() -> None:
    vectors = json.loads(VECTORS.read_text())
    types = {bytes.fromhex(case["wire"])[1] for case in vectors["messages"]}
    assert types == set(Type)
    assert {Stage.PREPARE, Stage.COMMIT} <= types
